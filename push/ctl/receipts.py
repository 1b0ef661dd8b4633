"""What the API says of a message, as lines for people."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from push.ctl.showing import moment, one_line


def sent_lines(reply: Mapping[str, Any], *, validate_only: bool) -> list[str]:
    """What became of a message when it was accepted."""
    targets = reply.get("targets")
    if validate_only:
        lines = [f"nothing sent: it would go to {targets}"]
    elif "due" in reply:
        lines = [f"message {reply.get('id')}: will be sent to {targets} at {moment(reply['due'])}"]
    else:
        parts = [f"sent to {reply.get('sent')} of {targets}"]
        for name, said in (("cached", "kept for {}"), ("rejected", "no room for {}")):
            if reply.get(name):
                parts.append(said.format(reply[name]))
        if reply.get("logged"):
            parts.append("kept for who comes")
        if "delivered" in reply:
            parts.append(f"delivered to {reply['delivered']}")
        lines = [f"message {reply.get('id')}: {', '.join(parts)}"]
    unknown = reply.get("unknown")
    if isinstance(unknown, list) and unknown:
        lines.append(f"not registered: {' '.join(map(str, unknown))}")
    return lines


def life_lines(reply: Mapping[str, Any]) -> list[str]:
    """The life of a message: its times, then what happened to how many."""
    times = [
        f"{said} {moment(reply[name])}"
        for name, said in (("accepted", "accepted"), ("due", "to be sent"), ("expires", "kept until"))
        if name in reply
    ]
    counts = reply.get("counts")
    happened = [f"{name} {count}" for name, count in counts.items() if count] if isinstance(counts, dict) else []
    return [
        f"message {reply.get('id')}: {', '.join(times)}",
        f"for {reply.get('targets')}: {', '.join(happened) or 'nothing has happened yet'}",
    ]


def tokens_table(reply: Mapping[str, Any]) -> Table | None:
    """What happened last to each token; None where none is listed."""
    listed = reply.get("tokens")
    states = [state for state in listed if isinstance(state, dict)] if isinstance(listed, list) else []
    if not states:
        return None
    table = Table(box=None, pad_edge=False)
    for name in ("token", "state", "since"):
        table.add_column(name)
    for state in states:
        values = (state.get("token"), state.get("state"), moment(state.get("at")))
        table.add_row(*(Text(one_line(str(value))) for value in values))
    return table
