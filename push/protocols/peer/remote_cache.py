"""The connector's side of ICache over a link: pulling, and telling what clients have.

A connector keeps nothing, cancels nothing and schedules nothing: those are the router's calls, made where the cache
is. Must not import services or stores.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from push.icache import IPulling
from push.model import Registration
from push.model_cache import Cursor, Page
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import MAX_TOKENS, Acknowledged, Handed, Moved, Pull, Reader, Session, Waiting
from push.protocols.peer.errors import LinkLost

# What clients acknowledge is a number of theirs; ids that were given out are below this.
_MAX_ID = (1 << 63) - 1

# What is told at once: clients say how many ids there are, and an envelope has a limit.
_PART_BYTES = 4_194_304
# A token with its id or the beginning of its list, and an id, in MessagePack.
_TOKEN_BYTES = 160
_ID_BYTES = 9

_PAGE: Reader[Page] = Reader(Page)
_TOKENS: Reader[tuple[str, ...]] = Reader(tuple[str, ...])
_NOTHING: Reader[None] = Reader(None)


@implementer(IPulling)
class RemoteCache:
    """The cache, kept elsewhere.

    Args:
        asking: the questions of this node.
        is_shared: whether routers of several processes keep messages there.
    """

    def __init__(self, asking: Asking, *, is_shared: bool = False) -> None:
        self._asking = asking
        self.is_shared = is_shared
        self._empty: str | None = None

    def opened(self, token: str, has_kept: bool) -> None:
        """A session of this token begins now: whether the cache had anything for it was told with that."""
        self._empty = None if has_kept else token

    def has(self, token: str) -> bool:
        """See IPulling. Known only right after `opened`, and once; else a pull has to find out."""
        empty, self._empty = self._empty, None
        return empty != token

    async def pull(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See IPulling."""
        wish = Pull(Session.of(registration), cursor, max_messages, max_bytes)
        return await self._asking.ask(wish, _PAGE)

    async def waiting(self, tokens: Sequence[str]) -> Sequence[str]:
        """See IPulling."""
        found: list[str] = []
        for start in range(0, len(tokens), MAX_TOKENS):
            some = await self._asking.ask(Waiting(tuple(tokens[start : start + MAX_TOKENS])), _TOKENS)
            found.extend(some)
        return found

    async def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See IPulling."""
        await self._tell([Acknowledged(some) for some in _split(batch)])

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See IPulling."""
        await self._tell([Handed(some) for some in _split(batch)])

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See IPulling."""
        step = _PART_BYTES // _TOKEN_BYTES
        with suppress(LinkLost):  # what the cache was not told comes again, to the next sessions of these tokens
            await self._tell([Moved(tuple(positions[at : at + step])) for at in range(0, len(positions), step)])

    async def _tell(self, wishes: Sequence[Acknowledged | Handed | Moved]) -> None:
        """Tell all of it before anything that is asked after this."""
        if len(wishes) == 1:
            await self._asking.ask(wishes[0], _NOTHING)
            return
        telling = [Deferred.fromCoroutine(self._asking.ask(wish, _NOTHING)) for wish in wishes]
        outcomes: Sequence[tuple[bool, Any]] = await DeferredList(telling, consumeErrors=True)
        for is_told, outcome in outcomes:
            if not is_told:
                outcome.raiseException()


def _split(batch: Sequence[tuple[str, Sequence[int]]]) -> list[tuple[tuple[str, tuple[int, ...]], ...]]:
    """A batch with ids that can be, in parts that an envelope has room for."""
    parts: list[tuple[tuple[str, tuple[int, ...]], ...]] = []
    part: list[tuple[str, tuple[int, ...]]] = []
    room = _PART_BYTES
    for token, ids in batch:
        for at in range(0, len(ids), _PART_BYTES // _ID_BYTES):
            some = tuple([each for each in ids[at : at + _PART_BYTES // _ID_BYTES] if each <= _MAX_ID])
            size_bytes = _TOKEN_BYTES + _ID_BYTES * len(some)
            if part and size_bytes > room:
                parts.append(tuple(part))
                part, room = [], _PART_BYTES
            part.append((token, some))
            room -= size_bytes
    if part:
        parts.append(tuple(part))
    return parts
