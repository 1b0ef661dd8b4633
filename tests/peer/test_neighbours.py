"""The other nodes as one node has them: who joins it, over links with both ends real and the socket left out."""

from dataclasses import replace
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.cluster_links import Neighbours
from push.config import Config
from push.model_cluster import Member, Node
from push.protocols.peer.envelopes import MAJOR, MINOR
from push.protocols.peer.links import Links
from tests.fakes_cluster import MemoryLeases
from tests.peer.linked import Cables

NAME = "10.0.0.8:7460"
SECRET = "s" * 32


class NeighboursTests(SynchronousTestCase):
    """A router, and connectors that join it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cables = Cables(self.clock, lambda: self.neighbours._factory)
        path = self.mktemp()
        Path(path).write_text(SECRET)
        config = Config(
            role=("router",), redis="redis://10.0.0.1", peer=f"tcp:7460:interface={NAME[:-5]}", peer_secret_file=path
        )
        self.neighbours = Neighbours(config, leases=MemoryLeases(self.clock), reactor=self.clock, now_ms=lambda: 1)

    def join(self, name: str) -> Links:
        """A connector joins."""
        links = self.cables.links(name, secret=SECRET)
        self.addCleanup(links.stopService)
        links.want([Member(NAME, ("router",), NAME, MAJOR, MINOR)])
        self.cables.settle()
        return links

    def connectors(self) -> set[str]:
        """Those that can be called."""
        return set(self.neighbours.nodes.connectors())

    def test_who_has_joined_can_be_called_until_it_leaves_and_nothing_of_it_is_left_then(self) -> None:
        stays = self.join("10.0.1.0:6789")
        for number in range(1, 5):
            joined = self.join(f"10.0.1.{number}:6789")
            self.assertEqual(self.connectors(), {"10.0.1.0:6789", f"10.0.1.{number}:6789"})
            joined.stopService()
            self.cables.settle()
        self.assertEqual(self.connectors(), {"10.0.1.0:6789"})
        self.assertEqual(set(self.neighbours._joined_by), {"10.0.1.0:6789"})
        self.assertEqual(len(stays.nodes("router")), 1)

    def test_who_joins_again_takes_the_place_of_its_former_link(self) -> None:
        former = self.join("10.0.1.0:6789")
        again = self.join("10.0.1.0:6789")
        self.assertEqual(former.nodes("router"), [])
        former.stopService()
        self.cables.settle()
        self.assertEqual(self.connectors(), {"10.0.1.0:6789"})
        self.assertEqual(len(again.nodes("router")), 1)


class ConnectorTests(SynchronousTestCase):
    """A connector, and a node with the tokens that it joins."""

    def setUp(self) -> None:
        clock = Clock()
        path = self.mktemp()
        Path(path).write_text(SECRET)
        shared = {"redis": "redis://10.0.0.1", "peer_secret_file": path}
        leases = MemoryLeases(clock)
        tokens = Neighbours(
            Config(role=("router", "subscribe"), peer=f"tcp:7460:interface={NAME[:-5]}", **shared),
            leases=leases,
            reactor=clock,
            now_ms=lambda: 1,
        )
        self.neighbours = Neighbours(
            Config(role=("connector",), listen=("framed=lean:6789:interface=10.0.1.0",), **shared),
            leases=leases,
            reactor=clock,
            now_ms=lambda: 1,
        )
        self.node = Node("10.0.1.0:6789", 3, 2, 100, 1_000, draining=False, version="0.1.0")
        self.neighbours.own_node = lambda: self.node
        self.cables = Cables(clock, lambda: tokens._factory)

    def test_nobody_is_to_be_sent_to_it_until_it_has_joined_a_node_with_the_tokens_nor_when_it_has_lost_that(
        self,
    ) -> None:
        links = self.neighbours.links = self.cables.links("10.0.1.0:6789", secret="another secret, of 32 bytes or so")
        self.addCleanup(links.stopService)
        member = Member(NAME, ("router", "subscribe"), NAME, MAJOR, MINOR)
        links.want([member])
        self.cables.settle()
        self.assertEqual(self.told(), replace(self.node, draining=True))
        links = self.neighbours.links = self.cables.links("10.0.1.0:6789", secret=SECRET)
        self.addCleanup(links.stopService)
        links.want([member])
        self.cables.settle()
        self.assertEqual(self.told(), self.node)
        links.want([])
        self.cables.settle()
        self.assertEqual(self.told(), replace(self.node, draining=True))

    def told(self) -> Node | None:
        """How the connector is, as this node tells the others."""
        return self.neighbours._describe().connector
