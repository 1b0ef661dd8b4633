"""`push-demo`: what it says where it cannot be, and `push-demo --two` in a terminal that is tmux's."""

import asyncio
import contextlib
import itertools
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import click
from click.testing import CliRunner
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from push.demo import two
from push.demo.command import demo
from push.testing.server import HOST, PushServer
from tests.integration.server import ROOT
from tests.integration.waiting import wait_until

WIDE, HIGH, SMALL = (os.terminal_size(size) for size in ((160, 40), (100, 60), (80, 24)))
PLACE = ["--server=push://h:1", "--api=http://h:2"]
_numbers = itertools.count(1)


class CommandTests(SynchronousTestCase):
    """What is run."""

    def test_two_users_share_a_terminal_as_its_size_allows(self) -> None:
        commands = [two.user(uid, PLACE) for uid in ("alice", "bob")]
        for size, how in ((WIDE, "split-window -h"), (HIGH, "split-window -v"), (SMALL, "new-window")):
            line = two.divided("tmux", commands, size)
            self.assertIn(how, " ".join(line))
            for command in commands:
                self.assertIn(shlex.join(command), line)

    def test_without_tmux_the_one_user_is_told_how_to_start_the_other(self) -> None:
        with mock.patch.dict(os.environ, {"PATH": "/nowhere"}):
            command = two.command(PLACE)
        self.assertEqual(command[: len(two.user("alice", PLACE))], two.user("alice", PLACE))
        self.assertTrue(command[-1].startswith("--note="))
        self.assertTrue(command[-1].endswith(shlex.join(two.user("bob", PLACE))))

    def test_where_there_is_no_terminal_it_says_so(self) -> None:
        ended = CliRunner().invoke(demo, ["--two"])
        self.assertEqual(ended.exit_code, 2)
        self.assertIn("fills a terminal, and this is none", ended.output)

    def test_what_is_missing_is_named(self) -> None:
        program = "import sys; sys.modules['textual'] = None; from push.demo.main import main; main()"
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(
            ended.stderr.strip(), 'push-demo needs textual, which is not installed: pip install ".[server,demo]"'
        )


def running(parts: Iterable[str]) -> list[str]:
    """The command lines of processes that have one of these in theirs."""
    looked_for, found = [part.encode() for part in parts], []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            line = path.read_bytes()
            if any(part in line for part in looked_for):
                found.append(line.decode(errors="replace"))
    return found


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class TmuxTests(SynchronousTestCase):
    """The whole of it, in a terminal of 170 columns."""

    def setUp(self) -> None:
        tmux = shutil.which("tmux")
        if tmux is None or not Path("/proc/self").exists():
            raise SkipTest("tmux, or /proc, is not installed here")
        # A name of its own: the server of the test before may still be there, and about to end.
        self.terminal = [tmux, "-L", f"push-demo-test-{os.getpid()}-{next(_numbers)}", "-f", os.devnull]
        # The size of another terminal is in the environment where readline has been: in trial, since Python 3.13.
        other_size = ["COLUMNS=80", "LINES=24"]
        program = shlex.join(["env", *other_size, sys.executable, "-m", "push.demo.main", "--two"])
        self.tmux("new-session", "-d", "-x", "170", "-y", "45", "-s", "t", f"cd {ROOT}; {program}; echo ended $?; cat")
        self.addCleanup(self.tmux, "kill-server")

    def tmux(self, *arguments: str) -> str:
        """Have it do something."""
        done = subprocess.run([*self.terminal, *arguments], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def screen(self) -> str:
        """What there is to be seen."""
        return self.tmux("capture-pane", "-p", "-t", "t")

    def keys(self, *keys: str) -> None:
        """Press keys."""
        self.tmux("send-keys", "-t", "t", *keys)

    def test_two_users_talk_and_leave(self) -> None:
        wait_until("both are there", lambda: self.screen().count("you are in #friends") == 2, 2 * 60)
        self.assertEqual(self.screen().count("redirected 1 ×"), 2)
        self.keys("hello bob", "Enter")
        wait_until("both read it", lambda: self.screen().count("alice  hello bob") == 2)
        self.keys("F9", "hi alice", "Enter")
        wait_until("both read that", lambda: self.screen().count("bob  hi alice") == 2)
        self.keys("F10")
        wait_until("one is there", lambda: self.screen().count("what happens") == 1)
        wait_until("it has ended", self.has_ended)

    def test_who_closes_the_terminal_leaves_nothing_behind(self) -> None:
        wait_until("both are there", lambda: self.screen().count("you are in #friends") == 2, 2 * 60)
        ports = {int(port) for port in re.findall(r"push://127\.0\.0\.1:(\d+)", self.screen())}
        self.assertEqual(len(ports), 2)  # of the server, and of the door that every user was told on its command line
        users = running(f"127.0.0.1:{port}" for port in ports)
        self.assertGreaterEqual(len(users), 2)
        self.tmux("kill-server")
        wait_until("they are gone", lambda: not running(f"127.0.0.1:{port}" for port in ports))
        wait_until("nothing listens", lambda: not any(listens(port) for port in ports))

    def has_ended(self) -> bool:
        """Press F10 until it has: the first who leaves may still hear it."""
        self.keys("F10")
        return "ended 0" in self.screen()


class FailureTests(SynchronousTestCase):
    """Where there can be no server."""

    def test_a_server_that_does_not_start_is_reported(self) -> None:
        with mock.patch.object(PushServer, "_command", return_value=["false"]):
            error = self.assertRaises(click.ClickException, asyncio.run, two.run())
        self.assertIn("the server did not start", error.message)
