"""Work that repeats: a service whose body may fail without ending it. Must not import adapters, stores or web."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Periodic(Service):
    """Calls something at an interval while it runs.

    Args:
        what: a phrase for the log, should it fail.
        body: called without arguments; what it raises is logged, and it is called again all the same.
        interval_s: seconds from start to start.
        clock: where callLater comes from.
    """

    _log = Logger()

    def __init__(self, what: str, body: Callable[[], None], *, interval_s: float, clock: IReactorTime) -> None:
        self._what = what
        self._body = body
        self._interval_s = interval_s
        self._loop = LoopingCall(self._call)
        self._loop.clock = clock

    def startService(self) -> None:
        """Begin, one interval from now."""
        super().startService()
        if not self._loop.running:
            self._loop.start(self._interval_s, now=False)

    def stopService(self) -> None:
        """End; may be called twice."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def _call(self) -> None:
        try:
            self._body()
        except Exception:
            self._log.failure("{what} failed", what=self._what)
