"""Nothing accepted is lost, in order, whatever happens to the server: real processes under load.

PUSH_FAULT_KILLS says how many times the server is killed, PUSH_FAULT_SEED repeats the choices of another run.
`make faults` kills it 50 times.
"""

import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from push.protocols.wire.client import Received
from tests.integration.client import WireClient
from tests.integration.server import TWISTD, Answer, Server, running, started
from tests.integration.verifier import explain, verifying
from tests.integration.waiting import wait_until

KILLS = int(os.environ.get("PUSH_FAULT_KILLS", "3"))
SEED = int(os.environ.get("PUSH_FAULT_SEED") or random.SystemRandom().randrange(1 << 32))
# Of four kills, one hits a server that is still starting.
WHILE_STARTING = 0.25
TOKENS = 30
LOAD = (f"--tokens={TOKENS}", "--rate=250", "--online=1", "--away=1", "--settle=6", f"--seed={SEED}")


class FaultCase(SynchronousTestCase):
    """What the tests share."""

    def setUp(self) -> None:
        self.chance = random.Random(SEED)

    def assertProved(self, verdict: dict[str, Any], report: Path) -> None:
        """That a run found nothing wrong."""
        self.assertTrue(verdict["ok"], f"PUSH_FAULT_SEED={SEED}\n{explain(verdict, report)}")
        self.assertEqual(verdict["accepted"], verdict["delivered"] + verdict["expired"])


class KillTests(FaultCase):
    """kill -9, again and again, and the data directory kept."""

    def test_what_was_accepted_arrives_once_the_server_is_back(self) -> None:
        with (
            started(self.mktemp(), "--stop-spread-s=0") as server,
            verifying(server, *LOAD, "--broadcasts=2") as plain,
            verifying(server, *LOAD, "--ttl=2", "--away=4", "--churn=1") as impatient,
            verifying(server, *LOAD, "--retry") as insistent,
        ):
            for _ in range(KILLS):
                self.kill_and_start(server)
            before = plain.accepted()
            wait_until("messages are accepted again", lambda: plain.accepted() > before)
            verifiers = (plain, impatient, insistent)
            for verifier in verifiers:
                verifier.stop_sending()
            verdicts = [verifier.verdict() for verifier in verifiers]
            for verifier, verdict in zip(verifiers, verdicts, strict=True):
                self.assertProved(verdict, verifier.report)
                self.assertGreater(verdict["sessions"], KILLS * TOKENS)
                self.assertGreater(verdict["accepted"], KILLS * 50)
        self.assertEqual([verdicts[0]["expired"], verdicts[2]["expired"], verdicts[2]["unknown"]], [0, 0, 0])
        self.assertEqual(verdicts[2]["refused_delivered"], 0)
        self.assertGreater(verdicts[1]["expired"], 0)

    def kill_and_start(self, server: Server) -> None:
        """Kill it at some moment of its life, and start it again."""
        if self.chance.random() < WHILE_STARTING:
            self.assertEqual(server.stop(signal.SIGKILL), -signal.SIGKILL)
            server.spawn()
            time.sleep(self.chance.uniform(0.2, 1.5))
        else:
            time.sleep(self.chance.uniform(0.0, 1.5))
        self.assertEqual(server.stop(signal.SIGKILL), -signal.SIGKILL)
        server.start()


class DiskCase(FaultCase):
    """A disk that can be filled."""

    def fill(self, server: Server) -> None:
        """Let there be no room."""
        raise NotImplementedError

    def make_room(self, server: Server) -> None:
        """Let there be room again."""
        raise NotImplementedError

    def away(self, server: Server) -> str:
        """A token whose client is away."""
        with WireClient(server.port) as client:
            client.open(ack=True)
            token = client.token
        wait_until("the session is closed", lambda: not server.api.token(token)["online"])
        return token

    def send(self, server: Server, token: str, text: str) -> Answer:
        """Send a text once."""
        return server.api.post("/v1/messages:send", {"target": {"token": token}, "message": {"data": text}})

    def accepted(self, server: Server, token: str, text: str) -> str:
        """Send a text until it is accepted."""
        wait_until("it is accepted", lambda: self.send(server, token, text).status == 200)
        return text

    def accepted_while_full(self, server: Server, token: str) -> list[str]:
        """Fill the disk and check that it refuses. Returns what still found room in what the files had already."""
        self.fill(server)
        found_room: list[str] = []
        refusals: list[Answer] = []
        while len(refusals) < 20:
            text = f"while there is room {len(found_room)} " + "x" * 3_000
            answer = self.send(server, token, text)
            if answer.status == 200:
                self.assertEqual(refusals, [], "accepted though there is no room")
                found_room.append(text)
                self.assertLess(len(found_room), 5_000, "it never refuses")
            else:
                refusals.append(answer)
        for answer in refusals:
            self.assertEqual(answer.status, 503, answer.body)
            error = answer.json["error"]
            self.assertEqual((error["reason"], error["retry"]), ("UNAVAILABLE", "backoff"))
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
        wait_until("it says that it is not ready", lambda: server.api.get("/readyz").status == 503)
        return found_room

    def assertGets(self, server: Server, token: str, texts: list[str]) -> None:
        """That a client which comes back gets these, and nothing else."""
        last = self.accepted(server, token, "last")
        with WireClient(server.port) as client:
            client.open(token=token, ack=True)
            got: list[str] = []
            while last not in got:
                received = client.expect(Received)
                assert received.message_id is not None
                for frame in client.session.acknowledge([received.message_id]):
                    client.send(frame)
                got.append(received.payload.decode())
        self.assertEqual(got, [*texts, last])


class ForbiddenToGrowTests(DiskCase):
    """No file of the server may grow (RLIMIT_FSIZE): writing fails, as on a disk with errors."""

    def fill(self, server: Server) -> None:
        sizes = [path.stat().st_size for path in (server.directory / "data").iterdir()]
        self.limit(server, max(sizes))

    def make_room(self, server: Server) -> None:
        self.limit(server, resource.RLIM_INFINITY)

    def test_nothing_is_accepted_that_cannot_be_kept_and_it_recovers(self) -> None:
        with started(self.mktemp()) as server:
            token = self.away(server)
            kept = [self.accepted(server, token, f"{number}") for number in range(5)]
            kept += self.accepted_while_full(server, token)
            self.make_room(server)
            kept.append(self.accepted(server, token, "with room again"))
            self.assertEqual(server.stop(signal.SIGKILL), -signal.SIGKILL)
            server.start()
            self.assertGets(server, token, kept)

    def test_a_disk_that_fails_now_and_then_loses_nothing(self) -> None:
        with started(self.mktemp()) as server, verifying(server, *LOAD) as verifier:
            for _ in range(4):
                time.sleep(self.chance.uniform(0.2, 0.8))
                self.fill(server)
                time.sleep(self.chance.uniform(0.2, 0.8))
                self.make_room(server)
            before = verifier.accepted()
            wait_until("messages are accepted again", lambda: verifier.accepted() > before)
            verifier.stop_sending()
            verdict = verifier.verdict()
            self.assertProved(verdict, verifier.report)
        self.assertGreater(verdict["refused"].get("UNAVAILABLE", 0), 0)

    @staticmethod
    def limit(server: Server, size_bytes: int) -> None:
        """How large the files of its process may become; its log is far smaller than its data."""
        hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


class SmallDiskTests(DiskCase):
    """The data directory is a file system of 16 MB, in a mount namespace of the server's own."""

    IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")

    def setUp(self) -> None:
        super().setUp()
        try:
            subprocess.run([*self.IN_A_NAMESPACE, "mount -t tmpfs none /mnt"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest("this system lets nobody mount a file system in a namespace of his own") from None

    def filler(self, server: Server) -> Path:
        """A file on that file system, as seen from outside."""
        return Path(f"/proc/{server.pid}/root{server.directory / 'data' / 'filler'}")

    def fill(self, server: Server) -> None:
        with open(self.filler(server), "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4_096))

    def make_room(self, server: Server) -> None:
        self.filler(server).unlink()

    def test_nothing_is_accepted_that_finds_no_room_and_it_recovers(self) -> None:
        directory = Path(self.mktemp())
        (directory / "data").mkdir(parents=True)
        mounted = 'mount -t tmpfs -o size=16m none "$0" && exec "$@"'
        program = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "push"]
        server = Server(directory, start_with=[*self.IN_A_NAMESPACE, mounted, f"{directory.resolve()}/data", *program])
        with running(server):
            server.start()
            token = self.away(server)
            kept = [self.accepted(server, token, f"{number}") for number in range(5)]
            kept += self.accepted_while_full(server, token)
            self.make_room(server)
            kept.append(self.accepted(server, token, "with room again"))
            self.assertGets(server, token, kept)
            self.assertEqual(server.stop(), 0)
            self.assertNotIn("Traceback", server.output())


class DamagedFileTests(FaultCase):
    """A file that is not what it was."""

    def test_a_damaged_database_is_refused_by_its_name_wherever_the_damage_is(self) -> None:
        with started(self.mktemp()) as server:
            with WireClient(server.port) as client:
                client.open(ack=True)
                token = client.token
            wait_until("the session is closed", lambda: not server.api.token(token)["online"])
            batch = [{"target": {"token": token}, "message": {"data": "x" * 500}}] * 500
            self.assertEqual(server.api.post("/v1/messages:batchSend", {"requests": batch}).status, 200)
            self.assertEqual(server.stop(), 0)
            files = [path for path in (server.directory / "data").iterdir() if path.name != "lock"]
            self.assertGreater(sum(path.stat().st_size for path in files), 250_000)
            for path in files:
                self.check_refused(server, path)
            server.start()
            with WireClient(server.port) as client:
                client.open(token=token, ack=True)
                self.assertEqual(client.messages(256), [b"x" * 500] * 256)

    def test_a_row_that_cannot_be_read_is_refused_by_its_name_and_the_server_ends(self) -> None:
        with started(self.mktemp()) as server:
            with WireClient(server.port) as client:
                token = client.open(ack=True).token
            wait_until("the session is closed", lambda: not server.api.token(token)["online"])
            ids = [int(server.api.send({"token": token}, f"message {number}")["id"]) for number in range(3)]
            self.assertEqual(server.stop(), 0)
            path = server.directory / "data" / "push.sqlite3"
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE cache_messages SET head = x'95' WHERE position = ?", (ids[1],))
            code, output = server.run()
            self.assertEqual(code, 1, output)
            self.assertNotIn("Traceback", output)
            (said,) = [line for line in output.splitlines() if line.startswith("push: ")]
            for part in (str(path), f"cache_messages, position {ids[1]}", "restore the file"):
                self.assertIn(part, said)
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DELETE FROM cache_messages WHERE position = ?", (ids[1],))
            server.start()
            with WireClient(server.port) as client:
                client.open(token=token, ack=True)
                self.assertEqual(client.messages(2), [b"message 0", b"message 2"])

    def check_refused(self, server: Server, path: Path) -> None:
        """That it does not start, and says why."""
        whole = path.read_bytes()
        middle = len(whole) // 2
        for damaged in (
            b"not a database at all" * 100,
            whole[:4096] + b"\xa5" * (len(whole) - 4096),
            whole[:middle] + bytes(self.chance.randbytes(8_192)) + whole[middle + 8_192 :],
            whole[:middle],
        ):
            path.write_bytes(damaged)
            again = Server(server.directory)
            with running(again):
                code, output = again.run()
            self.assertEqual(code, 1, output)
            self.assertIn(str(path), output)
            self.assertNotIn("Traceback", output)
        path.write_bytes(whole)
