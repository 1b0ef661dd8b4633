"""Has one name of some for itself, as long as it can: in a store of leases that all nodes share.

It reckons its time by itself, from when it asked: so a node that was frozen, or cut off from the store, knows that its
time is over before anybody else can have the name. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from push.errors import PushError
from push.ileases import ILeases
from push.model_cluster import Lease
from push.services.periodic import Periodic
from push.services.tasks import Tasks

# How often whoever waits for a name asks for it, at least; and how often a lease is renewed while it lasts.
_ASK_S = 1.0
_RENEWALS = 4
# Clocks of different machines may run a little differently.
_SAFETY = 0.95


class Tenancy(Service):
    """Wants a name.

    Args:
        names: which would do, the best first; asked anew each time.
        leases: where they are had.
        details: what others are to know; where it changes, asked anew each time.
        ttl_s: for how long, if it is not renewed.
        clock: for times and intervals.
        gained: called with the lease when there is one.
        lost: called when it is over; before anybody else can have it, unless the store has lost it.
    """

    _log = Logger()

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        *,
        leases: ILeases,
        details: bytes | Callable[[], bytes],
        ttl_s: float,
        clock: IReactorTime,
        gained: Callable[[Lease], None],
        lost: Callable[[], None],
    ) -> None:
        self._names = names
        self._leases = leases
        self._details = details if callable(details) else lambda: details
        self._ttl_s = ttl_s
        self._clock = clock
        self._gained = gained
        self._lost = lost
        self._tasks = Tasks()
        self._is_busy = False
        self._until_s = 0.0
        self._end: IDelayedCall | None = None
        self.lease: Lease | None = None
        interval_s = min(_ASK_S, ttl_s / _RENEWALS)
        self._periodic = Periodic("holding a name", self._look, interval_s=interval_s, clock=clock)

    @property
    def is_held(self) -> bool:
        """Whether the name is surely this node's, in this moment."""
        return self.lease is not None and self._clock.seconds() < self._until_s

    def startService(self) -> None:
        """Begin to ask."""
        super().startService()
        self._periodic.startService()
        self._look()

    def stopService(self) -> "Deferred[None]":
        """Let go; fires when that is said, or cannot be."""
        super().stopService()
        self._periodic.stopService()
        return Deferred.fromCoroutine(self._let_go())

    def give_up(self) -> None:
        """It turned out that somebody else has the name, or should."""
        self._drop()

    def _look(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._tasks.spawn("holding a name", self._step())

    async def _step(self) -> None:
        try:
            if self.lease is not None:
                await self._renew(self.lease)
            if self.lease is None and self.running:
                await self._acquire()
        except PushError as error:  # asked again; a lease that lasts, lasts
            self._log.debug("leases cannot be asked: {reason}", reason=str(error))
        finally:
            self._is_busy = False

    async def _renew(self, lease: Lease) -> None:
        asked_s = self._clock.seconds()
        is_held = await self._leases.renew(lease, self._details(), self._ttl_s)
        if self.lease is lease:
            if is_held:
                self._count_from(asked_s)
            else:
                self._drop()

    async def _acquire(self) -> None:
        for name in self._names():
            asked_s = self._clock.seconds()
            lease = await self._leases.acquire(name, self._details(), self._ttl_s)
            if lease is None:
                continue
            if not self.running or self._clock.seconds() >= asked_s + self._ttl_s * _SAFETY:
                await self._leases.release(lease)
                return
            self.lease = lease
            self._count_from(asked_s)
            self._gained(lease)
            return

    def _count_from(self, asked_s: float) -> None:
        self._until_s = asked_s + self._ttl_s * _SAFETY
        if self._end is not None and self._end.active():
            self._end.cancel()
        self._end = self._clock.callLater(max(0.0, self._until_s - self._clock.seconds()), self._drop)

    def _drop(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        if self.lease is not None:
            self.lease = None
            self._lost()

    async def _let_go(self) -> None:
        lease = self.lease
        self._drop()
        await self._tasks.settled()
        if lease is not None:
            try:
                await self._leases.release(lease)
            except PushError as error:
                self._log.debug("a lease is left to expire: {reason}", reason=str(error))
