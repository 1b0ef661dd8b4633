"""Links that a node of a cluster makes and keeps: both ends real, the socket left out."""

from typing import Any

from twisted.internet.address import HostnameAddress
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.model_cluster import Member
from push.protocols.peer.avatar import NodeAvatar
from push.protocols.peer.envelopes import MAJOR, MINOR
from push.protocols.peer.links import MAX_RETRY_S, Links
from push.protocols.peer.login import LOGIN_LIMIT_S, PeerServerFactory, Realm, SharedSecrets
from push.protocols.peer.remote_node import RemoteNode
from tests.peer.linked import Cables, House

NAME = "10.0.0.7:6789"
OTHER = Member("10.0.0.8:7460", ("subscribe", "router"), "10.0.0.8:7460", MAJOR, MINOR)
SECRET = "s" * 32


class LinksTests(SynchronousTestCase):
    """One node, and the one that it needs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.house = House(self.clock)
        self.house.factory = PeerServerFactory(Realm(self.avatar), SharedSecrets([SECRET.encode()]), clock=self.clock)
        self.arrived: list[str] = []
        self.joined: list[RemoteNode] = []
        self.cables = Cables(self.clock, lambda: self.house.factory)
        self.addresses = self.cables.addresses

    def avatar(self, name: str, mind: Any) -> NodeAvatar:
        """What the other node lets this one call."""
        return NodeAvatar(
            name,
            mind,
            answers=self.house.answers(name),
            clock=self.clock,
            max_waiting_bytes=1 << 20,
            arrived=lambda arrival: self.arrived.append(name),
            ready=lambda name: None,
        )

    def links(self, secret: str = SECRET) -> Links:
        """Those of a node that runs."""
        links = self.cables.links(NAME, secret=secret, joined=self.joined.append)
        self.addCleanup(links.stopService)
        return links

    def settle(self) -> None:
        """Let everything arrive."""
        self.cables.settle()

    def test_what_is_wanted_is_joined_under_its_own_name_and_can_be_asked(self) -> None:
        links = self.links()
        links.want([OTHER])
        self.settle()
        self.assertEqual(self.addresses, [OTHER.peer])
        self.assertEqual(self.arrived, [NAME])
        self.assertEqual([node.name for node in links.nodes("router")], [OTHER.name])
        self.assertEqual([node.name for node in self.joined], [OTHER.name])
        self.assertEqual(links.nodes("cache"), [])

    def test_wanting_it_again_changes_nothing_and_not_wanting_it_ends_the_link(self) -> None:
        links = self.links()
        for _ in range(3):
            links.want([OTHER])
            self.settle()
        self.assertEqual(len(self.joined), 1)
        links.want([])
        self.settle()
        self.assertEqual(links.nodes("router"), [])
        self.clock.advance(60)
        self.assertEqual(len(self.addresses), 1)

    def test_a_link_that_is_lost_is_made_again_after_a_while(self) -> None:
        links = self.links()
        links.want([OTHER])
        self.settle()
        assert self.joined[0].link is not None
        self.joined[0].link.lose("a test")
        self.settle()
        self.assertEqual(links.nodes("router"), [])
        self.assertIn("a test", links.troubles("router"))
        self.assertEqual(len(self.addresses), 1)  # not in the same moment
        self.clock.advance(MAX_RETRY_S)
        self.settle()
        self.assertEqual(len(links.nodes("router")), 1)
        self.assertEqual(links.troubles("router"), "")

    def test_a_node_whose_host_swallows_everything_is_tried_until_it_is_there_again(self) -> None:
        links = self.links()
        self.cables.pulled = ConnectingCancelledError(HostnameAddress(b"10.0.0.8", 7460))
        links.want([OTHER])
        self.clock.pump([LOGIN_LIMIT_S, MAX_RETRY_S] * 3)
        self.assertEqual(len(self.addresses), 4)
        self.assertIn(f"did not answer within {LOGIN_LIMIT_S:g} s", links.troubles("router"))
        self.cables.pulled = None
        self.clock.pump([LOGIN_LIMIT_S, MAX_RETRY_S])
        self.settle()
        self.assertEqual(len(links.nodes("router")), 1)

    def test_a_node_is_tried_again_after_what_nobody_expected(self) -> None:
        links = self.links()
        self.cables.pulled = ValueError("a test")
        links.want([OTHER])
        self.clock.advance(LOGIN_LIMIT_S)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIn("unexpectedly", links.troubles("router"))
        self.cables.pulled = None
        self.clock.advance(MAX_RETRY_S)
        self.settle()
        self.assertEqual(len(links.nodes("router")), 1)

    def test_a_wrong_secret_is_said_and_tried_again(self) -> None:
        links = self.links("t" * 32)
        links.want([OTHER])
        self.settle()
        self.assertEqual(links.nodes("router"), [])
        self.assertIn("the secret is not that of this cluster", links.troubles("router"))
        self.assertNotIn("t" * 32, links.troubles("router"))
        self.clock.advance(MAX_RETRY_S)
        self.settle()
        self.assertEqual(len(self.addresses), 2)
        self.assertEqual(self.arrived, [])

    def test_either_of_two_secrets_will_do_while_it_is_being_changed(self) -> None:
        self.house.factory = PeerServerFactory(
            Realm(self.avatar), SharedSecrets([b"n" * 32, SECRET.encode()]), clock=self.clock
        )
        self.links().want([OTHER])
        self.settle()
        self.assertEqual(self.arrived, [NAME])

    def test_another_major_version_is_not_joined_and_the_reason_is_given(self) -> None:
        links = self.links()
        links.want([Member(OTHER.name, OTHER.roles, OTHER.peer, MAJOR + 1, 3)])
        self.settle()
        self.assertEqual(self.addresses, [])
        self.assertIn(f"speaks version {MAJOR + 1}.3", links.troubles("router"))
        # After an upgrade it is.
        links.want([Member(OTHER.name, OTHER.roles, OTHER.peer, MAJOR, 7)])
        self.settle()
        self.assertEqual(self.arrived, [NAME])

    def test_whoever_has_moved_is_joined_where_it_is_now(self) -> None:
        links = self.links()
        links.want([OTHER])
        self.settle()
        links.want([Member(OTHER.name, OTHER.roles, "10.0.0.9:7460", MAJOR, MINOR)])
        self.settle()
        self.assertEqual(self.addresses, [OTHER.peer, "10.0.0.9:7460"])
        self.assertEqual(len(links.nodes("router")), 1)

    def test_of_a_role_that_nobody_has_it_is_said_that_nobody_is_known(self) -> None:
        self.assertIn("no node with the role cache is known yet", self.links().troubles("cache"))
