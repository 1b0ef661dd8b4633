"""What the cache stands on, for tests: a disk that fails when told, receipts that remember, tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.errors import PushError
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model import Registration, TagQuery
from push.model_cache import CacheChanges, StoredMessage, StoredReply
from push.model_receipts import Event, Receipt
from push.model_subscribe import Located, TokenInfo
from push.protocols.wire.messages import SubRequest
from tests.fakes_store import MemoryCacheStore


class Disk(MemoryCacheStore):
    """The memory double, with what tests of the cache want besides; refuses what no correct cache would write.

    Attributes:
        done_commits: those that succeeded.
        reading: a Deferred that those wait for who read payloads or replies.
        pruned: arguments of `prune`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done_commits: list[CacheChanges] = []
        self.reading: Deferred[None] | None = None
        self.pruned: list[tuple[int, int]] = []

    @property
    def rows(self) -> dict[int, StoredMessage]:
        """What is on disk."""
        return self._messages

    @property
    def done_rows(self) -> set[tuple[int, str]]:
        """Likewise."""
        return self._done

    @property
    def held(self) -> list[tuple[CacheChanges, Deferred[None]]]:
        """The transaction that is on its way."""
        return self._held

    def commit(self, changes: CacheChanges) -> Deferred[None]:
        """One at a time."""
        assert not self._held, "one transaction at a time"
        newest = max(self._messages, default=0)
        for row in changes.messages:
            assert row.position > newest, "positions grow"
            newest = row.position
            assert row.payload is not None
            assert len(row.payload) == row.size_bytes
            assert row.tokens or row.audience is not None, "a row for nobody"
        return super().commit(changes)

    def step(self, error: PushError | None = None) -> None:
        """The transaction that is held succeeds, or fails."""
        changes, answer = self._held.pop()
        if error is None:
            self._apply(changes)
            answer.callback(None)
        else:
            answer.errback(error)

    def pull_out(self) -> None:
        """What is on its way never arrives."""
        self._held.clear()
        self.is_held = False
        self.failure = self.reading = None

    def orphans(self) -> set[tuple[int, str]]:
        """What was done for rows that there are not."""
        return {each for each in self._done if each[0] not in self._messages}

    def _apply(self, changes: CacheChanges) -> None:
        super()._apply(changes)
        self.done_commits.append(changes)

    def payloads(self, positions: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        """Those there are when it is asked; may be held."""
        return self._when_read(super().payloads(positions))

    def replies(self, keys: Sequence[str]) -> Deferred[Mapping[str, StoredReply]]:
        """Those there are when it is asked; may be held."""
        return self._when_read(super().replies(keys))

    def prune(self, now_ms: int, log_position: int) -> Deferred[None]:
        """Remember what for."""
        self.pruned.append((now_ms, log_position))
        return super().prune(now_ms, log_position)

    def _when_read(self, answer: Deferred[Any]) -> Deferred[Any]:
        if self.reading is None:
            return answer
        waiter: Deferred[Any] = Deferred()
        self.reading.addCallback(lambda _: answer.chainDeferred(waiter))
        return waiter


@implementer(IReceipts)
class Told:
    """Remembers what it is told.

    Attributes:
        events: (event, message id, token), in order; for those only counted the token is the count.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Event, int, Any]] = []

    def of(self, message_id: int, token: Any = None) -> list[Event]:
        """What happened to a message."""
        return [event for event, of, who in self.events if of == message_id and token in (None, who)]

    def lone_each(self, event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """The router's."""
        raise AssertionError("the cache does not say that")

    def sent_each(self, messages: Sequence[tuple[int, str]]) -> None:
        """The router's."""
        raise AssertionError("the cache does not say that")

    def accepted(
        self,
        message_id: int,
        *,
        targets: int,
        tokens: Sequence[str] | None,
        expires_ms: int | None,
        due_ms: int | None,
        is_logged: bool,
    ) -> None:
        """The router's."""
        raise AssertionError("the cache does not say that")

    def happened(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """Remember."""
        assert event is not Event.SENT, "that is `handed`"
        self.events += [(event, message_id, token) for token in tokens]

    def happened_each(self, event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """Remember."""
        for message_id, token in messages:
            self.happened(event, message_id, (token,))

    def handed(self, message_id: int, tokens: Sequence[str]) -> None:
        """Remember."""
        self.events += [(Event.SENT, message_id, token) for token in tokens]

    def counted(self, event: Event, message_id: int, count: int) -> None:
        """Remember."""
        self.events.append((event, message_id, count))

    async def find(self, message_id: int) -> Receipt | None:
        """Not the cache's to ask."""
        raise AssertionError("the cache does not ask that")

    async def delivered(self, message_id: int, timeout_s: float) -> Receipt:
        """Not the cache's to ask."""
        raise AssertionError("the cache does not ask that")


@implementer(ISubscribe)
class Tokens:
    """Knows tokens by their descriptions.

    Attributes:
        known: token → what is known of it.
        asked: tokens that were described.
    """

    def __init__(self) -> None:
        self.known: dict[str, TokenInfo] = {}
        self.asked: list[str] = []

    def register(self, token: str, created_ms: int, *tags: str) -> None:
        """A token is there."""
        self.known[token] = TokenInfo(token, None, None, tags, created_ms)

    async def describe(self, token: str) -> TokenInfo | None:
        """What is known."""
        self.asked.append(token)
        return self.known.get(token)

    async def open(self, request: SubRequest, connector: str) -> Registration:
        """Not the cache's to ask."""
        raise AssertionError

    async def lend(self, connector: str) -> Registration:
        """Not the cache's to ask."""
        raise AssertionError

    async def reopened(self, registrations: Sequence[Registration]) -> None:
        """Not the cache's to ask."""
        raise AssertionError

    async def closed(self, registrations: Sequence[Registration]) -> None:
        """Not the cache's to ask."""
        raise AssertionError

    async def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Located:
        """Not the cache's to ask."""
        raise AssertionError

    async def online(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """Not the cache's to ask."""
        raise AssertionError

    async def tokens_of(self, uids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Not the cache's to ask."""
        raise AssertionError

    async def tagged(self, query: TagQuery, after: str, limit: int) -> Sequence[str]:
        """Not the cache's to ask."""
        raise AssertionError

    async def revoke(self, token: str) -> bool:
        """Not the cache's to ask."""
        raise AssertionError
