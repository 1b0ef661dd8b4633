"""The router over real connectors: every target, order, unknown tokens, failures that spoil nothing else."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import NotFound, PushError, TooLarge, Unavailable, Unregistered
from push.ihealth import IMeasured
from push.ipush import IRouter
from push.model import (
    Delivery,
    DeliveryReport,
    Options,
    Outcome,
    PushRequest,
    PushResult,
    Store,
    TagQuery,
    Target,
    ToAll,
    ToConnector,
    ToTags,
    ToTokens,
    ToUids,
)
from push.protocols.framed import FramedFactory
from push.services import router as router_module
from push.services.cluster_nodes import ClusterNodes
from push.services.ids import MessageIds
from push.services.nodes import LocalNodes
from push.services.probe import Probe
from push.services.router import Router
from tests.fakes_cache import MemoryCache, MemoryReceipts
from tests.services.clients import ADDRESS, Client, make_connector


class RouterCase(SynchronousTestCase):
    """A router, a connector, a store."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache()
        self.receipts = MemoryReceipts()
        self.connector, self.subscribe, self.store = make_connector(self.clock, self.cache)
        self.ids = MessageIds(node=0, now_ms=lambda: 1_800_000_000_000)
        self.ids.is_ready = True
        self.router = Router(
            subscribe=self.subscribe,
            nodes=LocalNodes(self.connector),
            cache=self.cache,
            receipts=self.receipts,
            ids=self.ids,
        )

    def online(self, **fields: Any) -> tuple[Client, str]:
        """A client with a session, and its token."""
        client = Client(self.connector, self.clock)
        return client, client.sub(**fields)["token"]

    def offline(self, **fields: Any) -> str:
        """A token that is registered and away."""
        client, token = self.online(**fields)
        client.hang_up()
        return token

    def push_all(self, *requests: PushRequest) -> Sequence[PushResult | PushError]:
        """Push, and turn the reactor until there is an answer."""
        work = Deferred.fromCoroutine(self.router.push(requests))
        for _ in range(100):
            if work.called:
                break
            self.clock.advance(0)
        return self.successResultOf(work)

    def push(self, target: Target, payload: bytes = b"x", **options: Any) -> PushResult:
        """Push one message that is accepted."""
        (result,) = self.push_all(PushRequest(target, payload, **options))
        assert isinstance(result, PushResult), result
        return result

    def counts(self, result: PushResult) -> tuple[int, int, int]:
        """Its numbers."""
        return result.targets, result.sent, result.cached


class TooLargeTests(RouterCase):
    """Connectors that take less than the router."""

    def setUp(self) -> None:
        super().setUp()
        deliver = self.connector.deliver

        async def take(batch: Sequence[Delivery]) -> DeliveryReport:
            small = await deliver([each for each in batch if len(each.payload or b"") <= 10])
            sent = iter(small.sent)
            refused = {at: each.tokens for at, each in enumerate(batch) if len(each.payload or b"") > 10}
            return DeliveryReport(
                [0 if at in refused else next(sent) for at in range(len(batch))],
                {at: [(token, Outcome.TOO_LARGE) for token in tokens] for at, tokens in refused.items()},
            )

        self.patch(self.connector, "deliver", take)

    def test_message_that_cannot_be_kept_is_refused_for_its_token_and_no_other(self) -> None:
        client, token = self.online()
        for more in ({}, {"options": Options(is_high=True)}):  # with options it goes another way
            large, small = self.push_all(
                *(PushRequest(ToTokens((token,), single=True), bytes(size), ttl_s=0, **more) for size in (11, 10))
            )
            self.assertIsInstance(large, TooLarge)
            self.assertIn("max_body_bytes", str(large))
            assert isinstance(small, PushResult)
            self.assertEqual((small.sent, small.rejected), (1, 0))
        self.assertEqual(client.pushes(), [bytes(10)] * 2)
        outcomes = {dict(each.labels)["outcome"]: each.value for each in self.router.samples() if len(each.labels) == 2}
        self.assertEqual(outcomes["too_large"], 2)

    def test_of_several_tokens_they_are_counted(self) -> None:
        _, token = self.online()
        _, other = self.online()
        result = self.push(ToTokens((token, other)), bytes(11), ttl_s=0)
        self.assertEqual((result.targets, result.sent, result.rejected), (2, 0, 2))

    def test_message_that_can_be_kept_is(self) -> None:
        _, token = self.online()
        result = self.push(ToTokens((token,), single=True), bytes(11), ttl_s=60)
        self.assertEqual((self.counts(result), result.rejected), ((1, 0, 1), 0))


class Latecomers(RouterCase):
    """Connectors that a router does not know yet."""

    def test_one_that_came_while_a_broadcast_was_logged_is_told_of_it(self) -> None:
        nodes = ClusterNodes()
        probe = Probe(connector=self.connector, subscribe=self.subscribe, protocol=FramedFactory, clock=self.clock)

        async def refresh() -> None:
            nodes.own(self.connector, probe)

        router = Router(
            subscribe=self.subscribe,
            nodes=nodes,
            cache=self.cache,
            receipts=self.receipts,
            ids=self.ids,
            refresh=refresh,
        )
        client, _ = self.online()
        work = Deferred.fromCoroutine(router.push([PushRequest(ToAll(), b"x", ttl_s=60)]))
        self.clock.advance(0)
        self.successResultOf(work)
        self.assertEqual(client.pushes(), [b"x"])

    def test_where_nobody_can_say_who_is_there_those_known_are_told(self) -> None:
        async def refresh() -> None:
            raise Unavailable("Redis is away")

        router = Router(
            subscribe=self.subscribe,
            nodes=LocalNodes(self.connector),
            cache=self.cache,
            receipts=self.receipts,
            ids=self.ids,
            refresh=refresh,
        )
        client, _ = self.online()
        work = Deferred.fromCoroutine(router.push([PushRequest(ToAll(), b"x", ttl_s=60)]))
        self.clock.advance(0)
        self.successResultOf(work)
        self.assertEqual(client.pushes(), [b"x"])


class Targets(RouterCase):
    """Whom a message reaches."""

    def test_interfaces_are_kept(self) -> None:
        verifyObject(IRouter, self.router)
        verifyObject(IMeasured, self.router)

    def test_one_token(self) -> None:
        client, token = self.online()
        other, _ = self.online()
        self.assertEqual(self.counts(self.push(ToTokens((token,)), b"hi")), (1, 1, 0))
        self.assertEqual((client.pushes(), other.pushes()), ([b"hi"], []))

    def test_for_a_token_that_is_away_a_message_is_kept(self) -> None:
        token = self.offline()
        self.assertEqual(self.counts(self.push(ToTokens((token,), single=True), b"later")), (1, 0, 1))
        self.assertEqual(self.cache.of(token), [b"later"])

    def test_what_is_not_worth_keeping_is_a_target_but_not_sent(self) -> None:
        token = self.offline()
        self.assertEqual(self.counts(self.push(ToTokens((token,), single=True), ttl_s=0)), (1, 0, 0))
        self.assertEqual(self.counts(self.push(ToTokens((token,)), options=Options(store=Store.NEVER))), (1, 0, 0))
        self.assertEqual(self.cache.entries, [])

    def test_a_single_unknown_token_is_an_error(self) -> None:
        (error,) = self.push_all(PushRequest(ToTokens(("nobody",), single=True), b"x"))
        self.assertIsInstance(error, Unregistered)

    def test_unknown_tokens_among_others_are_named(self) -> None:
        client, token = self.online()
        result = self.push(ToTokens(("nobody", token, "noone")))
        self.assertEqual((self.counts(result), result.unknown), ((1, 1, 0), ("nobody", "noone")))
        self.assertEqual(client.pushes(), [b"x"])

    def test_a_uid_is_all_of_its_tokens(self) -> None:
        phone, _ = self.online(uid="alice")
        tablet, _ = self.online(uid="alice")
        self.offline(uid="alice")
        stranger, _ = self.online(uid="bob")
        self.assertEqual(self.counts(self.push(ToUids(("alice",)))), (3, 2, 1))
        self.assertEqual([client.pushes() for client in (phone, tablet, stranger)], [[b"x"], [b"x"], []])

    def test_a_token_that_becomes_another_users_while_the_store_is_asked_gets_nothing(self) -> None:
        mine, _ = self.online(uid="alice")
        self.offline(uid="alice")
        asked: Deferred[frozenset[str]] = Deferred()
        self.patch(self.store, "known", lambda tokens: asked)
        work = Deferred.fromCoroutine(self.router.push([PushRequest(ToUids(("alice",)), b"for alice only")]))
        mine.sub(uid="bob")
        asked.callback(frozenset())
        self.clock.advance(0)
        self.successResultOf(work)
        self.assertEqual(mine.pushes(), [])

    def test_uids_without_tokens_are_named(self) -> None:
        self.online(uid="alice")
        result = self.push(ToUids(("nobody", "alice")))
        self.assertEqual((self.counts(result), result.unknown), ((1, 1, 0), ("nobody",)))

    def test_tags(self) -> None:
        de, _ = self.online(tags=["de", "beta"])
        fr, _ = self.online(tags=["fr", "beta"])
        both, _ = self.online(tags=["de", "muted"])
        self.assertEqual(self.counts(self.push(ToTags(TagQuery(any=("de", "fr"), none=("muted",))))), (2, 2, 0))
        self.assertEqual([client.pushes() for client in (de, fr, both)], [[b"x"], [b"x"], []])

    def test_tags_of_many_pages_reach_each_token_once(self) -> None:
        self.patch(router_module, "TAG_PAGE", 3)
        clients = [self.online(tags=["t"])[0] for _ in range(10)]
        self.assertEqual(self.counts(self.push(ToTags(TagQuery(all=("t",))))), (10, 10, 0))
        self.assertEqual([client.pushes() for client in clients], [[b"x"]] * 10)

    def test_everybody(self) -> None:
        clients = [self.online()[0] for _ in range(5)]
        self.assertEqual(self.counts(self.push(ToAll())), (5, 5, 0))
        self.assertEqual([client.pushes() for client in clients], [[b"x"]] * 5)

    def test_a_connector_by_address_or_by_ip(self) -> None:
        self.online()
        for address in (ADDRESS, ADDRESS.partition(":")[0]):
            self.assertEqual(self.counts(self.push(ToConnector(address))), (1, 1, 0))
        (error,) = self.push_all(PushRequest(ToConnector("127.0.0.9"), b"x"))
        self.assertIsInstance(error, NotFound)

    def test_validate_only_counts_and_sends_nothing(self) -> None:
        client, token = self.online(uid="alice", tags=["t"])
        for target in (ToTokens((token,)), ToUids(("alice",)), ToTags(TagQuery(any=("t",))), ToAll()):
            result = self.push(target, validate_only=True)
            self.assertEqual((self.counts(result), result.message_id), ((1, 0, 0), 0), target)
        self.assertEqual(client.pushes(), [])


class Batches(RouterCase):
    """Several requests in one call."""

    def test_results_come_in_order_and_one_error_spoils_no_other(self) -> None:
        client, token = self.online()
        results = self.push_all(
            PushRequest(ToTokens((token,), single=True), b"1"),
            PushRequest(ToTokens(("nobody",), single=True), b"2"),
            PushRequest(ToConnector("nowhere:1"), b"3"),
            PushRequest(ToTokens((token,), single=True), b"4"),
        )
        self.assertEqual([type(result) for result in results], [PushResult, Unregistered, NotFound, PushResult])
        self.assertEqual(client.pushes(), [b"1", b"4"])

    def test_one_token_gets_messages_of_all_kinds_of_targets_in_the_order_of_the_batch(self) -> None:
        client, token = self.online(uid="alice", tags=["t"])
        results = self.push_all(
            PushRequest(ToTokens((token,)), b"1"),
            PushRequest(ToAll(), b"2"),
            PushRequest(ToUids(("alice",)), b"3"),
            PushRequest(ToTags(TagQuery(any=("t",))), b"4"),
            PushRequest(ToConnector(ADDRESS), b"5"),
            PushRequest(ToAll(), b"6"),
            PushRequest(ToTokens((token,)), b"7"),
        )
        self.assertEqual(client.pushes(), [b"%d" % number for number in range(1, 8)])
        ids = [result.message_id for result in results if isinstance(result, PushResult)]
        self.assertEqual(ids, sorted(set(ids)))
        self.assertTrue(all(isinstance(result, PushResult) and result.sent == 1 for result in results))

    def test_what_comes_after_a_tag_query_is_later_than_what_was_accepted_meanwhile(self) -> None:
        client, token = self.online(tags=["t"])
        page: Deferred[list[str]] = Deferred()
        patch = self.patch(self.subscribe, "tagged", lambda *args: page)
        first = Deferred.fromCoroutine(
            self.router.push(
                [PushRequest(ToTags(TagQuery(any=("t",))), b"tag"), PushRequest(ToTokens((token,)), b"after")]
            )
        )
        patch.restore()
        between = self.push(ToTokens((token,)), b"between")
        page.callback([])
        _, after = self.successResultOf(first)
        assert isinstance(after, PushResult)
        self.assertGreater(after.message_id, between.message_id)
        self.assertEqual(client.pushes(), [b"between", b"after"])

    def test_tokens_are_grouped_into_one_call_for_each_connector(self) -> None:
        calls: list[int] = []
        deliver = self.connector.deliver

        async def count(batch: Any) -> Any:
            calls.append(len(batch))
            return await deliver(batch)

        tokens = [self.online()[1] for _ in range(20)]
        self.patch(self.connector, "deliver", count)
        self.push_all(*[PushRequest(ToTokens((token,)), b"x") for token in tokens])
        self.assertEqual(calls, [20])

    def test_a_connector_that_fails_fails_its_requests_only(self) -> None:
        _, token = self.online()

        async def fail(batch: Any) -> Any:
            raise Unavailable("the link is down")

        self.patch(self.connector, "deliver", fail)
        broken, fine = self.push_all(PushRequest(ToTokens((token,)), b"x"), PushRequest(ToAll(), b"y"))
        self.assertIsInstance(broken, Unavailable)
        self.assertIsInstance(fine, PushResult)

    def test_a_store_that_fails_fails_the_call_with_its_reason(self) -> None:
        self.store.failure = Unavailable("the disk is away")
        work = Deferred.fromCoroutine(self.router.push([PushRequest(ToUids(("alice",)), b"x")]))
        self.assertEqual(str(self.failureResultOf(work, Unavailable).value), "the disk is away")

    def test_nothing_is_accepted_before_ids_can_be_given_out(self) -> None:
        self.ids.is_ready = False
        work = Deferred.fromCoroutine(self.router.push([PushRequest(ToAll(), b"x")]))
        self.failureResultOf(work, Unavailable)

    def test_outcomes_are_counted_by_target(self) -> None:
        _, token = self.online()
        self.push(ToTokens((token, self.offline())))
        self.push(ToAll())
        counted = {(s.name, s.labels): s.value for s in self.router.samples()}
        total = "push_messages_total"
        self.assertEqual(counted[total, (("target", "tokens"), ("outcome", "sent"))], 1)
        self.assertEqual(counted[total, (("target", "tokens"), ("outcome", "cached"))], 1)
        self.assertEqual(counted[total, (("target", "all"), ("outcome", "sent"))], 1)
