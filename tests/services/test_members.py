"""Who is in a cluster, on a simulated clock and leases in memory."""

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import PushError, Unavailable
from push.model_cluster import Member, Node
from push.services.members import CACHE, LOOK_S, PREFIX, Members
from tests.fakes_cluster import MemoryLeases

NODE = Node("10.0.0.7:6789", 3, 2, 100, 0, False, "test")


class MembersTests(SynchronousTestCase):
    """Some nodes, each with its own view."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leases = MemoryLeases(self.clock)
        self.told: list[tuple[str, str]] = []

    def member(self, name: str, *roles: str, leases: Any = None, connector: Node | None = None) -> Members:
        """A node that runs."""
        members = Members(
            name,
            describe=lambda: Member(name, roles, name, connector=connector),
            leases=self.leases if leases is None else leases,
            clock=self.clock,
            ttl_s=7.0,
            gained=lambda: self.told.append((name, "gained")),
            lost=lambda: self.told.append((name, "lost")),
            gone=lambda other: self.told.append((name, f"gone {other}")),
        )
        members.startService()
        self.addCleanup(members.stopService)
        return members

    def pass_time(self, seconds: float) -> None:
        """In small steps."""
        for _ in range(int(seconds * 10) + 1):
            self.clock.advance(0.1)

    def test_nodes_see_one_another_and_how_their_connectors_are(self) -> None:
        one = self.member("a:1", "router")
        two = self.member("10.0.0.7:6789", "connector", connector=NODE)
        self.pass_time(LOOK_S)
        self.assertEqual(set(one.all()), {"a:1", "10.0.0.7:6789"})
        self.assertEqual([each.name for each in one.others("connector")], ["10.0.0.7:6789"])
        self.assertEqual(list(two.others("connector")), [])
        self.assertEqual(list(one.known()), [NODE])
        self.assertTrue(all(check.ok for check in one.checks()))

    def test_who_leaves_is_gone_at_once_and_who_dies_when_its_lease_is_over(self) -> None:
        one, two = self.member("a:1"), self.member("b:1")
        self.pass_time(LOOK_S)
        self.successResultOf(two.stopService())
        self.pass_time(LOOK_S)
        self.assertIn(("a:1", "gone b:1"), self.told)
        lease = self.successResultOf(
            self.leases.acquire(PREFIX + "c:1", msgspec.msgpack.encode(Member("c:1", ())), 7.0)
        )
        assert lease is not None
        self.pass_time(LOOK_S)
        self.assertIn("c:1", one.all())
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(one.is_dead("c:1"))))
        self.pass_time(7)
        self.assertNotIn("c:1", one.all())
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(one.is_dead("c:1"))))

    def test_a_name_that_is_taken_is_said_and_waited_for(self) -> None:
        self.member("a:1")
        second = self.member("a:1")
        self.pass_time(LOOK_S)
        (check,) = second.checks()
        self.assertFalse(check.ok)
        self.assertIn("is called a:1", check.detail)

    def test_while_leases_cannot_be_asked_what_was_known_lasts_and_this_node_knows_when_it_counts_as_dead(self) -> None:
        self.member("b:1")
        away = Away(self.leases)
        one = self.member("a:1", leases=away)
        self.pass_time(LOOK_S)
        away.is_away = True
        self.pass_time(5)
        self.assertEqual(set(one.all()), {"a:1", "b:1"})
        self.assertNotIn(("a:1", "lost"), self.told)
        self.assertIn("not now", one.checks()[0].detail)
        self.pass_time(3)
        self.assertIn(("a:1", "lost"), self.told)
        away.is_away = False
        self.pass_time(2 * LOOK_S)
        self.assertEqual(self.told[-1], ("a:1", "gained"))
        self.assertTrue(one.checks()[0].ok)

    def test_what_cannot_be_read_is_left_out(self) -> None:
        one = self.member("a:1")
        for name, details in (("b:1", b"\xff"), ("c:1", msgspec.msgpack.encode(Member("another", ())))):
            self.successResultOf(self.leases.acquire(PREFIX + name, details, 7.0))
        newer = {"name": "d:1", "roles": ["router", "oracle"], "major": 1, "mood": "good"}
        self.successResultOf(self.leases.acquire(PREFIX + "d:1", msgspec.msgpack.encode(newer), 7.0))
        self.pass_time(LOOK_S)
        self.assertEqual(set(one.all()), {"a:1", "d:1"})

    def test_it_is_known_who_has_the_cache(self) -> None:
        one = self.member("a:1")
        lease = self.successResultOf(self.leases.acquire(CACHE, b"b:1", 3.0))
        assert lease is not None
        self.pass_time(LOOK_S)
        self.assertEqual((one.cache_holder, one.cache_number), ("b:1", lease.number))
        self.pass_time(4)
        self.assertEqual(one.cache_holder, "")


class Away:
    """Leases that may be out of reach."""

    def __init__(self, leases: MemoryLeases) -> None:
        self._leases = leases
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        if self.is_away:
            error: PushError = Unavailable("not now")
            return lambda *arguments: fail(error)
        return getattr(self._leases, name)
