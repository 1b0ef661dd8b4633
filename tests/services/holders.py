"""Nodes that hold the cache in turn, over the same rows in memory."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from push.ileases import ILeases
from push.inodes import INodes
from push.isubscribe import ISubscribe
from push.model_cache import CacheLimits
from push.model_cluster import Lease
from push.services.cache.cache import Cache
from push.services.cache_holder import CacheHolder, Term
from push.services.ordered import OrderedServices
from push.services.receipts import Receipts
from tests.fakes_fence import FencedCacheStore, FencedReceiptStore, Guard
from tests.fakes_store import MemoryCacheStore, MemoryFloorStore, MemoryReceiptStore


class Rows:
    """What holders share."""

    def __init__(self) -> None:
        self.cache, self.receipts, self.floors = MemoryCacheStore(), MemoryReceiptStore(), MemoryFloorStore()
        self.cache_guard, self.receipt_guard = Guard(), Guard()


def make_holder(
    rows: Callable[[], Rows],
    *,
    leases: ILeases,
    subscribe: ISubscribe,
    nodes: INodes,
    clock: IReactorTime,
    now_ms: Any,
    limits: CacheLimits | None = None,
    proxy: Any = lambda target: target(),
    **more: Any,
) -> CacheHolder:
    """A node that holds the cache, or stands by.

    Args:
        rows: what holders share, as it is then.
        leases: as CacheHolder.
        subscribe: likewise.
        nodes: likewise.
        clock: likewise.
        now_ms: likewise.
        limits: of the cache.
        proxy: makes what a node has of something that finds a store.
        more: as CacheHolder.
    """

    def build(lease: Lease) -> Term:
        here = rows()
        cache_handle = FencedCacheStore(here.cache, here.cache_guard)
        receipt_handle = FencedReceiptStore(here.receipts, here.receipt_guard)
        receipt_store = proxy(lambda: receipt_handle)
        receipts = Receipts(
            store=receipt_store,
            clock=clock,
            now_ms=now_ms,
            max_in_memory=10_000,
            max_on_disk=10_000,
            keep_s=86_400,
        )
        store = proxy(lambda: cache_handle)
        cache = Cache(
            store=store,
            receipts=receipts,
            subscribe=subscribe,
            clock=clock,
            now_ms=now_ms,
            limits=limits or CacheLimits(),
            is_shared=True,
        )
        service = OrderedServices()
        receipts.setServiceParent(service)
        cache.setServiceParent(service)
        return Term(cache, receipts, service, (store, receipt_store))

    return CacheHolder(
        leases=leases,
        build=build,
        floors=proxy(lambda: rows().floors),
        subscribe=subscribe,
        nodes=nodes,
        clock=clock,
        now_ms=now_ms,
        **more,
    )


def begun(work: Any) -> Deferred[Any]:
    """Any awaitable, started."""

    async def wait() -> Any:
        return await work

    return Deferred.fromCoroutine(wait())
