"""Tests of push.services.cache_holder: one node holds the cache, another takes over what it had."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import Superseded, Unavailable
from push.icache import ICache
from push.ireceipts import IReceipts
from push.model import Once, Options, PushRequest, Registration, TagQuery, ToAll
from push.model_cache import Cursor, Everybody, Keep, StoredDue
from push.model_receipts import Event
from push.services.cache_holder import LEASE, LEASE_S, CacheHolder
from push.services.claims import CLAIM_S
from push.services.client_auth import OpenDoor
from push.services.ids import first_id_at
from push.services.subscribe import Subscribe
from tests.fakes_cluster import MemoryLeases
from tests.fakes_store import MemoryTokenStore
from tests.services.holders import Rows, begun, make_holder

START_S = 1_800_000_000.0
EXPIRES_MS = 1_900_000_000_000
TOKEN = "t"


class NoNodes:
    """No connector is there, unless a test puts one there."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def connectors(self) -> dict[str, Any]:
        """See INodes."""
        return self.known


class HolderTests(SynchronousTestCase):
    """Two nodes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START_S)
        self.leases = MemoryLeases(self.clock)
        self.leases._number = round(START_S * 1e6)
        self.rows = Rows()
        self.nodes = NoNodes()
        self.subscribe = Subscribe(store=MemoryTokenStore(), authenticator=OpenDoor(), now_ms=self.now_ms)
        self.one, self.other = self.make(), self.make()
        self.one.startService()
        self.pass_time(0.1)
        self.other.startService()
        self.pass_time(0.1)

    def now_ms(self) -> int:
        """The time of day."""
        return round(self.clock.seconds() * 1000)

    def make(self) -> CacheHolder:
        """A node, not running yet."""
        holder = make_holder(
            lambda: self.rows,
            leases=self.leases,
            subscribe=self.subscribe,
            nodes=self.nodes,
            clock=self.clock,
            now_ms=self.now_ms,
        )
        self.addCleanup(holder.stopService)
        return holder

    def pass_time(self, seconds: float) -> None:
        """A little at a time."""
        for _ in range(max(1, round(seconds * 10))):
            self.clock.advance(min(seconds, 0.1))
            for _ in range(10):
                self.clock.advance(0)

    def keep(self, holder: CacheHolder, message_id: int, *tokens: str, **more: Any) -> Any:
        """Give it a message; its answer."""
        keep = Keep(message_id, b"%d" % message_id, tokens, EXPIRES_MS, **more)
        return self.successResultOf(begun(holder.cache.keep([keep])))

    def stored(self, holder: CacheHolder, ticket: int) -> Any:
        """What became of it."""
        committed = begun(holder.cache.committed(ticket))
        self.pass_time(0.1)
        return self.successResultOf(committed)

    def pulled(self, holder: CacheHolder, token: str = TOKEN, cursor: Cursor = Cursor()) -> list[int]:  # noqa: B008
        """What a session gets."""
        page = begun(holder.cache.pull(Registration(token, None, "c:1", 1, True), cursor, 100, 1_000_000))
        self.pass_time(0.1)
        return [kept.message_id for kept in self.successResultOf(page).messages]

    def cut_off(self, holder: CacheHolder) -> None:
        """It reaches the leases no more, without knowing; what it writes still arrives."""
        leases = MemoryLeases(self.clock)
        leases.failure = Unavailable("out of reach")
        holder._tenancy._leases = leases

    def newest(self) -> int:
        """An id of now."""
        return first_id_at(self.now_ms())

    def test_they_are_what_they_should_be(self) -> None:
        verifyObject(ICache, self.one.cache)
        verifyObject(IReceipts, self.one.receipts)
        self.assertEqual((self.one.is_serving, self.other.is_serving), (True, False))
        self.assertTrue(self.other.checks()[0].ok)
        self.assertTrue(self.one.checks()[0].ok)

    def test_who_stands_by_takes_nothing(self) -> None:
        calls: list[Any] = [
            self.other.cache.keep([]),
            self.other.cache.pull(Registration(TOKEN, None, "c:1", 1), Cursor(), 1, 1),
            self.other.cache.acknowledged([]),
            self.other.cache.handed([]),
            self.other.cache.moved([]),
            self.other.cache.waiting([]),
            self.other.cache.recall([]),
            self.other.cache.kept(1),
            self.other.cache.cancel(1),
            self.other.cache.forget(TOKEN),
            self.other.cache.replies([]),
            self.other.cache.schedule(StoredDue(1, 1, PushRequest(ToAll(), b""))),
            self.other.cache.unschedule(1),
            self.other.receipts.find(1),
        ]
        for call in calls:
            error = self.failureResultOf(begun(call), Unavailable)
            self.assertEqual((error.value.status, error.value.retry), (503, "backoff"))
        self.assertIsInstance(self.successResultOf(begun(self.other.cache.committed(1))), Unavailable)
        self.assertTrue(self.other.cache.has(TOKEN))
        self.assertEqual(self.other.cache.scheduled(), ())

    def test_all_that_was_accepted_is_there_when_the_other_takes_over_in_time(self) -> None:
        ids = [self.newest() + number for number in range(5)]
        for message_id in ids:
            self.assertIsNone(self.stored(self.one, self.keep(self.one, message_id, TOKEN).ticket))
        due = StoredDue(self.newest() + 9, EXPIRES_MS, PushRequest(ToAll(), b"later"))
        scheduling = begun(self.one.cache.schedule(due))
        self.pass_time(0.1)
        self.successResultOf(scheduling)
        begun(self.one.cache.acknowledged([(TOKEN, ids[:2])]))
        self.one.receipts.accepted(
            ids[4], targets=1, tokens=[TOKEN], expires_ms=EXPIRES_MS, due_ms=None, is_logged=False
        )
        self.pass_time(3)
        self.cut_off(self.one)
        self.pass_time(LEASE_S + 1.2)
        self.assertEqual((self.one.is_serving, self.other.is_serving), (False, True))
        self.assertEqual(self.pulled(self.other), ids[2:])
        self.assertEqual(list(self.other.cache.scheduled()), [due])
        receipt = begun(self.other.receipts.find(ids[4]))
        self.pass_time(0.1)
        self.assertEqual(self.successResultOf(receipt).targets, 1)

    def test_holder_that_was_frozen_serves_nothing_and_writes_nothing_when_it_wakes(self) -> None:
        first = self.newest()
        self.stored(self.one, self.keep(self.one, first, TOKEN).ticket)
        # Frozen: what it was to do is not called, while the other goes on.
        mine, self.clock.calls = (
            [c for c in self.clock.calls if _is_of(c, self.one)],
            [c for c in self.clock.calls if not _is_of(c, self.one)],
        )
        self.assertTrue(mine)
        self.pass_time(LEASE_S + 2)
        self.assertTrue(self.other.is_serving)
        self.failureResultOf(begun(self.one.cache.keep([Keep(first + 1, b"", (TOKEN,), EXPIRES_MS)])), Unavailable)
        self.failureResultOf(
            begun(self.one.cache.pull(Registration(TOKEN, None, "c:1", 1), Cursor(), 1, 1)), Unavailable
        )
        late = self.one._term.cache  # what had been let in before it froze
        keeping = self.successResultOf(begun(late.keep([Keep(first + 2, b"late", (TOKEN,), EXPIRES_MS)])))
        self.pass_time(0.5)
        self.assertIsInstance(self.successResultOf(begun(late.committed(keeping.ticket))), Superseded)
        self.assertEqual(self.pulled(self.other), [first])

    def test_what_is_being_written_when_the_time_is_over_is_answered_truly(self) -> None:
        for is_taken_over in (False, True):
            first = self.newest()
            holder = self.one if self.one.is_serving else self.other
            self.rows.cache.is_held = True
            ticket = self.keep(holder, first, TOKEN).ticket
            self.pass_time(0.1)
            holder._tenancy.give_up()
            outcome = begun(holder.cache.committed(ticket))
            if is_taken_over:
                self.rows.cache.failure = Superseded("another has it")
            self.rows.cache.is_held = False
            self.rows.cache.release()
            self.rows.cache.failure = None
            self.pass_time(LEASE_S + 2)
            self.assertEqual(self.successResultOf(outcome) is None, not is_taken_over)
            serving = self.one if self.one.is_serving else self.other
            self.assertEqual(first in self.pulled(serving), not is_taken_over)

    def test_ticket_of_an_earlier_term_is_never_taken_for_one_of_a_later(self) -> None:
        self.rows.cache.is_held = True
        ticket = self.keep(self.one, self.newest(), TOKEN).ticket
        self.pass_time(0.1)
        self.rows.cache._held.clear()  # the answer never comes
        self.rows.cache.is_held = False
        self.one._tenancy.give_up()
        self.pass_time(LEASE_S + 2)
        again = self.one if self.one.is_serving else self.other
        self.assertTrue(again.is_serving)
        later = self.keep(again, self.newest(), TOKEN).ticket
        self.assertGreater(later, ticket)
        self.assertIsNone(self.stored(again, later))
        outcome = begun(again.cache.committed(ticket))
        self.assertTrue(not outcome.called or isinstance(self.successResultOf(outcome), Unavailable))

    def test_positions_go_on_growing_though_routers_disagree_about_the_time(self) -> None:
        fast = first_id_at(self.now_ms() + 9_000)
        place = self.keep(self.one, fast, TOKEN).places[0]
        begun(self.one.cache.acknowledged([(TOKEN, [fast])]))  # so it is never written
        self.cut_off(self.one)
        self.pass_time(LEASE_S + 2)
        slow = self.newest() - 1_000
        later = self.keep(self.other, slow, TOKEN).places[0]
        self.assertGreater(later.position, place.position)
        self.assertEqual(self.pulled(self.other), [slow])

    def test_router_whose_clock_is_far_ahead_does_not_take_all_others_with_it(self) -> None:
        ahead = first_id_at(self.now_ms() + 3_600_000)
        normal = self.newest()
        places = [self.keep(self.one, message_id, TOKEN).places[0] for message_id in (ahead, normal)]
        self.assertLess(places[0].position, first_id_at(self.now_ms() + 60_000))
        self.assertGreater(places[1].position, places[0].position)
        self.assertEqual(places[1].before, (places[0].position,))
        self.pass_time(30)
        self.assertEqual(self.keep(self.one, self.newest(), TOKEN).places[0].position, self.newest())

    def test_position_of_a_message_whose_id_is_ahead_does_not_stay_behind_the_time(self) -> None:
        self.pass_time(0.1)
        self.clock.advance(600)  # in which nothing came
        self.pass_time(30)
        ahead = first_id_at(self.now_ms() + 60_000)
        for message_id in (ahead, ahead + 1):
            (place,) = self.keep(self.one, message_id, audience=Everybody()).places
            self.assertGreaterEqual(place.position, self.newest())
            self.assertLess(place.position, ahead)

    def test_nothing_is_kept_beyond_what_is_reserved(self) -> None:
        self.rows.floors.failure = Unavailable("away")
        self.pass_time(30)
        self.one._term.cache._held.ceiling = self.one._term.cache.last_position + 1
        self.keep(self.one, 1, TOKEN)
        self.failureResultOf(begun(self.one.cache.keep([Keep(2, b"", (TOKEN,), EXPIRES_MS)])), Unavailable)
        self.rows.floors.failure = None
        self.pass_time(2)
        self.keep(self.one, 2, TOKEN)
        self.assertEqual(self.pulled(self.one), [1, 2])

    def test_places_say_what_comes_before_for_each_token(self) -> None:
        base = self.newest()
        keeps = [
            Keep(base, b"", ("a", "b"), EXPIRES_MS),
            Keep(base + 1, b"", ("b",), EXPIRES_MS, Options(is_high=True)),
            Keep(base + 2, b"", ("a", "b", "c"), EXPIRES_MS),
            Keep(base + 3, b"", (), EXPIRES_MS, audience=Everybody()),
        ]
        places = self.successResultOf(begun(self.one.cache.keep(keeps))).places
        at = [place.position for place in places]
        self.assertEqual(at, sorted(set(at)))
        self.assertEqual([place.before for place in places], [(0, 0), (at[0],), (at[0], at[1], 0), ()])
        begun(self.one.cache.acknowledged([("b", [base + 1, base + 2])]))
        (place,) = self.keep(self.one, base + 4, "b", "c").places
        self.assertEqual((place.before, place.logged), ((at[0], at[2]), at[3]))  # the broadcast is for them, too

    def test_places_in_the_log_say_what_is_logged_before(self) -> None:
        base = self.newest()
        tagged = TagQuery(any=("news",))
        (first,) = self.keep(self.one, base, audience=Everybody()).places
        self.assertEqual((first.before, first.logged), ((), 0))
        (second,) = self.keep(self.one, base + 1, audience=tagged).places
        self.assertEqual(second.logged, first.position)
        (place,) = self.keep(self.one, base + 2, TOKEN).places
        self.assertEqual(place.logged, first.position)  # who has no such tag need not have the other
        (third,) = self.keep(self.one, base + 3, audience=Everybody()).places
        self.assertEqual(third.logged, second.position)

    def test_orderly_end_writes_all_and_lets_the_other_have_it_at_once(self) -> None:
        message_id = self.newest()
        ticket = self.keep(self.one, message_id, TOKEN).ticket
        stopping = self.one.stopService()
        self.pass_time(0.1)
        self.successResultOf(stopping)
        self.assertIsNone(self.successResultOf(begun(self.one.cache.committed(ticket))))
        self.pass_time(1.2)
        self.assertTrue(self.other.is_serving)
        self.assertEqual(self.pulled(self.other), [message_id])

    def test_store_that_was_emptied_is_taken_over_anew(self) -> None:
        self.stored(self.one, self.keep(self.one, self.newest(), TOKEN).ticket)
        self.leases._held.clear()
        self.rows.cache.__init__()  # type: ignore[misc]
        self.rows.receipts.__init__()  # type: ignore[misc]
        self.rows.cache_guard.number = self.rows.receipt_guard.number = None
        self.rows.floors._floors.clear()
        self.assertIsInstance(self.stored(self.one, self.keep(self.one, self.newest(), TOKEN).ticket), Superseded)
        self.pass_time(3)
        holder = self.one if self.one.is_serving else self.other
        self.assertTrue(holder.is_serving)
        message_id = self.newest()
        self.assertIsNone(self.stored(holder, self.keep(holder, message_id, TOKEN).ticket))
        self.assertEqual(self.pulled(holder), [message_id])

    def test_store_that_is_away_when_it_is_taken_over_is_waited_for(self) -> None:
        message_id = self.newest()
        self.stored(self.one, self.keep(self.one, message_id, TOKEN).ticket)
        self.rows.floors.failure = Unavailable("away")
        self.cut_off(self.one)
        self.pass_time(LEASE_S + 5)
        self.assertFalse(self.other.is_serving)
        self.assertFalse(self.other.checks()[0].ok)
        self.rows.floors.failure = None
        self.pass_time(2)
        self.assertEqual(self.pulled(self.other), [message_id])

    def keyed(self, message_id: int) -> Keep:
        """A message of a request with a key."""
        return Keep(message_id, b"p", (TOKEN,), EXPIRES_MS, Options(once=Once("key", bytes(32))), is_ahead=True)

    def test_request_with_a_key_that_two_routers_make_at_once_is_made_once(self) -> None:
        first = begun(self.one.cache.replies(["key", "other"]))
        self.assertEqual(self.successResultOf(first), {})
        second, third = begun(self.one.cache.replies(["key"])), begun(self.one.cache.replies(["key"]))
        self.pass_time(0.5)
        self.assertNoResult(second)
        message_id = self.newest()
        self.successResultOf(begun(self.one.cache.keep([self.keyed(message_id)])))
        self.pass_time(0.5)
        for other in (second, third):
            self.assertEqual(self.successResultOf(other)["key"].result.message_id, message_id)

    def test_request_whose_router_has_failed_is_made_by_the_next_and_refused_to_the_first(self) -> None:
        self.successResultOf(begun(self.one.cache.replies(["key"])))
        second, third = begun(self.one.cache.replies(["key"])), begun(self.one.cache.replies(["key"]))
        self.pass_time(CLAIM_S + 0.2)
        self.assertEqual(self.successResultOf(second), {})
        self.assertNoResult(third)
        message_id = self.newest()
        self.successResultOf(begun(self.one.cache.keep([self.keyed(message_id)])))
        late = begun(self.one.cache.keep([self.keyed(message_id + 1)]))
        self.assertEqual(self.failureResultOf(late, Unavailable).value.status, 503)
        self.pass_time(0.5)
        self.assertEqual(self.successResultOf(third)["key"].result.message_id, message_id)
        late = begun(self.one.cache.keep([self.keyed(message_id + 1)]))
        self.failureResultOf(late, Unavailable)
        self.assertEqual(self.pulled(self.one), [message_id])

    def test_who_waits_for_another_router_is_told_when_the_cache_goes_elsewhere(self) -> None:
        self.successResultOf(begun(self.one.cache.replies(["key"])))
        second = begun(self.one.cache.replies(["key"]))
        self.one._tenancy.give_up()
        self.failureResultOf(second, Unavailable)

    def test_lease_says_who_it_is(self) -> None:
        self.assertEqual([lease.name for lease in self.successResultOf(self.leases.held())], [LEASE])

    def test_recall_has_tokens_pull_where_they_are_online_and_passes_over_who_is_out_of_reach(self) -> None:
        told: list[Any] = []

        class Connector:
            """Writes down what it is told."""

            async def refill(self, tokens: Any) -> None:
                told.append(list(tokens))
                raise Unavailable("the link broke")

            async def broadcast(self, message_id: int, payload: Any, is_logged: bool) -> int:
                told.append((payload, is_logged))
                return 1

        self.nodes.known["c:1"] = Connector()
        here, there = Registration("a", None, "c:1", 5), Registration("b", None, "c:2", 6)
        begun(self.subscribe.reopened([here, there]))
        self.successResultOf(begun(self.one.cache.recall(["a", "b", "c"], ["c:1", "c:2"])))
        self.assertEqual(told, [["a"], (None, True)])

    def test_what_is_told_to_receipts_of_a_former_holder_is_forgotten(self) -> None:
        self.other.receipts.lone_each(Event.SENT, [(1, TOKEN, None)])
        self.other.receipts.happened(Event.SENT, 1, [TOKEN])
        receipt = self.successResultOf(begun(self.other.receipts.delivered(1, 5.0)))
        self.assertEqual(receipt.targets, 0)


def _is_of(call: Any, holder: CacheHolder) -> bool:
    """Whether a delayed call is one that only this node makes: its lease and its floor."""
    periodics = (holder._tenancy._periodic._loop, holder._reserves._loop)
    return call.func in periodics or call is holder._tenancy._end or isinstance(call.func, Deferred)
