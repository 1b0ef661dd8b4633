"""What `pushctl verify` says at the end: lines for people, an object for programs."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from push.ctl.report import Item, Report
from push.ctl.showing import one_line
from push.ctl.verifying import Verdict

SHOWN_ITEMS = 20

_MEANINGS = {
    "lost": "accepted, and did not come",
    "out_of_order": "came after one that was accepted later",
    "doubled": "came under two ids",
    "again": "came again in the same session",
    "refused_delivered": "were refused, and came",
    "misdelivered": "came to another token than theirs",
    "shrunk_ids": "have an id that is not greater than the one before it",
}


def lines(verdict: Verdict) -> list[str]:
    """The verdict for people."""
    report = verdict.report
    said = [
        f"run {verdict.run}: {verdict.took_s:.1f} s, {len(verdict.tokens)} tokens, {verdict.sessions} sessions, "
        f"--seed {verdict.plan.seed}",
        _row("attempted", report.attempted),
        _row("accepted", report.accepted),
        _row("  delivered", report.delivered),
        _row("  expired", report.expired),
        _row("  lost", len(report.lost)),
        _row("refused", sum(report.refused.values()), _counts(report.refused)),
        _row("  came", len(report.refused_delivered), "though refused: they left while the disk was still writing"),
        _row("unknown", report.unknown, f"no answer; {report.delivered_unknown} of them came"),
        _row("duplicated", report.duplicated, "came to the application again with the same id, as they may"),
        _row("repeated", report.repeated, "frames with an id that had come before, as they may"),
        _row("out of order", len(report.out_of_order)),
    ]
    for name, items in report.faults.items():
        said.append(f"FAULT: {len(items)} {_MEANINGS[name]}:")
        said += [f"  {_item(verdict, item)}" for item in items[:SHOWN_ITEMS]]
        if len(items) > SHOWN_ITEMS:
            said.append(f"  … and {len(items) - SHOWN_ITEMS} more; --report FILE has them all")
    if verdict.offline:
        said.append(f"{verdict.offline} receivers had no session at the end: what is missing there may still be kept")
    said += [f"{count} times a receiver ended: {one_line(text)}" for text, count in verdict.troubles.most_common(5)]
    said.append(_conclusion(report))
    return said


def fields_of(verdict: Verdict, *, max_items: int | None = None) -> dict[str, Any]:
    """The verdict for programs, as JSON has it: of faults the items, but no more than this of each."""
    report = verdict.report
    numbers: dict[str, Any] = {}
    for field in fields(report):
        value = getattr(report, field.name)
        numbers[field.name] = len(value) if isinstance(value, tuple) else value
    return {
        "run": verdict.run,
        "ok": report.ok,
        "took_s": round(verdict.took_s, 3),
        **numbers,
        "sessions": verdict.sessions,
        "offline": verdict.offline,
        "troubles": dict(verdict.troubles),
        "faults": {name: _objects(verdict, items[:max_items]) for name, items in report.faults.items()},
        "plan": {name: value for name, value in asdict(verdict.plan).items() if name != "auth"},
    }


def _objects(verdict: Verdict, items: Sequence[Item]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(item.message_id),
            "token": verdict.tokens[item.receiver],
            "number": item.number,
            "broadcast": item.for_everybody,
        }
        for item in items
    ]


def _item(verdict: Verdict, item: Item) -> str:
    what = "broadcast" if item.for_everybody else "message"
    return f"{what} {item.message_id} (number {item.number}) for token {verdict.tokens[item.receiver]}"


def _row(name: str, number: int, remark: str = "") -> str:
    return f"{name:<14}{number:>9}  {remark if number else ''}".rstrip()


def _counts(counts: dict[str, int]) -> str:
    return one_line(", ".join(f"{count} {name}" for name, count in counts.items()))


def _conclusion(report: Report) -> str:
    if report.faults:
        return "FAILED: " + ", ".join(name.replace("_", " ") for name in report.faults)
    if not report.accepted:
        return "FAILED: nothing was accepted, so nothing is proved"
    return "ok: nothing that was accepted was lost, and all came in order"
