"""The demo on a terminal: the connection and what happens to it on the left, groups and messages on the right.

Imports Textual, and `session`, which does what is shown.
"""

import contextlib
import time
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Input, RichLog, Static, Tab, Tabs
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from push.ctl.api import Api
from push.demo import looks
from push.demo.places import Line, Place
from push.demo.session import HELP, Session

_LOOK_S = 0.5
_MAX_LOG_LINES = 1_000
# As much as a server takes, whatever the characters: docs/chat.md, "Limits".
_MAX_CHARS = 4_000


class DemoApp(App[None]):
    """One user in a terminal.

    Args:
        server: as push://host:port.
        uid: who it is.
        group: to be in from the start, or "".
        api: for pushes to oneself.
        auth: the credential, where one is demanded.
        note: to be read at the start.

    Attributes:
        session: what is shown.
        place: where one reads and talks.
    """

    CSS = looks.CSS
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-middle"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "push", "Push to me"),
        Binding("f3", "heartbeat", "Heartbeat now"),
        Binding("f4", "next", "Next tab"),
        Binding("f10", "quit", "Quit"),
    ]

    def __init__(
        self, server: str, *, uid: str, group: str = "", api: Api, auth: str | None = None, note: str = ""
    ) -> None:
        super().__init__()
        self.session = Session(server, uid=uid, group=group, api=api, auth=auth, shows=self)
        self.place: Place = self.session.places.pushes
        self._note = note
        # By the ids of their tabs, in the order of those.
        self._shown: dict[str, Place] = {}
        self._count = 0
        self._session: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Horizontal(id="all"):
            with Vertical(id="left"):
                yield Static(id="connection")
                yield RichLog(id="log", wrap=True, max_lines=_MAX_LOG_LINES, min_width=0)
            with Vertical(id="right"):
                yield Tabs(id="tabs")
                yield RichLog(id="talk", wrap=True, min_width=0)
                yield Input(id="say", max_length=_MAX_CHARS, placeholder=f"say something, or {HELP}")
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self.title = f"push demo · {self.session.uid}"
        self.query_one("#connection").border_title = f"push · {self.session.uid}"
        self.query_one("#log").border_title = "what happens"
        self.query_one("#say", Input).focus()
        if self._note:
            self.happened(self._note)
        self.changed()
        self.set_interval(_LOOK_S, self._look_again)
        self._session = self.run_worker(self.session.run(), name="session")

    # What the session says.

    def happened(self, text: str) -> None:
        """Write a line to the log."""
        if not self._is_there:
            return
        self.query_one("#log", RichLog).write(looks.happening(time.strftime("%H:%M:%S"), text))

    def changed(self) -> None:
        """The connection, or where one can talk, is not as it was."""
        if not self._is_there:
            return
        self.query_one("#connection", Static).update(looks.connection(self.session))
        self._show_tabs()

    def said(self, place: Place, line: Line) -> None:
        """Something was said or pushed."""
        if place is not self.place:
            place.unread += 1
        elif self._is_there:
            self.query_one("#talk", RichLog).write(looks.said(line))
        self.changed()

    def look(self, place: Place) -> None:
        """Show this place."""
        self.place = place
        place.unread = 0
        if not self._is_there:
            return
        self._add_tabs()
        # Before others are removed: where the active one is, its neighbour would be shown.
        (found,) = (identity for identity, each in self._shown.items() if each is place)
        self.query_one("#tabs", Tabs).active = found
        self._show_tabs()
        self._show_talk()

    # What the user does.

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """Another tab."""
        place = self._shown.get(event.tab.id or "")
        if place is not None and place is not self.place and event.tab.id == event.tabs.active:
            self.look(place)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A line was typed."""
        text = event.value
        event.input.clear()
        if text.strip():
            self.run_worker(self.session.typed(text, self.place), group="typed")

    def on_resize(self) -> None:
        """Lines break elsewhere now."""
        self.call_after_refresh(self._show_talk)

    def action_push(self) -> None:
        """Have the server push to this device."""
        self.run_worker(self.session.push_to_me(), group="push", exclusive=True)

    def action_heartbeat(self) -> None:
        """Ask for a sign of life; or, where there is no connection, try again now."""
        self.session.client.network_changed()

    def action_next(self) -> None:
        """The next tab."""
        self.query_one("#tabs", Tabs).action_next_tab()

    async def action_quit(self) -> None:
        """Say goodbye to the server, and go."""
        if self._session is not None and not self._session.is_finished:
            self._session.cancel()
            with contextlib.suppress(WorkerFailed, WorkerCancelled):
                await self._session.wait()
        self.exit()

    # How it is shown.

    @property
    def _is_there(self) -> bool:
        """Whether there is all to show it on; at the end there is not, and the client still has its last word."""
        return len(self.query("#connection, #log, #tabs, #talk, #say")) == 5

    def _look_again(self) -> None:
        if not self._is_there:
            return
        self.session.beat()
        self.query_one("#connection", Static).update(looks.connection(self.session))

    def _add_tabs(self) -> None:
        for place in self.session.places:
            if not any(each is place for each in self._shown.values()):
                self._count += 1
                self._shown[f"place{self._count}"] = place
                self.query_one("#tabs", Tabs).add_tab(Tab(looks.label(place), id=f"place{self._count}"))

    def _show_tabs(self) -> None:
        self._add_tabs()
        tabs = self.query_one("#tabs", Tabs)
        places = list(self.session.places)
        for identity, place in list(self._shown.items()):
            if not any(each is place for each in places):
                del self._shown[identity]
                tabs.remove_tab(identity)
        for tab in tabs.query(Tab):
            if tab.id in self._shown:
                tab.label = looks.label(self._shown[tab.id])
        self.query_one("#talk").border_title = looks.heading(self.place)

    def _show_talk(self) -> None:
        if not self._is_there:
            return
        talk = self.query_one("#talk", RichLog)
        talk.clear()
        for line in self.place:
            talk.write(looks.said(line))
