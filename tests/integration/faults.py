"""A cluster under load that has a hard time: what is done to it, and how it is known to go on.

What the tests share whose ledger must show nothing lost and order kept. Each node is at a loopback address of its own.
"""

import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.cluster import Cluster, Node
from tests.integration.relay import Relay
from tests.integration.server import HOST, Api
from tests.integration.verifier import Verifier, explain, verifying
from tests.integration.waiting import wait_until
from tests.redis_server import RedisServer
from tests.redis_watched import WatchedRedis

# How many faults, where somebody has the time; else each kind once.
FAULTS = int(os.environ.get("PUSH_FAULT_KILLS", "0"))
SEED = int(os.environ.get("PUSH_FAULT_SEED") or random.SystemRandom().randrange(1 << 32))
ONLY = [name for name in os.environ.get("PUSH_FAULT_ONLY", "").split(",") if name]
TOKENS = 20
LOAD = (f"--tokens={TOKENS}", "--rate=80", "--online=2", "--away=0.5", "--settle=20", f"--seed={SEED}")
_PROGRESS = 15
# For messages to be accepted again: a lease has to end, another holder to load, senders to ask again.
_AGAIN_S = 120.0
_SHOWN_LINES = 60
_FIRST_HOST = 11


class Faulty:
    """A cluster of several of each kind of node.

    Args:
        directory: of all that it writes.
        redis: what they share.
        kinds: how many there are of each kind: name of the kind → roles, and how many.
        options: of each node.

    Attributes:
        cluster: its nodes.
        balancer: before the APIs, as who sends knows them.
        relay: before the last of the routers, as other nodes know it.
        verifiers: that run.
    """

    def __init__(
        self,
        directory: str,
        redis: RedisServer | WatchedRedis,
        kinds: dict[str, tuple[str, int]],
        options: Sequence[str] = (),
    ) -> None:
        self.cluster = Cluster(Path(directory), ("--stop-spread-s=0", *options), redis=redis)
        self._kinds: dict[str, list[Node]] = {}
        for kind, (roles, count) in kinds.items():
            self._kinds[kind] = [self._node(f"{kind}{number}", roles) for number in range(count)]
        apis = [node for node in self.cluster.nodes if "api" in node.roles]
        last = next(node for node in reversed(self.cluster.nodes) if "router" in node.roles)
        self.relay = Relay((last.interface, last.peer_port))
        last.peer_advertised = f"{HOST}:{self.relay.port}"
        self.balancer = Relay(*((node.interface, node.api.port) for node in apis))
        self.apis = apis
        self.verifiers: list[Verifier] = []

    def _node(self, name: str, roles: str) -> Node:
        return self.cluster.node(name, *roles.split(","), host=f"127.0.0.{_FIRST_HOST + len(self.cluster.nodes)}")

    def of(self, kind: str) -> list[Node]:
        """The nodes of a kind."""
        return self._kinds[kind]

    @property
    def api(self) -> Api:
        """The API, whichever node answers."""
        return Api(self.balancer.port)

    def wait_room(self) -> None:
        """Wait until clients are sent to every connector."""
        count = sum("connector" in node.roles for node in self.cluster.nodes)
        for node in self.apis:
            wait_until("all know where there is room", lambda node=node: len(places(node.api)) == count)

    def progress(self) -> None:
        """Wait until all senders have had some more messages accepted."""
        for verifier in self.verifiers:
            before = verifier.accepted() + _PROGRESS
            wait_until("messages are accepted", lambda v=verifier, n=before: v.accepted() > n, _AGAIN_S)

    def heal(self, *nodes: Node) -> None:
        """Start those that are gone, and wait until these, or all, are ready."""
        chosen = nodes or tuple(self.cluster.nodes)
        for node in chosen:
            if not node.is_running:
                node.spawn()
        for node in chosen:
            node.wait_ready()

    def destroy(self) -> None:
        """Leave nothing behind."""
        self.balancer.close()
        self.relay.close()
        self.cluster.destroy()


def places(api: Api) -> set[str]:
    """Where clients are sent."""
    answer = api.get("/v1/allocate")
    return {f"{each['host']}:{each['port']}" for each in answer.json["nodes"]} if answer.status == 200 else set()


class ClusterFaultCase(SynchronousTestCase):
    """One cluster a test, with senders and receivers all the time."""

    def setUp(self) -> None:
        self.chance = random.Random(SEED)

    @contextmanager
    def running(
        self, kinds: dict[str, tuple[str, int]], *options: str, redis: RedisServer | WatchedRedis | None = None
    ) -> Iterator[Faulty]:
        """A cluster that does not outlive this; what it wrote is shown if it was a failure."""
        faulty = Faulty(
            self.mktemp(), redis or RedisServer("--appendonly", "yes", "--appendfsync", "always"), kinds, options
        )
        try:
            faulty.cluster.start()
            faulty.wait_room()
            yield faulty
        except BaseException:
            print(f"\nPUSH_FAULT_SEED={SEED}", file=sys.stderr)
            for node in faulty.cluster.nodes:
                print(f"\n--- {node.name} ---", *node.output().splitlines()[-_SHOWN_LINES:], sep="\n", file=sys.stderr)
            raise
        finally:
            faulty.destroy()

    @contextmanager
    def loaded(self, faulty: Faulty, *loads: tuple[Api, Sequence[str]]) -> Iterator[None]:
        """Senders and receivers from here to its end, and then what the ledger says.

        Args:
            faulty: the cluster.
            loads: for each verifier the API that it sends to, and options.
        """
        connector = next(node for node in faulty.cluster.nodes if "connector" in node.roles)
        with ExitStack() as stack:
            for api, options in loads:
                allocation = f"http://{api.host}:{api.port}/v1/allocate"
                faulty.verifiers.append(
                    stack.enter_context(verifying(connector, *LOAD, *options, api=api, allocation=allocation))
                )
            yield
            faulty.heal()
            faulty.progress()
            for verifier in faulty.verifiers:
                verifier.stop_sending()
            verdicts = [verifier.verdict() for verifier in faulty.verifiers]
            for verifier, verdict in zip(faulty.verifiers, verdicts, strict=True):
                self.judge(verdict, verifier.report)

    def judge(self, verdict: dict[str, Any], report: Path) -> None:
        """Nothing may be lost, nothing out of order; and nobody left outside."""
        numbers = {name: value for name, value in verdict.items() if name not in ("plan", "faults")}
        if FAULTS:
            print(json.dumps(numbers), file=sys.stderr)
        self.assertTrue(verdict["ok"], explain(verdict, report))
        self.assertEqual(verdict["accepted"], verdict["delivered"] + verdict["expired"], numbers)
        self.assertEqual((verdict["expired"], verdict["offline"]), (0, 0), numbers)
