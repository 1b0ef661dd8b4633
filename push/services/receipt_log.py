"""Brings receipts to disk, a chunk at a time and behind the events: nobody waits for it. Finds them there again.

Must not import adapters, stores or web.
"""

from collections import deque
from collections.abc import Callable

import msgspec
from twisted.logger import Logger

from push.errors import PushError
from push.ireceipts import IReceiptStore
from push.model_receipts import StoredLives
from push.services.lives import Life, decode_one
from push.services.tasks import Tasks

# While the store takes nothing, no more than this waits: the weight of four seconds at 60,000 messages a second.
MAX_WAITING_WEIGHT = 250_000
# Parts of one life are in at most so many chunks that are looked at: a bound on the work of one question.
MAX_PARTS = 1_000
_PRUNE_INTERVAL_MS = 30_000


class ReceiptLog:
    """The chunks of one server.

    Args:
        store: where they are.
        tasks: runs the writes.
        now_ms: milliseconds since 1970.
        max_weight: how much is kept on disk.
        keep_ms: how long it is kept.

    Attributes:
        lost: weight that the store did not take and that there was no room for.
    """

    _log = Logger()

    def __init__(
        self, *, store: IReceiptStore, tasks: Tasks, now_ms: Callable[[], int], max_weight: int, keep_ms: int
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._now_ms = now_ms
        self._max_weight = max_weight
        self._keep_ms = keep_ms
        self._waiting: deque[StoredLives] = deque()
        self._waiting_weight = 0
        self._is_busy = False
        self._has_failed = False
        self._prune_ms = 0
        self.lost = 0

    def append(self, chunk: StoredLives) -> None:
        """Have a chunk written behind the others."""
        self._waiting.append(chunk)
        self._waiting_weight += chunk.weight
        while self._waiting_weight > MAX_WAITING_WEIGHT and len(self._waiting) > 1:
            oldest = self._waiting.popleft()
            self._waiting_weight -= oldest.weight
            self.lost += oldest.weight
        # One that has failed is tried again by `push_on`, not by every chunk that comes.
        if not self._has_failed:
            self.push_on()

    def push_on(self) -> None:
        """Write what waits, and from time to time delete what is old."""
        if not self._is_busy:
            self._is_busy = True
            self._tasks.spawn("writing receipts", self._write())

    async def find(self, message_id: int, remembered: Callable[[int], Life | None]) -> Life | None:
        """What is known of a message here and in memory.

        Args:
            message_id: which.
            remembered: looks into memory. What is there is not changed.

        Returns:
            All of it together; None where there is nothing.

        Raises:
            Unavailable: the store cannot be read now.
        """
        parts: list[Life] = []
        before: int | None = None
        for _ in range(MAX_PARTS):
            found = await self._store.newest(message_id, before)
            if found is None:
                break
            before, lives = found
            part = self._decoded(message_id, lives)
            if part is None or (part.born and part.born in [each.born for each in parts]):
                continue
            parts.append(part)
            if not part.born:
                break
        # Only now, as more may have happened meanwhile.
        newest = remembered(message_id)
        if newest is not None:
            if not newest.born:
                return newest
            parts = [newest, *(part for part in parts if part.born != newest.born)]
        if not parts:
            return None
        life = Life(tokens={}, born=parts[-1].born)
        for part in reversed(parts):
            life.add(part)
        return life

    def _decoded(self, message_id: int, lives: bytes) -> Life | None:
        try:
            return decode_one(message_id, lives)
        except msgspec.DecodeError:
            self._log.failure("a chunk of receipts cannot be read")
            return None

    async def _write(self) -> None:
        try:
            while self._waiting:
                chunk = self._waiting[0]
                await self._store.append(chunk)
                if self._waiting and self._waiting[0] is chunk:  # else it was given up meanwhile
                    self._waiting.popleft()
                    self._waiting_weight -= chunk.weight
            await self._prune()
        except PushError as error:
            if not self._has_failed:
                self._log.warn("receipts cannot be written now: {reason}", reason=str(error))
            self._has_failed = True
        else:
            self._has_failed = False
        finally:
            self._is_busy = False

    async def _prune(self) -> None:
        now_ms = self._now_ms()
        # A clock that stepped back must not keep it from being done.
        if abs(now_ms - self._prune_ms) >= _PRUNE_INTERVAL_MS:
            await self._store.prune(self._max_weight, now_ms - self._keep_ms)
            self._prune_ms = now_ms
