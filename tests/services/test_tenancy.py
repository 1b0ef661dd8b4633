"""Tests of push.services.tenancy and what stands on it: one name for one node at a time."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model_cluster import Lease
from push.services.ids import FLOOR, MAX_NODE
from push.services.leased_ids import LeasedIds
from push.services.tenancy import Tenancy
from tests.fakes_cluster import MemoryLeases
from tests.fakes_store import MemoryFloorStore

TTL_S = 8.0
START_S = 1_800_000_000.0


class Node:
    """Wants a name, and writes down what becomes of that."""

    def __init__(self, leases: MemoryLeases, clock: Clock, *names: str) -> None:
        self.told: list[str] = []
        self.tenancy = Tenancy(
            lambda: names or ("cache",),
            leases=leases,
            details=b"me",
            ttl_s=TTL_S,
            clock=clock,
            gained=self.gained,
            lost=lambda: self.told.append("lost"),
        )

    def gained(self, lease: Lease) -> None:
        """It has it."""
        self.told.append(lease.name)


class TenancyTests(SynchronousTestCase):
    """Two nodes and one name."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leases = MemoryLeases(self.clock)
        self.first = self.make()
        self.second = self.make()

    def make(self, *names: str) -> Node:
        """A node, running."""
        node = Node(self.leases, self.clock, *names)
        node.tenancy.startService()
        self.addCleanup(node.tenancy.stopService)
        return node

    def wait(self, seconds: float) -> None:
        """Let time pass, a little at a time; nobody ever has the name beside another."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.assertLessEqual(self.first.tenancy.is_held + self.second.tenancy.is_held, 1)

    def test_first_has_it_for_as_long_as_it_renews(self) -> None:
        self.wait(10 * TTL_S)
        self.assertEqual((self.first.told, self.second.told), (["cache"], []))
        self.assertTrue(self.first.tenancy.is_held)

    def test_who_lets_go_is_followed_at_once(self) -> None:
        self.successResultOf(self.first.tenancy.stopService())
        self.wait(1.1)
        self.assertEqual((self.first.told, self.second.told), (["cache", "lost"], ["cache"]))
        self.assertGreater(self.second.tenancy.lease.number, 1)

    def test_who_cannot_renew_stops_before_the_other_has_it(self) -> None:
        renew = self.leases.renew

        def cut_off(lease: Lease, details: bytes, ttl_s: float) -> object:
            if lease.number == 1:
                raise Unavailable("out of reach")
            return renew(lease, details, ttl_s)

        self.patch(self.leases, "renew", cut_off)
        self.wait(TTL_S - 1)
        self.assertEqual(self.first.told, ["cache"])
        self.wait(3)
        self.assertEqual(self.first.told[:2], ["cache", "lost"])
        self.assertEqual(self.first.tenancy.is_held + self.second.tenancy.is_held, 1)

    def test_frozen_node_knows_at_once_that_its_time_is_over(self) -> None:
        # Its clock has moved, its timers have not been called.
        self.clock.rightNow += TTL_S
        self.assertFalse(self.first.tenancy.is_held)

    def test_lease_that_the_store_has_lost_is_given_up_and_asked_for_again(self) -> None:
        self.leases._held.clear()
        self.wait(TTL_S)
        told = sorted([self.first.told, self.second.told])
        self.assertIn(
            told,
            (
                [["cache", "lost"], ["cache"]],
                [["cache", "lost", "cache"], []],
                [["cache"], ["cache", "lost"]],
                [[], ["cache", "lost", "cache"]],
            ),
        )

    def test_store_that_is_away_for_a_moment_changes_nothing(self) -> None:
        self.leases.failure = Unavailable("away")
        self.wait(TTL_S / 2)
        self.leases.failure = None
        self.wait(2 * TTL_S)
        self.assertEqual((self.first.told, self.second.told), (["cache"], []))

    def test_store_that_is_away_for_long_leaves_nobody_with_it_until_it_is_back(self) -> None:
        self.leases.failure = Unavailable("away")
        self.wait(2 * TTL_S)
        self.assertEqual((self.first.told, self.second.told), (["cache", "lost"], []))
        self.leases.failure = None
        self.wait(2)
        self.assertEqual(self.first.tenancy.is_held + self.second.tenancy.is_held, 1)

    def test_next_best_name_is_taken_where_the_best_is_not_free(self) -> None:
        others = [self.make("cache", "spare"), self.make("cache", "spare")]
        self.wait(1)
        self.assertEqual([node.told for node in others], [["spare"], []])


class LeasedIdsTests(SynchronousTestCase):
    """Numbers of nodes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START_S)
        self.leases = MemoryLeases(self.clock)
        self.floors = MemoryFloorStore()

    def make(self, name: str, ahead_s: float = 0.0) -> LeasedIds:
        """A node, running; its clock may be ahead."""
        ids = LeasedIds(
            leases=self.leases,
            floors=self.floors,
            name=name,
            clock=self.clock,
            now_ms=lambda: round((self.clock.seconds() + ahead_s) * 1000),
        )
        ids.startService()
        self.addCleanup(ids.stopService)
        return ids

    def number(self, message_id: int) -> int:
        """Of the node that gave it out."""
        return message_id >> 12 & MAX_NODE

    def test_two_nodes_never_give_out_the_same_though_they_like_the_same_number(self) -> None:
        nodes = [self.make("same") for _ in range(3)]
        ids = [message_id for node in nodes for message_id in node.ids.take(5_000)]
        self.assertEqual(len(set(ids)), len(ids))
        self.assertEqual(len({self.number(message_id) for message_id in ids}), 3)

    def test_number_that_was_given_back_goes_on_above_all_that_was_given_out_under_it(self) -> None:
        first = self.make("same", ahead_s=5.0)
        last = first.ids.take(5_000)[-1]
        first.stopService()
        second = self.make("same")
        message_id = second.ids.next()
        self.assertEqual(self.number(message_id), self.number(last))
        self.assertGreater(message_id, last)

    def test_node_without_a_number_gives_out_nothing(self) -> None:
        node = self.make("one")
        self.assertTrue(node.ids.is_ready)
        self.leases.failure = Unavailable("away")
        self.clock.rightNow += 31.0  # frozen
        self.assertFalse(node.ids.is_ready)
        with self.assertRaises(Unavailable):
            node.ids.next()
        with self.assertRaises(Unavailable):
            node.ids.take(3)
        self.clock.advance(1)
        self.assertFalse(node.checks()[0].ok)
        self.leases.failure = None
        self.clock.pump([0.5] * 10)
        self.assertTrue(node.ids.is_ready)
        self.assertGreater(node.ids.next(), 0)

    def test_no_id_is_given_out_before_the_floor_is_known(self) -> None:
        self.floors.failure = Unavailable("away")
        node = self.make("one")
        self.assertFalse(node.ids.is_ready)
        self.floors.failure = None
        self.clock.pump([1.0])
        self.assertTrue(node.ids.is_ready)
        self.assertIn(f"{FLOOR}:{self.number(node.ids.next())}", self.floors._floors)
