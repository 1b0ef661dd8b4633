"""What people see: tables, sentences, and text from the network without what a terminal would obey."""

import datetime
import re
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import aio_sdk
from push.ctl.api import RefusedError

# C0 and C1 controls but tab and newline, and what turns the direction of text around.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Text with its control characters written out, as Python writes them."""
    return _OBEYED.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Harmless text without line breaks."""
    return harmless(text).replace("\n", "\\n")


def refusal(error: RefusedError) -> list[str]:
    """A refusal in as few lines as it takes."""
    named = f" ({error.reason})" if error.reason else ""
    lines = [one_line(f"{str(error) or f'the server answered {error.status}'}{named}")]
    violations = [f"{violation.field}: {violation.message}" for violation in error.violations]
    more = [violation for violation in violations if violation not in str(error)]
    if more:
        lines.append(one_line("; ".join(more)))
    return lines


def status_line(status: aio_sdk.Status) -> str:
    """A client's status as one line."""
    match status:
        case aio_sdk.Connecting(address):
            said = f"connecting to {address}"
        case aio_sdk.Open(address, token, interval_s):
            said = f"open at {address} with token {token}, heartbeat every {interval_s:g} s"
        case aio_sdk.Rejected(address, code, reason):
            said = f"refused by {address}: {code} {reason}"
        case aio_sdk.Lost(address, reason, code):
            said = f"no connection to {address}: {reason}" + (f" ({code})" if code else "")
        case aio_sdk.Redirected(_, to):
            said = f"sent on to {to}"
        case aio_sdk.Waiting(delay_s):
            said = f"trying again in {delay_s:.1f} s"
        case _:
            said = str(status)
    return one_line(said)


def nodes_table(nodes: list[dict[str, Any]]) -> Table:
    """The connectors, one a row."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    for name in ("sessions", "connections", "limit"):
        table.add_column(name, justify="right")
    for name in ("state", "version", "started"):
        table.add_column(name)
    for node in nodes:
        # Workers share an address; older servers know no names.
        values = [node.get("name", node.get("address"))]
        values += [node.get(key) for key in ("sessions", "connections", "max_connections")]
        values += ["draining" if node.get("draining") else "up", node.get("version"), moment(node.get("started"))]
        table.add_row(*(Text(one_line(str(value))) for value in values))
    return table


def stats_table(stats: Mapping[str, Any]) -> Table:
    """Numbers by name: what stands by itself, then the samples as Prometheus names them."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("name")
    table.add_column("value", justify="right")
    rows = [(name, value) for name, value in stats.items() if name != "samples"]
    samples = stats.get("samples")
    rows += [_sample(sample) for sample in (samples if isinstance(samples, list) else []) if isinstance(sample, dict)]
    for name, value in rows:
        table.add_row(Text(one_line(name)), Text(one_line(str(value))))
    return table


def _sample(sample: Mapping[str, Any]) -> tuple[str, Any]:
    name, labels, value = str(sample.get("name")), sample.get("labels"), sample.get("value")
    if isinstance(labels, dict) and labels:
        name += "{" + ", ".join(f"{label}={labels[label]}" for label in labels) + "}"
    if not isinstance(value, dict):
        return name, value
    try:
        count = sum(value["counts"])
        return name, f"{count}, {value['total_s'] / count * 1000:.3f} ms each" if count else "0"
    except (KeyError, TypeError, ZeroDivisionError):
        return name, value


def print_table(table: Table) -> None:
    """Print a table."""
    # Where nobody looks, nothing is cut off: a program reads it.
    Console(width=None if sys.stdout.isatty() else 1_000).print(table)


def moment(since_ms: object) -> str:
    """Milliseconds since 1970 as a time; what is no such number as it is."""
    try:
        moment = datetime.datetime.fromtimestamp(float(str(since_ms)) / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return str(since_ms)
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
