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

Summary = dict[str, dict[str, dict[str, Any]]]


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
    Measure("idle", "memory of an idle session, bytes", "memory", ("bytes_per_session",)),
    Measure("idle", "process when ready, MB", "memory", ("ready_mb",), 1),
    Measure("idle", "process after all have left, MB", "memory", ("closed_mb",), 1),
    Measure("serial", "serial broadcast, last client, p50 ms", "serial", ("last_client_ms", "p50"), 1),
    Measure("serial", "serial broadcast, last client, p90 ms", "serial", ("last_client_ms", "p90"), 1),
    Measure("serial", "serial broadcast, last client, max ms", "serial", ("last_client_ms", "max"), 1),
    Measure("sustained", "sustained broadcast, deliveries/s", "sustained", ("deliveries_per_s",)),
    Measure("unicast", "unicast by batchSend, deliveries/s", "unicast", ("deliveries_per_s",)),
    Measure("unicast", "unicast by batchSend, p50 ms", "unicast", ("latency_ms", "p50"), 1),
    Measure("unicast", "unicast by batchSend, p99 ms", "unicast", ("latency_ms", "p99"), 1),
    Measure("lone", "lone unicast, p50 ms", "lone", ("latency_ms", "p50"), 3),
    Measure("lone", "lone unicast, p99 ms", "lone", ("latency_ms", "p99"), 3),
    Measure("http", "single sends over HTTP, requests/s", "http", ("posts_per_s",)),
    Measure("http", "single sends over HTTP, answer p50 ms", "http", ("answer_ms", "p50"), 2),
    Measure("http", "single sends over HTTP, answer p99 ms", "http", ("answer_ms", "p99"), 2),
)


def _value(steps: Sequence[Mapping[str, Any]], measure: Measure) -> float:
    step: Any = next(step for step in steps if step["step"] == measure.step)
    if measure.step == "memory":
        step = {**step, "ready_mb": step["ready"]["pss"] / 1e6, "closed_mb": step["closed"]["pss"] / 1e6}
    for key in measure.path:
        step = step[key]
    return float(step)


def _busy(steps: Sequence[Mapping[str, Any]], measure: Measure, who: str) -> float | None:
    return next((step.get(f"{who}_busy") for step in steps if step["step"] == measure.step), None)


def summarise(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], modes: Sequence[str]) -> Summary:
    """Row title → server → median, least and greatest of the rounds, and how busy both sides were (medians)."""
    summary: Summary = {}
    for measure in (measure for measure in MEASURES if measure.mode in modes):
        row = summary[measure.title] = {}
        for name, rounds in results.items():
            values = [_value(steps, measure) for steps in rounds]
            row[name] = {
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "digits": measure.digits,
            }
            for who in ("server", "generator"):
                busy = [part for steps in rounds if (part := _busy(steps, measure, who)) is not None]
                if busy:
                    row[name][f"{who}_busy"] = round(statistics.median(busy), 2)
    return summary


def _cell(numbers: Mapping[str, Any]) -> str:
    digits = numbers["digits"]
    median, least, greatest = (f"{numbers[key]:,.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({least} … {greatest})"


def table(summary: Summary, machine: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines.append(f"- settings: {', '.join(f'{name} {_plain(value)}' for name, value in settings.items())}")
    names = list(next(iter(summary.values()), {}))
    peers = [name for name in names if name != names[0]]
    head = ["median (least … greatest)", *names, *(f"{names[0]} / {peer}" for peer in peers), "busy: server, generator"]
    lines += ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for title, row in summary.items():
        cells = [title, *(_cell(row[name]) for name in names)]
        for peer in peers:
            against = row[peer]["median"]
            cells.append(f"{row[names[0]]['median'] / against:.2f}" if against > 0 else "–")
        busy = [f"{row[names[0]][key]:.0%}" for key in ("server_busy", "generator_busy") if key in row[names[0]]]
        cells.append(", ".join(busy) or "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
