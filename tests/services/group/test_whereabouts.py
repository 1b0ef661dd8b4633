"""Tests of push.services.group.whereabouts, told by the subscribe role."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.igroup import ISessionWatcher, IWhereabouts
from push.model import Registration
from push.protocols.wire.messages import SubRequest
from push.services.client_auth import OpenDoor
from push.services.group.whereabouts import SessionTable
from push.services.subscribe import Subscribe
from tests.fakes_store import MemoryTokenStore


class SessionTableTests(SynchronousTestCase):
    """What is known of parties while their sessions come and go."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = SessionTable()
        self.changes: list[tuple[str | None, str, int]] = []
        self.table.changed = lambda registration, count: self.changes.append(
            (registration.uid, registration.token, count)
        )
        self.subscribe = Subscribe(
            store=MemoryTokenStore(),
            authenticator=OpenDoor(),
            now_ms=lambda: round(self.clock.seconds() * 1000),
            watcher=self.table,
        )

    def open(self, token: str, uid: str | None = None) -> Registration:
        """A client opens a session."""
        registration: Registration = self.successResultOf(
            Deferred.fromCoroutine(self.subscribe.open(SubRequest(token=token, uid=uid), "a:1"))
        )
        return registration

    def close(self, *registrations: Registration) -> None:
        """Sessions end."""
        self.successResultOf(Deferred.fromCoroutine(self.subscribe.closed(registrations)))

    def there(self, *whos: str) -> dict[str, list[str]]:
        """The tokens that parties are found at."""

        async def ask(asked: Iterable[str]) -> dict[str, list[str]]:
            found = await self.table.sessions(asked)
            return {who: sorted(each.token for each in sessions) for who, sessions in found.items()}

        result: dict[str, list[str]] = self.successResultOf(Deferred.fromCoroutine(ask(whos)))
        return result

    def test_provides_its_interfaces(self) -> None:
        """IWhereabouts and ISessionWatcher."""
        verifyObject(IWhereabouts, self.table)
        verifyObject(ISessionWatcher, self.table)

    def test_who_has_no_user_is_found_by_the_token(self) -> None:
        """And is gone with its session."""
        session = self.open("one")
        self.assertEqual(self.there("tone", "ttwo", "uone"), {"tone": ["one"]})
        self.close(session)
        self.assertEqual(self.there("tone"), {})
        self.assertEqual(self.changes, [(None, "one", 1), (None, "one", 0)])

    def test_a_user_is_found_at_all_of_its_tokens(self) -> None:
        """However many are left; its tokens are nobody by themselves."""
        first, second = self.open("one", "alice"), self.open("two", "alice")
        self.assertEqual(self.there("ualice", "tone", "ttwo"), {"ualice": ["one", "two"]})
        self.close(first)
        self.assertEqual(self.there("ualice"), {"ualice": ["two"]})
        self.close(second)
        self.assertEqual(self.there("ualice"), {})
        self.assertEqual([count for _, _, count in self.changes], [1, 2, 1, 0])

    def test_a_token_that_becomes_a_users_is_nobody_by_itself_any_more(self) -> None:
        """Both are told: the token has gone, the user has come."""
        before = self.open("one")
        self.open("one", "alice")
        self.assertEqual(self.there("tone", "ualice"), {"ualice": ["one"]})
        self.assertEqual(self.changes[1:], [(None, "one", 0), ("alice", "one", 1)])
        self.close(before)
        self.assertEqual(self.there("ualice"), {"ualice": ["one"]})

    def test_an_end_that_comes_late_ends_nothing_newer(self) -> None:
        """Of a user's token as of one without."""
        for uid, who in ((None, "tone"), ("alice", "ualice")):
            before = self.open("one", uid)
            self.open("one", uid)
            self.close(before)
            self.assertEqual(self.there(who), {who: ["one"]})

    def test_every_change_makes_a_new_generation(self) -> None:
        """So that who has looked knows that the answer may be another one."""
        seen = [self.table.generation]
        alone, user = self.open("one"), self.open("two", "alice")
        seen.append(self.table.generation)
        self.close(alone)
        seen.append(self.table.generation)
        self.close(user)
        seen.append(self.table.generation)
        self.assertEqual(len(set(seen)), 4)
