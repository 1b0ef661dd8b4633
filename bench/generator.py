"""The load generator as a child: one command, one answer at a time."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from process import cpu_s
from servers import BENCH, BenchError, Running, spawn, stop

Step = dict[str, Any]


class Generator:
    """The load generator, started.

    Args:
        server: what it is to load.
        core: what it is pinned to.
        payload_bytes: of each message.
        speaks: how, "" for what its kind speaks.
    """

    def __init__(self, server: Running, core: int, payload_bytes: int, speaks: str = "") -> None:
        place = server.place
        command = [str(BENCH / "bin" / "loadgen"), f"--port={place.port}", f"--api-port={place.api_port}"]
        command += [f"--payload-bytes={payload_bytes}", f"--speaks={speaks or server.kind.speaks}"]
        self._server = server
        self.child = spawn(command, core, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, command: str) -> Step:
        """Run one command.

        Returns:
            What was measured, with `server_busy` added, the part of the time that the server used its core, and
            `server_us`, the time of its core for one delivery, one session or one answer. Where others use the core
            too, this tells more than what was done in a second.

        Raises:
            BenchError: messages were lost, or something else went wrong; the generator has said what.
        """
        stdin, stdout = self.child.stdin, self.child.stdout
        assert stdin is not None
        assert stdout is not None
        cpu_before_s, before_s = cpu_s(self._server.pid), time.monotonic()
        # Where the pipe is broken the generator has ended, and the empty answer below says so.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(command + "\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise BenchError(f"{self._server.name}: `{command}` ended the load generator ({self.child.wait()})")
        step: Step = json.loads(line)
        used_s = cpu_s(self._server.pid) - cpu_before_s
        step["server_busy"] = round(used_s / (time.monotonic() - before_s), 3)
        step["server_us"] = round(used_s / (step.get("deliveries") or step.get("messages") or step["clients"]) * 1e6, 3)
        return step


@contextlib.contextmanager
def generating(server: Running, core: int, payload_bytes: int, speaks: str = "") -> Iterator[Generator]:
    """A load generator for a server, pinned to a core; stopped at the end, whatever happens."""
    generator = Generator(server, core, payload_bytes, speaks)
    try:
        yield generator
    finally:
        stop(generator.child)
