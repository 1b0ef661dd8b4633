"""The cache of a cluster as it is called at the node that holds it, or might.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.icache import ICache
from push.inodes import INodes
from push.isubscribe import ISubscribe
from push.model import PLAIN, Registration
from push.model_cache import Cursor, Keep, Keeping, Page, StoredDue, StoredMessage, StoredReply
from push.services.cache.cache import Cache
from push.services.claims import Claims


@implementer(ICache)
class HeldCache:
    """The cache while it is held here; everything fails with Unavailable while it is not.

    Tickets of one term are greater than those of every earlier one, also at other nodes, so that nobody who asks the
    wrong one is told about another message: they begin with the number of the lease, which is in microseconds, and
    there is less than one in each of these.

    Args:
        subscribe: knows who is online.
        nodes: knows connectors.
        is_held: whether it is held in this moment: a process that was frozen learns it so.
        clock: for requests with keys.
    """

    is_shared = True

    def __init__(
        self, *, subscribe: ISubscribe, nodes: INodes, is_held: Callable[[], bool], clock: IReactorTime
    ) -> None:
        self._subscribe = subscribe
        self._nodes = nodes
        self._is_held = is_held
        self._current: Cache | None = None
        self._claims = Claims(clock)
        self._base = 0
        # The last term that ended, which may still say what became of its tickets, and where they began.
        self._former: tuple[Cache, int] | None = None

    def begin(self, cache: Cache, number: int) -> None:
        """A term begins."""
        self._current, self._base = cache, number

    def end(self) -> None:
        """It is over."""
        if self._current is not None:
            self._former, self._current = (self._current, self._base), None
            self._claims.clear()

    async def keep(self, batch: Sequence[Keep]) -> Keeping:
        """See ICache."""
        cache = self._cache()
        keys = [keep.options.once.key for keep in batch if keep.options is not PLAIN and keep.options.once is not None]
        if keys:
            _refuse_repeated(cache, batch)
        try:
            keeping = await cache.keep(batch)
        finally:
            self._claims.end(keys)
        return Keeping(self._base + keeping.ticket, keeping.refused, keeping.places)

    def committed(self, ticket: int) -> "Deferred[PushError | None]":
        """See ICache. What was kept before the term ended may be stored all the same."""
        if self._current is not None and ticket > self._base:
            return self._current.committed(ticket - self._base)
        if self._former is not None and ticket > self._former[1]:
            former, base = self._former
            return former.committed(ticket - base)
        return succeed(_away())

    async def pull(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See ICache."""
        cache = self._cache()
        page = await cache.pull(registration, cursor, max_messages, max_bytes)
        self._check(cache)
        return page

    def has(self, token: str) -> bool:
        """See ICache."""
        return self._current is None or not self._is_held() or self._current.has(token)

    async def waiting(self, tokens: Sequence[str]) -> Sequence[str]:
        """See ICache."""
        return await self._cache().waiting(tokens)

    async def recall(self, tokens: Sequence[str], connectors: Sequence[str] = ()) -> None:
        """See ICache.

        A connector that cannot be reached from here, cannot reach this node either; when it can again, it asks for all
        of its sessions (SessionKeeper.cache_moved).
        """
        cache = self._cache()
        by_connector: dict[str, list[str]] = {}
        if tokens:
            for token, session in (await self._subscribe.online(tokens)).items():
                by_connector.setdefault(session.connector, []).append(token)
        known = self._nodes.connectors()
        for address, here in by_connector.items():
            if address in known:
                await _tried(known[address].refill(here))
        for address in connectors:
            if address in known:
                # Nobody waits for the last session: a broadcast that is pulled is told to all in one go.
                await _tried(known[address].broadcast(0, None, True))
        self._check(cache)

    async def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        await self._cache().acknowledged(batch)

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        await self._cache().handed(batch)

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See ICache."""
        await self._cache().moved(positions)

    async def kept(self, message_id: int) -> StoredMessage | None:
        """See ICache."""
        return await self._cache().kept(message_id)

    async def cancel(self, message_id: int) -> int:
        """See ICache."""
        return await self._cache().cancel(message_id)

    async def forget(self, token: str) -> None:
        """See ICache."""
        await self._cache().forget(token)

    async def replies(self, keys: Sequence[str]) -> Mapping[str, StoredReply]:
        """See ICache. Who is told that there is no answer makes the request; others that ask meanwhile wait for it."""
        cache = self._cache()
        await self._claims.free(keys)
        found = await cache.replies(keys)
        while any(key in self._claims for key in keys if key not in found):  # somebody else was quicker
            await self._claims.free(keys)
            found = await cache.replies(keys)
        self._check(cache)
        self._claims.take(key for key in keys if key not in found)
        return found

    def answered(self, reply: StoredReply) -> None:
        """See ICache. While it is not held, the answer that was stored with the message stands."""
        if self._current is not None and self._is_held():
            self._current.answered(reply)

    async def schedule(self, due: StoredDue) -> None:
        """See ICache."""
        once = due.request.options.once
        cache = self._cache()
        try:
            await cache.schedule(due)
        finally:
            self._claims.end(() if once is None else (once.key,))

    def scheduled(self) -> Sequence[StoredDue]:
        """See ICache."""
        return () if self._current is None or not self._is_held() else self._current.scheduled()

    async def unschedule(self, message_id: int) -> bool:
        """See ICache."""
        return await self._cache().unschedule(message_id)

    def _cache(self) -> Cache:
        if self._current is None or not self._is_held():
            raise _away()
        return self._current

    def _check(self, cache: Cache) -> None:
        """What was answered is of no use if the term has ended meanwhile."""
        if self._current is not cache or not self._is_held():
            raise _away()


def _refuse_repeated(cache: Cache, batch: Sequence[Keep]) -> None:
    """Raise Unavailable where a request was made by another router meanwhile: its sender is to ask again."""
    for keep in batch:
        once = keep.options.once
        reply = None if once is None else cache.answer_of(once.key)
        if reply is not None and reply.result.message_id != keep.message_id:
            raise Unavailable("a request with this key was made by another node: send it again", retry_after_s=1.0)


def _away() -> Unavailable:
    return Unavailable("the cache is being taken over by another node", retry_after_s=1.0)


async def _tried(call: object) -> None:
    try:
        await call  # type: ignore[misc]
    except PushError:
        return
