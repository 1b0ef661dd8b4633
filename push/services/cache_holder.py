"""The cache as a cluster has it: one node holds it, others stand by. Must not import adapters, stores or web.

The holder has the lease `cache`. It opens the stores under the lease's number, so that nothing that a former holder
still writes is taken; loads what is there; and serves until its time is over. Every term begins with nothing in memory.
Positions go on growing from one term to the next, whatever the clocks of routers say: some are reserved in the store
beforehand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError, Superseded
from push.ileases import IFenced, IFloorStore, ILeases
from push.inodes import INodes
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model_cluster import Lease
from push.model_health import Check
from push.services.cache.cache import Cache
from push.services.held_cache import HeldCache
from push.services.held_receipts import HeldReceipts
from push.services.ids import first_id_at
from push.services.periodic import Periodic
from push.services.tasks import Tasks
from push.services.tenancy import Tenancy
from push.services.turns import Slices

LEASE = "cache"
LEASE_S = 7.0
FLOOR = "cache_position"
# So far ahead of the clock positions are reserved; what comes after a change of holders stands that much higher at
# most.
RESERVE_MS = 10_000
# And at least so many, should they run ahead of the clock.
RESERVE = 10_000_000
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Term:
    """What one holder has while it holds the cache: made anew each time.

    Attributes:
        cache: the cache; shared.
        receipts: the lives of messages.
        service: both, and all that goes with them; not running yet.
        stores: that are to be opened before that.
    """

    cache: Cache
    receipts: IReceipts
    service: IService
    stores: Sequence[IFenced]


class CacheHolder(Service):
    """Holds the cache, or stands by.

    Args:
        leases: say who it is.
        build: makes what a term needs.
        floors: keeps positions growing.
        subscribe: knows who is online.
        nodes: knows connectors.
        clock: for intervals.
        now_ms: milliseconds since 1970, never running back.
        details: of the lease: what others must know to reach this node.
        ttl_s: how long a holder that has died is waited for.

    Attributes:
        cache: what others call: the cache, while it is here.
        receipts: likewise.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        leases: ILeases,
        build: Callable[[Lease], Term],
        floors: IFloorStore,
        subscribe: ISubscribe,
        nodes: INodes,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        details: bytes = b"",
        ttl_s: float = LEASE_S,
    ) -> None:
        self._build = build
        self._floors = floors
        self._now_ms = now_ms
        self._tasks = Tasks()
        self._slices = Slices(clock)
        self._term: Term | None = None
        self._reserved = 0
        self._is_reserving = False
        self._tenancy = Tenancy(
            lambda: (LEASE,),
            leases=leases,
            details=details,
            ttl_s=ttl_s,
            clock=clock,
            gained=self._gained,
            lost=self._lost,
        )
        self.cache = HeldCache(subscribe=subscribe, nodes=nodes, is_held=lambda: self._tenancy.is_held, clock=clock)
        self.receipts = HeldReceipts(is_held=lambda: self._tenancy.is_held)
        self._reserves = Periodic("reserving positions", self._look, interval_s=1.0, clock=clock)

    @property
    def is_serving(self) -> bool:
        """Whether the cache is here, and loaded."""
        return self._term is not None and self._tenancy.is_held and self._term.cache.is_ready

    def checks(self) -> Sequence[Check]:
        """For readiness: who stands by is ready, and who holds it when all is loaded."""
        if self._term is None:
            return [Check("cache", True, "another node holds it, or will")]
        return self._term.cache.checks()

    def startService(self) -> None:
        """Hold it, or stand by."""
        super().startService()
        self._tenancy.startService()
        self._reserves.startService()

    def stopService(self) -> "Deferred[None]":
        """Write what there is to write, then let others have it."""
        super().stopService()
        self._reserves.stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        term, self._term = self._term, None
        if term is not None:
            await self._close(term)
        await self._tasks.settled()
        await self._tenancy.stopService()

    def _gained(self, lease: Lease) -> None:
        self._log.info("this node holds the cache from now on")
        term = self._term = self._build(lease)
        self._tasks.spawn("taking over the cache", self._begin(term, lease))

    def _lost(self) -> None:
        term, self._term = self._term, None
        self.cache.end()
        self.receipts.end()
        if term is not None:
            self._log.warn("this node does not hold the cache any more")
            self._tasks.spawn("ending a term of the cache", self._close(term))

    def _superseded(self, term: Term) -> None:
        if self._term is term:
            self._tenancy.give_up()

    async def _begin(self, term: Term, lease: Lease) -> None:
        while self._term is term:
            try:
                for store in term.stores:
                    await store.open(lease.number, lambda: self._superseded(term))
                after = await self._floors.floor(FLOOR)
                up_to = max(after + RESERVE, self._wanted())
                await self._floors.raise_floor(FLOOR, up_to)
            except Superseded:
                self._superseded(term)
                return
            except PushError as error:
                self._log.warn("the cache cannot be taken over now: {reason}", reason=str(error))
                await self._slices.pause(_RETRY_S)
                continue
            if self._term is term:
                self._reserved = up_to
                term.cache.reserve(after, up_to)
                term.service.startService()
                self.cache.begin(term.cache, lease.number)
                self.receipts.begin(term.receipts)
            return

    async def _close(self, term: Term) -> None:
        """What is on its way to the store may still arrive there; who waits for that is told."""
        self.cache.end()
        self.receipts.end()
        if term.service.running:
            await maybeDeferred(term.service.stopService)

    def _wanted(self) -> int:
        return first_id_at(self._now_ms() + RESERVE_MS)

    def _look(self) -> None:
        term = self._term
        if term is None or self._is_reserving or not self._reserved:
            return
        left = self._reserved - max(
            first_id_at(self._now_ms() + RESERVE_MS // 2), term.cache.last_position + RESERVE // 2
        )
        if left < 0:
            self._is_reserving = True
            self._tasks.spawn("reserving positions", self._reserve(term))

    async def _reserve(self, term: Term) -> None:
        up_to = max(self._wanted(), term.cache.last_position + RESERVE)
        try:
            await self._floors.raise_floor(FLOOR, up_to)
        except PushError:
            return  # asked again at the next look
        finally:
            self._is_reserving = False
        if self._term is term:
            self._reserved = up_to
            term.cache.reserve(0, up_to)
