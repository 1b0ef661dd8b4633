"""The lean endpoint in processes of its own: too few descriptors, other reactors, a flood from outside."""

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.transports.surroundings import Peer, TransportCase, until

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


def answers(client: socket.socket, within_s: float) -> bool:
    """Whether a client is served."""
    client.settimeout(within_s)
    try:
        client.sendall(b"ping")
        return client.recv(100) != b""
    except TimeoutError:
        return False


class ExhaustionTests(SynchronousTestCase):
    """A server that runs out of descriptors."""

    def setUp(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.transports.exhausted", "40"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        self.port = int(self.server.stdout.readline())
        self.clients: list[socket.socket] = []

    def connect(self, number: int) -> list[socket.socket]:
        """More clients, served or waiting."""
        made = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(number)]
        self.clients += made
        for client in made:
            self.addCleanup(client.close)
        return made

    def until_full(self) -> None:
        """Wait until the server has no descriptor left."""
        end_s = time.monotonic() + PATIENCE_S
        while len(os.listdir(f"/proc/{self.server.pid}/fd")) < 40:
            self.assertLess(time.monotonic(), end_s)
            time.sleep(0.01)

    def test_it_pauses_says_so_once_serves_the_others_and_recovers(self) -> None:
        served = self.connect(1)
        waiting = self.connect(59)
        self.until_full()
        self.assertTrue(answers(served[0], PATIENCE_S))
        self.assertFalse(answers(waiting[-1], 1.2), "served without a descriptor")  # two pauses, one line
        self.assertTrue(answers(served[0], PATIENCE_S))
        for client in waiting[:40]:
            client.close()
        self.assertTrue(all(answers(client, PATIENCE_S) for client in waiting[40:]), "did not recover")
        self.connect(40)
        self.until_full()
        self.assertTrue(answers(served[0], PATIENCE_S))
        time.sleep(0.2)
        output, _ = self.server.communicate()  # closes its input, so that it stops
        errors = [line for line in output.splitlines() if line.startswith("error:")]
        self.assertEqual(errors, ["error: cannot accept connections now: Too many open files"] * 2)
        self.assertEqual(self.server.returncode, 0)

    def test_it_computes_nothing_while_it_waits(self) -> None:
        self.connect(60)
        self.until_full()
        before_s = self.cpu_s()
        time.sleep(0.6)
        self.assertLess(self.cpu_s() - before_s, 0.2)

    def cpu_s(self) -> float:
        """Processor time that the server has used, in seconds."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ReactorTests(SynchronousTestCase):
    """Under every reactor that a Linux machine has."""

    def run_python(self, *arguments: str) -> str:
        """What a process writes; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
        )
        output = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, output[-4000:])
        return output

    def check(self, reactor: str) -> None:
        """The suite passes, and a stop reaches every protocol."""
        self.check_stop(reactor)
        with TemporaryDirectory() as directory:  # mktemp()'s is relative, and that process runs elsewhere
            self.run_python(
                "tests.transports.on_reactor",
                reactor,
                f"--temp-directory={directory}/trial",
                "tests.transports.test_lean.LeanTests",
            )

    def check_stop(self, reactor: str) -> None:
        """A stop reaches every protocol."""
        stopped = self.run_python("tests.transports.stopped", reactor)
        self.assertEqual(stopped.splitlines(), ["lost: ConnectionLost"] * 5 + ["stopped"])

    def test_epoll(self) -> None:
        self.check_stop("epoll")  # the suite runs on it anyway

    def test_poll(self) -> None:
        self.check("poll")

    def test_select(self) -> None:
        self.check("select")

    def test_asyncio(self) -> None:
        self.check("asyncio")

    def test_uvloop(self) -> None:
        if find_spec("uvloop") is None:
            raise SkipTest("uvloop is not installed")
        self.check("uvloop")


FLOOD = """
import socket, sys
flood = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
data = bytes(1 << 20)
while True:
    flood.sendall(data)
"""


class FairnessTests(TransportCase):
    """One that sends without end, and fifty that play ping-pong."""

    async def test_a_flood_on_one_connection_starves_no_other(self) -> None:
        port = await self.listen()
        flooding: list[Any] = []

        def take(protocol: Any, data: bytes) -> None:
            protocol.received.clear()
            if len(data) < 100:
                protocol.transport.write(data)
            else:
                flooding.append(len(data))

        peers = [await self.connect(port) for _ in range(50)]
        for _, protocol in peers:
            protocol.on_data = take
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(port.getHost().port)])
        self.addCleanup(flood.wait)
        self.addCleanup(flood.kill)
        await until(lambda: len(self.protocols) == 51, "the flood's connection")
        self.protocols[-1].on_data = take
        await until(lambda: len(flooding) > 20, "the flood")
        before = len(flooding)
        longest_s = await gatherResults([Deferred.fromCoroutine(self._play(peer)) for peer, _ in peers])
        self.assertGreater(len(flooding), before + 20)
        self.assertLess(max(longest_s), 5.0)  # 0.005 on an idle machine; for ever, if the flood came first
        flood.kill()
        await self.ends(self.protocols[-1])

    async def _play(self, peer: Peer) -> float:
        """A hundred rounds. Returns the longest, in seconds."""
        longest_s = 0.0
        for number in range(100):
            before_s = time.monotonic()
            ping = b"ping %d" % number
            peer.send(ping)
            self.assertEqual(await peer.read(len(ping)), ping)
            longest_s = max(longest_s, time.monotonic() - before_s)
        return longest_s
