"""Message ids of a node that gets its number for a time, so that no two nodes ever have the same one.

Numbers are leases, `id:0` to `id:1023`. Who gets one begins above all ids that were given out under it before: a floor
for each number says where. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable
from zlib import crc32

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.ileases import IFloorStore, ILeases
from push.model_cluster import Lease
from push.model_health import Check
from push.services.ids import FLOOR, MAX_NODE, IdFloor, MessageIds
from push.services.tasks import Tasks
from push.services.tenancy import Tenancy

PREFIX = "id:"
# A node that cannot reach the store for longer than this cannot push anyway.
LEASE_S = 30.0


class LeasedIds(Service):
    """The ids of one node.

    Args:
        leases: say who has which number.
        floors: keep what was given out.
        name: of this node: it likes to have the same number again.
        clock: for intervals.
        now_ms: milliseconds since 1970, never running back.
        loaded: told the floor, in milliseconds since 1970, before ids are given out.
        ttl_s: how long a number of a node that has died stays its own.

    Attributes:
        ids: ready whenever there is a number.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        leases: ILeases,
        floors: IFloorStore,
        name: str,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        loaded: Callable[[int], None] = lambda floor_ms: None,
        ttl_s: float = LEASE_S,
    ) -> None:
        self._floors = floors
        self._clock = clock
        self._loaded = loaded
        self._favourite = crc32(name.encode()) % (MAX_NODE + 1)
        self._floor: IdFloor | None = None
        self._tenancy = Tenancy(
            self._names,
            leases=leases,
            details=name.encode(),
            ttl_s=ttl_s,
            clock=clock,
            gained=self._gained,
            lost=self._lost,
        )
        self.ids = MessageIds(node=0, now_ms=now_ms, is_held=lambda: self._tenancy.is_held)

    def checks(self) -> list[Check]:
        """For readiness."""
        return [Check("message ids", self.ids.is_ready, "" if self.ids.is_ready else "no number for this node yet")]

    def startService(self) -> None:
        """Ask for a number."""
        super().startService()
        self._tenancy.startService()

    def stopService(self) -> "Deferred[None]":
        """Give it back."""
        super().stopService()
        return self._tenancy.stopService()

    def _names(self) -> Iterable[str]:
        return (f"{PREFIX}{(self._favourite + step) % (MAX_NODE + 1)}" for step in range(MAX_NODE + 1))

    def _gained(self, lease: Lease) -> None:
        number = self._favourite = int(lease.name.removeprefix(PREFIX))
        self._log.info("this node has number {number} for message ids", number=number)
        self.ids.is_ready = False
        self.ids.renumber(number)
        self._floor = IdFloor(
            self.ids,
            store=self._floors,
            clock=self._clock,
            tasks=Tasks(),
            loaded=self._loaded,
            name=f"{FLOOR}:{number}",
        )
        self._floor.startService()

    def _lost(self) -> None:
        self.ids.is_ready = False
        floor, self._floor = self._floor, None
        if floor is not None:
            floor.stopService()
