"""The other nodes as one node has them: who joins it, over links with both ends real and the socket left out."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.cluster_links import Neighbours
from push.config import Config
from push.model_cluster import Member
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
