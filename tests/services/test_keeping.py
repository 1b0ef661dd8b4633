"""The router and the cache: what is kept, what is delivered besides, and what the answer says of it."""

from typing import Any

from twisted.internet.defer import Deferred, succeed

from push.errors import CacheFull, NotFound, PushError, Unavailable
from push.model import (
    Delivery,
    DeliveryReport,
    Once,
    OnFull,
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
from push.model_cache import Everybody, StoredDue
from push.protocols.wire.frames import ID
from push.services.ids import accepted_ms
from push.services.progress import DEFAULT_TTL_S
from tests.services.clients import ADDRESS, Client
from tests.services.test_router import RouterCase

ONCE = Options(once=Once("key/1", b"f" * 32))


class KeepingCase(RouterCase):
    """With clients that acknowledge."""

    def start(self, *requests: PushRequest) -> "Deferred[Any]":
        """Push, and turn the reactor for a while."""
        work = Deferred.fromCoroutine(self.router.push(requests))
        self.turn()
        return work

    def turn(self) -> None:
        """Let everything happen that waits for a turn."""
        for _ in range(10):
            self.clock.advance(0)

    def due(self, message_id: int, due_ms: int, request: PushRequest) -> PushResult | PushError:
        """Schedule a request, and send it."""
        self.successResultOf(Deferred.fromCoroutine(self.cache.schedule(StoredDue(message_id, due_ms, request))))
        work = Deferred.fromCoroutine(self.router.send_due(message_id, due_ms, request))
        self.turn()
        return self.successResultOf(work)

    def payloads(self, client: Client) -> list[bytes]:
        """What came to a client that acknowledges."""
        self.turn()
        return [body[ID.size :] for body in client.pushes()]


class WhatIsKept(KeepingCase):
    """Whose messages go to the cache."""

    def test_of_a_client_that_acknowledges_what_it_is_sent_is_kept_as_well(self) -> None:
        client, token = self.online(ack=True)
        self.assertEqual(self.counts(self.push(ToTokens((token,)), b"hi")), (1, 1, 0))
        self.assertEqual(self.payloads(client), [b"hi"])
        self.assertEqual(self.cache.of(token), [b"hi"])

    def test_of_a_client_that_does_not_nothing_is_kept_that_it_was_sent(self) -> None:
        _, token = self.online()
        self.push(ToTokens((token,)))
        self.push(ToTokens((token, token)))
        self.assertEqual(self.cache.entries, [])

    def test_a_message_for_several_is_kept_for_those_who_need_it(self) -> None:
        acks, plain, away = self.online(ack=True)[1], self.online()[1], self.offline()
        result = self.push(ToTokens((acks, plain, away)))
        self.assertEqual(self.counts(result), (3, 2, 1))
        self.assertEqual([entry.tokens for entry in self.cache.entries], [[acks, away]])

    def test_what_nobody_takes_after_all_is_kept_then(self) -> None:
        client, token = self.online()
        self.connector_misses(Outcome.OFFLINE)
        client.hang_up()
        self.assertEqual(self.counts(self.push(ToTokens((token,)), b"hi")), (1, 0, 1))
        self.assertEqual(self.cache.of(token), [b"hi"])

    def test_and_is_pulled_where_the_token_has_come_back_meanwhile(self) -> None:
        client, token = self.online()
        self.connector_misses(Outcome.OFFLINE)
        self.assertEqual(self.counts(self.push(ToTokens((token,), single=True), b"hi")), (1, 0, 1))
        self.turn()
        self.assertEqual(client.pushes(), [b"hi"])
        self.assertEqual(self.cache.entries, [])

    def test_what_a_slow_consumer_did_not_take_is_kept(self) -> None:
        _, token = self.online()
        self.connector_misses(Outcome.OVERFLOW)
        self.push(ToTokens((token, self.offline())), b"hi")
        self.assertEqual(self.cache.of(token), [b"hi"])

    def connector_misses(self, outcome: Outcome) -> None:
        """Every delivery misses everybody."""

        def deliver(batch: Any) -> Any:
            missed = {at: [(token, outcome) for token in each.tokens] for at, each in enumerate(batch)}
            return succeed(DeliveryReport([0] * len(batch), missed))

        self.patch(self.connector, "deliver", deliver)

    def test_what_is_for_a_user_is_kept_as_that_users(self) -> None:
        self.offline(uid="alice")
        self.offline(uid="bob")
        self.push(ToUids(("alice", "bob")))
        self.assertEqual([entry.keep.owner for entry in self.cache.entries], ["alice", "bob"])

    def test_how_long_it_is_kept(self) -> None:
        token = self.offline()
        for ttl_s, kept_s in ((None, DEFAULT_TTL_S), (60, 60)):
            result = self.push(ToTokens((token,)), ttl_s=ttl_s)
            expires_ms = self.cache.entries[-1].keep.expires_ms
            self.assertEqual(expires_ms, accepted_ms(result.message_id) + kept_s * 1000)

    def test_it_is_kept_no_longer_where_ids_run_ahead_of_the_clock(self) -> None:
        self.ids.raise_floor(1_800_000_009_000)  # as after a crash
        online, away = self.online(ack=True)[1], self.offline()
        for target in (ToTokens((away,)), ToTokens((online,)), ToTokens((online, away)), ToAll(), self.tags()):
            self.assertGreater(accepted_ms(self.push(target, ttl_s=60).message_id), 1_800_000_009_000)
            self.assertEqual(self.cache.entries[-1].keep.expires_ms, 1_800_000_060_000)

    def tags(self) -> ToTags:
        """Everybody who has not this tag."""
        return ToTags(TagQuery(none=("red",)))

    def test_options_go_to_the_cache(self) -> None:
        options = Options(is_high=True, collapse_key="k", on_full=OnFull.DROP_OLDEST)
        self.push(ToTokens((self.offline(),)), options=options)
        self.assertEqual(self.cache.entries[0].keep.options, options)

    def test_nothing_is_kept_for_who_is_on_a_connector(self) -> None:
        self.online(ack=True)
        self.push(ToConnector(ADDRESS), ttl_s=60)
        self.assertEqual(self.cache.entries, [])

    def test_validation_keeps_nothing(self) -> None:
        for target in (ToTokens((self.offline(),)), ToAll(), ToTags(TagQuery(any=("a",)))):
            result = self.push(target, ttl_s=60, validate_only=True, options=ONCE)
            self.assertEqual(result.message_id, 0)
        self.assertEqual(self.cache.entries, [])


class Answers(KeepingCase):
    """When it is answered, and what."""

    def test_the_answer_waits_for_the_disk_but_the_delivery_does_not(self) -> None:
        client, token = self.online(ack=True)
        self.cache.holds = True
        work = self.start(PushRequest(ToTokens((token,)), b"hi"))
        self.assertEqual(self.payloads(client), [b"hi"])
        self.assertNoResult(work)
        self.cache.commit()
        (result,) = self.successResultOf(work)
        self.assertEqual(self.counts(result), (1, 1, 0))

    def test_where_the_disk_fails_nothing_is_accepted(self) -> None:
        token, other = self.offline(), self.offline()
        self.cache.holds = True
        work = self.start(PushRequest(ToTokens((token,)), b"a"), PushRequest(ToTokens((token, other)), b"b"))
        self.cache.commit(Unavailable("the disk is full"))
        self.assertEqual([str(error) for error in self.successResultOf(work)], ["the disk is full"] * 2)

    def test_what_the_cache_does_not_take_is_delivered_to_nobody(self) -> None:
        client, token = self.online(ack=True)
        plain, plain_token = self.online()
        self.cache.error = Unavailable("the cache is full")
        results = self.push_all(
            PushRequest(ToTokens((token,)), b"a"),
            PushRequest(ToTokens((token, plain_token)), b"b"),
            PushRequest(ToTokens((plain_token,)), b"c"),
        )
        self.assertEqual([isinstance(each, PushError) for each in results], [True, True, False])
        self.assertEqual((self.payloads(client), plain.pushes()), ([], [b"c"]))

    def test_a_full_cache_refuses_the_only_token_and_counts_others(self) -> None:
        client, token = self.online(ack=True)
        away = self.offline()
        self.cache.max_per_token = 1
        for each in (token, away):
            self.push(ToTokens((each,), single=True), b"1")
        for each in (token, away):
            (error,) = self.push_all(PushRequest(ToTokens((each,), single=True), b"2"))
            self.assertIsInstance(error, CacheFull)
        result = self.push(ToTokens((token, away, self.offline())), b"3")
        self.assertEqual((self.counts(result), result.rejected), ((3, 0, 1), 2))
        self.assertEqual(self.payloads(client), [b"1"])

    def test_messages_of_one_call_keep_their_order_whatever_they_ask_for(self) -> None:
        client, token = self.online(ack=True)
        self.start(
            PushRequest(ToTokens((token,)), b"1"),
            PushRequest(ToTokens((token,)), b"2", options=Options(store=Store.ALWAYS)),
            PushRequest(ToTokens((token,)), b"3"),
            PushRequest(ToTokens((token, self.offline())), b"4"),
        )
        self.assertEqual(self.payloads(client), [b"1", b"2", b"3", b"4"])


class Ahead(KeepingCase):
    """What has to be on disk before anybody sees it."""

    def test_a_client_gets_it_out_of_the_cache(self) -> None:
        client, token = self.online()
        result = self.push(ToTokens((token,)), b"hi", options=Options(store=Store.ALWAYS))
        self.assertEqual(self.counts(result), (1, 0, 1))
        self.assertTrue(result.message_id)
        self.turn()
        self.assertEqual(client.pushes(), [b"hi"])
        self.assertEqual(self.cache.entries, [])

    def test_a_key_is_on_disk_before_what_is_kept_for_nobody_is_sent(self) -> None:
        client, token = self.online()
        self.cache.holds = True
        for target in (ToTokens((token,)), ToAll(), ToConnector(ADDRESS), ToTags(TagQuery(none=("x",)))):
            work = self.start(PushRequest(target, b"hi", 0, options=ONCE))
            self.assertEqual(client.pushes(), [])
            self.cache.commit()
            self.turn()
            self.assertEqual(client.pushes(), [b"hi"], target)
            self.successResultOf(work)

    def test_where_the_disk_fails_nobody_sees_it(self) -> None:
        client, token = self.online()
        self.cache.holds = True
        for target, ttl_s in ((ToTokens((token,)), 0), (ToAll(), 60), (ToAll(), 0)):
            work = self.start(PushRequest(target, b"hi", ttl_s, options=ONCE))
            self.cache.commit(Unavailable("the disk is full"))
            self.turn()
            (error,) = self.successResultOf(work)
            self.assertIsInstance(error, Unavailable)
            self.assertEqual(client.pushes(), [])


class Logged(KeepingCase):
    """Messages for audiences that are kept once."""

    def test_a_broadcast_with_a_time_to_live_reaches_who_comes_later(self) -> None:
        client, _ = self.online()
        away = self.offline()
        result = self.push(ToAll(), b"hi", ttl_s=60)
        self.assertEqual((self.counts(result), result.is_logged), ((1, 1, 0), True))
        self.assertEqual([entry.keep.audience for entry in self.cache.entries], [Everybody()])
        self.assertEqual(client.pushes(), [b"hi"])
        late = Client(self.connector, self.clock)
        late.sub(token=away)
        self.turn()
        self.assertEqual([each.keep.payload for each in self.cache.entries], [b"hi"])

    def test_who_comes_while_it_is_looked_up_gets_what_stands_behind_it(self) -> None:
        for target in ("token", "uid"):
            uid = f"user-{target}"
            token = self.offline(uid=uid)
            came: list[Client] = []

            async def tagged(*_: object, token: str = token, came: list[Client] = came) -> list[str]:
                came.append(self.online(token=token, ack=True)[0])
                return []

            self.patch(self.subscribe, "tagged", tagged)
            behind = ToTokens((token,)) if target == "token" else ToUids((uid,))
            self.push_all(PushRequest(ToTags(TagQuery(any=("a",))), b"tags"), PushRequest(behind, b"behind"))
            self.assertEqual(self.payloads(came[0]), [b"behind"])

    def test_where_tokens_cannot_be_located_behind_it_what_came_before_is_accepted(self) -> None:
        token = self.offline()
        locate, calls = self.subscribe.locate, []

        async def failing(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) > 1:
                raise Unavailable("the store is away")
            return await locate(*arguments)

        self.patch(self.subscribe, "locate", failing)
        one = PushRequest(ToTokens((token,)), b"x")
        results = self.push_all(one, PushRequest(ToTags(TagQuery(any=("a",))), b"tags"), one, one)
        self.assertEqual([isinstance(result, PushResult) for result in results], [True, True, False, False])

    def test_without_one_it_is_not_kept(self) -> None:
        self.push(ToAll())
        self.push(ToTags(TagQuery(any=("a",))))
        self.assertEqual(self.cache.entries, [])

    def test_one_for_tags_is_kept_once_and_sent_to_who_is_online(self) -> None:
        client, _ = self.online(tags=["a"], ack=True)
        self.offline(tags=["a"])
        result = self.push(ToTags(TagQuery(any=("a",))), b"hi", ttl_s=60)
        self.assertEqual((self.counts(result), result.is_logged), ((2, 1, 0), True))
        self.assertEqual([entry.keep.audience for entry in self.cache.entries], [TagQuery(any=("a",))])
        self.assertEqual(self.payloads(client), [b"hi"])
        self.assertEqual(client.protocol.log_position, result.message_id)

    def test_it_is_accepted_even_where_no_connector_is(self) -> None:
        self.patch(self.router._nodes, "connectors", dict)
        self.assertTrue(self.push(ToAll(), ttl_s=60).is_logged)
        (error,) = self.push_all(PushRequest(ToAll(), b"x"))
        self.assertIsInstance(error, Unavailable)

    def test_sent_due_messages_keep_their_id_and_live_from_then_on(self) -> None:
        token = self.offline()
        result = self.due(77, 1_800_000_005_000, PushRequest(ToTokens((token,)), b"hi", 60))
        assert isinstance(result, PushResult)
        self.assertEqual(result.message_id, 77)
        self.assertEqual(self.cache.entries[0].keep.expires_ms, 1_800_000_065_000)

    def test_what_is_taken_back_while_its_tokens_are_looked_for_is_not_sent(self) -> None:
        client, token = self.online()
        request = PushRequest(ToTokens((token, "unknown")), b"hi", 60)
        self.successResultOf(Deferred.fromCoroutine(self.cache.schedule(StoredDue(7, 1, request))))
        read: Deferred[frozenset[str]] = Deferred()
        self.patch(self.store, "known", lambda tokens: read)
        work = Deferred.fromCoroutine(self.router.send_due(7, 1, request))
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.cache.unschedule(7))))
        read.callback(frozenset())
        self.assertIsInstance(self.successResultOf(work), NotFound)
        self.turn()
        self.assertEqual((client.pushes(), self.cache.entries), ([], []))


class OrderOfTheLog(KeepingCase):
    """Logged broadcasts reach who is online, in the order in which they are logged, whatever holds one of them up."""

    def test_one_that_waits_for_the_disk_is_not_taken_for_one_that_came(self) -> None:
        client, token = self.online()
        self.cache.holds = True
        first = self.start(PushRequest(ToAll(), b"1", 60, options=Options(store=Store.ALWAYS)))
        second = self.start(PushRequest(ToAll(), b"2", 60))
        for _ in range(3):
            self.cache.commit()
            self.turn()
        self.assertEqual(client.pushes(), [b"1", b"2"])
        ids = [self.successResultOf(work)[0].message_id for work in (first, second)]
        self.assertEqual(ids, sorted(ids))
        client.hang_up()
        self.turn()
        self.assertEqual(self.cache.log_positions, {token: ids[1]})

    def test_one_that_waits_behind_others_of_its_call_is_newer_than_what_overtakes_it(self) -> None:
        client, token = self.online()
        self.cache.holds = True
        first = self.start(PushRequest(ToTokens((token,)), b"1", 0, options=ONCE), PushRequest(ToAll(), b"2", 60))
        self.start(PushRequest(ToAll(), b"3", 60))
        for _ in range(3):
            self.cache.commit()
            self.turn()
        self.assertEqual(client.pushes(), [b"3", b"1", b"2"])
        self.assertEqual(self.successResultOf(first)[1].sent, 1)

    def test_one_that_was_scheduled_long_ago_comes_to_who_has_newer_ones(self) -> None:
        self.send_due(ToAll())

    def test_also_one_for_tags(self) -> None:
        self.send_due(ToTags(TagQuery(none=("x",))))

    def send_due(self, target: Target) -> None:
        """Send a message whose id is older than what is sent before it; look who gets what, and once."""
        client, token = self.online()
        acks, _ = self.online(ack=True)
        old_id = self.ids.next()
        self.push(ToAll(), b"new", ttl_s=60)
        due_ms = accepted_ms(old_id) + 5_000
        self.assertIsInstance(self.due(old_id, due_ms, PushRequest(target, b"due", 60)), PushResult)
        self.push(ToAll(), b"newer", ttl_s=60)
        self.turn()
        self.assertEqual(client.pushes(), [b"new", b"due", b"newer"])
        self.assertEqual(self.payloads(acks), [b"new", b"due", b"newer"])
        client.hang_up()
        self.turn()
        late = Client(self.connector, self.clock)
        late.sub(token=token)
        self.turn()
        self.assertEqual(late.pushes(), [])

    def test_one_whose_connector_fails_is_kept_for_its_tokens_besides(self) -> None:
        _, token = self.online()

        async def fail(batch: Any) -> Any:
            raise Unavailable("the link is lost")

        self.patch(self.connector, "deliver", fail)
        self.assertTrue(self.push(ToTags(TagQuery(none=("x",))), b"hi", ttl_s=60).is_logged)
        self.assertEqual(self.cache.of(token), [b"hi"])

    def test_one_that_comes_behind_a_newer_one_to_a_full_window_is_not_lost(self) -> None:
        client, token = self.online(ack=True)
        for number in range(3):
            self.push(ToTokens((token,)), b"%d" % number)
        old_id = self.ids.next()
        self.push(ToAll(), b"all", ttl_s=60)
        logged = Delivery(old_id, b"tags", [token], is_kept=True, is_logged=True)
        report = self.successResultOf(Deferred.fromCoroutine(self.connector.deliver([logged])))
        self.assertEqual(report.missed, {0: [(token, Outcome.OFFLINE)]})
        self.assertEqual(self.payloads(client), [b"0", b"1", b"2", b"all"])
