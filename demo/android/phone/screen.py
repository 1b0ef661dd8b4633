"""The screen: where to connect, how the connection is, and the group. Imports Kivy.

What the client tells comes in its thread, and is shown in Kivy's.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kivy.app import App
from kivy.clock import Clock
from kivy.lang import Builder
from kivy.properties import BooleanProperty, StringProperty
from kivy.uix.boxlayout import BoxLayout
from kivy.utils import escape_markup

import nio_sdk
from phone.alarms import MakeAlarm
from phone.looks import KV
from phone.notices import Notices
from phone.talker import Event, Happened, Joined, Said, Talker, load_settings, save_settings

_LOOK_S = 0.5
_MAX_LINES = 200
# As much as a server takes, whatever the characters: docs/chat.md, "Limits".
_MAX_CHARS = 4_000
_DEFAULTS = {"url": "push://127.0.0.1:6789", "uid": "carol", "group": "friends"}


class Line(BoxLayout):
    """Something that was said."""

    text = StringProperty()
    who = StringProperty()
    is_mine = BooleanProperty(False)


class DemoApp(App):
    """The app.

    Args:
        notices: for what comes while it is not in front.
        make_alarm: for the heartbeat.
        interval_s: the heartbeat to begin with.
        directory: where token and settings are kept; None: where Kivy has it.
    """

    title = "push demo"
    state = StringProperty("not connected")
    is_open = BooleanProperty(False)
    is_connected = BooleanProperty(False)
    server = StringProperty("–")
    token = StringProperty("–")
    heartbeat = StringProperty("–")
    heading = StringProperty("")
    log = StringProperty("")

    def __init__(
        self, *, notices: Notices, make_alarm: MakeAlarm, interval_s: float, directory: Path | None = None
    ) -> None:
        super().__init__()
        self._notices = notices
        self._make_alarm = make_alarm
        self._interval_s = interval_s
        self._directory = directory
        self._talker: Talker | None = None
        self._happenings: list[str] = []

    def build(self) -> Any:
        """Lay it out."""
        root = Builder.load_string(KV)
        settings = {**_DEFAULTS, **load_settings(self._place)}
        for name in _DEFAULTS:
            root.ids[name].text = settings[name]
        Clock.schedule_interval(lambda _: self._look(), _LOOK_S)
        return root

    def connect(self) -> None:
        """Connect as was typed, or disconnect."""
        if self._talker is not None:
            self._talker.close()
            self._talker = None
            self.is_connected = False
            self._look()
            return
        typed = {name: self.root.ids[name].text.strip() for name in _DEFAULTS}
        try:
            talker = Talker(
                typed["url"],
                typed["uid"],
                typed["group"],
                tell=self._in_time(self._show),
                notices=self._notices,
                make_alarm=self._make_alarm,
                directory=self._place,
                interval_s=self._interval_s,
            )
            talker.start()
        except (ValueError, nio_sdk.TokenFileError) as error:
            self._show(Happened(str(error)))
            return
        save_settings(self._place, typed)
        self.root.ids.talk.clear_widgets()
        self.is_connected = True
        self._talker = talker

    def say(self) -> None:
        """Say what was typed."""
        text, self.root.ids.say.text = self.root.ids.say.text.strip()[:_MAX_CHARS], ""
        if text and self._talker is not None:
            self._talker.say(text)

    def beat(self) -> None:
        """Ask for a sign of life, or connect now."""
        if self._talker is not None:
            self._talker.heartbeat()

    def on_pause(self) -> bool:
        """The app goes to the background, and goes on there."""
        if self._talker is not None:
            self._talker.is_in_front = False
        return True

    def on_resume(self) -> None:
        """Somebody looks again."""
        if self._talker is not None:
            self._talker.is_in_front = True

    def on_stop(self) -> None:
        """The end."""
        if self._talker is not None:
            self._talker.close()
            self._talker = None

    @property
    def _place(self) -> Path:
        return self._directory if self._directory is not None else Path(self.user_data_dir)

    def _in_time(self, show: Callable[[Event], None]) -> Callable[[Event], None]:
        """The same, called in any thread, and done in Kivy's."""
        return lambda event: Clock.schedule_once(lambda _: show(event))

    def _show(self, event: Event) -> None:
        match event:
            case Happened(text):
                at = time.strftime("%H:%M:%S")
                self._happenings = [*self._happenings, f"[color=8b949e]{at}[/color]  {escape_markup(text)}"][-4:]
                self.log = "\n".join(self._happenings)
            case Joined(group, members):
                self.heading = f"#{group}  ·  {', '.join(members[:6])}"
            case Said(who, text, is_mine):
                talk = self.root.ids.talk
                talk.add_widget(Line(text=text, who=who or "push", is_mine=is_mine))
                while len(talk.children) > _MAX_LINES:
                    talk.remove_widget(talk.children[-1])
                Clock.schedule_once(lambda _: setattr(self.root.ids.scroll, "scroll_y", 0), 0)
        self._look()

    def _look(self) -> None:
        talker = self._talker
        self.is_open = talker is not None and bool(talker.address)
        if talker is None:
            self.state, self.server, self.heartbeat = "not connected", "–", "–"
            return
        self.state, self.server = talker.state, talker.address or "–"
        self.token = talker.client.token or "–"
        pulse = talker.client.pulse
        self.heartbeat = "–" if pulse is None else f"every {pulse.interval_s:g} s"
        if pulse is not None and pulse.round_trip_s is not None:
            self.heartbeat += f"  ·  answered in {1000 * pulse.round_trip_s:.0f} ms"
