"""The cache and the receipts of a cluster as any node has them: those of the node that holds them now.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Mapping, Sequence

from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.icache import ICache
from push.ireceipts import IReceipts
from push.model import Registration
from push.model_cache import Cursor, Keep, Keeping, Page, StoredDue, StoredMessage, StoredReply
from push.model_receipts import Event, Receipt
from push.services.ids import accepted_ms

# Terms whose tickets are still asked for.
_MAX_TERMS = 8


@implementer(ICache)
class ChosenCache:
    """The cache of whoever holds it.

    Args:
        holder: its cache, None while there is no telling or it cannot be reached.
        own: the cache of this node, if it has that role: what is there can be looked at without asking.
    """

    is_shared = True

    def __init__(self, holder: Callable[[], ICache | None], own: ICache | None = None) -> None:
        self._holder = holder
        self._own = own
        # The least ticket that each cache gave out, the newest first: tickets grow from one term to the next.
        self._terms: list[tuple[int, ICache]] = []

    async def keep(self, batch: Sequence[Keep]) -> Keeping:
        """See ICache."""
        cache = self._cache()
        keeping = await cache.keep(batch)
        if not self._terms or (self._terms[0][1] is not cache and keeping.ticket > self._terms[0][0]):
            self._terms.insert(0, (keeping.ticket, cache))
            del self._terms[_MAX_TERMS:]
        elif self._terms[0][1] is cache and keeping.ticket < self._terms[0][0]:
            self._terms[0] = (keeping.ticket, cache)
        return keeping

    async def committed(self, ticket: int) -> PushError | None:
        """See ICache. Asked of the one that gave the ticket out."""
        for first, cache in self._terms:
            if ticket >= first:
                return await cache.committed(ticket)
        return _away()

    async def pull(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See ICache."""
        return await self._cache().pull(registration, cursor, max_messages, max_bytes)

    def has(self, token: str) -> bool:
        """See ICache. Known only where the cache is in this process."""
        return self._own is None or self._holder() is not self._own or self._own.has(token)

    async def waiting(self, tokens: Sequence[str]) -> Sequence[str]:
        """See ICache."""
        return await self._cache().waiting(tokens)

    async def recall(self, tokens: Sequence[str], connectors: Sequence[str] = ()) -> None:
        """See ICache."""
        await self._cache().recall(tokens, connectors)

    async def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        await self._cache().acknowledged(batch)

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        await self._cache().handed(batch)

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See ICache. What cannot be told comes again, to the next sessions of these tokens."""
        cache = self._holder()
        if cache is not None:
            try:
                await cache.moved(positions)
            except Unavailable:
                return

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
        """See ICache."""
        return await self._cache().replies(keys)

    def answered(self, reply: StoredReply) -> None:
        """See ICache. While nobody has the cache, what was noted at first stands."""
        cache = self._holder()
        if cache is not None:
            cache.answered(reply)

    async def schedule(self, due: StoredDue) -> None:
        """See ICache."""
        await self._cache().schedule(due)

    def scheduled(self) -> Sequence[StoredDue]:
        """See ICache. What is not in this process is sent by the one where it is."""
        return () if self._own is None else self._own.scheduled()

    async def unschedule(self, message_id: int) -> bool:
        """See ICache."""
        return await self._cache().unschedule(message_id)

    def _cache(self) -> ICache:
        cache = self._holder()
        if cache is None:
            raise _away()
        return cache


@implementer(IReceipts)
class ChosenReceipts:
    """The receipts of whoever holds them; what is told while nobody can be told is forgotten.

    Args:
        holder: its receipts, None while there is no telling.
    """

    def __init__(self, holder: Callable[[], IReceipts | None]) -> None:
        self._holder = holder

    def lone_each(self, event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.lone_each(event, messages)

    def sent_each(self, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.sent_each(messages)

    def happened_each(self, event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.happened_each(event, messages)

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
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.accepted(
                message_id, targets=targets, tokens=tokens, expires_ms=expires_ms, due_ms=due_ms, is_logged=is_logged
            )

    def happened(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.happened(event, message_id, tokens)

    def handed(self, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.handed(message_id, tokens)

    def counted(self, event: Event, message_id: int, count: int) -> None:
        """See IReceipts."""
        if (receipts := self._holder()) is not None:
            receipts.counted(event, message_id, count)

    async def find(self, message_id: int) -> Receipt | None:
        """See IReceipts.

        Raises:
            Unavailable: nobody can be asked.
        """
        receipts = self._holder()
        if receipts is None:
            raise _away()
        return await receipts.find(message_id)

    async def delivered(self, message_id: int, timeout_s: float) -> Receipt:
        """See IReceipts. One without targets while nobody can be asked: what was accepted stays so."""
        receipts = self._holder()
        if receipts is None:
            return Receipt(message_id, accepted_ms(message_id), None, None, 0, {}, ())
        return await receipts.delivered(message_id, timeout_s)


def _away() -> Unavailable:
    return Unavailable("no node with the role cache can be reached now", retry_after_s=1.0)
