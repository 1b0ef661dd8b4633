"""What is done to the cache every second, and long work in slices. Must not import adapters, stores or web."""

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from push.errors import PushError
from push.icache import ICacheStore
from push.services.cache.commits import Commits
from push.services.cache.holdings import Holdings
from push.services.tasks import Tasks
from push.services.turns import Slices

# What nobody waits for goes to disk after this at the latest, and what has expired is told of.
TICK_S = 1.0
PRUNE_EVERY_TICKS = 600
# How many steps are made between two looks at the clock; one is 50 µs, or 200 where it has 256 tokens (2026-11-23).
_STRIDE = 4
# In the same turn a transaction may end and the next one begin, and a chunk of receipts be made: these are as long.
SLICE_S = 0.002


class Upkeep:
    """Expires messages, and prunes the store.

    Args:
        store: what is pruned.
        held: what expires.
        commits: told when there is something to write.
        tasks: runs it.
        slices: divides it.
        now_ms: milliseconds since 1970.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: ICacheStore,
        held: Holdings,
        commits: Commits,
        tasks: Tasks,
        slices: Slices,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._held = held
        self._commits = commits
        self._tasks = tasks
        self._slices = slices
        self._now_ms = now_ms
        self._is_sweeping = False
        self._is_pruning = False
        self._ticks = 0

    def tick(self) -> None:
        """Call it every TICK_S."""
        self._ticks += 1
        if not self._is_sweeping:
            self._tasks.spawn("expiring messages", self._sweep())
        if self._ticks % PRUNE_EVERY_TICKS == 0 and not self._is_pruning:
            self._tasks.spawn("pruning the cache", self._prune())
        self._commits.want()

    async def in_slices(self, steps: Iterable[int]) -> int:
        """Make steps, with turns of the reactor in between. Returns the sum of what they yield."""
        end_s = self._slices.start()
        total = 0
        for number, count in enumerate(steps, 1):
            total += count
            if number % _STRIDE == 0 and self._slices.is_over(end_s):
                self._held.tickets.answer()
                self._commits.want()
                await self._slices.turn()
                end_s = self._slices.start()
        self._held.tickets.answer()
        return total

    async def _sweep(self) -> None:
        self._is_sweeping = True
        try:
            await self.in_slices(self._held.endings.expire(self._now_ms()))
        finally:
            self._is_sweeping = False
            self._commits.want()

    async def _prune(self) -> None:
        self._is_pruning = True
        oldest = self._held.log.oldest()
        try:
            await self._store.prune(self._now_ms(), self._held.last_position if oldest is None else oldest)
        except PushError as error:
            self._log.warn("old answers cannot be removed now: {reason}", reason=str(error))
        finally:
            self._is_pruning = False
