"""The connectors of linked workers: which there are, how they are, what they measure.

Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IMeasured, IProbe
from push.inodes import ILinkedConnector, INodes
from push.ipush import IConnector
from push.model import Registration
from push.model_health import Check, Sample
from push.services.periodic import Periodic
from push.services.tasks import Tasks

# Numbers of workers are as old as this at most, and what a look at them takes.
PULL_INTERVAL_S = 1.0


@implementer(INodes, IMeasured)
class WorkerNodes(Service):
    """The workers that are linked now.

    Args:
        count: how many workers there should be.
        least: how many must serve clients for this node to be ready.
        clock: numbers are fetched at an interval.
    """

    def __init__(self, count: int, *, least: int, clock: IReactorTime) -> None:
        self._count = count
        self._least = least
        self._connectors: dict[str, ILinkedConnector] = {}
        self._serving: set[str] = set()
        self._samples: dict[str, Sequence[Sample]] = {}
        self._tasks = Tasks()
        self._pulls = Periodic("asking workers for their numbers", self._pull, interval_s=PULL_INTERVAL_S, clock=clock)
        self._pulling: set[str] = set()

    def startService(self) -> None:
        """Begin to fetch numbers."""
        super().startService()
        self._pulls.startService()

    def stopService(self) -> None:
        """End."""
        super().stopService()
        self._pulls.stopService()

    def connectors(self) -> Mapping[str, IConnector]:
        """See INodes."""
        return self._connectors

    def probes(self) -> Mapping[str, IProbe]:
        """The clients of themselves of those that serve clients, by name."""
        return {name: connector.probe for name, connector in self._connectors.items() if name in self._serving}

    def arrived(self, connector: ILinkedConnector) -> None:
        """A worker has joined."""
        self._connectors[connector.address] = connector

    def serves(self, name: str) -> None:
        """A worker serves clients."""
        if name in self._connectors:
            self._serving.add(name)
            self._pull()

    def lost(self, name: str) -> None:
        """A worker is gone."""
        self._connectors.pop(name, None)
        self._serving.discard(name)
        self._samples.pop(name, None)

    def replaced(self, registration: Registration) -> None:
        """A session has a newer one elsewhere: have its connector close it."""
        connector = self._connectors.get(registration.connector)
        if connector is not None:
            self._tasks.spawn("closing a replaced session", self._replace(connector, registration))

    def checks(self) -> Sequence[Check]:
        """Whether enough workers serve clients."""
        serving = len(self._serving)
        is_enough = serving >= self._least
        return [Check("workers", is_enough, "" if is_enough else f"{serving} of {self._count} serve clients")]

    def samples(self) -> Iterable[Sample]:
        """The numbers of the workers as last fetched, each with its name; and those of the links to them."""
        for samples in self._samples.values():
            yield from samples
        for connector in self._connectors.values():
            yield from connector.link_samples()

    def _pull(self) -> None:
        for name in list(self._serving):
            if name not in self._pulling:
                self._pulling.add(name)
                self._tasks.spawn("asking a worker for its numbers", self._ask(name))

    async def _ask(self, name: str) -> None:
        connector = self._connectors[name]
        try:
            samples = await connector.samples()
        except PushError:
            return  # it is lost, or about to be
        finally:
            self._pulling.discard(name)
        if self._connectors.get(name) is connector:
            self._samples[name] = [replace(each, labels=(*each.labels, ("node", name))) for each in samples]

    async def _replace(self, connector: IConnector, registration: Registration) -> None:
        try:
            await connector.replaced([registration])
        except PushError:
            return  # the connector is gone, and the session with it
