"""Keeping the token, and how far the client has got, without holding up the event loop.

Stores may block, so they are called in a thread, one call at a time. The order of the calls survives cancellation.
"""

import asyncio
from typing import NoReturn

from aio_sdk.waiting import Clock
from push_client import token_store
from push_client.errors import TokenFileError
from push_client.standing import Standing


class Saving:
    """What one client keeps.

    Args:
        store: where; None: nowhere.
        standing: what.
        clock: time.
        every_s: how often to write down which messages were handled.
    """

    def __init__(
        self, store: token_store.TokenStore | None, standing: Standing, *, clock: Clock, every_s: float
    ) -> None:
        self._store = store
        self._standing = standing
        self._clock = clock
        self._every_s = every_s
        self._wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._text = ""

    async def load(self) -> None:
        """Go on from what was kept, unless the application has given a token itself.

        Raises:
            TokenFileError: it cannot be read, or is something else.
        """
        if self._store is not None and self._standing.token is None:
            kept = await asyncio.to_thread(token_store.load, self._store)
            if kept is not None:
                self._standing.restore(kept)

    def handled(self) -> None:
        """There are messages that were handled since the last time."""
        if self._store is not None:
            self._wanted.set()

    async def run(self) -> NoReturn:
        """Save now and then until cancelled."""
        while True:
            await self._wanted.wait()
            await self._clock.sleep(self._every_s)
            self._wanted.clear()
            await self.save()

    async def save(self, *, must: bool = False) -> None:
        """Save now, if there is anything to.

        Args:
            must: the token itself is to be kept. Without it failures are passed over, as nothing is lost by them but
                that messages may be received again.

        Raises:
            TokenFileError: the token cannot be kept.
        """
        if self._running is not None:  # of a call that was cancelled
            await asyncio.wait([self._running])
            if self._running.exception() is None:
                self._standing.saved(self._text)
        text = None if self._store is None else self._standing.unsaved()
        if self._store is None or text is None or not (must or self._standing.is_kept):
            return
        self._text = text
        self._running = asyncio.create_task(asyncio.to_thread(self._store.save, text))
        try:
            await asyncio.shield(self._running)
            self._standing.saved(text)
        except TokenFileError:
            if must:
                raise
        self._running = None
