"""pushctl listen, as a process: messages, statuses, and how it ends."""

import asyncio
import json
import signal
import subprocess
import sys
from unittest import IsolatedAsyncioTestCase, TestCase

from click.testing import CliRunner

from aio_sdk import Message
from push.ctl.commands import pushctl
from push.ctl.listening import message_line
from push.protocols.wire.messages import write_json
from push.protocols.wire.signals import Signal
from tests.sdk.surroundings import TOKEN, Peer, Script, ScriptedServer

PROGRAM = [sys.executable, "-c", "from push.ctl.main import main; main()", "listen"]


class ListenTests(IsolatedAsyncioTestCase):
    """The command against a scripted server."""

    async def start(self, script: Script, *arguments: str) -> asyncio.subprocess.Process:
        """Run it against this script."""
        server = await ScriptedServer(script).start()
        self.addAsyncCleanup(server.stop)
        pipe = asyncio.subprocess.PIPE
        command = [*PROGRAM, "--server", server.url, *arguments]
        return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)

    async def interrupted_by(self, number: signal.Signals) -> None:
        """Listen, get a message, get this signal."""
        goodbye = asyncio.get_running_loop().create_future()

        async def script(peer: Peer) -> None:
            request = await peer.open()
            self.assertEqual((request.uid, request.tags), ("alice", ("a",)))
            peer.send(Signal.SUB, write_json({"status": 205, "reason": "some were lost"}))
            peer.push(1, b"hello \x1b[2J")
            await peer.take(Signal.PUB_ACK)
            goodbye.set_result(json.loads((await peer.take(Signal.DISCONNECT)).body)["code"])

        process = await self.start(script, "--uid", "alice", "--tag", "a")
        assert process.stdout is not None
        self.assertEqual(await process.stdout.readline(), b"hello \\x1b[2J\n")
        process.send_signal(number)
        out, err = await process.communicate()
        self.assertEqual((process.returncode, out), (0, b""), err)
        self.assertNotIn(b"Traceback", err)
        self.assertIn(f"with token {TOKEN}".encode(), err)
        self.assertIn(b"some were lost", err)
        self.assertEqual(await goodbye, 3000)

    async def test_it_prints_messages_until_it_is_interrupted(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            await self.interrupted_by(number)

    async def test_a_refusal_is_1(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.asked()
            assert peer.sub is not None
            body = write_json({"status": 403, "reason": "not yours\x1b"})
            peer.send(Signal.SUB, body, message_id=peer.sub.message_id)
            await peer.eof()

        process = await self.start(script)
        out, err = await process.communicate()
        self.assertEqual((process.returncode, out), (1, b""))
        self.assertTrue(err.endswith(b"pushctl: the server refused the session: 403 not yours\\x1b\n"), err)

    async def test_wrong_usage_is_2(self) -> None:
        for arguments in (["--server", "http://h"], ["--uid", ""], ["--token", "a b"]):
            result = CliRunner().invoke(pushctl, ["listen", *arguments])
            self.assertEqual(result.exit_code, 2, result.output)


class LineTests(TestCase):
    """A message on one line."""

    def test_for_programs(self) -> None:
        lines = [message_line(m, as_json=True) for m in (Message(b"a\nb", 2**60), Message(b"\xff"))]
        self.assertEqual(
            [json.loads(line) for line in lines],
            [{"id": str(2**60), "data": "a\nb"}, {"id": None, "data_base64": "/w=="}],
        )

    def test_for_people(self) -> None:
        self.assertEqual(message_line(Message("ä\t\x9b".encode()), as_json=False), "ä\t\\x9b")
        self.assertEqual(message_line(Message(b"\xff"), as_json=False), r"b'\xff'")


class MissingPackagesTests(TestCase):
    """pushctl where only the SDK was installed."""

    def test_it_says_what_to_install(self) -> None:
        program = "import sys; sys.modules['click'] = None; from push.ctl.main import main; main()"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn('pip install ".[server]"', done.stderr)
        self.assertNotIn("Traceback", done.stderr)
