"""Tests of push.services.cluster_subscribe: sessions that several nodes share, in memory and in a real Redis."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from push.errors import PermissionDenied, Unavailable
from push.isubscribe import IAuthenticator, ISubscribe
from push.model import Registration
from push.protocols.wire.messages import SubRequest
from push.services.client_auth import OpenDoor
from push.services.cluster_subscribe import ClusterSubscribe
from push.stores.redis.sessions import SessionDirectory
from push.stores.redis.tokens import TokenStore
from tests.fakes_auth import UntilThen
from tests.fakes_cluster import MemorySessionDirectory
from tests.fakes_store import MemoryTokenStore
from tests.stores.contract import deferred
from tests.stores.redis.case import RedisCase

HERE, THERE = "10.0.0.1:6789", "10.0.0.2:6789"


def sub(token: str | None = None, uid: str | None = None, **more: Any) -> SubRequest:
    """What a client asks for."""
    given = {"auth": None, "ack": None, "interval_ms": None, "device": None, "tags": None, **more}
    return SubRequest(token, uid, *given.values())


class Nodes:
    """Two nodes that keep the same tokens; mixed into a TestCase."""

    def prepare(self, clock: Any, store: Any, directory: Any, authenticator: IAuthenticator | None = None) -> None:
        """Build them."""
        self.alive = {HERE, THERE}
        self.replaced: list[Registration] = []
        self.seen: list[str] = []
        self.store, self.directory = store, directory
        self.one, self.other = (
            ClusterSubscribe(
                store=store,
                directory=directory,
                authenticator=authenticator or OpenDoor(),
                now_ms=lambda: 1_800_000_000_000,
                clock=clock,
                is_alive=lambda name: name in self.alive,
                replaced=self.replaced.append,
                saw=self.seen.append,
            )
            for _ in range(2)
        )


class Contract(Nodes):
    """What must hold whatever the stores are."""

    async def test_users_whose_sessions_open_and_end_are_seen(self) -> None:
        session = await self.one.open(sub("t", "alice"), HERE)
        nobody = await self.one.open(sub("u"), HERE)
        self.assertEqual(self.seen, ["alice"])
        await self.other.closed([session, nobody])
        self.assertEqual(self.seen, ["alice", "alice"])

    async def test_session_opened_at_one_node_is_known_at_the_other(self) -> None:
        verifyObject(ISubscribe, self.one)
        session = await self.one.open(sub("t", "alice", ack=True), HERE)
        self.assertEqual(session, Registration("t", "alice", HERE, session.epoch, True))
        located = await self.other.locate(["t", "nobody"], {})
        self.assertEqual((located.online, located.unknown), ({"t": session}, {"nobody"}))
        self.assertEqual((await self.other.describe("t")).session, session)

    async def test_session_replaced_elsewhere_is_said_and_a_late_end_of_it_undoes_nothing(self) -> None:
        first = await self.one.open(sub("t"), HERE)
        second = await self.other.open(sub("t"), THERE)
        self.assertGreater(second.epoch, first.epoch)
        self.assertEqual(self.replaced, [first])
        await self.one.closed([first])
        self.assertEqual(await self.one.online(["t"]), {"t": second})
        third = await self.one.open(sub("t"), THERE)
        self.assertEqual(self.replaced, [first])  # a connector sees to those of its own
        await self.other.closed([third, second])
        located = await self.one.locate(["t"], {})
        self.assertEqual((located.online, located.unknown), ({}, frozenset()))

    async def test_sessions_of_a_connector_that_is_gone_count_as_offline_and_are_removed(self) -> None:
        for number in range(20):
            await self.one.open(sub(f"t{number}"), HERE)
        stays = await self.one.open(sub("u"), THERE)
        self.alive.discard(HERE)
        located = await self.other.locate(["t0", "u"], {})
        self.assertEqual((located.online, located.unknown), ({"u": stays}, frozenset()))

        async def yes() -> bool:
            return True

        self.assertEqual(await self.other.departed(HERE, yes), 20)
        self.assertEqual(await self.directory.count(), 1)

    async def test_sessions_of_a_successor_with_the_same_name_stay(self) -> None:
        old = await self.one.open(sub("old"), HERE)
        opened: list[Registration] = []

        async def restarts_meanwhile() -> bool:
            opened.append(await self.one.open(sub("new"), HERE))
            return True

        self.assertEqual(await self.other.departed(HERE, restarts_meanwhile), 1)
        self.assertEqual(await self.one.online(["old", "new"]), {"new": opened[0]})

        async def no() -> bool:
            return False

        self.assertEqual(await self.other.departed(HERE, no), 0)
        self.assertNotEqual(old, opened[0])

    async def test_reopened_sessions_are_known_again_with_their_tokens_and_the_older_of_two_is_closed(self) -> None:
        first = Registration("t", "alice", HERE, 1_000, True)
        second = Registration("t", "alice", THERE, 2_000, True)
        await self.one.reopened([first])
        self.assertEqual(await self.other.online(["t"]), {"t": first})
        self.assertEqual(await self.other.tokens_of(["alice"]), {"alice": ("t",)})
        await self.other.reopened([second])
        self.assertEqual(self.replaced, [first])
        await self.one.reopened([first])
        self.assertEqual(self.replaced, [first, first])
        self.assertEqual(await self.one.online(["t"]), {"t": second})

    async def test_lent_session_is_found_and_never_stored(self) -> None:
        session = await self.one.lend(HERE)
        self.assertEqual(await self.other.online([session.token]), {session.token: session})
        await self.one.reopened([session])
        self.assertIsNone(await self.store.get(session.token))

    async def test_what_is_meant_for_a_user_is_not_for_who_has_the_token_now(self) -> None:
        session = await self.one.open(sub("t", "bob"), HERE)
        located = await self.other.locate(["t"], {"t": "alice"})
        self.assertEqual((located.online, located.unknown), ({}, frozenset()))
        self.assertEqual((await self.other.locate(["t"], {"t": "bob"})).online, {"t": session})

    async def test_revoked_token_is_nowhere(self) -> None:
        await self.one.open(sub("t"), HERE)
        self.assertTrue(await self.other.revoke("t"))
        located = await self.one.locate(["t"], {})
        self.assertEqual((located.online, located.unknown), ({}, {"t"}))
        self.assertFalse(await self.one.revoke("t"))

    async def test_token_without_one_is_issued_and_many_open_at_once_end_with_one_session(self) -> None:
        issued = await self.one.open(sub(), HERE)
        self.assertRegex(issued.token, "^[0-9a-f]{32}$")
        nodes = [self.one, self.other] * 10
        opened = await gatherResults(
            [deferred(node.open(sub("t"), f"c{number}:1")) for number, node in enumerate(nodes)]
        )
        self.alive |= {session.connector for session in opened}
        last = max(opened, key=lambda session: session.epoch)
        self.assertEqual(await self.one.online(["t"]), {"t": last})
        self.assertEqual(sorted(self.replaced, key=repr), sorted((s for s in opened if s is not last), key=repr))


class MemoryTests(Contract, TestCase):
    """In memory."""

    def setUp(self) -> None:
        self.prepare(reactor, MemoryTokenStore(), MemorySessionDirectory())


class RedisTests(Contract, RedisCase):
    """In Redis: the two nodes have connections of their own."""

    def setUp(self) -> None:
        here, there = self.make_redis(), self.make_redis()
        self.prepare(reactor, TokenStore(here, max_tokens=1_000), SessionDirectory(here))
        self.other._store = TokenStore(there, max_tokens=1_000)
        self.other._directory = SessionDirectory(there)


class CredentialTests(SynchronousTestCase, Nodes):
    """Credentials that are over at a time."""

    def test_the_session_that_is_opened_knows_when_its_credential_is_over(self) -> None:
        self.prepare(Clock(), MemoryTokenStore(), MemorySessionDirectory(), UntilThen())
        for auth, until_s in (("1900000000", 1_900_000_000), ("0", 0)):
            session = self.successResultOf(Deferred.fromCoroutine(self.one.open(sub("t", auth=auth), HERE)))
            self.assertEqual((session.uid, session.expires_s), ("alice", until_s))


class LookUpTests(SynchronousTestCase, Nodes):
    """Many that look up at once; stores that are away."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.prepare(self.clock, MemoryTokenStore(), MemorySessionDirectory())
        self.finds: list[list[str]] = []
        self.answers: list[Deferred[Any]] = []
        find = self.directory.find

        def slow_find(tokens: Any) -> Deferred[Any]:
            self.finds.append(list(tokens))
            answer: Deferred[Any] = Deferred()
            answer.addCallback(lambda _: find(tokens))
            self.answers.append(answer)
            return answer

        self.one._sessions._look_up = slow_find

    def locate(self, *tokens: str) -> Deferred[Any]:
        """Begin to look for some."""
        return Deferred.fromCoroutine(self.one.locate(tokens, {}))

    def test_what_is_looked_up_in_one_turn_and_while_others_are_goes_together(self) -> None:
        session = self.successResultOf(Deferred.fromCoroutine(self.other.open(sub("t1"), HERE)))
        first = [self.locate("t1", "t2"), self.locate("t1")]
        self.clock.advance(0)
        second = self.locate("t3")
        self.clock.advance(0)
        later = [self.locate(f"u{number}") for number in range(50)]
        self.clock.advance(0)
        self.assertEqual(self.finds, [["t1", "t2"], ["t3"]])
        self.answers[0].callback(None)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(first[1]).online, {"t1": session})
        self.assertEqual(self.finds[2:], [[f"u{number}" for number in range(50)]])
        self.answers[1].errback(Unavailable("away"))
        self.failureResultOf(second, Unavailable)
        self.answers[2].callback(None)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(later[7]).unknown, {"u7"})
        self.assertEqual(self.successResultOf(first[0]).unknown, {"t2"})

    def test_what_is_asked_later_is_not_answered_with_what_was_looked_up_before(self) -> None:
        before = Deferred.fromCoroutine(self.one.online(["t"]))
        self.clock.advance(0)
        self.successResultOf(Deferred.fromCoroutine(self.other.open(sub("t"), HERE)))
        after = Deferred.fromCoroutine(self.one.online(["t"]))
        self.clock.advance(0)
        self.assertEqual(len(self.finds), 2)
        for answer in self.answers:
            answer.callback(None)
        self.assertIn("t", self.successResultOf(after))
        self.successResultOf(before)

    def test_end_that_cannot_be_said_is_said_later_and_undoes_nothing_newer(self) -> None:
        first = self.successResultOf(Deferred.fromCoroutine(self.other.open(sub("t"), HERE)))
        second = self.successResultOf(Deferred.fromCoroutine(self.other.open(sub("u"), HERE)))
        self.directory.failure = Unavailable("away")
        self.successResultOf(Deferred.fromCoroutine(self.one.closed([first, second])))
        self.clock.advance(5)
        self.directory.failure = None
        third = self.successResultOf(Deferred.fromCoroutine(self.other.open(sub("u"), THERE)))
        self.clock.advance(1.1)
        self.assertEqual(self.successResultOf(self.directory.find(["t", "u"])), {"u": third})

    def test_store_that_is_away_is_said(self) -> None:
        self.directory.failure = Unavailable("away")
        self.failureResultOf(Deferred.fromCoroutine(self.other.open(sub("t"), HERE)), Unavailable)
        self.failureResultOf(
            Deferred.fromCoroutine(self.other.reopened([Registration("t", None, HERE, 1)])), Unavailable
        )
        counts = {dict(s.labels).get("outcome"): s.value for s in self.other.samples()}
        self.assertEqual(counts["unavailable"], 1)

    def test_refusals_are_counted(self) -> None:
        self.patch(self.store, "register", lambda *given, **more: _refuse())
        self.failureResultOf(Deferred.fromCoroutine(self.other.open(sub("t"), HERE)), PermissionDenied)
        counts = {dict(s.labels).get("outcome"): s.value for s in self.other.samples()}
        self.assertEqual((counts["denied"], counts["opened"]), (1, 0))


def _refuse() -> Any:
    raise PermissionDenied("another's")
