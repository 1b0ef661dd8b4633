"""Whether this host's clock goes as that of the store that all nodes share. Must not import adapters, stores or web.

Leases and sessions go by the store's time, so a clock that is wrong breaks nothing. But how long messages live is
reckoned by the clocks of the node that takes them and of the one that keeps them.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IMeasured
from push.model_health import Check, Sample
from push.services.periodic import Periodic
from push.services.tasks import Tasks

INTERVAL_S = 10.0
# Hosts with NTP differ by milliseconds. What is kept for less than this may be over before it is there.
LIMIT_S = 5.0
# An answer that took longer says too little.
_MAX_TRIP_S = 1.0


@implementer(IMeasured)
class ClockCheck(Service):
    """Compares clocks now and then.

    Args:
        store_ms: asks for the store's time, milliseconds since 1970.
        now_ms: of this host.
        clock: for the interval.

    Attributes:
        ahead_s: how far this host's clock was ahead when it was compared last, in seconds.
    """

    _log = Logger()

    def __init__(
        self, *, store_ms: Callable[[], Awaitable[int]], now_ms: Callable[[], int], clock: IReactorTime
    ) -> None:
        self._store_ms = store_ms
        self._now_ms = now_ms
        self._clock = clock
        self._tasks = Tasks()
        self._is_busy = False
        self._periodic = Periodic("comparing clocks", self._look, interval_s=INTERVAL_S, clock=clock)
        self.ahead_s = 0.0

    def startService(self) -> None:
        """Compare, and go on with it."""
        super().startService()
        self._periodic.startService()
        self._look()

    def stopService(self) -> "Deferred[None]":
        """End; fires when nothing is asked any more."""
        super().stopService()
        self._periodic.stopService()
        return self._tasks.settled()

    def checks(self) -> Sequence[Check]:
        """For readiness."""
        if abs(self.ahead_s) <= LIMIT_S:
            return [Check("clock", True)]
        way = "ahead of" if self.ahead_s > 0 else "behind"
        return [Check("clock", False, f"this host's clock is {abs(self.ahead_s):.0f} s {way} that of Redis: use NTP")]

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample(
            "push_clock_ahead_seconds", "gauge", "How far this host's clock is ahead of that of Redis.", self.ahead_s
        )

    def _look(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._tasks.spawn("comparing clocks", self._compare())

    async def _compare(self) -> None:
        asked_s, asked_ms = self._clock.seconds(), self._now_ms()
        try:
            store_ms = await self._store_ms()
        except PushError:
            return  # the next look finds it
        finally:
            self._is_busy = False
        trip_s = self._clock.seconds() - asked_s
        if trip_s > _MAX_TRIP_S:
            return
        was_right = abs(self.ahead_s) <= LIMIT_S
        self.ahead_s = (asked_ms - store_ms) / 1000 + trip_s / 2
        if was_right and abs(self.ahead_s) > LIMIT_S:
            self._log.error("{why}", why=self.checks()[0].detail)
