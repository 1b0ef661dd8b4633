"""The clock of the host steps back by an hour while the server runs."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import WireClient
from tests.integration.server import Server, running
from tests.integration.waiting import wait_until

PROGRAM = [
    sys.executable,
    "-c",
    "from tests.integration.stepping_clock import run; run()",
    "--nodaemon",
    "--pidfile=",
    "push",
]


class ClockCase(SynchronousTestCase):
    """A server whose clock can be set back."""

    @contextmanager
    def started(self, *options: str) -> Iterator[Server]:
        """It, ready."""
        directory = Path(self.mktemp())
        directory.mkdir()
        server = Server(directory, options, start_with=PROGRAM)
        with running(server):
            yield server.start()

    def step_back(self, server: Server) -> None:
        """Set its clock back by an hour."""
        before = server.output().count("s behind")
        assert server.process is not None
        server.process.send_signal(signal.SIGUSR1)
        wait_until("the clock has stepped", lambda: server.output().count("s behind") > before)


class RunningTests(ClockCase):
    """What goes on as if nothing had been."""

    def test_ids_still_grow_and_do_not_repeat_after_a_kill(self) -> None:
        with self.started() as server, WireClient(server.port) as client:
            client.open()
            ids = []
            for _ in range(3):
                ids += [int(server.api.send({"all": True}, "x")["id"]) for _ in range(20)]
                self.step_back(server)
            server.stop(signal.SIGKILL)
            server.start()
            ids += [int(server.api.send({"all": True}, "x")["id"]) for _ in range(20)]
            self.assertEqual(ids, sorted(set(ids)))

    def test_what_is_timed_does_not_wait_for_the_hour_to_come_again(self) -> None:
        with self.started("--handshake-timeout-s=0.5") as server:
            self.step_back(server)
            with WireClient(server.port) as silent:
                silent.socket.settimeout(10)
                self.assertEqual(silent.disconnected().code, 3002)

    def test_it_stays_ready_and_stops_in_time(self) -> None:
        with self.started("--stop-timeout-s=0.5") as server, WireClient(server.port) as client:
            client.open()
            self.step_back(server)
            self.assertEqual(server.api.get("/readyz").status, 200)
            self.assertEqual(server.stop(), 0)
            self.assertNotIn("Traceback", server.output())
