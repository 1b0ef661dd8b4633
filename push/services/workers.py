"""The supervisor of worker processes: starts them, restarts those that die, and ends them all in order.

Must not import adapters, stores or web: what a worker is told, and how it is linked, comes in from outside.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.ihealth import IMeasured
from push.model_health import Sample
from push.protocols.wire.backoff import Backoff
from push.services.worker_process import WorkerProcess

# A worker imports the server, logs in and listens; on a busy machine that takes a few seconds.
START_LIMIT_S = 60.0
# One that has lost its link is of no use: it has so long to tell its clients.
LOST_GRACE_S = 2.0
# On top of the time that leaving may take.
STOP_GRACE_S = 3.0
# What has worked for so long is believed to be able to.
STEADY_S = 60.0


@dataclass(slots=True, eq=False)
class _Place:
    """One worker's place; processes come and go."""

    name: str
    backoff: Backoff
    process: WorkerProcess | None = None
    gone: "Deferred[None]" = field(default_factory=Deferred)
    # What is to happen to it unless something else does first: it is started again, or killed.
    due: IDelayedCall | None = None
    is_ready: bool = False
    ready_s: float = 0.0
    starts: int = 0

    def settle(self) -> None:
        """Nothing is to happen to it by itself."""
        due, self.due = self.due, None
        if due is not None and due.active():
            due.cancel()


class _Reactor(IReactorProcess, IReactorTime):
    """What is needed of a reactor."""


@implementer(IMeasured)
class Workers(Service):
    """All workers of this server.

    Args:
        names: one for each, unique.
        command: program and arguments.
        environment: of the processes.
        task: makes what a worker of a name is told, new for each process.
        void: called with a name when its process has ended: what was issued for it is worth nothing any more.
        reactor: starts processes, and tells the time.
        stop_timeout_s: how long a worker's leaving may take.
        fraction: random numbers in [0, 1).
    """

    _log = Logger()

    def __init__(
        self,
        names: Sequence[str],
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        task: Callable[[str], bytes],
        void: Callable[[str], None],
        reactor: _Reactor,
        stop_timeout_s: float,
        fraction: Callable[[], float],
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._task = task
        self._void = void
        self._reactor = reactor
        self._stop_timeout_s = stop_timeout_s
        self._fraction = fraction
        self._places = {name: _Place(name, Backoff(first_s=0.5, limit_s=30.0)) for name in names}
        self._is_stopping = False

    @property
    def ready(self) -> Sequence[str]:
        """The names of the workers that serve clients now."""
        return [place.name for place in self._places.values() if place.is_ready]

    def startService(self) -> None:
        """Start them all."""
        super().startService()
        for place in self._places.values():
            self._begin(place)

    def stopService(self) -> "Deferred[None]":
        """Let them all leave; fires when the last has gone, whether it wanted to or not."""
        super().stopService()
        self._is_stopping = True
        going = []
        for place in self._places.values():
            place.settle()
            if place.process is not None:
                place.process.leave()
                place.due = self._reactor.callLater(self._stop_timeout_s + STOP_GRACE_S, place.process.kill)
                going.append(place.gone)
        return DeferredList(going).addCallback(lambda _: None)

    def serves(self, name: str) -> None:
        """The worker serves clients."""
        place = self._places[name]
        place.is_ready = True
        place.ready_s = self._reactor.seconds()
        place.settle()

    def lost(self, name: str) -> None:
        """The link to the worker is lost; if its process lives, not for long."""
        place = self._places[name]
        place.is_ready = False
        if place.process is not None and not self._is_stopping:
            place.settle()
            place.due = self._reactor.callLater(LOST_GRACE_S, place.process.kill)

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_workers", "gauge", "Workers that serve clients.", len(self.ready))
        starts = sum(place.starts for place in self._places.values())
        yield Sample("push_worker_starts_total", "counter", "Processes started for workers.", starts)

    def _begin(self, place: _Place) -> None:
        process = place.process = WorkerProcess(place.name, self._task(place.name), lambda how: self._ended(place, how))
        place.starts += 1
        place.gone = Deferred()
        place.due = self._reactor.callLater(START_LIMIT_S, self._give_up, place)
        self._reactor.spawnProcess(
            process,
            self._command[0],
            [*self._command, place.name],  # for people: what it is to do comes otherwise
            env=self._environment,
            childFDs={0: "w", 1: "r", 2: "r"},
        )

    def _give_up(self, place: _Place) -> None:
        self._log.error("{name} does not serve clients after {limit_s:g} s", name=place.name, limit_s=START_LIMIT_S)
        if place.process is not None:
            place.process.kill()

    def _ended(self, place: _Place, how: str) -> None:
        place.settle()
        steady = place.is_ready and self._reactor.seconds() - place.ready_s >= STEADY_S
        place.process = None
        place.is_ready = False
        self._void(place.name)
        gone = place.gone
        if not self._is_stopping:
            if steady:
                place.backoff.succeeded()
            wait_s = place.backoff.failed(self._fraction())
            place.due = self._reactor.callLater(wait_s, self._begin, place)
            self._log.error(
                "{name} {how}: its clients have to come back; it is started again in {wait_s:.1f} s",
                name=place.name,
                how=how,
                wait_s=wait_s,
            )
        gone.callback(None)
