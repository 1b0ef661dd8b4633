"""That every program in docs/aio_sdk.md and docs/nio_sdk.md runs, and those of README.md and docs/chat.md."""

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import IsolatedAsyncioTestCase, TestCase

import nio_sdk
from tests.integration.server import HOST, environment, started
from tests.sdk.hand_clock import GUARD_S
from tests.sdk.surroundings import Peer, ScriptedServer

DOCS = Path(__file__).parents[2] / "docs"


def programs_of(page: str) -> list[str]:
    """The programs that a page shows."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


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

    async def run_all(self, page: str, least: int = 5) -> None:
        """All programs of a page."""
        programs = programs_of(page)
        self.assertGreaterEqual(len(programs), least)
        for program in programs:
            with self.subTest(program):
                code, out, err = await asyncio.wait_for(self.run_program(program), GUARD_S)
                if code != 0:  # one that does not catch what the server's goodbye raises
                    self.assertIn("Disconnected: the server ended the session: 3504 kicked", err.splitlines()[-1])
                if "message.text" in program:
                    # Programs with a callback of theirs are done with the first.
                    expected = {"first", "second"} if "for message in client" in program else {"first"}
                    self.assertLessEqual(expected, set(out.splitlines()))

    async def test_the_five_lines_of_each_readme_run(self) -> None:
        for page in ("../README.md", "../README.zh-CN.md"):
            programs = programs_of(page)
            for sdk in ("aio_sdk", "nio_sdk"):
                self.assertEqual(sum(f"import {sdk}\n" in one for one in programs), 1, (page, sdk))
            await self.run_all(page, 2)

    async def test_every_program_of_aio_sdk_runs(self) -> None:
        await self.run_all("aio_sdk.md")

    async def test_every_program_of_nio_sdk_runs(self) -> None:
        await self.run_all("nio_sdk.md")


class ChatGuideTests(TestCase):
    """Each program about groups and chat, with the real server and somebody who answers."""

    def test_every_program_that_talks_is_heard_and_hears(self) -> None:
        programs = [
            one for page in ("aio_sdk.md", "nio_sdk.md", "chat.md") for one in programs_of(page) if ".chat." in one
        ]
        self.assertEqual(len(programs), 4)
        with tempfile.TemporaryDirectory() as directory, started(directory) as server:
            url = f"push://{HOST}:{server.port}"
            with nio_sdk.PushClient(url, uid="bob") as bob:
                bob.chat.create("friends").result(GUARD_S)
                for number, program in enumerate(programs, 1):
                    with self.subTest(program):
                        self.talk(bob.chat, program.replace("push://127.0.0.1:6789", url), f"alice{number}")

    def talk(self, bob: nio_sdk.Chat, program: str, uid: str) -> None:
        """Run it until it has printed what bob answers; as another user each time, who has nothing to read yet."""
        program = program.replace('uid="alice"', f'uid="{uid}"')
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, env=environment(), text=True
        )
        try:
            while True:
                said = bob.get(GUARD_S)
                assert said is not None
                if said.group == "friends":
                    break
            self.assertEqual((said.sender, said.text), (uid, "hello"))
            bob.send_to_group("friends", f"hello {uid}").result(GUARD_S)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), f"friends bob hello {uid}\n")
        finally:
            process.kill()
            process.communicate()
