"""How late the reactor is: what every client feels when something blocks. Must not import adapters, stores or web."""

from collections.abc import Iterable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.ihealth import IMeasured
from push.model_health import Sample
from push.services.measures import Distribution
from push.services.periodic import Periodic

_INTERVAL_S = 0.25
_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@implementer(IMeasured)
class Lag(Service):
    """Measures how much later than asked the reactor calls back.

    Args:
        clock: the reactor's time.
        labels: of the sample, where other processes have some of the same name.
    """

    def __init__(self, clock: IReactorTime, labels: tuple[tuple[str, str], ...] = ()) -> None:
        self._labels = labels
        self._clock = clock
        self._lags = Distribution(_BOUNDS_S)
        self._periodic = Periodic("measuring the reactor's lag", self._ask, interval_s=_INTERVAL_S, clock=clock)

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self._periodic.startService()

    def stopService(self) -> None:
        """End."""
        super().stopService()
        self._periodic.stopService()

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample(
            "push_reactor_lag_seconds",
            "histogram",
            "How late the reactor calls back.",
            self._lags.histogram(),
            self._labels,
        )

    def _ask(self) -> None:
        # Asked anew each time: a LoopingCall skips calls that it is late for, and so would hide long blocks.
        asked_s = self._clock.seconds()
        self._clock.callLater(0.01, lambda: self._lags.observe(max(0.0, self._clock.seconds() - asked_s - 0.01)))
