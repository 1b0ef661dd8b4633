"""The app on a screen, with somebody who touches it: a program for test_phone.py, which reads what it prints.

Arguments: the server's URL, a directory for what it keeps, and where to put the picture.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from kivy.config import Config

Config.set("graphics", "width", "800")
Config.set("graphics", "height", "1600")

from kivy.clock import Clock  # noqa: E402 - a window has its size from the start
from kivy.core.window import Window  # noqa: E402

from phone.alarms import TimerAlarm  # noqa: E402
from phone.screen import DemoApp  # noqa: E402

LIMIT_S = 120.0


def say(**what: object) -> None:
    """Tell the test."""
    print(json.dumps(what), flush=True)


class Told:
    """Notices that are printed."""

    def show(self, title: str, text: str) -> None:
        """Print one."""
        say(notice=[title, text])


def heard(app: DemoApp) -> list[list[str]]:
    """What is on the screen of what was said."""
    return [[line.who, line.text] for line in reversed(app.root.ids.talk.children)]


def steps(app: DemoApp, url: str, picture: Path) -> Iterator[Callable[[], bool]]:
    """What is done, and what is waited for."""
    ids = app.root.ids
    ids.url.text, ids.uid.text = url, "carol"
    ids.connect.trigger_action()
    yield lambda: bool(app.is_open and app.heading)
    say(state=app.state, server=app.server, token=app.token, heading=app.heading)
    ids.beat.trigger_action()
    yield lambda: "answered in" in app.heartbeat
    say(heartbeat=app.heartbeat)
    ids.say.text = "hello from my phone"
    ids.say.dispatch("on_text_validate")
    yield lambda: ["bob", "hello carol"] in heard(app)
    say(heard=heard(app), notices="none yet")
    app.dispatch("on_pause")
    say(away=True)
    yield lambda: ["push", "your order is on its way"] in heard(app)
    app.dispatch("on_resume")
    say(heading=app.heading)
    yield lambda: True
    written = Window.screenshot(name=str(picture))
    Path(written).replace(picture)
    ids.connect.trigger_action()
    yield lambda: not app.is_connected
    say(state=app.state)


def main(url: str, directory: str, picture: str) -> None:
    """Run it."""
    app = DemoApp(notices=Told(), make_alarm=TimerAlarm, interval_s=10.0, directory=Path(directory))
    waiting: list[Callable[[], bool]] = []
    going = None

    def turn(_: float) -> None:
        nonlocal going
        if going is None:
            going = steps(app, url, Path(picture))
        elif waiting and not waiting[0]():
            return
        waiting[:] = []
        for each in going:
            waiting.append(each)
            return
        app.stop()

    Clock.schedule_interval(turn, 0.1)
    Clock.schedule_once(lambda _: os._exit(3), LIMIT_S)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
