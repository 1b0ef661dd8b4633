"""Sees to it that a session that was replaced elsewhere is closed: told until its connector has heard it, or is gone.

Must not import adapters, stores or web.
"""

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.inodes import INodes
from push.model import Registration
from push.services.periodic import Periodic
from push.services.tasks import Tasks

RETRY_S = 1.0
# Connectors look through their sessions themselves (SessionKeeper): nothing is lost for good that is not told here.
GIVE_UP_AFTER_S = 120.0
MAX_WAITING = 100_000
_AT_ONCE = 1_000


class Evictions(Service):
    """What is still to be told to connectors.

    Args:
        nodes: knows them.
        clock: for the intervals.
    """

    def __init__(self, *, nodes: INodes, clock: IReactorTime) -> None:
        self._nodes = nodes
        self._clock = clock
        self._tasks = Tasks()
        # Connector → token → the session that is over, and until when that is tried to be told.
        self._waiting: dict[str, dict[str, tuple[Registration, float]]] = {}
        self._count = 0
        self._busy: set[str] = set()
        self._retries = Periodic("closing replaced sessions", self._look, interval_s=RETRY_S, clock=clock)

    def startService(self) -> None:
        """Begin to try again what fails."""
        super().startService()
        self._retries.startService()

    def stopService(self) -> None:
        """End."""
        super().stopService()
        self._retries.stopService()

    def __len__(self) -> int:
        """How many are still to be told."""
        return self._count

    def replaced(self, registration: Registration) -> None:
        """A session has a newer one elsewhere: have its connector close it."""
        there = self._waiting.setdefault(registration.connector, {})
        known = there.get(registration.token)
        if known is None:
            if self._count >= MAX_WAITING:
                return
            self._count += 1
        elif known[0].epoch > registration.epoch:
            return
        there[registration.token] = (registration, self._clock.seconds() + GIVE_UP_AFTER_S)
        self._try(registration.connector)

    def _look(self) -> None:
        for address in list(self._waiting):
            self._try(address)

    def _try(self, address: str) -> None:
        if address not in self._busy:
            self._busy.add(address)
            self._tasks.spawn("closing replaced sessions", self._tell(address))

    async def _tell(self, address: str) -> None:
        try:
            while address in self._waiting:
                connector = self._nodes.connectors().get(address)
                there = self._waiting[address]
                some = [each for each, _ in zip(there.values(), range(_AT_ONCE), strict=False)]
                if connector is None:
                    self._forget(address, [each for each in there.values() if each[1] <= self._clock.seconds()])
                    return
                try:
                    await connector.replaced([registration for registration, _ in some])
                except PushError:
                    self._forget(address, [each for each in some if each[1] <= self._clock.seconds()])
                    return
                self._forget(address, some)
        finally:
            self._busy.discard(address)

    def _forget(self, address: str, over: list[tuple[Registration, float]]) -> None:
        there = self._waiting[address]
        for each in over:
            if there.get(each[0].token) is each:
                del there[each[0].token]
                self._count -= 1
        if not there:
            del self._waiting[address]
