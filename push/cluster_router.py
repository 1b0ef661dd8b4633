"""Part of the composition root of a cluster's node: its router, the ids that it gives out, the schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from push.bus_roles import build_broadcasting
from push.cluster_links import Neighbours
from push.config import Config
from push.icache import ICache
from push.icluster import IBroadcastBus
from push.ihealth import IMeasured
from push.ileases import IFloorStore, ILeases
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.services.acceptance import Acceptance
from push.services.cache_holder import CacheHolder
from push.services.ids import RESERVE_MS, MessageIds
from push.services.leased_ids import LeasedIds
from push.services.router import Router
from push.services.schedule import Schedule
from push.services.steady_clock import SteadyClock
from push.services.tasks import Tasks


@dataclass(frozen=True, slots=True)
class OwnRouter:
    """The router of a node.

    Attributes:
        sender: brings messages to connectors.
        accepting: stands before it, for senders: repetitions, delays, waiting.
        measured: whose numbers are shown.
    """

    sender: Router
    accepting: Acceptance
    measured: Sequence[IMeasured]


def build_own_router(
    config: Config,
    *,
    neighbours: Neighbours,
    bus: IBroadcastBus,
    subscribe: ISubscribe,
    cache: ICache,
    receipts: IReceipts,
    ids: MessageIds,
    clock: SteadyClock,
    reactor: Any,
) -> OwnRouter:
    """Build the router of a node.

    Args:
        config: all settings.
        neighbours: know the connectors.
        bus: for broadcasts.
        subscribe: knows tokens.
        cache: keeps messages.
        receipts: told what becomes of them.
        ids: of messages.
        clock: never steps back.
        reactor: that will run it.
    """
    broadcasting = build_broadcasting(bus, reactor=reactor, places=neighbours.members)
    sender = Router(
        subscribe=subscribe,
        nodes=neighbours.nodes,
        cache=cache,
        receipts=receipts,
        ids=ids,
        broadcasting=broadcasting,
        refresh=neighbours.members.refresh,
    )
    accepting = Acceptance(
        sender,
        cache=cache,
        subscribe=subscribe,
        receipts=receipts,
        ids=ids,
        now_ms=clock.now_ms,
        idempotency_s=config.idempotency_s,
        max_scheduled=config.max_scheduled,
    )
    return OwnRouter(sender, accepting, (sender, broadcasting))


def build_ids(name: str, *, leases: ILeases, floors: IFloorStore, clock: SteadyClock, reactor: Any) -> LeasedIds:
    """Ids that no other node gives out, under a number that is leased in this node's name."""
    return LeasedIds(
        leases=leases,
        floors=floors,
        name=name,
        clock=reactor,
        now_ms=clock.now_ms,
        loaded=lambda floor_ms: clock.raise_floor(floor_ms - RESERVE_MS),
    )


def build_schedule(
    holder: CacheHolder,
    sender: Router | None,
    *,
    neighbours: Neighbours,
    subscribe: ISubscribe,
    clock: SteadyClock,
    reactor: Any,
) -> Schedule:
    """What is due is sent by the node that has it; it was given its id by the router that took it.

    Args:
        holder: has it.
        sender: this node's router, if it has one.
        neighbours: know the connectors.
        subscribe: knows tokens.
        clock: never steps back.
        reactor: that will run it.
    """
    if sender is None:
        sender = Router(
            subscribe=subscribe,
            nodes=neighbours.nodes,
            cache=holder.cache,
            receipts=holder.receipts,
            ids=MessageIds(node=0, now_ms=clock.now_ms),
            refresh=neighbours.members.refresh,
        )
    return Schedule(
        cache=holder.cache,
        router=sender,
        receipts=holder.receipts,
        now_ms=clock.now_ms,
        clock=reactor,
        tasks=Tasks(),
    )
