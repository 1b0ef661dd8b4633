"""The clock of the host steps back by an hour while the server runs."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from push.services.ids import RESERVE_MS
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

# A ttl of 2 s is over by then, however it is rounded.
TTL_OVER_S = 4.0


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


class KeptTests(ClockCase):
    """What is kept for clients that are away: neither longer nor shorter than was asked for."""

    def test_time_to_live_is_neither_longer_nor_shorter_for_a_clock_that_steps_back(self) -> None:
        with self.started() as server:
            token = self.away(server)
            self.keep(server, token, "short, before", ttl_s=2)
            self.keep(server, token, "long, before", ttl_s=600)
            self.step_back(server)
            self.keep(server, token, "short, after", ttl_s=2)
            self.keep(server, token, "long, after", ttl_s=600)
            time.sleep(TTL_OVER_S)
            self.assertGets(server, token, ["long, before", "long, after"])

    def test_a_server_that_starts_with_a_clock_that_is_behind_keeps_the_time_too(self) -> None:
        with self.started() as server:
            token = self.away(server)
            ids = [self.keep(server, token, "long, before", ttl_s=7_200)]
            self.assertEqual(server.stop(signal.SIGKILL), -signal.SIGKILL)
            server.variables["CLOCK_BEHIND_S"] = "3600"
            server.start()
            for text in ("short, after", "long, after"):
                ids.append(self.keep(server, token, text, ttl_s=2 if text.startswith("short") else 600))
            self.assertEqual(ids, sorted(set(ids)))
            # Ids run up to ten seconds ahead after a crash, and lives are counted from them.
            time.sleep(TTL_OVER_S + RESERVE_MS / 1000)
            self.assertGets(server, token, ["long, before", "long, after"])

    def away(self, server: Server) -> str:
        """A token whose client is away."""
        with WireClient(server.port) as client:
            client.open(ack=True)
            token = client.token
        wait_until("the session is closed", lambda: not server.api.token(token)["online"])
        return token

    def keep(self, server: Server, token: str, text: str, *, ttl_s: int) -> int:
        """Send a message that is to be kept. Returns its id."""
        entry = {"target": {"token": token}, "message": {"data": text}, "options": {"ttl": ttl_s}}
        answer = server.api.post("/v1/messages:send", entry)
        self.assertEqual((answer.status, answer.json.get("cached")), (200, 1), answer.body)
        return int(answer.json["id"])

    def assertGets(self, server: Server, token: str, texts: list[str]) -> None:
        """That a client which comes back gets these, and then what is new."""
        with WireClient(server.port) as client:
            client.open(token=token, ack=True)
            server.api.send({"token": token}, "new")
            got = client.messages(1)
            while got[-1] != b"new":
                got += client.messages(1)
        self.assertEqual([payload.decode() for payload in got], [*texts, "new"])
