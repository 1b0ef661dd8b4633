"""Taking in what is on disk, page by page, so that others are served between two pages.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable
from typing import TypeVar

from twisted.internet.defer import Deferred

from push.ipush import ICacheStore
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

    async def run(self) -> None:
        """Read all there is.

        Raises:
            Unavailable: the store cannot be read now.
        """
        page = _begun(self._store.messages(self._after, PAGE))
        while rows := await page:
            # The next one is read while this one is taken in: nearly half of the time is SQLite's, in its own thread.
            page = _begun(self._store.messages(rows[-1].position, PAGE))
            self._held.load(rows)
            self._after = rows[-1].position
        while pairs := await self._store.done(self._after_done, PAGE):
            for position, token in pairs:
                self._held.load_done(position, token)
            self._after_done = pairs[-1]
        for due in await self._store.due():
            self._dues.load(due)


def _begun(work: Awaitable[Result]) -> "Deferred[Result]":
    return Deferred.fromCoroutine(_awaited(work))


async def _awaited(work: Awaitable[Result]) -> Result:
    return await work
