"""Tests of push.services.session_keeper and evictions: what others know of sessions is made true again."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model import Delivery, Outcome, Registration
from push.model_cache import Keep
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from push.services.evictions import GIVE_UP_AFTER_S, RETRY_S, Evictions
from push.services.reports import RECENT_S
from push.services.session_keeper import ASK_S, DOUBT_S, LOOK_S, SETTLE_S, SessionKeeper
from tests.fakes_cache import MemoryCache
from tests.services.clients import Client, make_connector
from tests.services.holders import begun

EXPIRES_MS = 1_900_000_000_000


class Known:
    """What others know of sessions."""

    def __init__(self) -> None:
        self.sessions: dict[str, Registration] = {}
        self.failure: Exception | None = None
        self.calls: list[list[str]] = []

    async def reopened(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        self.calls.append([each.token for each in registrations])
        if self.failure is not None:
            raise self.failure
        for each in registrations:
            known = self.sessions.get(each.token)
            if known is None or known.epoch < each.epoch:
                self.sessions[each.token] = each

    async def closed(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        for each in registrations:
            if self.sessions.get(each.token) == each:
                del self.sessions[each.token]

    async def online(self, tokens: Sequence[str]) -> dict[str, Registration]:
        """See ISubscribe."""
        if self.failure is not None:
            raise self.failure
        return {token: self.sessions[token] for token in tokens if token in self.sessions}


class KeeperCase(SynchronousTestCase):
    """A connector with some clients."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache()
        self.cache.is_shared = True
        self.connector, _, _ = make_connector(self.clock, self.cache)
        self.known = Known()
        self.keeper = SessionKeeper(
            connector=self.connector,
            subscribe=self.known,  # type: ignore[arg-type]
            cache=self.cache,
            clock=self.clock,
        )
        self.keeper.startService()
        self.addCleanup(self.keeper.stopService)
        self.clients = {token: self.come(token) for token in ("a", "b", "c")}
        self.tell()

    def come(self, token: str) -> Client:
        """A client opens a session."""
        client = Client(self.connector, self.clock)
        client.sub(token=token)
        return client

    def tell(self) -> None:
        """Others know all sessions."""
        held = self.connector.connections.by_token
        self.known.sessions = {token: held[token].registration for token in held}  # type: ignore[misc]

    def keep(self, token: str, payload: bytes) -> None:
        """Something is kept that nobody tells this connector of."""
        begun(self.cache.keep([Keep(1, payload, (token,), EXPIRES_MS)]))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.pump([0.0] * 5 + [seconds] + [0.0] * 5)

    def got(self, token: str) -> list[bytes]:
        """What came to a client."""
        return self.clients[token].pushes()

    def deliver(self, token: str, payload: bytes) -> Any:
        """A plain message arrives; its outcome, None for sent."""
        delivery = Delivery(2, payload, (token,), is_keepable=True)
        report = self.successResultOf(begun(self.connector.deliver([delivery])))
        return report.missed[0][0][1] if report.missed else None


class KeeperTests(KeeperCase):
    """What is lost, and made known again."""

    def test_sessions_wait_while_others_may_not_know_them_and_get_what_was_kept_first(self) -> None:
        self.keeper.lost()
        self.known.sessions.clear()
        self.wait(1)
        self.keep("a", b"kept meanwhile")
        self.wait(1)
        self.assertEqual(self.got("a"), [])
        self.assertIs(self.deliver("a", b"newer"), Outcome.BEHIND)
        self.keeper.back()
        self.wait(0)
        self.assertEqual(sorted(self.known.sessions), ["a", "b", "c"])
        self.assertEqual(self.got("a"), [b"kept meanwhile"])
        self.assertIsNone(self.deliver("a", b"newest"))
        self.assertEqual(self.keeper.held, 0)

    def test_sessions_opened_meanwhile_are_made_known_as_well(self) -> None:
        self.keeper.lost()
        self.clients["d"] = self.come("d")
        self.known.sessions.clear()
        self.keeper.back()
        self.wait(0)
        self.assertEqual(sorted(self.known.sessions), ["a", "b", "c", "d"])

    def test_it_is_tried_until_it_is_done(self) -> None:
        self.keeper.lost()
        self.known.sessions.clear()
        self.known.failure = Unavailable("away")
        self.keeper.back()
        self.wait(1.1)
        self.assertEqual(self.keeper.held, 3)
        self.clients["b"].hang_up()
        self.known.failure = None
        self.wait(1.1)
        self.assertEqual(sorted(self.known.sessions), ["a", "c"])
        self.assertEqual(self.keeper.held, 0)

    def test_lost_again_before_it_was_done_nothing_is_let_go(self) -> None:
        self.keeper.lost()
        self.known.failure = Unavailable("away")
        self.keeper.back()
        self.wait(0)
        self.keeper.lost()
        self.known.failure = None
        self.wait(2)
        self.assertEqual(self.keeper.held, 3)
        self.keeper.back()
        self.wait(0)
        self.assertEqual(self.keeper.held, 0)

    def test_session_that_others_have_forgotten_is_found_within_the_interval(self) -> None:
        del self.known.sessions["b"]
        self.keep("b", b"kept meanwhile")
        self.wait(LOOK_S)
        self.assertIn("b", self.known.sessions)
        self.assertEqual(self.known.calls, [["b"]])
        self.assertEqual(self.got("b"), [b"kept meanwhile"])

    def test_nothing_is_said_while_all_is_known(self) -> None:
        self.wait(LOOK_S)
        self.assertEqual(self.known.calls, [])

    def test_when_credentials_are_over_need_not_be_known(self) -> None:
        for connection in self.connector.connections.with_session():
            assert connection.registration is not None
            connection.registration = replace(connection.registration, expires_s=EXPIRES_MS // 1000)
        self.wait(LOOK_S)
        self.assertEqual(self.known.calls, [])
        begun(self.connector.replaced([self.known.sessions["a"]]))
        self.wait(DOUBT_S)
        self.assertEqual(self.known.calls, [])
        self.assertIsNone(self.deliver("a", b"newer"))

    def test_store_that_is_away_is_asked_again_at_the_next_look(self) -> None:
        del self.known.sessions["b"]
        self.known.failure = Unavailable("away")
        self.wait(LOOK_S)
        self.known.failure = None
        self.wait(LOOK_S)
        self.assertIn("b", self.known.sessions)

    def test_where_the_cache_has_moved_only_those_pull_that_have_something_there(self) -> None:
        self.wait(0)
        pulls = self.cache.pulls
        self.keep("c", b"not told")
        self.keeper.cache_moved()
        self.wait(0)
        self.assertEqual((self.got("a"), self.got("c")), ([], [b"not told"]))
        self.assertLessEqual(self.cache.pulls - pulls, 2)

    def test_cache_that_cannot_say_is_asked_again(self) -> None:
        waiting = self.cache.waiting
        times: list[int] = []

        async def away(tokens: Sequence[str]) -> Sequence[str]:
            times.append(len(times))
            if len(times) < 3:
                raise Unavailable("loading")
            return await waiting(tokens)

        self.patch(self.cache, "waiting", away)
        self.keep("c", b"not told")
        self.keeper.cache_moved()
        self.wait(1.0)
        self.keeper.cache_moved()
        self.wait(1.0)
        self.wait(1.0)
        self.assertEqual(self.got("c"), [b"not told"])

    def test_what_nobody_told_of_is_found_when_others_have_seen_this_connector_and_every_minute(self) -> None:
        for seconds in (SETTLE_S, ASK_S):
            self.keeper.back() if seconds == SETTLE_S else None
            self.wait(0)
            self.keep("c", b"%d" % seconds)
            self.wait(seconds)
            self.assertEqual(self.got("c"), [b"%d" % seconds])

    def test_what_a_holder_was_told_of_late_is_told_again_to_the_next_and_comes_only_once(self) -> None:
        plain, acknowledging = self.clients["a"], Client(self.connector, self.clock)
        acknowledging.sub(token="d", ack=True)
        for token in ("a", "d"):
            self.keep(token, b"once")
        self.keeper.cache_moved()
        self.wait(0)
        self.assertEqual((plain.pushes(), acknowledging.pushes()), ([b"once"], [ID.pack(1) + b"once"]))
        acknowledging.send(Signal.PUB_ACK, ID.pack(1), subsignal=SubSignal.MN)
        self.wait(1)
        self.assertEqual((self.cache.of("a"), self.cache.of("d")), ([], []))
        for token in ("a", "d"):  # the next holder finds them in the store
            self.keep(token, b"once")
        self.keeper.cache_moved()
        self.wait(1)
        self.assertEqual((plain.pushes(), acknowledging.pushes()), ([], []))
        self.assertEqual((self.cache.of("a"), self.cache.of("d")), ([], []))

    def test_what_is_on_its_way_to_a_holder_that_is_frozen_is_told_the_next_and_only_once_more(self) -> None:
        under_way: list[Deferred[None]] = []
        told: list[Any] = []

        def acknowledged(batch: Any) -> "Deferred[None]":
            told.append(batch)
            under_way.append(Deferred())
            return under_way[-1]

        self.patch(self.cache, "acknowledged", acknowledged)
        self.connector.reports.acknowledged("a", [1])
        self.wait(0)
        self.keeper.cache_moved()
        self.wait(0)
        under_way[0].errback(Unavailable("it was frozen"))
        self.wait(2)
        under_way[1].callback(None)
        self.wait(2)
        self.assertEqual(told, [[("a", [1])]] * 2)

    def test_what_was_told_long_before_the_rest_is_not_told_again_and_time_without_a_cache_does_not_count(self) -> None:
        told: list[Any] = []

        async def acknowledged(batch: Any) -> None:
            told.append(batch)

        self.patch(self.cache, "acknowledged", acknowledged)
        self.connector.reports.acknowledged("a", [1])
        self.wait(RECENT_S + 1)
        self.connector.reports.acknowledged("b", [2])
        self.wait(60)
        self.keeper.cache_moved()
        self.wait(0)
        self.assertEqual(told, [[("a", [1])], [("b", [2])], [("b", [2])]])


class DoubtTests(KeeperCase):
    """Sessions that are said to be replaced elsewhere."""

    def elsewhere(self, token: str, connector: str = "other:1") -> Registration:
        """A session of a token that was opened elsewhere later: others know it, and this connector is told."""
        mine = self.connector.connections.by_token[token].registration
        assert mine is not None
        session = self.known.sessions[token] = Registration(token, None, connector, mine.epoch + 1)
        begun(self.connector.replaced([mine]))
        return session

    def closed_with(self, token: str) -> int | None:
        """The code with which a client was sent away."""
        return self.clients[token].goodbye().get("code")

    def test_one_that_has_a_newer_one_elsewhere_is_closed_a_moment_later(self) -> None:
        self.elsewhere("a")
        self.wait(DOUBT_S)
        self.assertEqual(self.closed_with("a"), CloseCode.REPLACED)
        self.assertIsNone(self.closed_with("b"))

    def test_one_whose_successor_was_given_up_goes_on_and_gets_what_was_kept_meanwhile_first(self) -> None:
        ghost = self.elsewhere("a")
        self.keep("a", b"kept meanwhile")
        begun(self.known.closed([ghost]))
        self.wait(DOUBT_S)
        self.assertEqual(self.known.sessions["a"].connector, self.connector.address)
        self.assertEqual(self.got("a"), [b"kept meanwhile"])
        self.assertIsNone(self.deliver("a", b"newer"))
        self.assertEqual(self.got("a"), [b"newer"])
        self.assertFalse(self.clients["a"].is_ended)

    def test_one_that_this_connector_was_to_have_itself_and_has_not_is_given_up(self) -> None:
        self.elsewhere("a", self.connector.address)
        self.wait(DOUBT_S)
        self.assertIsNone(self.closed_with("a"))
        self.assertEqual(self.known.sessions["a"], self.connector.connections.by_token["a"].registration)

    def test_one_that_cannot_be_made_known_again_is_closed(self) -> None:
        ghost = self.elsewhere("a")
        begun(self.known.closed([ghost]))
        self.wait(DOUBT_S)
        self.elsewhere("a")  # it lost: its successor is at a connector that counts as dead just now
        self.assertEqual(self.closed_with("a"), CloseCode.REPLACED)

    def test_one_that_was_replaced_while_this_connector_counted_as_dead_gets_nothing_more(self) -> None:
        self.keeper.lost()
        mine = self.known.sessions["a"]
        self.known.sessions["a"] = Registration("a", None, "other:1", mine.epoch + 1)
        self.keep("a", b"for the newer one")
        self.keep("b", b"for this one")
        self.keeper.back()
        self.wait(0)
        self.assertEqual((self.got("b"), self.cache.of("a")), ([b"for this one"], [b"for the newer one"]))
        self.wait(DOUBT_S)
        frames = self.clients["a"].frames()
        self.assertEqual([each.signal for each in frames], [Signal.DISCONNECT])
        self.assertEqual(self.cache.of("a"), [b"for the newer one"])

    def test_while_nobody_can_say_nobody_is_closed(self) -> None:
        self.elsewhere("a")
        self.known.failure = Unavailable("away")
        self.wait(DOUBT_S)
        self.wait(2)
        self.assertIsNone(self.closed_with("a"))
        self.known.failure = None
        self.wait(2)
        self.assertEqual(self.closed_with("a"), CloseCode.REPLACED)

    def test_a_client_that_leaves_while_its_next_session_is_opened_keeps_the_one_it_has(self) -> None:
        opening: Deferred[Registration] = Deferred()
        self.patch(self.connector._subscribe, "open", lambda request, connector: opening)
        self.patch(self.connector._subscribe, "closed", self.known.closed)
        late = Client(self.connector, self.clock)
        late.send(Signal.SUB, b'{"token": "a"}')
        late.hang_up()
        mine = self.connector.connections.by_token["a"].registration
        assert mine is not None
        ghost = self.known.sessions["a"] = Registration("a", None, self.connector.address, mine.epoch + 1)
        opening.callback(ghost)
        self.wait(0)
        self.keep("a", b"kept meanwhile")
        self.wait(DOUBT_S)
        self.assertEqual(self.known.sessions["a"], mine)
        self.assertEqual(self.got("a"), [b"kept meanwhile"])

    def test_a_client_that_came_again_before_its_first_attempt_was_answered_keeps_its_session(self) -> None:
        opening: list[Deferred[Registration]] = []
        self.patch(
            self.connector._subscribe, "open", lambda request, connector: opening.append(Deferred()) or opening[-1]
        )
        self.patch(self.connector._subscribe, "closed", self.known.closed)
        given_up, client = Client(self.connector, self.clock), Client(self.connector, self.clock)
        given_up.send(Signal.SUB, b'{"token": "d"}')
        given_up.protocol.readConnectionLost()
        client.send(Signal.SUB, b'{"token": "d"}')
        # Both are opened, in the other order.
        mine = Registration("d", None, self.connector.address, 1_000)
        opening[1].callback(mine)
        client.frames()
        ghost = self.known.sessions["d"] = Registration("d", None, self.connector.address, 1_001)
        opening[0].callback(ghost)
        self.clients["d"] = client
        self.keep("d", b"kept meanwhile")
        self.wait(DOUBT_S)
        self.assertFalse(client.is_ended)
        self.assertEqual(self.known.sessions["d"], mine)
        self.assertEqual(self.got("d"), [b"kept meanwhile"])
        self.assertIsNone(self.deliver("d", b"newer"))

    def test_one_that_was_replaced_before_it_was_answered_is_looked_at_too(self) -> None:
        for token, is_given_up in (("d", True), ("e", False)):
            opening: Deferred[Registration] = Deferred()
            self.patch(self.connector._subscribe, "open", lambda request, connector, opening=opening: opening)
            client = self.clients[token] = Client(self.connector, self.clock)
            client.send(Signal.SUB, b'{"token": "%s"}' % token.encode())
            mine = Registration(token, None, self.connector.address, 1_000)
            newer = self.known.sessions[token] = Registration(token, None, "other:1", 1_001)
            begun(self.connector.replaced([mine]))
            opening.callback(mine)
            self.keep(token, b"kept meanwhile")
            if is_given_up:
                begun(self.known.closed([newer]))
            self.wait(DOUBT_S)
        self.assertEqual(self.known.sessions["d"].connector, self.connector.address)
        self.assertEqual(self.got("d"), [b"kept meanwhile"])
        frames = self.clients["e"].frames()
        self.assertEqual([each.signal for each in frames], [Signal.SUB, Signal.DISCONNECT])
        self.assertIn(b"3500", frames[1].body)


class EvictionTests(SynchronousTestCase):
    """Sessions that were replaced elsewhere."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[list[int]] = []
        self.failure: Exception | None = None
        self.known: dict[str, Any] = {"c:1": self}
        self.evictions = Evictions(nodes=self, clock=self.clock)  # type: ignore[arg-type]
        self.evictions.startService()
        self.addCleanup(self.evictions.stopService)

    def connectors(self) -> dict[str, Any]:
        """See INodes."""
        return self.known

    async def replaced(self, registrations: Sequence[Registration]) -> None:
        """See IConnector."""
        if self.failure is not None:
            raise self.failure
        self.told.append([each.epoch for each in registrations])

    def evict(self, token: str, epoch: int, connector: str = "c:1") -> None:
        """A session has a newer one elsewhere."""
        self.evictions.replaced(Registration(token, None, connector, epoch))

    def test_connector_is_told_at_once(self) -> None:
        self.evict("t", 1)
        self.evict("t", 2)
        self.assertEqual(self.told, [[1], [2]])
        self.assertEqual(len(self.evictions), 0)

    def test_connector_that_does_not_answer_is_told_again_and_only_of_the_newest(self) -> None:
        self.failure = Unavailable("cut off")
        for epoch in (1, 3, 2):
            self.evict("t", epoch)
        self.evict("u", 4)
        self.assertEqual(len(self.evictions), 2)
        self.failure = None
        self.clock.advance(RETRY_S)
        self.assertEqual(self.told, [[3, 4]])
        self.assertEqual(len(self.evictions), 0)

    def test_connector_that_is_not_known_yet_is_told_when_it_is_and_given_up_after_a_while(self) -> None:
        self.evict("t", 1, "c:2")
        self.clock.pump([RETRY_S] * 3)
        self.assertEqual(len(self.evictions), 1)
        self.known["c:2"] = self
        self.clock.advance(RETRY_S)
        self.assertEqual(self.told, [[1]])
        self.evict("t", 2, "c:3")
        self.clock.pump([RETRY_S] * round(GIVE_UP_AFTER_S + 1))
        self.assertEqual(len(self.evictions), 0)
