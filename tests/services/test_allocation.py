"""Tests of push.services.allocation: who gets clients, and in what proportion."""

from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.inodes import IAllocation, IPlaces
from push.model_cluster import Node
from push.protocols.wire.answers import NodeAddress
from push.services.allocation import Allocation, PolledPlaces, draw
from tests.web.fakes import FakeConnector, FakeNodes


def node(address: str, free: int = 50, **more: Any) -> Node:
    """A connector with so much room."""
    return replace(Node(address, 100 - free, 0, 100, 0, False, "1"), **more)


class DrawTests(SynchronousTestCase):
    """The choice."""

    def setUp(self) -> None:
        self.fraction = Random(5).random

    def test_nobody_is_sent_where_there_is_no_room_or_it_drains_or_one_comes_from(self) -> None:
        nodes = [node("a:1", 0), node("b:1", draining=True), node("c:1"), node("d:1", -3), node("e:1")]
        for _ in range(50):
            self.assertEqual(draw(nodes, self.fraction, besides="e:1"), [NodeAddress("c", 1)])

    def test_the_chance_to_be_first_is_in_proportion_to_the_room(self) -> None:
        nodes = [node("a:1", 10), node("b:1", 30), node("c:1", 60)]
        firsts = Counter(draw(nodes, self.fraction)[0].host for _ in range(10_000))
        for host, share in (("a", 0.1), ("b", 0.3), ("c", 0.6)):
            self.assertLess(abs(firsts[host] / 10_000 - share), 0.02)

    def test_workers_of_one_address_are_one_place_with_the_room_of_all(self) -> None:
        nodes = [node("a:1#1", 10), node("a:1#2", 20), node("b:1", 30)]
        firsts = Counter(draw(nodes, self.fraction)[0].host for _ in range(4_000))
        self.assertLess(abs(firsts["a"] / 4_000 - 0.5), 0.04)
        self.assertEqual(len(draw(nodes, self.fraction)), 2)

    def test_a_few_are_named_and_no_address_twice(self) -> None:
        nodes = [node(f"10.0.0.{number}:1") for number in range(20)]
        drawn = draw(nodes, self.fraction)
        self.assertEqual((len(drawn), len(set(drawn))), (4, 4))

    def test_an_ipv6_address_is_named_without_its_brackets(self) -> None:
        self.assertEqual(draw([node("[::1]:6789")], self.fraction), [NodeAddress("::1", 6789)])

    def test_each_wire_protocol_has_its_places(self) -> None:
        nodes = [
            node("a:1#1", places=(("framed", "a:1"), ("websocket", "a:2"))),
            node("a:1#2", places=(("framed", "a:1"), ("websocket", "a:2"))),
            node("b:9", places=(("websocket", "b:9"),)),
            node("c:1"),  # one of an earlier release
        ]
        for protocol, expected in (
            ("framed", {("a", 1), ("c", 1)}),
            ("websocket", {("a", 2), ("b", 9)}),
            ("lines", set()),
            (None, {("a", 1), ("b", 9), ("c", 1)}),
        ):
            self.assertEqual(set(draw(nodes, self.fraction, protocol=protocol)), expected)
        self.assertEqual(draw(nodes, self.fraction, protocol="websocket", besides="a:1"), [NodeAddress("b", 9)])

    def test_everybody_is_full(self) -> None:
        self.assertEqual(draw([node("a:1", 0)], self.fraction), [])


class PolledPlacesTests(SynchronousTestCase):
    """What is known of connectors that can be called."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.first, self.second = FakeConnector("a:1", connections=10), FakeConnector("b:1", connections=20)
        self.nodes = FakeNodes(self.first, self.second)
        self.places = PolledPlaces(self.nodes, clock=self.clock)
        self.places.startService()
        self.addCleanup(self.places.stopService)

    def known(self) -> dict[str, int]:
        """Connections by address."""
        return {node.address: node.connections for node in self.places.known()}

    def test_interfaces_are_kept(self) -> None:
        verifyObject(IPlaces, self.places)
        verifyObject(IAllocation, Allocation(self.places, Random(1).random))

    def test_it_is_known_from_the_start_and_not_older_than_a_second(self) -> None:
        self.assertEqual(self.known(), {"a:1": 10, "b:1": 20})
        self.first.connections = 11
        self.clock.advance(1.0)
        self.assertEqual(self.known(), {"a:1": 11, "b:1": 20})

    def test_who_is_gone_is_forgotten_at_once(self) -> None:
        del self.nodes.all["a:1"]
        self.assertEqual(self.known(), {"b:1": 20})

    def test_who_does_not_answer_is_no_place_to_go_until_it_does(self) -> None:
        self.first.error = Unavailable("away")
        self.clock.advance(1.0)
        self.assertEqual(self.known(), {"b:1": 20})
        self.first.error = None
        self.clock.advance(1.0)
        self.assertEqual(self.known(), {"a:1": 10, "b:1": 20})

    def test_who_is_slow_is_not_asked_again_meanwhile(self) -> None:
        asked: list[Deferred[Node]] = []

        def ask() -> Awaitable[Node]:
            asked.append(Deferred())
            return asked[-1]

        self.first.node = ask  # type: ignore[method-assign]
        self.clock.pump([1.0] * 3)
        self.assertEqual(len(asked), 1)
        asked[0].callback(node("a:1", 5))
        self.assertEqual(self.known()["a:1"], 95)
        self.clock.advance(1.0)
        self.assertEqual(len(asked), 2)
