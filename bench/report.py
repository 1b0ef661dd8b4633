"""What was measured, as numbers with their spread and as a Markdown table; and on what machine."""

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from targets import TARGETS, Summary

# Where a server has no such step, this one stands for it.
ALTERNATIVES = {"http": "echo"}


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table.

    Attributes:
        mode: what must have been run for it.
        title: the row's name, with its unit.
        step: the step that has it.
        path: the keys that lead to it there.
        digits: after the point.
    """

    mode: str
    title: str
    step: str
    path: tuple[str, ...]
    digits: int = 0


MEASURES = (
    Measure("accept", "accept + SUB, sessions/s", "open", ("opened_per_s",)),
    Measure("accept", "accept + SUB, µs of the server's core a session", "open", ("server_us",), 1),
    Measure("idle", "memory of an idle session, bytes", "memory", ("bytes_per_session",)),
    Measure("idle", "process when ready, MB", "memory", ("ready_mb",), 1),
    Measure("idle", "process after all have left, MB", "memory", ("closed_mb",), 1),
    Measure("serial", "serial broadcast, last client, p50 ms", "serial", ("last_client_ms", "p50"), 1),
    Measure("serial", "serial broadcast, last client, p90 ms", "serial", ("last_client_ms", "p90"), 1),
    Measure("serial", "serial broadcast, last client, max ms", "serial", ("last_client_ms", "max"), 1),
    Measure("serial", "serial broadcast, µs of the server's core a delivery", "serial", ("server_us",), 2),
    Measure("sustained", "sustained broadcast, deliveries/s", "sustained", ("deliveries_per_s",)),
    Measure("sustained", "sustained broadcast, p50 ms", "sustained", ("latency_ms", "p50"), 1),
    Measure("sustained", "sustained broadcast, µs of the server's core a delivery", "sustained", ("server_us",), 2),
    Measure("unicast", "unicast by batchSend, deliveries/s", "unicast", ("deliveries_per_s",)),
    Measure("unicast", "unicast by batchSend, p50 ms", "unicast", ("latency_ms", "p50"), 1),
    Measure("unicast", "unicast by batchSend, p99 ms", "unicast", ("latency_ms", "p99"), 1),
    Measure("unicast", "unicast by batchSend, µs of the server's core a delivery", "unicast", ("server_us",), 2),
    Measure("lone", "lone unicast, p50 ms", "lone", ("latency_ms", "p50"), 3),
    Measure("lone", "lone unicast, p99 ms", "lone", ("latency_ms", "p99"), 3),
    Measure("http", "single sends over HTTP, requests/s", "http", ("posts_per_s",)),
    Measure("http", "single sends over HTTP, µs of the server's core a request", "http", ("server_us",), 1),
    Measure("http", "single sends over HTTP, answer p50 ms", "http", ("answer_ms", "p50"), 2),
    Measure("http", "single sends over HTTP, answer p99 ms", "http", ("answer_ms", "p99"), 2),
)


def _value(steps: Sequence[Mapping[str, Any]], measure: Measure) -> float | None:
    """The number of one round; None where this server has none."""
    name = measure.step if any(step["step"] == measure.step for step in steps) else ALTERNATIVES.get(measure.step)
    step: Any = next((step for step in steps if step["step"] == name), None)
    if step is None:
        return None
    if measure.step == "memory":
        step = {**step, "ready_mb": step["ready"]["pss"] / 1e6, "closed_mb": step["closed"]["pss"] / 1e6}
    for key in measure.path:
        step = step[key]
    return float(step)


def _spread(values: Sequence[float], digits: int) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "digits": digits}


def summarise(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], modes: Sequence[str]) -> Summary:
    """Row title → server → median, least and greatest of the rounds; how busy both sides were, and the ratio.

    A ratio is of the first server to another, round by round: what else the machine did in a round hit both.
    """
    summary: Summary = {}
    for measure in (measure for measure in MEASURES if measure.mode in modes):
        row = summary[measure.title] = {}
        first: list[float | None] = []
        for name, rounds in results.items():
            values = [_value(steps, measure) for steps in rounds]
            first = first or values
            known = [value for value in values if value is not None]
            if not known:
                continue
            row[name] = _spread(known, measure.digits)
            ratios = [a / b for a, b in zip(first, values, strict=True) if a is not None and b]
            if first is not values and ratios:
                row[name]["ratio"] = _spread(ratios, 2)
            for who in ("server", "generator"):
                busy = [
                    step[f"{who}_busy"]
                    for steps in rounds
                    for step in steps
                    if step["step"] == measure.step and f"{who}_busy" in step
                ]
                if busy:
                    row[name][f"{who}_busy"] = round(statistics.median(busy), 2)
    return summary


def _cell(numbers: Mapping[str, Any] | None) -> str:
    if not numbers:
        return "–"
    digits = numbers["digits"]
    median, least, greatest = (f"{numbers[key]:,.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({least} … {greatest})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))]


def table(summary: Summary, machine: Mapping[str, Any], settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """The measurements and the ratios as Markdown."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines.append(f"- settings: {', '.join(f'{name} {_plain(value)}' for name, value in settings.items())}")
    if not names:  # trials alone
        return "\n".join(lines)
    rows = [[title, *(_cell(row.get(name)) for name in names)] for title, row in summary.items()]
    lines += _table(["median (least … greatest)", *names], rows)
    first, peers = names[0], names[1:]
    rows = []
    for title, row in summary.items():
        own = row.get(first, {})
        busy = [f"{own[key]:.0%}" for key in ("server_busy", "generator_busy") if key in own]
        rows.append([title, *(_cell(row.get(peer, {}).get("ratio")) for peer in peers), ", ".join(busy) or "–"])
    lines += _table(["ratio", *(f"{first} / {peer}" for peer in peers), f"busy: {first}, generator"], rows)
    return "\n".join(lines)


def sweep_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a delivery costs, by number of clients."""
    head = list(rows[0])
    titles = [name.replace("_us", ", µs of the server's core a delivery") for name in head]
    return "\n".join(_table(titles, [[f"{row[name]:,}" for name in head] for row in rows]))


def targets_table(summary: Summary, trials: Mapping[str, Any], sweep: Sequence[Mapping[str, Any]], first: str) -> str:
    """Each target that could be looked at, what was measured, and whether that is enough."""
    rows = []
    for target in TARGETS:
        found = target.found(summary, trials, sweep, first)
        if found is not None:
            limit = f"{'≤' if target.is_ceiling else '≥'} {target.limit:,g}"
            median, least, greatest = (f"{value:,.{target.digits}f}" for value in found)
            measured = median if least == greatest else f"{median} ({least} … {greatest})"
            rows.append([target.what, limit, measured, target.verdict(*found)])
    return "\n".join(_table(["target", "limit", "measured", ""], rows)) if rows else ""


def _plain(value: object) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _commit() -> str:
    root = str(Path(__file__).resolve().parent.parent)
    commit = _output("git", "-C", root, "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", root, "status", "--porcelain", "--untracked-files=no")
    return (commit or "unknown") + (" with changes" if changed else "")


def describe_machine(cores: tuple[int, int]) -> dict[str, str]:
    """What a reader needs to judge the numbers."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    return {
        "CPU": f"{model}, {os.cpu_count()} cores; server on core {cores[0]}, generator on core {cores[1]}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Twisted": _version("twisted"),
        "compiler": _output("cc", "--version").partition("\n")[0],
        "commit": _commit(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
