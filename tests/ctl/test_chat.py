"""`pushctl chat`, as processes on terminals, beside a client of the old form: one connector and two, both stores."""

import contextlib
import os
import pty
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import aio_sdk
from push.ctl.chatting import message_line
from tests.integration.server import HOST, Server, environment
from tests.integration.test_chat import ChatClient
from tests.integration.test_cluster_chat import ClusterServer
from tests.integration.waiting import DEADLINE_S

COMMAND = [sys.executable, "-c", "from push.ctl.main import main; main()", "chat"]


class Window:
    """One terminal: what is typed is shown as it is typed, as terminals do."""

    def __init__(self, port: int, *arguments: str) -> None:
        self._terminal, inside = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, f"--server=push://{HOST}:{port}", *arguments],
            env=environment(TERM="xterm"),
            stdin=inside,
            stdout=inside,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(inside)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._typed: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def type(self, line: str) -> None:
        """Type a line."""
        self._typed.append(line)
        os.write(self._terminal, line.encode() + b"\n")

    def line(self) -> str:
        """The next line that is shown, but for those that were typed."""
        while (line := self._lines.get(timeout=DEADLINE_S)) in self._typed:
            self._typed.remove(line)
        return line

    def shown(self) -> str:
        """What is said in it, without the time."""
        return self.line().partition(" ")[2]

    def close(self) -> int:
        """The end of what is typed (control and D); the exit code."""
        os.write(self._terminal, b"\x04")
        return self.process.wait(DEADLINE_S)

    def destroy(self) -> None:
        """Whatever happens."""
        self.process.kill()
        self.process.wait()
        self._reading.join()
        os.close(self._terminal)

    def _read(self) -> None:
        data = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while more := os.read(self._terminal, 65_536):
                *lines, data = (data + more).split(b"\r\n")
                for line in lines:
                    self._lines.put(line.decode())


class Windows(SynchronousTestCase):
    """A server, and windows on it."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.server: Any = self.make_server()
        self.addCleanup(self.server.destroy)
        self.server.start()

    def make_server(self) -> Any:
        """Where they meet."""
        return Server(self.directory)

    def window(self, *arguments: str) -> Window:
        """Open one."""
        window = Window(self.server.port, *arguments)
        self.addCleanup(window.destroy)
        return window

    def older_client(self) -> ChatClient:
        """One that knows SUB and CONTACT."""
        old = ChatClient(self.server.port)
        self.addCleanup(old.close)
        old.open()
        return old

    def places(self, uid: str) -> set[str]:
        """The connectors that a user is at."""
        tokens = self.server.api.get(f"/v1/users/{uid}/tokens").json["tokens"]
        return {self.place(each["token"]) for each in tokens} - {""}

    def place(self, token: str) -> str:
        """The connector that a token is at."""
        return self.server.api.token(token)["connector"] or ""


class TerminalTests(Windows):
    """Two windows and an older client in one group: one server, one connector, SQLite."""

    # How many connectors they are at.
    connectors = 1

    def test_they_talk_and_one_comes_back_to_what_it_missed(self) -> None:
        alice = self.window("--uid=alice", "--group=room")
        alice.type("/who")
        self.assertEqual(alice.line(), "- alice")
        kept = f"--token-file={self.directory / 'bob.token'}"
        bob = self.window("--uid=bob", "--group=room", kept)
        bob.type("/who")
        self.assertEqual(bob.line(), "- alice, bob")
        old = self.older_client()
        places = self.places("alice") | self.places("bob") | {self.place(old.token)}
        self.assertEqual(len(places), self.connectors)
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


class TwoConnectorsTests(TerminalTests):
    """The same on SQLite with two connectors: the older client is at the other one."""

    connectors = 2

    def make_server(self) -> Any:
        """With two workers; the system gives clients to either."""
        server = Server(self.directory, ("--workers=2",))
        server.transport = "lean"
        return server

    def older_client(self) -> ChatClient:
        """At another connector than alice."""
        while True:
            old = super().older_client()
            if self.place(old.token) not in self.places("alice"):
                return old
            old.close()


class ClusterTests(TerminalTests):
    """The same in a cluster on Redis: the windows are at two connectors, which are processes of their own."""

    connectors = 2

    def make_server(self) -> Any:
        """Clients go to the two connectors by turns."""
        return ClusterServer(self.directory)


class FileTests(Windows):
    """Standard input is no terminal."""

    def test_the_lines_of_a_file_are_said_and_nothing_of_none(self) -> None:
        lines = self.directory / "lines"
        lines.write_text("one\ntwo\n/who\n")
        for stdin, redirection, shown in ((lines, "", "- alice\n"), (os.devnull, "", ""), (os.devnull, "<&-", "")):
            with open(stdin) as opened:
                command = [*COMMAND, f"--server=push://{HOST}:{self.server.port}", "--uid=alice", "--group=room"]
                done = subprocess.run(
                    ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command],
                    env=environment(),
                    stdin=opened,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=DEADLINE_S,
                )
            self.assertEqual((done.returncode, done.stdout), (0, shown), done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        said = self.server.api.get("/v1/conversations/g.room/messages").json["messages"]
        self.assertEqual([each["text"] for each in said], ["one", "two"])


class WrongArgumentsTests(Windows):
    """What cannot be."""

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
