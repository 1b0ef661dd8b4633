"""When transactions are made: in the next turn of the reactor, and again when the last one is done and more waits.

So what comes in one turn, and what comes while the disk is busy, goes together. Under load, what has just come is left
to the next one: what is acknowledged meanwhile need not be written (patience.py). Must not import adapters, stores or
web.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from push.errors import PushError, Unavailable
from push.icache import ICacheStore
from push.model_cache import CacheChanges
from push.services.cache.patience import MAX_WAIT_S, Patience
from push.services.measures import Distribution
from push.services.tasks import Tasks

# From a fast disk's sync to one that is in trouble.
COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Up to every ticket.
_ALL = 1 << 62


class Commits:
    """One transaction after the other.

    Args:
        store: where they go.
        clock: for turns, and to measure.
        tasks: runs them.
        close: puts the next one together, up to a ticket; None where there is nothing to write. With `is_lazy`, nothing
            is written for the sake of what nobody waits for.
        ended: told what became of it: None, or why it failed. Returns whether another one is wanted at once.

    Attributes:
        patience: how long what is kept may wait; told of acknowledgements.
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
        close: Callable[[int, bool], CacheChanges | None],
        ended: Callable[[PushError | None], bool],
    ) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._close = close
        self._ended = ended
        self.patience = Patience()
        self._call: IDelayedCall | None = None
        self._is_busy = False
        self._is_pressing = False
        self._began_s = 0.0
        # Up to which ticket nothing waits for acknowledgements any more.
        self._up_to = 0
        self._waiters: list[Deferred[None]] = []
        self.durations = Distribution(COMMIT_BOUNDS_S)
        self.messages = 0
        self.failures = 0

    def want(self, *, at_once: bool = False) -> None:
        """There is something to write; `at_once`: somebody waits for the disk itself."""
        self._is_pressing = self._is_pressing or at_once
        if self._is_busy:
            return
        if self._call is None:
            self._call = self._clock.callLater(0, self._turn)
        elif at_once:
            self._call.reset(0)

    def kept(self, ticket: int, count: int, *, at_once: bool) -> None:
        """So many messages came with a ticket; `at_once`: they may not wait for acknowledgements."""
        self.patience.kept(self._clock.seconds(), ticket, count)
        self.want(at_once=at_once)

    def end(self) -> "Deferred[None]":
        """Fires at the end of the transaction under way, or else of the next one, whatever becomes of it."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    async def flush(self, timeout_s: float) -> None:
        """Write all there is, or as much as can be written.

        Raises:
            TimeoutError: a transaction takes longer than that.
        """
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        while True:
            if not self._is_busy:
                self._begin(_ALL)
            if not self._is_busy:
                return
            failures = self.failures
            await self.end().addTimeout(timeout_s, self._clock)
            if self.failures > failures:
                return

    def _turn(self) -> None:
        self._call = None
        if self._is_busy:
            return
        now_s = self._clock.seconds()
        wait_s = self.patience.wait_s(now_s)
        self._up_to = max(self._up_to, self.patience.due(now_s - wait_s))
        if self._is_pressing or not wait_s:
            self._begin(_ALL)
        else:
            self._begin(self._up_to, is_lazy=now_s - self._began_s < MAX_WAIT_S)
        next_s = self.patience.next_s()
        if next_s is not None and self._call is None and not self._is_busy:
            self._call = self._clock.callLater(max(0.0, next_s + wait_s - now_s), self._turn)

    def _begin(self, up_to: int, *, is_lazy: bool = False) -> None:
        if up_to == _ALL:
            self._is_pressing = False
        changes = self._close(up_to, is_lazy)
        if changes is not None:
            self._is_busy = True
            self._began_s = self._clock.seconds()
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
