"""Taking in what is on disk, page by page, so that others are served between two pages.

Must not import adapters, stores or web.
"""

from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

from twisted.internet.defer import Deferred

from push.icache import ICacheStore
from push.services.cache.dues import Dues
from push.services.cache.holdings import Holdings

# So many are taken in in 5 ms; more are no faster, as the next page is read meanwhile (measured 2026-11-23).
PAGE = 2_000

Result = TypeVar("Result")


class Loading:
    """Reads the store once, at the start. Should the store fail, `run` goes on from there when it is called again.

    Args:
        store: the disk.
        held: where messages go.
        dues: where what is scheduled goes.
    """

    def __init__(self, *, store: ICacheStore, held: Holdings, dues: Dues) -> None:
        self._store = store
        self._held = held
        self._dues = dues
        self._after = 0
        self._after_done = (0, "")
        self._pairs: deque[tuple[int, str]] = deque()
        self._has_all_pairs = False

    async def run(self) -> None:
        """Read all there is.

        Raises:
            Unavailable: the store cannot be read now.
            StartError: what is there cannot be read.
        """
        page = _begun(self._store.messages(self._after, PAGE))
        try:
            while rows := await page:
                last = rows[-1].position
                # The next one is read while this one is taken in: much of the time is the store's, in its own thread.
                page = _begun(self._store.messages(last, PAGE))
                await self._read_done(last)
                self._held.load(rows, self._done(last))
                self._after = last
        finally:
            page.addErrback(lambda _: None)  # where it is not awaited any more
        for due in await self._store.due():
            self._dues.load(due)

    async def _read_done(self, last: int) -> None:
        """Read who is done with messages up to this position: known before these, as one may be there twice."""
        while not self._has_all_pairs and (not self._pairs or self._pairs[-1][0] <= last):
            pairs = await self._store.done(self._after_done, PAGE)
            if pairs:
                self._pairs.extend(pairs)
                self._after_done = pairs[-1]
            else:
                self._has_all_pairs = True

    def _done(self, last: int) -> dict[int, set[str]]:
        done: dict[int, set[str]] = {}
        while self._pairs and self._pairs[0][0] <= last:
            position, token = self._pairs.popleft()
            done.setdefault(position, set()).add(token)
        return done


def _begun(work: Awaitable[Result]) -> "Deferred[Result]":
    return Deferred.fromCoroutine(_awaited(work))


async def _awaited(work: Awaitable[Result]) -> Result:
    return await work
