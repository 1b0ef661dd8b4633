"""A rolling restart of a cluster's connectors under load, as an administrator does it: nothing is lost."""

import copy
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.client import Redirected
from push.protocols.wire.messages import SubRequest
from tests.integration.client import WireClient
from tests.integration.cluster import Cluster, Node
from tests.integration.verifier import explain, verifying
from tests.integration.waiting import wait_until

CORE = ("router", "subscribe", "cache", "api")
TOKENS = 30
LOAD = (f"--tokens={TOKENS}", "--rate=100", "--broadcasts=2", "--churn=0.3", "--online=3", "--away=0.5", "--settle=8")


class Three:
    """A cluster of a core, or several, and some connectors.

    Args:
        directory: of all that it writes.
        cores: how many nodes route and keep.
        connectors: how many hold clients.
        options: of each node.
    """

    def __init__(self, directory: str, *, cores: int = 1, connectors: int, options: Sequence[str] = ()) -> None:
        self._cluster = Cluster(Path(directory), options)
        self.cores = [self._cluster.node(f"core{n}", *CORE) for n in range(cores)]
        self.connectors = [self._cluster.node(f"connector{n}", "connector") for n in range(connectors)]

    def __enter__(self) -> "Three":
        self._cluster.start()
        wait_until("all know where there is room", lambda: all(len(named(core)) == self.count for core in self.cores))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            for node in self._cluster.nodes:
                print(f"\n--- {node.name} ---", *node.output().splitlines()[-40:], sep="\n", file=sys.stderr)
        self._cluster.destroy()

    @property
    def count(self) -> int:
        """How many connectors there should be."""
        return len(self.connectors)

    def node(self, connector: Node) -> dict[str, Any] | None:
        """A connector, as the API shows it."""
        listed = self.cores[0].api.get("/v1/nodes").json["nodes"]
        return next((node for node in listed if node["address"] == connector.address), None)

    def takes_sessions(self, connector: Node) -> bool:
        """Whether it is there and not drained."""
        node = self.node(connector)
        return node is not None and not node["draining"]

    def sessions(self, connector: Node) -> int:
        """How many it has."""
        node = self.node(connector)
        return 0 if node is None else int(node["sessions"])


def named(core: Node) -> set[int]:
    """The ports of the connectors that clients are sent to."""
    answer = core.api.get("/v1/allocate")
    return {each["port"] for each in answer.json["nodes"]} if answer.status == 200 else set()


def sends_on(connector: Node) -> bool:
    """Whether somebody who comes there is sent elsewhere."""
    with WireClient(connector.port) as client:
        client.send(client.session.sub(SubRequest()))
        return isinstance(client.next(), Redirected)


class RollingTests(SynchronousTestCase):
    """Connectors come and go."""

    def test_connectors_that_are_drained_and_restarted_one_after_the_other_lose_nothing(self) -> None:
        with Three(self.mktemp(), connectors=3, options=("--stop-spread-s=0",)) as of:
            target = copy.copy(of.cores[0])
            target.port = of.connectors[0].port  # where receivers begin
            with verifying(target, *LOAD) as verifier:
                for connector in of.connectors:
                    self.drain(of, connector)
                    self.assertEqual(connector.stop(signal.SIGTERM), 0)
                    before = verifier.accepted() + 50
                    wait_until("messages are accepted meanwhile", lambda before=before: verifier.accepted() > before)
                    connector.spawn()
                    connector.wait_ready()
                    wait_until("it takes sessions again", lambda connector=connector: of.takes_sessions(connector))
                    wait_until("that is known", lambda: len(named(of.cores[0])) == of.count)
                verifier.stop_sending()
                verdict = verifier.verdict()
        self.assertTrue(verdict["ok"], explain(verdict, verifier.report))
        self.assertEqual(verdict["accepted"], verdict["delivered"] + verdict["expired"])
        self.assertEqual((verdict["expired"], verdict["offline"]), (0, 0))
        self.assertGreater(verdict["accepted"], 500)

    def drain(self, of: Three, connector: Node) -> None:
        """Empty it, as `pushctl drain` does."""
        answer = of.cores[0].api.post(f"/v1/nodes/{connector.address}:drain", {"sessions_per_s": 20})
        self.assertEqual(answer.status, 200, answer.body)
        wait_until("it is empty", lambda: of.sessions(connector) == 0)

    def test_one_that_is_told_to_stop_moves_its_sessions_first(self) -> None:
        with Three(self.mktemp(), connectors=2, options=("--drain-timeout-s=10",)) as of:
            first, second = of.connectors
            with WireClient(first.port) as client:
                client.open(ack=True)
                slowly = of.cores[0].api.post(f"/v1/nodes/{first.address}:drain", {"sessions_per_s": 0.001})
                self.assertEqual(slowly.status, 200)
                wait_until("it knows where to send who comes", lambda: sends_on(first))
                assert first.process is not None
                first.process.send_signal(signal.SIGTERM)
                self.assertEqual([each.port for each in client.expect(Redirected).nodes], [second.port])
            began_s = time.monotonic()
            self.assertEqual(first.ended(), 0)
            self.assertLess(time.monotonic() - began_s, 8.0)

    def test_where_to_connect_is_all_that_take_sessions(self) -> None:
        with Three(self.mktemp(), cores=2, connectors=2) as of:
            drained, other = of.connectors
            self.assertEqual(of.cores[0].api.post(f"/v1/nodes/{drained.address}:drain", {}).status, 200)
            for core in of.cores:
                wait_until("only the other is named", lambda core=core: named(core) == {other.port})
            self.assertEqual(of.cores[1].api.post(f"/v1/nodes/{other.address}:drain", {}).status, 409)
            with WireClient(drained.port) as client:
                client.send(client.session.sub(SubRequest()))
                self.assertEqual([each.port for each in client.expect(Redirected).nodes], [other.port])
            self.assertEqual(of.cores[1].api.post(f"/v1/nodes/{drained.address}:undrain", {}).status, 200)
            with WireClient(drained.port) as client:
                client.open()

    def test_broadcasts_go_over_the_bus_and_are_counted(self) -> None:
        with Three(self.mktemp(), connectors=3) as of:
            core = of.cores[0]
            clients = [WireClient(connector.port).open() for connector in of.connectors for _ in range(2)]
            for number in range(20):
                self.assertEqual(core.api.send({"all": True}, f"{number}")["sent"], len(clients))
            for client in clients:
                self.assertEqual(client.messages(20), [b"%d" % number for number in range(20)])
                client.close()
            self.assertGreater(core.api.sample("push_bus_published_total"), 15)
