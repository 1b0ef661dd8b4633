"""The connector's side of ICache over a link: pulling, and telling what clients have.

A connector keeps nothing, cancels nothing and schedules nothing: those are the router's calls, made where the cache
is. Must not import services or stores.
"""

from collections.abc import Sequence
from contextlib import suppress

from zope.interface import implementer

from push.ipush import IPulling
from push.model import Cursor, Page, Registration
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import MAX_TOKENS, Acknowledged, Handed, Moved, Pull, Reader, Session, Waiting
from push.protocols.peer.errors import LinkLost

# What clients acknowledge is a number of theirs; ids that were given out are below this.
_MAX_ID = (1 << 63) - 1

_PAGE: Reader[Page] = Reader(Page)
_TOKENS: Reader[tuple[str, ...]] = Reader(tuple[str, ...])
_NOTHING: Reader[None] = Reader(None)


@implementer(IPulling)
class RemoteCache:
    """The cache, kept elsewhere.

    Args:
        asking: the questions of this node.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
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
        for some in _split(batch):
            await self._asking.ask(Acknowledged(some), _NOTHING)

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See IPulling."""
        for some in _split(batch):
            await self._asking.ask(Handed(some), _NOTHING)

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See IPulling."""
        for start in range(0, len(positions), MAX_TOKENS):
            with suppress(LinkLost):  # what the cache was not told comes again, to the next sessions of these tokens
                await self._asking.ask(Moved(tuple(positions[start : start + MAX_TOKENS])), _NOTHING)


def _split(batch: Sequence[tuple[str, Sequence[int]]]) -> list[tuple[tuple[str, tuple[int, ...]], ...]]:
    """A batch with ids that can be, in parts that an envelope has room for."""
    sane = tuple((token, tuple(each for each in ids if each <= _MAX_ID)) for token, ids in batch)
    return [sane[start : start + MAX_TOKENS] for start in range(0, len(sane), MAX_TOKENS)]
