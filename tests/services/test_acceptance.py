"""Repetitions, delays and waiting, before a router that only counts."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import Conflict, PushError, RateLimited, Unavailable, Unregistered
from push.ipush import IRouter
from push.model import Once, Options, PushRequest, PushResult, ToTokens
from push.model_receipts import Event
from push.protocols.wire.messages import SubRequest
from push.services.acceptance import Acceptance
from push.services.client_auth import OpenDoor
from push.services.ids import MessageIds
from push.services.schedule import LOOK_S, Schedule
from push.services.subscribe import Subscribe
from push.services.tasks import Tasks
from tests.fakes_cache import MemoryCache, MemoryReceipts
from tests.fakes_store import MemoryTokenStore

NOW_MS = 1_800_000_000_000


@implementer(IRouter)
class CountingRouter:
    """Accepts everything, when it is told to."""

    def __init__(self) -> None:
        self.calls: list[list[PushRequest]] = []
        self.due: list[tuple[int, int, bytes]] = []
        self.held: Deferred[None] | None = None
        self.error: PushError | None = None
        self.failing: bytes | None = None

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter."""
        self.calls.append(list(requests))
        if self.held is not None:
            await self.held
        if self.error is not None:
            raise self.error
        first = 1000 * len(self.calls)
        return [PushResult(first + at, 1, 1) for at in range(len(requests))]

    async def send_due(self, message_id: int, due_ms: int, request: PushRequest) -> PushResult | PushError:
        """See Router."""
        if self.error is not None and self.failing in (None, request.payload):
            raise self.error
        self.due.append((message_id, due_ms, request.payload))
        return PushResult(message_id, 1, 1)


class AcceptanceCase(SynchronousTestCase):
    """Acceptance over doubles."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW_MS / 1000)
        self.cache = MemoryCache()
        self.receipts = MemoryReceipts()
        self.router = CountingRouter()
        ids = MessageIds(node=0, now_ms=self.now_ms)
        ids.is_ready = True
        subscribe = Subscribe(store=MemoryTokenStore(), authenticator=OpenDoor(), now_ms=self.now_ms)
        self.successResultOf(Deferred.fromCoroutine(subscribe.open(SubRequest(token="t"), "a:1")))
        self.acceptance = Acceptance(
            self.router,
            cache=self.cache,
            subscribe=subscribe,
            receipts=self.receipts,
            ids=ids,
            now_ms=self.now_ms,
            idempotency_s=60,
            max_scheduled=2,
        )
        self.schedule = Schedule(
            cache=self.cache,
            router=self.router,
            receipts=self.receipts,
            now_ms=self.now_ms,
            clock=self.clock,
            tasks=Tasks(),
        )

    def now_ms(self) -> int:
        """The clock."""
        return int(self.clock.seconds() * 1000)

    def request(self, payload: bytes = b"x", *, token: str = "t", **options: Any) -> PushRequest:
        """One request."""
        return PushRequest(ToTokens((token,), single=True), payload, options=Options(**options))

    def keyed(self, key: str = "k", fingerprint: bytes = b"1", payload: bytes = b"x") -> PushRequest:
        """One with a key."""
        return self.request(payload, once=Once(key, fingerprint))

    def start(self, *requests: PushRequest) -> "Deferred[Sequence[PushResult | PushError]]":
        """Push."""
        return Deferred.fromCoroutine(self.acceptance.push(requests))

    def push(self, *requests: PushRequest) -> Sequence[PushResult | PushError]:
        """Push, and be answered."""
        return self.successResultOf(self.start(*requests))


class Repetitions(AcceptanceCase):
    """The same again."""

    def test_interface_is_kept(self) -> None:
        verifyObject(IRouter, self.acceptance)

    def test_what_asks_for_nothing_passes_by(self) -> None:
        self.push(PushRequest(ToTokens(("t",)), b"x"), PushRequest(ToTokens(("t",)), b"x"))
        self.assertEqual([len(call) for call in self.router.calls], [2])

    def test_is_answered_as_the_first_time_and_sends_nothing(self) -> None:
        (first,) = self.push(self.keyed())
        self.assertEqual(self.push(self.keyed()), [first])
        self.assertEqual(len(self.router.calls), 1)

    def test_waits_while_the_first_is_under_way(self) -> None:
        self.router.held = Deferred()
        first, second = self.start(self.keyed()), self.start(self.keyed())
        self.assertNoResult(second)
        self.router.held.callback(None)
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(len(self.router.calls), 1)

    def test_within_one_call(self) -> None:
        results = self.push(self.keyed(), PushRequest(ToTokens(("t",)), b"y"), self.keyed())
        self.assertEqual(results[0], results[2])
        self.assertEqual([len(call) for call in self.router.calls], [2])

    def test_another_request_under_the_same_key_is_refused(self) -> None:
        self.router.held = Deferred()
        first = self.start(self.keyed())
        (under_way,) = self.push(self.keyed(fingerprint=b"2"))
        self.router.held.callback(None)
        self.successResultOf(first)
        (afterwards,) = self.push(self.keyed(fingerprint=b"2"))
        self.assertIsInstance(under_way, Conflict)
        self.assertIsInstance(afterwards, Conflict)

    def test_a_failure_is_not_remembered(self) -> None:
        self.router.error = Unavailable("the disk is full")
        self.failureResultOf(self.start(self.keyed()), Unavailable)
        self.router.error = None
        (result,) = self.push(self.keyed())
        self.assertIsInstance(result, PushResult)

    def test_who_waits_for_a_failure_gets_it(self) -> None:
        self.router.held = Deferred()
        first, second = self.start(self.keyed()), self.start(self.keyed())
        self.router.error = Unavailable("the disk is full")
        self.router.held.callback(None)
        self.failureResultOf(first, Unavailable)
        (result,) = self.successResultOf(second)
        self.assertIsInstance(result, Unavailable)

    def test_keys_are_apart(self) -> None:
        self.push(self.keyed("a"))
        self.push(self.keyed("b"))
        self.assertEqual(len(self.router.calls), 2)

    def test_an_answer_is_remembered_for_as_long_as_is_set(self) -> None:
        self.push(self.keyed())
        (reply,) = self.successResultOf(Deferred.fromCoroutine(self.cache.replies(["k"]))).values()
        self.assertEqual(reply.expires_ms, NOW_MS + 60_000)


class Delays(AcceptanceCase):
    """To be sent later."""

    def test_is_sent_when_it_is_due_and_once(self) -> None:
        self.schedule.startService()
        (result,) = self.push(self.request(b"later", deliver_at_ms=NOW_MS + 5_000))
        assert isinstance(result, PushResult)
        self.assertEqual((result.due_ms, self.router.calls), (NOW_MS + 5_000, []))
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.router.due, [])
        self.clock.pump([LOOK_S] * 8)
        self.assertEqual(self.router.due, [(result.message_id, NOW_MS + 5_000, b"later")])
        self.assertEqual(self.cache.scheduled(), [])

    def test_when_it_was_due_is_told_again_as_the_receipts_may_have_forgotten(self) -> None:
        self.schedule.startService()
        (result,) = self.push(self.request(b"later", deliver_at_ms=NOW_MS + 5_000))
        assert isinstance(result, PushResult)
        self.receipts.lives.clear()
        self.clock.pump([1.0] * 6)
        self.assertEqual(self.receipts.lives[result.message_id].due_ms, NOW_MS + 5_000)

    def test_several_in_the_order_of_time(self) -> None:
        self.schedule.startService()
        self.push(self.request(b"2", deliver_at_ms=NOW_MS + 2_000), self.request(b"1", deliver_at_ms=NOW_MS + 1_000))
        self.clock.advance(3)
        self.assertEqual([payload for _, _, payload in self.router.due], [b"1", b"2"])

    def test_what_is_past_is_sent_now(self) -> None:
        self.push(self.request(deliver_at_ms=NOW_MS))
        self.assertEqual(len(self.router.calls), 1)

    def test_what_cannot_be_sent_is_tried_again(self) -> None:
        self.schedule.startService()
        self.push(self.request(b"later", deliver_at_ms=NOW_MS + 1_000))
        self.router.error = Unavailable("the disk is full")
        self.clock.pump([LOOK_S] * 8)
        self.assertEqual(len(self.cache.scheduled()), 1)
        self.router.error = None
        self.clock.advance(LOOK_S)
        self.assertEqual(len(self.router.due), 1)

    def test_what_cannot_be_sent_holds_up_no_other(self) -> None:
        self.schedule.startService()
        self.push(self.request(b"1", deliver_at_ms=NOW_MS + 1_000), self.request(b"2", deliver_at_ms=NOW_MS + 1_001))
        self.router.error, self.router.failing = Unavailable("the log of broadcasts is full"), b"1"
        self.clock.pump([LOOK_S] * 8)
        self.assertEqual([payload for _, _, payload in self.router.due], [b"2"])
        self.router.error = None
        self.clock.advance(LOOK_S)
        self.assertEqual([payload for _, _, payload in self.router.due], [b"2", b"1"])

    def test_what_can_never_be_sent_is_given_up(self) -> None:
        self.schedule.startService()
        self.push(self.request(deliver_at_ms=NOW_MS + 1_000))
        self.router.error = Unregistered("gone")
        self.clock.advance(2)
        self.assertEqual(self.cache.scheduled(), [])

    def test_an_unknown_token_is_an_error_at_once(self) -> None:
        (error,) = self.push(self.request(token="nobody", deliver_at_ms=NOW_MS + 1_000))
        self.assertIsInstance(error, Unregistered)

    def test_there_is_a_limit(self) -> None:
        results = self.push(*[self.request(deliver_at_ms=NOW_MS + 1_000)] * 3)
        self.assertIsInstance(results[2], RateLimited)

    def test_a_repetition_is_not_scheduled_again(self) -> None:
        request = self.request(deliver_at_ms=NOW_MS + 1_000, once=Once("k", b"1"))
        (first,) = self.push(request)
        self.assertEqual(self.push(request), [first])
        self.assertEqual(len(self.cache.scheduled()), 1)

    def test_nothing_is_sent_after_the_end(self) -> None:
        self.schedule.startService()
        self.push(self.request(deliver_at_ms=NOW_MS + 1_000))
        self.successResultOf(self.schedule.stopService())
        self.clock.advance(5)
        self.assertEqual(self.router.due, [])


class Waiting(AcceptanceCase):
    """Until it is delivered."""

    def test_the_answer_says_how_many_have_it(self) -> None:
        waited: list[tuple[int, float]] = []
        delivered = self.receipts.delivered

        async def wait(message_id: int, timeout_s: float) -> Any:
            waited.append((message_id, timeout_s))
            self.receipts.happened(Event.DELIVERED, message_id, ["t"])
            return await delivered(message_id, timeout_s)

        self.patch(self.receipts, "delivered", wait)
        (result,) = self.push(self.request(wait_s=3.0))
        assert isinstance(result, PushResult)
        self.assertEqual((result.delivered, waited), (1, [(1000, 3.0)]))

    def test_ends_with_what_is_known_when_the_server_stops(self) -> None:
        delivered = self.receipts.delivered
        never: Deferred[None] = Deferred()

        async def wait(message_id: int, timeout_s: float) -> Any:
            if timeout_s:
                await never
            self.receipts.happened(Event.DELIVERED, message_id, ["t"])
            return await delivered(message_id, timeout_s)

        self.patch(self.receipts, "delivered", wait)
        waiting = self.start(self.request(wait_s=60.0))
        self.assertNoResult(waiting)
        self.acceptance.end_waits()
        self.acceptance.end_waits()
        for result in (*self.successResultOf(waiting), *self.push(self.request(wait_s=60.0))):
            assert isinstance(result, PushResult)
            self.assertEqual(result.delivered, 1)
        self.assertEqual(self.acceptance._waits, set())

    def test_nobody_waits_who_does_not_ask(self) -> None:
        (result,) = self.push(self.keyed())
        assert isinstance(result, PushResult)
        self.assertIsNone(result.delivered)
