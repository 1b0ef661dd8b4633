"""What people see: tables, sentences, and text from the network without what a terminal would obey."""

import datetime
import re
from collections.abc import Mapping
from typing import Any

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
    if violations:
        lines.append(one_line("; ".join(violations)))
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
        case aio_sdk.Ended(reason):
            said = f"ended: {reason}"
    return one_line(said)


def nodes_table(nodes: list[dict[str, Any]]) -> Table:
    """The connectors, one a row."""
    table = Table(box=None, pad_edge=False)
    table.add_column("address")
    for name in ("sessions", "connections", "limit"):
        table.add_column(name, justify="right")
    for name in ("state", "version", "started"):
        table.add_column(name)
    for node in nodes:
        values = [node.get(key) for key in ("address", "sessions", "connections", "max_connections")]
        values += ["draining" if node.get("draining") else "up", node.get("version"), _moment(node.get("started_ms"))]
        table.add_row(*(Text(one_line(str(value))) for value in values))
    return table


def stats_table(stats: Mapping[str, Any]) -> Table:
    """Numbers by name; the names of what is nested are joined with dots."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("name")
    table.add_column("value", justify="right")
    for name, value in _flat(stats, ""):
        table.add_row(Text(one_line(name)), Text(one_line(str(value))))
    return table


def _flat(stats: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in stats.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _moment(since_ms: object) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(float(str(since_ms)) / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return str(since_ms)
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
