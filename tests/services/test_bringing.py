"""A router whose cache is shared: what it keeps is brought to where tokens are by then, or the sender is told."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable, Unreachable
from push.model import (
    Delivery,
    DeliveryReport,
    Options,
    Outcome,
    PushRequest,
    PushResult,
    Registration,
    Store,
    ToAll,
    ToTokens,
    ToUids,
)
from push.model_subscribe import Located
from push.services.ids import MessageIds
from push.services.router import Router
from tests.fakes_cache import MemoryCache, MemoryReceipts
from tests.services.holders import begun

HERE, THERE = "c:1", "c:2"


class Tokens:
    """Where tokens are: what a test says, with a change between the first look-up and the next."""

    def __init__(self) -> None:
        self.sessions: dict[str, Registration] = {}
        self.next: list[Any] = []
        self.failure: Exception | None = None

    async def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Located:
        """See ISubscribe; then the world changes."""
        located = Located({token: self.sessions[token] for token in tokens if token in self.sessions}, frozenset())
        for change in self.next:
            change()
        self.next = []
        return located

    async def online(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """See ISubscribe."""
        if self.failure is not None:
            raise self.failure
        return {token: self.sessions[token] for token in tokens if token in self.sessions}

    async def tokens_of(self, uids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ISubscribe: a user's tokens begin with its name."""
        return {uid: tuple(sorted(t for t in self.sessions if t.startswith(uid))) for uid in uids}


class There:
    """A connector that writes down what it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.delivered: list[Delivery] = []
        self.refilled: list[str] = []
        self.broadcasts: list[Any] = []
        self.outcomes: dict[str, Outcome] = {}
        self.failure: Exception | None = None

    async def deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        """See IConnector."""
        if self.failure is not None:
            raise self.failure
        self.delivered += batch
        missed = {
            at: [(token, self.outcomes[token]) for token in each.tokens if token in self.outcomes]
            for at, each in enumerate(batch)
        }
        sent = [len(each.tokens) - len(missed[at]) for at, each in enumerate(batch)]
        return DeliveryReport(sent, {at: each for at, each in missed.items() if each})

    async def refill(self, tokens: Sequence[str]) -> None:
        """See IConnector."""
        if self.failure is not None:
            raise self.failure
        self.refilled += tokens

    async def broadcast(
        self, message_id: int, payload: bytes | None, is_logged: bool = False, place: Any = None
    ) -> int:
        """See IConnector."""
        if self.failure is not None:
            raise self.failure
        self.broadcasts.append((payload, is_logged))
        return 1


class SharedTests(SynchronousTestCase):
    """One router and two connectors."""

    def setUp(self) -> None:
        self.cache = MemoryCache()
        self.cache.is_shared = True
        self.tokens = Tokens()
        self.here, self.there = There(HERE), There(THERE)
        self.known: dict[str, Any] = {HERE: self.here, THERE: self.there}
        ids = MessageIds(node=1, now_ms=lambda: 1_800_000_000_000)
        ids.is_ready = True
        self.router = Router(
            subscribe=self.tokens,  # type: ignore[arg-type]
            nodes=self,  # type: ignore[arg-type]
            cache=self.cache,
            receipts=MemoryReceipts(),
            ids=ids,
        )

    def connectors(self) -> Mapping[str, Any]:
        """See INodes."""
        return self.known

    def come(self, token: str, address: str, epoch: int, *, acks: bool = True, uid: str | None = None) -> None:
        """A token opens a session."""
        self.tokens.sessions[token] = Registration(token, uid, address, epoch, acks)

    def push(self, target: Any, **more: Any) -> Any:
        """Push one; its result."""
        return self.successResultOf(self.begin(target, **more))[0]

    def begin(self, target: Any, **more: Any) -> Deferred[Any]:
        """Begin to."""
        return begun(self.router.push([PushRequest(target, b"p", more.pop("ttl_s", 60), **more)]))

    def test_token_that_came_while_the_cache_was_told_is_told_of_it(self) -> None:
        self.tokens.next = [lambda: self.come("t", THERE, 5)]
        result = self.push(ToTokens(("t",)))
        self.assertEqual((result.sent, result.cached), (0, 1))
        self.assertEqual((self.here.refilled, self.there.refilled), ([], ["t"]))

    def test_token_that_moved_while_the_cache_was_told_is_told_where_it_is(self) -> None:
        self.come("t", HERE, 4)
        self.tokens.next = [lambda: self.come("t", THERE, 5)]
        self.push(ToTokens(("t",)))
        self.assertEqual(len(self.here.delivered), 1)
        self.assertEqual(self.there.refilled, ["t"])

    def test_token_that_stays_is_only_delivered_to_with_its_place(self) -> None:
        self.come("t", HERE, 4)
        self.push(ToTokens(("t",)))
        self.push(ToTokens(("t", "u")))
        places = [each.place for each in self.here.delivered]
        self.assertTrue(all(place is not None and len(place.before) == 1 for place in places))
        self.assertEqual((self.here.refilled, self.there.refilled, self.cache.recalled), ([], [], []))

    def test_connector_that_cannot_be_told_is_told_by_who_has_the_cache(self) -> None:
        self.come("t", HERE, 4)
        self.here.failure = Unavailable("the link broke")
        result = self.push(ToTokens(("t",)))
        self.assertEqual((result.sent, result.cached), (0, 1))
        self.assertEqual(self.cache.recalled, [(("t",), ())])
        self.tokens.next = [lambda: self.come("u", HERE, 6)]
        self.push(ToTokens(("u",)))
        self.assertEqual(self.cache.recalled[1:], [(("u",), ())])

    def test_what_was_not_delivered_at_all_is_kept_where_that_is_possible(self) -> None:
        self.come("t", HERE, 4, acks=False)
        self.here.failure = Unreachable("no link")
        for _ in range(2):
            result = self.push(ToTokens(("t",)))
            self.assertEqual((result.sent, result.cached), (0, 1))
            self.known.pop(HERE, None)  # then it is not even known
        self.assertEqual(self.cache.of("t"), [b"p", b"p"])
        self.assertEqual(self.cache.recalled, [(("t",), ())] * 2)

    def test_what_may_have_been_delivered_is_not_kept_but_said_to_have_failed(self) -> None:
        self.come("t", HERE, 4, acks=False)
        self.here.failure = Unavailable("the link broke")
        self.assertIsInstance(self.push(ToTokens(("t",))), Unavailable)
        self.assertEqual(self.cache.of("t"), [])

    def test_what_has_to_come_behind_something_kept_is_kept_and_brought(self) -> None:
        self.come("t", HERE, 4, acks=False)
        self.come("u", HERE, 5, acks=False)
        self.here.outcomes = {"t": Outcome.BEHIND}
        lone = self.push(ToTokens(("t",)))
        self.assertEqual((lone.sent, lone.cached), (0, 1))
        both = self.push(ToTokens(("t", "u")))
        self.assertEqual((both.sent, both.cached), (1, 1))
        self.assertTrue(all(each.is_keepable for each in self.here.delivered))
        self.assertEqual(self.cache.of("t"), [b"p", b"p"])
        self.assertEqual(self.here.refilled, ["t", "t"])

    def test_what_is_never_kept_is_not_to_be_given_back(self) -> None:
        self.come("t", HERE, 4, acks=False)
        self.push(ToTokens(("t",)), ttl_s=0)
        self.push(ToTokens(("t", "u")), ttl_s=0)
        self.assertFalse(any(each.is_keepable for each in self.here.delivered))

    def test_who_is_not_known_to_have_been_reached_is_an_error(self) -> None:
        self.come("t", HERE, 4)
        self.tokens.failure = Unavailable("Redis is away")
        for target in (ToTokens(("t",)), ToTokens(("t", "u")), ToTokens(("u",))):
            error = self.push(target)
            self.assertIsInstance(error, Unavailable)
            self.assertEqual((error.status, error.retry), (503, "backoff"))
        self.tokens.failure = None
        self.here.failure = Unavailable("the link broke")

        async def away(tokens: Sequence[str], connectors: Sequence[str] = ()) -> None:
            raise Unavailable("nobody has the cache")

        self.patch(self.cache, "recall", away)
        self.assertIsInstance(self.push(ToTokens(("t",))), Unavailable)

    def test_what_is_ahead_is_pulled(self) -> None:
        self.come("t", HERE, 4)
        self.push(ToTokens(("t",)), options=Options(store=Store.ALWAYS))
        self.assertEqual([(each.payload, each.is_kept) for each in self.here.delivered], [(None, True)])

    def test_users_messages_name_the_user(self) -> None:
        self.come("al1", HERE, 4, uid="al")
        self.come("bo1", HERE, 5, uid="bo", acks=False)
        self.push(ToUids(("al", "bo")))
        self.assertEqual(
            sorted((each.owner, each.tokens, each.is_kept) for each in self.here.delivered),
            [("al", ["al1"], True), ("bo", ["bo1"], False)],
        )

    def test_logged_broadcast_is_pulled_and_told_on_where_it_cannot_be_told(self) -> None:
        self.there.failure = Unreachable("no link")
        result = self.push(ToAll())
        self.assertIsInstance(result, PushResult)
        self.assertTrue(result.is_logged)
        self.assertEqual(self.here.broadcasts, [(None, True)])
        self.assertEqual(self.cache.recalled, [((), (THERE,))])
