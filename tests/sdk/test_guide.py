"""That every program in docs/aio_sdk.md and docs/nio_sdk.md runs."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from unittest import IsolatedAsyncioTestCase

from tests.sdk.hand_clock import GUARD_S
from tests.sdk.surroundings import Peer, ScriptedServer

DOCS = Path(__file__).parents[2] / "docs"


class GuideTests(IsolatedAsyncioTestCase):
    """Each program in a process of its own, against a server that pushes twice and then says goodbye."""

    async def run_program(self, program: str) -> tuple[int | None, str, str]:
        """Exit code, stdout and stderr."""

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"first")
            peer.push(2, b"second")
            peer.disconnect(3504, "kicked")
            await peer.eof()

        server = await ScriptedServer(script).start()
        try:
            program = program.replace("push://127.0.0.1:6789", server.url)
            with tempfile.TemporaryDirectory() as directory:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", program, cwd=directory,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                out, err = await process.communicate()
        finally:
            await server.stop()
        return process.returncode, out.decode(), err.decode()

    async def run_all(self, page: str) -> None:
        """All programs of a page."""
        programs = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
        self.assertGreaterEqual(len(programs), 5)
        for program in programs:
            with self.subTest(program):
                code, out, err = await asyncio.wait_for(self.run_program(program), GUARD_S)
                if code != 0:  # one that does not catch what the server's goodbye raises
                    self.assertIn("Disconnected: the server ended the session: 3504 kicked", err.splitlines()[-1])
                if "message.text" in program:
                    # Programs with a callback of theirs are done with the first.
                    expected = {"first", "second"} if "for message in client" in program else {"first"}
                    self.assertLessEqual(expected, set(out.splitlines()))

    async def test_every_program_of_aio_sdk_runs(self) -> None:
        await self.run_all("aio_sdk.md")

    async def test_every_program_of_nio_sdk_runs(self) -> None:
        await self.run_all("nio_sdk.md")
