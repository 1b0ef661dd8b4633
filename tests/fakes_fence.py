"""Stores in memory that have one writer at a time: handles of several nodes on the same rows."""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from push.errors import Superseded
from push.icache import ICacheStore
from push.ileases import IFenced
from push.ireceipts import IReceiptStore
from push.model_cache import CacheChanges, StoredDue, StoredMessage, StoredReply
from push.model_receipts import StoredLives
from tests.fakes_store import MemoryCacheStore, MemoryReceiptStore


class Guard:
    """Who may write; None: anybody."""

    def __init__(self) -> None:
        self.number: int | None = None


@implementer(IFenced)
class Fenced:
    """One node's handle.

    Args:
        guard: what all handles on the same rows have in common.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._number: int | None = None
        self._lost: Callable[[], None] = lambda: None

    def open(self, fence: int, lost: Callable[[], None]) -> Deferred[None]:
        """Take it over."""
        if self._guard.number is not None and self._guard.number > fence:
            return fail(Superseded("another node has it"))
        self._guard.number = self._number = fence
        self._lost = lost
        return succeed(None)

    def is_refused(self) -> bool:
        """Whether it is somebody else's turn; says so."""
        if self._guard.number == self._number:
            return False
        self._lost()
        return True


@implementer(ICacheStore)
class FencedCacheStore(Fenced):
    """The cache's rows.

    Args:
        rows: all of them.
        guard: of these rows.
    """

    def __init__(self, rows: MemoryCacheStore, guard: Guard) -> None:
        super().__init__(guard)
        self._rows = rows

    def commit(self, changes: CacheChanges) -> Deferred[None]:
        """See ICacheStore."""
        return fail(Superseded("another node has it")) if self.is_refused() else self._rows.commit(changes)

    def messages(self, after: int, limit: int) -> Deferred[Sequence[StoredMessage]]:
        """See ICacheStore."""
        return self._rows.messages(after, limit)

    def done(self, after: tuple[int, str], limit: int) -> Deferred[Sequence[tuple[int, str]]]:
        """See ICacheStore."""
        return self._rows.done(after, limit)

    def due(self) -> Deferred[Sequence[StoredDue]]:
        """See ICacheStore."""
        return self._rows.due()

    def payloads(self, positions: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        """See ICacheStore."""
        return self._rows.payloads(positions)

    def log_positions(self, tokens: Sequence[str]) -> Deferred[Mapping[str, int]]:
        """See ICacheStore."""
        return self._rows.log_positions(tokens)

    def replies(self, keys: Sequence[str]) -> Deferred[Mapping[str, StoredReply]]:
        """See ICacheStore."""
        return self._rows.replies(keys)

    def prune(self, now_ms: int, log_position: int) -> Deferred[None]:
        """See ICacheStore."""
        return self._rows.prune(now_ms, log_position)


@implementer(IReceiptStore)
class FencedReceiptStore(Fenced):
    """Receipts.

    Args:
        chunks: all of them.
        guard: of these.
    """

    def __init__(self, chunks: MemoryReceiptStore, guard: Guard) -> None:
        super().__init__(guard)
        self._chunks = chunks

    def append(self, chunk: StoredLives) -> Deferred[None]:
        """See IReceiptStore."""
        return fail(Superseded("another node has it")) if self.is_refused() else self._chunks.append(chunk)

    def newest(self, message_id: int, before: int | None) -> Deferred[tuple[int, bytes] | None]:
        """See IReceiptStore."""
        return self._chunks.newest(message_id, before)

    def prune(self, max_weight: int, before_ms: int) -> Deferred[None]:
        """See IReceiptStore."""
        return self._chunks.prune(max_weight, before_ms)
