"""When transactions are made: in the next turn of the reactor, and again when the last one is done and more waits.

So what comes in one turn, and what comes while the disk is busy, goes together. While turns are long, some of them
are waited for: what is acknowledged meanwhile need not be written. Where there is little to do, nobody waits. Must
not import adapters, stores or web.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError, Unavailable
from push.ipush import ICacheStore
from push.model import CacheChanges
from push.services.measures import Distribution
from push.services.tasks import Tasks

# From a fast disk's sync to one that is in trouble.
COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A turn of the reactor that takes longer has much to serve, and may bring acknowledgements. A message that is never
# written saves 10 to 15 µs of the core. At full speed a tenth were spared without waiting, half with 4 turns, five
# sixths with 16, of 8 ms each; so long as some are spared, 0.15 s are waited for, else 4 turns (measured 2026-11-23).
BUSY_TURN_S = 0.001
MAX_VAIN_TURNS = 4
MAX_DELAY_S = 0.15


class Commits:
    """One transaction after the other.

    Args:
        store: where they go.
        clock: for turns, and to measure.
        tasks: runs them.
        close: puts the next one together; None where there is nothing to write.
        ended: told what became of it: None, or why it failed. Returns whether another one is wanted at once.
        spared: how many messages have needed no disk so far.

    Attributes:
        durations: how long they took.
        messages: how many messages were written.
        failures: how many failed.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: ICacheStore,
        clock: IReactorTime,
        tasks: Tasks,
        close: Callable[[], CacheChanges | None],
        ended: Callable[[PushError | None], bool],
        spared: Callable[[], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._close = close
        self._ended = ended
        self._spared = spared
        self._is_scheduled = False
        self._is_busy = False
        # When the last turn began, and until when others may be waited for.
        self._turned_s = self._latest_s = 0.0
        # How many were spared when the last turn began, and for how many turns it has been so many.
        self._spared_before = self._vain_turns = 0
        self._waiters: list[Deferred[None]] = []
        self.durations = Distribution(COMMIT_BOUNDS_S)
        self.messages = 0
        self.failures = 0

    def want(self) -> None:
        """There is something to write."""
        if not self._is_scheduled and not self._is_busy:
            self._is_scheduled = True
            self._turned_s = self._clock.seconds()
            self._latest_s = self._turned_s + MAX_DELAY_S
            self._vain_turns = 0
            self._clock.callLater(0, self._turn)

    def end(self) -> "Deferred[None]":
        """Fires at the end of the transaction under way, or else of the next one, whatever becomes of it."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    async def flush(self) -> None:
        """Write all there is, or as much as can be written."""
        while True:
            if not self._is_busy:
                self._begin()
            if not self._is_busy:
                return
            failures = self.failures
            await self.end()
            if self.failures > failures:
                return

    def _turn(self) -> None:
        now_s = self._clock.seconds()
        if self._may_wait(now_s):
            self._turned_s = now_s
            self._clock.callLater(0, self._turn)
            return
        self._is_scheduled = False
        if not self._is_busy:
            self._begin()

    def _may_wait(self, now_s: float) -> bool:
        """Whether more of what waits may be acknowledged before it is written, and nobody waits for too long."""
        spared, self._spared_before = self._spared_before, self._spared()
        self._vain_turns = self._vain_turns + 1 if self._spared_before == spared else 0
        is_busy = now_s - self._turned_s >= BUSY_TURN_S
        return is_busy and self._vain_turns <= MAX_VAIN_TURNS and now_s < self._latest_s

    def _begin(self) -> None:
        changes = self._close()
        if changes is not None:
            self._is_busy = True
            self._tasks.spawn("writing the cache", self._commit(changes))

    async def _commit(self, changes: CacheChanges) -> None:
        started_s = self._clock.seconds()
        error: PushError | None = None
        try:
            await self._store.commit(changes)
        except PushError as refusal:
            error = refusal
        except Exception:  # what went wrong is not known: it must not be taken for written
            self._log.failure("the cache's store failed")
            error = Unavailable("the cache cannot be written")
        self.durations.observe(self._clock.seconds() - started_s)
        if error is None:
            self.messages += len(changes.messages)
        else:
            self.failures += 1
        self._is_busy = False
        is_wanted = False
        try:
            is_wanted = self._ended(error)
        finally:
            if is_wanted:
                self.want()
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)
