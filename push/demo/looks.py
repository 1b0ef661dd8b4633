"""How the demo and its parts look: the connection, a line, a tab. What came from the network is made harmless."""

from rich.table import Table
from rich.text import Text
from textual.content import Content

from push.ctl.showing import harmless, one_line
from push.demo.places import Line, Place
from push.demo.session import Session

CSS = """
Screen { background: #0f1419; color: #e6edf3; }
#all { height: 1fr; }
#left { width: 40; }
.-wide #left { width: 46; }
#right { width: 1fr; }
.-narrow #all { layout: vertical; }
.-narrow #left { width: 100%; height: 17; }
.-narrow #right { width: 100%; height: 1fr; }
.-narrow.-low #left { height: auto; }
.-narrow.-low #log { display: none; }
#connection, #log, #talk {
    width: 100%;
    padding: 0 1;
    background: #0f1419;
    border: round #30363d;
    border-title-color: #8ab4f8;
    border-title-style: bold;
}
#connection { height: auto; }
#log, #talk {
    height: 1fr;
    scrollbar-size-vertical: 1;
    scrollbar-background: #0f1419;
    scrollbar-background-hover: #0f1419;
    scrollbar-color: #30363d;
}
#tabs { height: 2; padding: 0 1; }
#say, #say:focus { width: 100%; background: #0f1419; border: round #30363d; }
#say:focus { border: round #8ab4f8; }
Footer { background: #161b22; }
"""
GREEN, AMBER, RED, FAINT = "#81c995", "#fdd663", "#f28b82", "#8b949e"
_COLOURS = ("#8ab4f8", "#f6ad6b", "#c58af9", "#78d9ec", "#ff8bcb", "#e6c229")
# So many members are named.
_MAX_NAMES = 8


def connection(session: Session) -> Table:
    """The connection, as a table of names and values."""
    colour = GREEN if session.address else RED if session.state.startswith("ended") else AMBER
    came_by = session.server + (f", redirected {session.redirects} ×" if session.redirects else "")
    table = Table.grid(padding=(0, 1))
    table.add_column(style=FAINT, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("state", Text.assemble(("● ", colour), one_line(session.state))),
        ("server", one_line(session.address) or "–"),
        ("came by", one_line(came_by)),
        ("token", session.client.token or "–"),
        ("heartbeat", _heartbeat(session)),
        ("pushes", str(session.pushed)),
        ("API", one_line(session.api.url)),
    ):
        table.add_row(name, value if isinstance(value, Text) else Text(value))
    return table


def _heartbeat(session: Session) -> str:
    pulse = session.client.pulse
    if pulse is None:
        return "–"
    if pulse.round_trip_s is None:
        return f"every {pulse.interval_s:g} s"
    return f"every {pulse.interval_s:g} s · {pulse.answered} answered · {1000 * pulse.round_trip_s:.1f} ms"


def happening(at: str, text: str) -> Text:
    """A line of the log."""
    return Text.assemble((f"{at} ", FAINT), one_line(text))


def said(line: Line) -> Text:
    """A line of a conversation, or a push."""
    if not line.who:
        return Text.assemble((f"{line.at}  ", FAINT), harmless(line.text))
    colour = GREEN if line.is_mine else _COLOURS[sum(line.who.encode()) % len(_COLOURS)]
    return Text.assemble((f"{line.at}  ", FAINT), (f"{one_line(line.who)}  ", f"bold {colour}"), harmless(line.text))


def label(place: Place) -> Content:
    """What a tab says, with how much of it was not looked at."""
    title = Content(one_line(place.title))
    return title + Content.styled(f" {place.unread}", f"bold {AMBER}") if place.unread else title


def heading(place: Place) -> Content:
    """What stands above a conversation."""
    names = ", ".join(place.members[:_MAX_NAMES]) + (", …" if len(place.members) > _MAX_NAMES else "")
    return Content(one_line(f"{place.title}: {names}" if names else place.title))
