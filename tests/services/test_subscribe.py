"""Tests of push.services.subscribe, over stores in memory and on disk."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import PermissionDenied, Unauthenticated, Unavailable
from push.ihealth import IMeasured
from push.isubscribe import IAuthenticator, ISubscribe
from push.model import Registration, TagQuery
from push.model_access import Identity
from push.model_subscribe import TokenInfo
from push.protocols.wire.messages import SubRequest
from push.services.client_auth import OpenDoor
from push.services.subscribe import Subscribe
from push.stores.sqlite.database import Database
from push.stores.sqlite.tokens import TokenStore
from tests.fakes_store import MemoryTokenStore
from tests.stores.threads import HeldThreads, ImmediateThreads, call_now

START_MS = 1_800_000_000_000


@implementer(IAuthenticator)
class Passwords:
    """Credentials are "uid!"; such of bob are over at a time."""

    required = True

    def identify(self, credential: str | None) -> Identity:
        """Without the exclamation mark."""
        if credential is None or not credential.endswith("!"):
            raise Unauthenticated("no")
        return Identity(credential[:-1], 1_900_000_000 if credential == "bob!" else 0)


class CountedBytes:
    """Bytes that are never the same."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, size: int) -> bytes:
        self.asked.append(size)
        return len(self.asked).to_bytes(size, "big")


class SubscribeCase(SynchronousTestCase):
    """With a store in memory and a clock that stands."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.random = CountedBytes()
        self.store: Any = MemoryTokenStore()
        self.subscribe = self.make(OpenDoor())
        self.guarded = self.make(Passwords())

    def now_ms(self) -> int:
        """The wall clock."""
        return START_MS + round(self.clock.seconds() * 1000)

    def make(self, authenticator: IAuthenticator) -> Subscribe:
        """One over the store."""
        return Subscribe(store=self.store, authenticator=authenticator, now_ms=self.now_ms, random_bytes=self.random)

    def run_now(self, awaitable: Awaitable[Any]) -> Any:
        """The result of something that need not wait."""
        return self.successResultOf(self.start(awaitable))

    def start(self, awaitable: Awaitable[Any]) -> Deferred[Any]:
        """Begin something."""

        async def wait() -> Any:
            return await awaitable

        return Deferred.fromCoroutine(wait())

    def open(self, connector: str = "a:1", subscribe: Subscribe | None = None, **fields: Any) -> Registration:
        """Open a session."""
        return self.run_now((subscribe or self.subscribe).open(SubRequest(**fields), connector))

    def refusal(self, awaitable: Awaitable[Any], *errors: type[Exception]) -> str:
        """The sentence of a refusal."""
        return str(self.failureResultOf(self.start(awaitable), *errors).value)

    def locate(self, *tokens: str) -> tuple[dict[str, str], set[str]]:
        """Where tokens are, and which are unknown."""
        located = self.run_now(self.subscribe.locate(tokens, {}))
        return {token: session.connector for token, session in located.online.items()}, set(located.unknown)

    def samples(self) -> dict[tuple[str, ...], float]:
        """The numbers."""
        return {
            (sample.name, *(value for _, value in sample.labels)): sample.value for sample in self.subscribe.samples()
        }


class OpenTests(SubscribeCase):
    """Sessions begin."""

    def test_provides_the_interfaces(self) -> None:
        verifyObject(ISubscribe, self.subscribe)
        verifyObject(IMeasured, self.subscribe)

    def test_client_without_token_gets_one_of_128_random_bits(self) -> None:
        first, second = self.open(), self.open()
        self.assertEqual(self.random.asked, [16, 16])
        self.assertEqual(first.token, "0" * 31 + "1")
        self.assertEqual(second.token, "0" * 31 + "2")

    def test_random_bytes_are_the_systems_unless_said_otherwise(self) -> None:
        subscribe = Subscribe(store=self.store, authenticator=OpenDoor(), now_ms=self.now_ms)
        tokens = {self.open(subscribe=subscribe).token for _ in range(100)}
        self.assertEqual(len(tokens), 100)
        for token in tokens:
            self.assertRegex(token, "^[0-9a-f]{32}$")

    def test_presented_token_is_kept_whether_it_is_known_or_not(self) -> None:
        for _ in range(2):
            self.assertEqual(self.open(token="my~token").token, "my~token")
        self.assertEqual(self.random.asked, [])
        self.assertEqual(self.store.count(), 1)

    def test_registration_says_where_and_since_when(self) -> None:
        self.clock.advance(2)
        registration = self.open("host:6789", token="t", uid="alice")
        self.assertEqual(registration, Registration("t", "alice", "host:6789", registration.epoch))
        self.assertEqual(registration.since_ms, START_MS + 2_000)

    def test_what_the_client_says_is_stored_and_what_it_does_not_say_is_kept(self) -> None:
        self.open(token="t", uid="alice", device="{}", tags=("a",))
        registration = self.open(token="t")
        self.assertEqual(registration.uid, "alice")
        info = self.run_now(self.subscribe.describe("t"))
        self.assertEqual(info, TokenInfo("t", "alice", "{}", ("a",), START_MS, registration))

    def test_user_has_many_tokens(self) -> None:
        for token in ("z", "a"):
            self.open(token=token, uid="alice")
        self.open(token="m", uid="bob")
        self.assertEqual(self.run_now(self.subscribe.tokens_of(["alice", "carol"])), {"alice": ("z", "a")})

    def test_tags_are_found_page_by_page(self) -> None:
        for token in ("c", "a", "b"):
            self.open(token=token, tags=("news",))
        query = TagQuery(all=("news",))
        self.assertEqual(self.run_now(self.subscribe.tagged(query, "", 2)), ["a", "b"])
        self.assertEqual(self.run_now(self.subscribe.tagged(query, "b", 2)), ["c"])

    def test_nothing_is_online_when_the_store_refuses(self) -> None:
        self.store.failure = Unavailable("full")
        self.refusal(self.subscribe.open(SubRequest(token="t"), "a:1"), Unavailable)
        self.store.failure = None
        self.assertEqual(self.locate("t"), ({}, {"t"}))


class CredentialTests(SubscribeCase):
    """With authentication required."""

    def test_uid_is_the_credentials(self) -> None:
        self.assertEqual(self.open(subscribe=self.guarded, auth="alice!").uid, "alice")
        self.assertEqual(self.open(subscribe=self.guarded, auth="alice!", uid="alice").uid, "alice")

    def test_a_session_knows_when_its_credential_is_over(self) -> None:
        self.assertEqual(self.open(subscribe=self.guarded, auth="alice!").expires_s, 0)
        self.assertEqual(self.open(subscribe=self.guarded, auth="bob!").expires_s, 1_900_000_000)
        self.assertEqual(self.open(uid="bob").expires_s, 0)

    def test_another_uid_than_the_credentials_is_refused(self) -> None:
        self.refusal(self.guarded.open(SubRequest(token="t", auth="mallory!", uid="alice"), "a:1"), PermissionDenied)
        self.assertEqual(self.store.calls, [])

    def test_missing_and_false_credentials_are_refused(self) -> None:
        for auth in (None, "alice"):
            self.refusal(self.guarded.open(SubRequest(token="t", auth=auth), "a:1"), Unauthenticated)
        self.assertEqual(self.store.calls, [])

    def test_token_is_taken_over_only_by_the_uid_that_owns_it(self) -> None:
        owned = self.open(subscribe=self.guarded, auth="alice!")
        self.refusal(self.guarded.open(SubRequest(token=owned.token, auth="mallory!"), "b:2"), PermissionDenied)
        self.assertEqual(self.run_now(self.guarded.locate([owned.token], {})).online[owned.token].connector, "a:1")
        again = self.open("b:2", subscribe=self.guarded, token=owned.token, auth="alice!")
        self.assertEqual(again.token, owned.token)
        self.assertEqual(self.run_now(self.guarded.locate([owned.token], {})).online[owned.token].connector, "b:2")

    def test_token_without_owner_is_nobodys_to_take(self) -> None:
        token = self.open().token
        self.refusal(self.guarded.open(SubRequest(token=token, auth="mallory!"), "b:2"), PermissionDenied)

    def test_without_authentication_whoever_knows_the_token_takes_it(self) -> None:
        self.open(token="t", uid="alice")
        self.assertEqual(self.open("b:2", token="t", uid="bob", auth="whatever").uid, "bob")


class OnlineTests(SubscribeCase):
    """Where tokens are."""

    def test_newest_session_is_located(self) -> None:
        self.open("a:1", token="t")
        self.open("b:2", token="t")
        self.assertEqual(self.locate("t"), ({"t": "b:2"}, set()))

    def test_a_session_that_moves_to_another_connector_is_told_of_and_one_that_stays_is_not(self) -> None:
        replaced: list[Registration] = []
        subscribe = Subscribe(store=self.store, authenticator=OpenDoor(), now_ms=self.now_ms, replaced=replaced.append)
        self.open("a:1#1", subscribe, token="t")
        second = self.open("a:1#1", subscribe, token="t")
        self.assertEqual(replaced, [])
        third = self.open("a:1#2", subscribe, token="t")
        self.assertEqual(replaced, [second])
        self.run_now(subscribe.closed([third]))
        self.open("a:1#1", subscribe, token="t")
        self.assertEqual(replaced, [second])

    def test_end_of_a_replaced_session_does_not_undo_the_newer_one(self) -> None:
        old, new = self.open("a:1", token="t"), self.open("a:1", token="t")
        self.run_now(self.subscribe.closed([old]))
        self.assertEqual(self.locate("t"), ({"t": "a:1"}, set()))
        self.run_now(self.subscribe.closed([new, old, new]))
        self.assertEqual(self.locate("t"), ({}, set()))

    def test_offline_unknown_and_online_are_told_apart_with_one_query(self) -> None:
        self.open("a:1", token="on")
        self.run_now(self.subscribe.closed([self.open(token="off1"), self.open(token="off2")]))
        self.store.calls.clear()
        self.assertEqual(self.locate("off1", "on", "no1", "off2", "no2", "on"), ({"on": "a:1"}, {"no1", "no2"}))
        self.assertEqual(self.store.calls, ["known"])

    def test_tokens_that_are_all_online_are_located_without_the_store_and_at_once(self) -> None:
        tokens = [self.open(f"c:{number % 3}").token for number in range(1_000)]
        self.store.calls.clear()
        self.store.failure = Unavailable("gone")
        coroutine = self.subscribe.locate(tokens, {})
        stop = self.assertRaises(StopIteration, coroutine.send, None)
        self.assertEqual(len(stop.value.online), 1_000)
        self.assertEqual(self.store.calls, [])

    def test_session_that_opens_while_the_store_is_asked_is_located(self) -> None:
        asked: Deferred[frozenset[str]] = Deferred()
        self.patch(self.store, "known", lambda tokens: asked)
        located = self.start(self.subscribe.locate(["t", "other"], {}))
        self.open(token="t")
        asked.callback(frozenset())
        result = self.successResultOf(located)
        self.assertEqual((result.online["t"].connector, len(result.online), result.unknown), ("a:1", 1, {"other"}))

    def test_revoked_token_is_unknown_at_once_and_its_session_ends_quietly(self) -> None:
        registration = self.open(token="t", uid="alice", tags=("a",))
        self.assertIs(self.run_now(self.subscribe.revoke("t")), True)
        self.assertEqual(self.locate("t"), ({}, {"t"}))
        self.assertIsNone(self.run_now(self.subscribe.describe("t")))
        self.run_now(self.subscribe.closed([registration]))
        self.assertIs(self.run_now(self.subscribe.revoke("t")), False)

    def test_token_that_could_not_be_revoked_stays_where_it_is(self) -> None:
        self.open(token="t")
        self.patch(self.store, "delete", lambda token: fail(Unavailable("full")))
        self.refusal(self.subscribe.revoke("t"), Unavailable)
        self.assertEqual(self.locate("t"), ({"t": "a:1"}, set()))

    def test_lent_token_is_located_but_never_stored(self) -> None:
        lent = self.run_now(self.subscribe.lend("a:1"))
        self.assertRegex(lent.token, "^[0-9a-f]{32}$")
        self.assertEqual(self.locate(lent.token), ({lent.token: "a:1"}, set()))
        self.assertEqual(self.store.count(), 0)
        self.run_now(self.subscribe.closed([lent]))
        self.assertEqual(self.locate(lent.token), ({}, {lent.token}))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["open", "close", "revoke"]), st.integers(0, 2), st.integers(0, 9))))
    def test_token_is_where_its_last_session_that_has_not_ended_is(self, steps: list[tuple[str, int, int]]) -> None:
        self.setUp()
        sessions: list[Registration] = []
        current: dict[str, Registration] = {}
        for kind, token_number, session_number in steps:
            token = f"t{token_number}"
            if kind == "open":
                registration = self.open(f"c:{len(sessions)}", token=token)
                sessions.append(registration)
                current[token] = registration
            elif kind == "revoke":
                self.run_now(self.subscribe.revoke(token))
                current.pop(token, None)
            elif session_number < len(sessions):
                ended = sessions[session_number]
                self.run_now(self.subscribe.closed([ended]))
                if current.get(ended.token) is ended:
                    del current[ended.token]
            expected = {token: registration.connector for token, registration in current.items()}
            self.assertEqual(self.locate("t0", "t1", "t2")[0], expected)


class EpochTests(SubscribeCase):
    """Which of a token's sessions is the newer one."""

    def test_epochs_grow_when_the_clock_stands_and_when_it_steps_back(self) -> None:
        first, second = self.open(token="t"), self.open(token="t")
        self.clock.rightNow = -3600.0
        third = self.open(token="t")
        self.clock.rightNow = 1.0
        fourth = self.open(token="t")
        epochs = [registration.epoch for registration in (first, second, third, fourth)]
        self.assertEqual(epochs, sorted(set(epochs)))

    def test_epochs_grow_across_a_restart_even_after_a_burst(self) -> None:
        before = [self.open(token="t").epoch for _ in range(900)]
        self.clock.advance(0.001)
        self.assertGreater(self.open(subscribe=self.make(OpenDoor()), token="t").epoch, max(before))

    def test_end_of_a_session_before_a_restart_does_not_undo_one_after_it_though_the_clock_stepped_back(self) -> None:
        old = self.open(token="t")
        self.clock.rightNow = -3600.0
        self.subscribe = self.make(OpenDoor())
        self.open("b:2", token="t")
        self.run_now(self.subscribe.closed([old]))
        self.assertEqual(self.locate("t"), ({"t": "b:2"}, set()))

    def test_epochs_are_exact_as_doubles(self) -> None:
        self.assertLess(self.open().epoch, 2**53)


class MeasureTests(SubscribeCase):
    """Numbers."""

    def test_tokens_sessions_and_outcomes_are_counted(self) -> None:
        self.subscribe = self.guarded
        registrations = [self.open(subscribe=self.guarded, auth="alice!") for _ in range(3)]
        self.run_now(self.guarded.closed(registrations[:1]))
        self.refusal(self.guarded.open(SubRequest(), "a:1"), Unauthenticated)
        self.refusal(self.guarded.open(SubRequest(auth="a!", uid="b"), "a:1"), PermissionDenied)
        self.refusal(self.guarded.open(SubRequest(auth="a!", token=registrations[0].token), "a:1"), PermissionDenied)
        self.store.failure = Unavailable("full")
        self.refusal(self.guarded.open(SubRequest(auth="a!"), "a:1"), Unavailable)
        self.assertEqual(
            self.samples(),
            {
                ("push_tokens",): 3,
                ("push_tokens_online",): 2,
                ("push_subs_total", "opened"): 3,
                ("push_subs_total", "unauthenticated"): 1,
                ("push_subs_total", "denied"): 2,
                ("push_subs_total", "unavailable"): 1,
            },
        )


class OnDiskTests(SubscribeCase):
    """Over SQLite."""

    def start_server(self, threads: Any) -> Database:
        """Begin a life of the server."""
        database = Database(self.path, thread_pool=lambda name: threads, call_from_thread=call_now, clock=Clock())
        self.store = TokenStore(database)
        self.subscribe = self.make(OpenDoor())
        database.open()
        return database

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()) / "push.sqlite"

    def test_restart_forgets_nobody_and_believes_nobody_online(self) -> None:
        database = self.start_server(ImmediateThreads())
        token = self.open(uid="alice", device="{}", tags=("a",)).token
        self.successResultOf(database.close())
        database = self.start_server(ImmediateThreads())
        self.assertEqual(self.locate(token, "other"), ({}, {"other"}))
        self.assertEqual(self.open(token=token).uid, "alice")
        self.assertEqual(self.run_now(self.subscribe.tagged(TagQuery(any=("a",)), "", 9)), [token])
        self.successResultOf(database.close())

    def test_session_opens_only_when_its_token_is_on_disk(self) -> None:
        threads = HeldThreads()
        database = self.start_server(threads)
        opened = self.start(self.subscribe.open(SubRequest(token="t"), "a:1"))
        self.assertNoResult(opened)
        self.assertEqual(self.samples()["push_tokens_online",], 0)
        threads.drain()
        self.successResultOf(opened)
        self.assertEqual(self.locate("t"), ({"t": "a:1"}, set()))
        closed = database.close()
        threads.drain()
        self.successResultOf(closed)

    def test_sessions_of_one_token_that_open_together_end_up_with_the_last_one(self) -> None:
        threads = HeldThreads()
        database = self.start_server(threads)
        opened = [self.start(self.subscribe.open(SubRequest(token="t"), f"c:{number}")) for number in range(5)]
        revoked = self.start(self.subscribe.revoke("other"))
        threads.drain()
        registrations = self.successResultOf(gatherResults(opened))
        self.assertEqual(self.successResultOf(revoked), False)
        self.assertEqual(max(registrations, key=lambda each: each.epoch).connector, "c:4")
        self.assertEqual(self.locate("t"), ({"t": "c:4"}, set()))
        closed = database.close()
        threads.drain()
        self.successResultOf(closed)

    def test_token_revoked_while_its_session_opens_is_not_left_online(self) -> None:
        threads = HeldThreads()
        database = self.start_server(threads)
        opened = self.start(self.subscribe.open(SubRequest(token="t"), "a:1"))
        revoked = self.start(self.subscribe.revoke("t"))
        threads.drain()
        self.successResultOf(opened)
        self.assertIs(self.successResultOf(revoked), True)
        self.assertEqual(self.samples()["push_tokens_online",], 0)
        closed = database.close()
        threads.drain()
        self.successResultOf(closed)
