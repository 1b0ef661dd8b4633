"""`pushctl chat`, as processes with pipes, beside a client of the old form."""

import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import aio_sdk
from push.ctl.chatting import message_line
from tests.integration.server import HOST, Server, environment
from tests.integration.test_chat import ChatClient
from tests.integration.waiting import DEADLINE_S


class Window:
    """One terminal."""

    def __init__(self, server: Server, *arguments: str) -> None:
        command = [sys.executable, "-c", "from push.ctl.main import main; main()", "chat"]
        self.process = subprocess.Popen(
            [*command, f"--server=push://{HOST}:{server.port}", *arguments],
            env=environment(PYTHONUNBUFFERED="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """The next line that is shown."""
        return self._lines.get(timeout=DEADLINE_S)

    def shown(self) -> str:
        """What is said in it, without the time."""
        return self.line().partition(" ")[2]

    def close(self) -> int:
        """The end of stdin; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)

    def destroy(self) -> None:
        """Whatever happens."""
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))


class TerminalTests(SynchronousTestCase):
    """Two windows and an older client in one group."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.server = Server(self.directory)
        self.addCleanup(self.server.destroy)
        self.server.start()

    def window(self, *arguments: str) -> Window:
        """Open one."""
        window = Window(self.server, *arguments)
        self.addCleanup(window.destroy)
        return window

    def test_they_talk_and_one_comes_back_to_what_it_missed(self) -> None:
        alice = self.window("--uid=alice", "--group=room")
        alice.type("/who")
        self.assertEqual(alice.line(), "- alice")
        kept = f"--token-file={self.directory / 'bob.token'}"
        bob = self.window("--uid=bob", "--group=room", kept)
        bob.type("/who")
        self.assertEqual(bob.line(), "- alice, bob")
        old = ChatClient(self.server.port)
        self.addCleanup(old.close)
        old.open()
        self.server.api.get(f"/group/joinGroup?token={old.token}&group=room")
        alice.type("hello all")
        self.assertEqual(bob.shown(), "#room alice: hello all")
        self.assertEqual(old.heard()["message"], "hello all")
        old.contact(group="room", type=0, message="hello from the old days")
        said = f"#room token {old.token[:8]}…: hello from the old days"
        self.assertEqual((alice.shown(), bob.shown()), (said, said))
        bob.type("/history")
        self.assertEqual((bob.shown(), bob.shown()), ("#room alice: hello all", said))
        self.assertEqual(bob.close(), 0)
        alice.type("bob, you missed this")
        self.assertEqual(old.heard()["message"], "bob, you missed this")
        old.contact(group="room", type=0, message="and this")
        self.assertEqual(alice.shown(), f"#room token {old.token[:8]}…: and this")
        bob = self.window("--uid=bob", "--group=room", kept)
        self.assertEqual(bob.shown(), "#room alice: bob, you missed this")
        self.assertEqual(bob.shown(), f"#room token {old.token[:8]}…: and this")
        alice.type("/to bob")
        alice.type("psst")
        self.assertEqual(bob.shown(), "alice: psst")
        alice.type("/help")
        self.assertIn("/history", alice.line())
        alice.type("/to nobody")
        alice.type("hello?")
        self.assertIn("404", alice.line())
        alice.type("/quit")
        self.assertEqual(alice.process.wait(DEADLINE_S), 0)

    def test_what_cannot_be_is_said(self) -> None:
        both = self.window("--uid=alice", "--group=room", "--to=bob")
        self.assertEqual(both.process.wait(DEADLINE_S), 2)
        self.assertEqual(self.window("--uid=alice", "--group=a:b").process.wait(DEADLINE_S), 1)


class LineTests(SynchronousTestCase):
    """How messages are shown."""

    def test_nothing_that_a_terminal_obeys_gets_through(self) -> None:
        message = aio_sdk.ChatMessage("g.a", "a\x1b[2J", 1, "1", 0, sender="m\x07", text="x\x1b]0;y\x07\nz")
        self.assertFalse(any(ord(each) < 32 for each in message_line(message)))

    def test_what_is_no_text_is_said(self) -> None:
        shown = message_line(aio_sdk.ChatMessage("p.a", None, 1, "1", 0, data={"a": 1}))
        self.assertIn("system: (data) {'a': 1}", shown)
        self.assertIn("taken back", message_line(aio_sdk.ChatMessage("p.a", None, 1, "1", 0, is_recalled=True)))
        self.assertIn("message 7", message_line(aio_sdk.ChatMessage("p.a", None, 1, "1", 0, sender="a", recalls=7)))
