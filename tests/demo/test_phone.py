"""The demo for a phone: without a screen, on one, and as buildozer would build it."""

import contextlib
import importlib.util
import io
import json
import os
import queue
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import nio_sdk
from push.testing import PushServer
from tests.integration.server import ROOT
from tests.integration.waiting import DEADLINE_S, wait_until

HOME = ROOT / "demo" / "android"
sys.path.insert(0, str(HOME))

from phone.alarms import TimerAlarm, clock  # noqa: E402
from phone.notices import DesktopNotices  # noqa: E402
from phone.pacemaker import Pacemaker  # noqa: E402
from phone.talker import Event, Happened, Joined, Said, Talker, load_settings, save_settings, token_file  # noqa: E402

XVFB = ["xvfb-run", "-a", "-s", "-screen 0 820x1640x24"]
IN_APP = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("push", "push_client", "nio_sdk", "phone"):
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import phone.alarms, phone.notices, phone.pacemaker, phone.talker
print(nio_sdk.__file__ if (nio_sdk := sys.modules["nio_sdk"]) else "")
"""


class SetAlarm:
    """An alarm that only the test rings."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.delays_s: list[float] = []
        self.is_closed = False

    def set(self, delay_s: float) -> None:
        """Note it."""
        self.delays_s.append(delay_s)

    def cancel(self) -> None:
        """Note that, too."""
        self.delays_s.append(-1.0)

    def close(self) -> None:
        """The end."""
        self.is_closed = True


class SleepingClock:
    """Real time, and what the device has slept."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def __call__(self) -> float:
        return clock() + self.slept_s


class AlarmTests(SynchronousTestCase):
    """The desktop's."""

    def test_it_rings_once_and_not_when_it_is_cancelled_or_set_anew(self) -> None:
        rung: queue.Queue[str] = queue.Queue()
        alarm = TimerAlarm(lambda: rung.put("ring"))
        alarm.set(0.01)
        self.assertEqual(rung.get(timeout=DEADLINE_S), "ring")
        for step in (
            lambda: alarm.set(0.2),
            alarm.cancel,
            lambda: alarm.set(0.2),
            lambda: alarm.set(60.0),
            alarm.close,
        ):
            step()
        self.assertRaises(queue.Empty, rung.get, timeout=0.4)

    def test_the_clock_goes_on(self) -> None:
        before = clock()
        self.assertGreaterEqual(clock(), before)


class PhoneCase(SynchronousTestCase):
    """One server."""

    def setUp(self) -> None:
        self.server = PushServer()
        self.addCleanup(self.server.stop)
        self.server.start()


class PacemakerTests(PhoneCase):
    """The loop that alarms keep going."""

    def begin(self, now: SleepingClock) -> tuple[nio_sdk.PushClient, SetAlarm, Pacemaker]:
        """A client with a heartbeat of ten minutes."""
        alarms: list[SetAlarm] = []
        tuning = nio_sdk.Tuning(interval_s=600.0, max_interval_s=600.0)
        client = nio_sdk.PushClient(
            self.server.url, uid="carol", tuning=tuning, surroundings=nio_sdk.Surroundings(clock=now)
        )

        def make(ring: Callable[[], None]) -> SetAlarm:
            alarms.append(SetAlarm(ring))
            return alarms[0]

        pacemaker = Pacemaker(client, make, now)
        pacemaker.start()
        self.addCleanup(pacemaker.close)
        wait_until("it is open", lambda: client.pulse)
        wait_until("it is set", lambda: alarms[0].delays_s and alarms[0].delays_s[-1] > 500.0)
        return client, alarms[0], pacemaker

    def test_the_alarm_is_set_for_the_heartbeat_and_ringing_it_sends_one(self) -> None:
        now = SleepingClock()
        client, alarm, _ = self.begin(now)
        self.assertLessEqual(alarm.delays_s[-1], 600.0)
        count = len(alarm.delays_s)
        now.slept_s = 601.0
        alarm.ring()
        pulse = wait_until(
            "a PING was answered", lambda: client.pulse if client.pulse and client.pulse.answered else None
        )
        self.assertEqual(pulse.answered, 1)
        wait_until("it is set again", lambda: len(alarm.delays_s) > count and alarm.delays_s[-1] > 500.0)

    def test_messages_do_not_have_it_set_anew(self) -> None:
        client, alarm, _ = self.begin(SleepingClock())
        count = len(alarm.delays_s)
        for number in range(20):
            self.server.send({"uid": "carol"}, f"m{number}")
        for _ in range(20):
            client.get(DEADLINE_S)
        self.assertEqual(len(alarm.delays_s), count)

    def test_it_ends_with_its_client_and_without(self) -> None:
        client, alarm, pacemaker = self.begin(SleepingClock())
        pacemaker.close()
        self.assertTrue(client.has_ended)
        self.assertTrue(alarm.is_closed)
        pacemaker.wake()
        client, alarm, _ = self.begin(SleepingClock())
        self.server.request("POST", f"/v1/tokens/{client.token}:kick")
        wait_until("it has ended", lambda: alarm.is_closed)


class Shown:
    """Notices that are kept."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, str]] = []

    def show(self, title: str, text: str) -> None:
        """Keep one."""
        self.notices.append((title, text))


class TalkerTests(PhoneCase):
    """The app without its screen."""

    def talker(self, uid: str) -> tuple[Talker, list[Event], Shown]:
        """Somebody who is in the group."""
        events: list[Event] = []
        shown = Shown()
        directory = Path(self.mktemp())
        directory.mkdir()
        talker = Talker(
            self.server.url,
            uid,
            "friends",
            tell=events.append,
            notices=shown,
            make_alarm=TimerAlarm,
            directory=directory,
            interval_s=10.0,
        )
        talker.start()
        self.addCleanup(talker.close)
        wait_until("it is in", lambda: any(isinstance(event, Joined) for event in events))
        return talker, events, shown

    def test_two_talk_and_who_does_not_look_is_notified(self) -> None:
        carol, hers, shown = self.talker("carol")
        bob, his, _ = self.talker("bob")
        bob.say("hi")
        wait_until("she has heard", lambda: Said("bob", "hi") in hers)
        self.assertEqual(shown.notices, [])
        wait_until("she knows who is there", lambda: Joined("friends", ("bob", "carol")) in hers)
        carol.is_in_front = False
        bob.say("-- are you there?")
        self.server.send({"uid": "carol"}, "your order is on its way")
        wait_until("she was told", lambda: len(shown.notices) == 2)
        self.assertEqual(
            sorted(shown.notices), [("bob in #friends", "-- are you there?"), ("push", "your order is on its way")]
        )
        self.assertEqual([event for event in his if isinstance(event, Said)].count(Said("bob", "hi", True)), 1)
        carol.heartbeat()
        wait_until("it was answered", lambda: carol.client.pulse and carol.client.pulse.answered)

    def test_who_comes_later_reads_what_was_said_and_a_refusal_is_told(self) -> None:
        bob, his, _ = self.talker("bob")
        bob.say("x" * 20_000)
        wait_until("he is told", lambda: any("413" in event.text for event in his if isinstance(event, Happened)))
        bob.say("before")
        wait_until("he has said it", lambda: Said("bob", "before", True) in his)
        bob.close()
        _, again, _ = self.talker("bob")
        wait_until("it is shown", lambda: Said("bob", "before", True) in again)

    def test_that_messages_were_lost_is_told_and_ends_nothing(self) -> None:
        bob, his, _ = self.talker("bob")
        bob._told(nio_sdk.Missed(nio_sdk.Address("h", 1, False), "3 messages to all were lost"))
        self.assertEqual((bob.state, bob.address), ("open", self.server.url))
        self.assertIn("3 messages to all were lost", [event for event in his if isinstance(event, Happened)][-1].text)

    def test_a_token_that_cannot_be_read_is_said_when_starting(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        token_file(directory, self.server.url, "bob").write_text("?")
        alarms: list[SetAlarm] = []

        def make(ring: Callable[[], None]) -> SetAlarm:
            alarms.append(SetAlarm(ring))
            return alarms[0]

        talker = Talker(
            self.server.url, "bob", "friends", tell=lambda event: None, notices=Shown(), make_alarm=make,
            directory=directory, interval_s=10.0,
        )  # fmt: skip
        self.assertRaises(nio_sdk.TokenFileError, talker.start)
        self.assertTrue(alarms[0].is_closed)


class PlaceTests(SynchronousTestCase):
    """What is kept and shown without a server."""

    def test_settings_are_kept_and_what_cannot_be_read_is_none(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.assertEqual(load_settings(directory), {})
        save_settings(directory, {"uid": "carol"})
        self.assertEqual(load_settings(directory), {"uid": "carol"})
        (directory / "settings.json").write_text("[1]")
        self.assertEqual(load_settings(directory), {})
        self.assertNotEqual(token_file(directory, "push://a", "b"), token_file(directory, "push://a", "c"))

    def test_a_notice_is_not_taken_for_options(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        program = directory / "notify-send"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {directory}/new && mv {directory}/new {directory}/told\n')
        program.chmod(0o755)
        self.patch(os, "environ", {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"})
        DesktopNotices().show("bob", "--help")
        wait_until("it was called", (directory / "told").exists)
        self.assertEqual((directory / "told").read_text().splitlines()[-3:], ["--", "bob", "--help"])


class BuildTests(SynchronousTestCase):
    """What buildozer would build."""

    def test_what_is_gathered_needs_nothing_else(self) -> None:
        target = Path(self.mktemp()).resolve()
        runpy.run_path(str(HOME / "gather.py"))["gather"](target)
        command = [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {str(target)!r})\n{IN_APP}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=target, check=False)
        self.assertEqual(done.stdout.strip(), str(target / "nio_sdk" / "__init__.py"), done.stderr)
        self.assertTrue((target / "main.py").exists())
        self.assertFalse((target / "push" / "services").exists())

    def test_buildozer_accepts_the_spec(self) -> None:
        if importlib.util.find_spec("buildozer") is None:
            raise SkipTest("buildozer is not installed here")
        from buildozer import Buildozer

        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            spec = Buildozer(str(HOME / "buildozer.spec"), "android")
            spec.check_configuration_tokens()
        self.assertEqual(spec.config.get("app", "package.name"), "pushdemo")
        self.assertEqual(said.getvalue().count("error"), 0, said.getvalue())
        broken = Path(self.mktemp())
        broken.write_text((HOME / "buildozer.spec").read_text().replace("package.name = pushdemo", "package.name = 1"))
        with contextlib.redirect_stdout(said):
            self.assertRaises(SystemExit, Buildozer, str(broken), "android")

    def test_every_setting_of_the_spec_is_one_of_buildozers(self) -> None:
        found = importlib.util.find_spec("buildozer")
        if found is None or found.origin is None:
            raise SkipTest("buildozer is not installed here")
        known = re.findall(r"^#? ?([a-z_.0-9]+) *=", Path(found.origin).with_name("default.spec").read_text(), re.M)
        mine = re.findall(r"^([a-z_.0-9]+) *=", (HOME / "buildozer.spec").read_text(), re.M)
        self.assertGreater(len(mine), 10)
        self.assertEqual(set(mine) - set(known), set())


def must_have_a_screen() -> None:
    """Skip where there is none.

    Raises:
        SkipTest: something is missing.
    """
    for name, is_there in (("kivy", importlib.util.find_spec("kivy")), ("xvfb-run", shutil.which("xvfb-run"))):
        if not is_there:
            raise SkipTest(f"{name} is not installed here")


def environment(home: Path) -> dict[str, str]:
    """Where an app finds nothing of this machine's user."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return mine | {
        "HOME": str(home),
        "KIVY_NO_ARGS": "1",
        "KIVY_NO_FILELOG": "1",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "PYTHONPATH": os.pathsep.join([str(HOME), *sys.path]),
    }


class ScreenTests(PhoneCase):
    """The app on a screen that nobody sees; PUSH_SCREENSHOTS=docs/images keeps the picture."""

    def setUp(self) -> None:
        must_have_a_screen()
        super().setUp()

    def test_it_connects_talks_and_notifies(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="push-phone-")).resolve()
        self.addCleanup(shutil.rmtree, home, True)
        kept = os.environ.get("PUSH_SCREENSHOTS")
        picture = (ROOT / kept if kept else home) / "phone.png"
        said: queue.Queue[str] = queue.Queue()
        with nio_sdk.PushClient(
            self.server.url, uid="bob", on_chat=lambda message: said.put(message.text or "")
        ) as bob:
            bob.chat.create("friends").result(DEADLINE_S)
            shown = self.run_app(home, picture, said, bob)
        answers: dict[str, Any] = {key: value for each in shown for key, value in each.items() if key != "notice"}
        self.assertEqual(shown[0]["state"], "open", shown)
        self.assertEqual(shown[0]["server"], self.server.url)
        self.assertEqual(shown[0]["heading"], "#friends  ·  bob, carol")
        self.assertRegex(answers["heartbeat"], r"^every 10 s  ·  answered in \d+ ms$")
        self.assertEqual(answers["heard"], [["carol", "hello from my phone"], ["bob", "hello carol"]])
        notices = [each["notice"] for each in shown if "notice" in each]
        self.assertEqual(sorted(notices), [["bob in #friends", "are you there?"], ["push", "your order is on its way"]])
        self.assertEqual(answers["state"], "not connected")
        self.assertGreater(picture.stat().st_size, 10_000)

    def run_app(
        self, home: Path, picture: Path, said: "queue.Queue[str]", bob: nio_sdk.PushClient
    ) -> list[dict[str, Any]]:
        """Run it, and be the one whom it talks to; what it has printed."""
        command = [*XVFB, sys.executable, str(ROOT / "tests" / "demo" / "phone_run.py")]
        variables = environment(home) | {"KIVY_METRICS_DENSITY": "2"}
        log = (home / "log").open("wb")
        self.addCleanup(log.close)
        app = subprocess.Popen(
            [*command, self.server.url, str(home), str(picture)], stdout=subprocess.PIPE, stderr=log, env=variables
        )
        assert app.stdout is not None
        self.addCleanup(app.stdout.close)
        answering = threading.Thread(target=lambda: (said.get(timeout=DEADLINE_S), self.reply(bob, "hello carol")))
        answering.start()
        shown = []
        for line in app.stdout:
            shown.append(json.loads(line))
            if "away" in shown[-1]:
                self.reply(bob, "are you there?")
                self.server.send({"uid": "carol"}, "your order is on its way")
        answering.join()
        self.assertEqual(app.wait(DEADLINE_S), 0, (home / "log").read_text(errors="replace")[-3000:])
        return shown

    def reply(self, bob: nio_sdk.PushClient, text: str) -> None:
        """Say something in the group."""
        bob.chat.send_to_group("friends", text).result(DEADLINE_S)


class StartTests(SynchronousTestCase):
    """main.py, as a user starts it."""

    def setUp(self) -> None:
        must_have_a_screen()

    def test_it_starts_for_somebody_who_has_nothing_yet(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="push-phone-")).resolve()
        self.addCleanup(shutil.rmtree, home, True)
        log = home / "log"
        with log.open("wb") as output:
            app = subprocess.Popen(
                [*XVFB, sys.executable, str(HOME / "main.py")],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(home),
                start_new_session=True,
            )
        try:
            wait_until("it is on the screen", lambda: b"Start application main loop" in log.read_bytes())
        except AssertionError:
            self.fail(log.read_text(errors="replace")[-3000:])
        finally:
            os.killpg(app.pid, signal.SIGTERM)
            app.wait()
        self.assertTrue((home / ".local" / "share" / "push-demo").is_dir())
