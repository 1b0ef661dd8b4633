"""`pushctl verify` as a process beside a server that has a hard time."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.server import Api, Server, environment
from tests.integration.waiting import DEADLINE_S, wait_until

_PROGRAM = "import ctypes; ctypes.CDLL(None).prctl(1, 9); from push.ctl.main import main; main()"


class Verifier:
    """One run, which goes on until `stop_sending`.

    Args:
        server: against which.
        options: of `pushctl verify`.
        api: where it sends, if that is not the server's own.
        allocation: where its receivers ask where to connect.
    """

    def __init__(self, server: Server, *options: str, api: Api | None = None, allocation: str = "") -> None:
        api = api or server.api
        self._progress = server.directory / f"progress-{time.monotonic_ns()}"
        self.report = self._progress.with_suffix(".json")
        command = [
            *(sys.executable, "-c", _PROGRAM, "verify", "--json", "--seconds=3600", f"--report={self.report}"),
            *(f"--server=push://{server.interface}:{server.port}", f"--api=http://{api.host}:{api.port}"),
            *([f"--allocation={allocation}"] if allocation else []),
            *options,
        ]
        with open(self._progress, "wb") as progress:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=progress, env=environment()
            )

    def wait_sending(self) -> None:
        """Wait until messages are accepted."""
        wait_until("messages are accepted", lambda: self._is_over() or self.accepted())

    def accepted(self) -> int:
        """How many messages were accepted, as of a second ago."""
        lines = self._progress.read_text().splitlines()
        return int(lines[-1].split(" accepted")[0].rpartition(" ")[2]) if lines else 0

    def stop_sending(self) -> None:
        """End the sending."""
        self.process.send_signal(signal.SIGINT)

    def verdict(self) -> dict[str, Any]:
        """Wait for the verdict."""
        out, _ = self.process.communicate(timeout=2 * DEADLINE_S)
        if not out:
            raise AssertionError(f"pushctl verify said nothing:\n{self._progress.read_text()}")
        verdict: dict[str, Any] = json.loads(out)
        return verdict

    def destroy(self) -> None:
        """Kill it, if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def _is_over(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"pushctl verify has ended:\n{self._progress.read_text()}")
        return False


@contextmanager
def verifying(server: Server, *options: str, api: Api | None = None, allocation: str = "") -> Iterator[Verifier]:
    """A verifier whose messages are being accepted; it does not outlive what is inside."""
    verifier = Verifier(server, *options, api=api, allocation=allocation)
    try:
        verifier.wait_sending()
        yield verifier
    finally:
        verifier.destroy()


def explain(verdict: dict[str, Any], report: Path) -> str:
    """What to look at when a verdict is bad."""
    shown = {name: value for name, value in verdict.items() if name not in ("plan", "faults")}
    faults = {name: items[:5] for name, items in verdict["faults"].items()}
    return f"{shown}\nfaults: {faults}\nall of them: {report}"
