"""The composition root of one node of a cluster: any subset of the roles, over Redis and links to other nodes.

Part of what push.roles is for a server on one host. Roles that run here are called directly; others over links.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import IService

from push.access import authenticator
from push.api_roles import Served, build_api, build_health
from push.cache_roles import term_builder
from push.cluster_connector import build_own_connector
from push.cluster_links import Neighbours
from push.cluster_router import build_ids, build_own_router, build_schedule
from push.config import Config
from push.connecting import Surroundings
from push.group_roles import ChatStores, GroupRole, GroupSeams, build_group, build_sightings
from push.icache import ICache
from push.igroup import GroupSide
from push.ihealth import IMeasured, IProbe
from push.ipush import IRouter
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.iupgrade import IUpgrade
from push.model_health import Check
from push.protocols.peer.answers import Parts
from push.protocols.peer.remote_groups import remote_side
from push.services.asking import ChatPlug
from push.services.cache_holder import CacheHolder
from push.services.canary import Canary
from push.services.chosen import ChosenMessages, ChosenRouter, ChosenSubscribe
from push.services.chosen_cache import ChosenCache, ChosenReceipts
from push.services.clock_check import ClockCheck
from push.services.cluster_subscribe import ClusterSubscribe
from push.services.departures import Departures
from push.services.evictions import Evictions
from push.services.group.targets import GroupTargets
from push.services.group.whereabouts import AskedSessions
from push.services.ids import MessageIds
from push.services.lag import Lag
from push.services.leased_ids import LeasedIds
from push.services.messages import Messages
from push.services.numbers import OthersNumbers
from push.services.ordered import OpenClose
from push.services.readiness import Readiness
from push.services.router import Router
from push.services.steady_clock import SteadyClock
from push.services.store_check import StoreCheck
from push.settings import SettingError
from push.stores.redis.address import parse_address
from push.stores.redis.bus import BroadcastBus
from push.stores.redis.client import Redis
from push.stores.redis.floors import FloorStore
from push.stores.redis.leases import Leases
from push.stores.redis.sessions import SessionDirectory
from push.stores.redis.tokens import TokenStore


def now_ms() -> int:
    """Milliseconds since 1970 on the wall clock."""
    return time.time_ns() // 1_000_000


def build_cluster(config: Config, *, reactor: Any, open_files: int, give_up: Callable[[str], None]) -> list[IService]:
    """Build one node.

    Args:
        config: what to run.
        reactor: that will run it.
        open_files: how many files this process may have open.
        give_up: ends the process with a sentence, where it turns out only after the start that it cannot work.

    Returns:
        Its services, in the order in which they are to start.

    Raises:
        SettingError: a setting turns out to be unusable.
    """
    return _Node(config, reactor, open_files, give_up).build()


class _Node:
    """What the roles of one node share while they are put together."""

    def __init__(self, config: Config, reactor: Any, open_files: int, give_up: Callable[[str], None]) -> None:
        self.config = config
        self.reactor = reactor
        self.open_files = open_files
        self.give_up = give_up
        self.clock = SteadyClock(wall_ms=now_ms, monotonic_s=reactor.seconds)
        self.redis = _redis(config, reactor)
        self.leases = Leases(self.redis)
        self.floors = FloorStore(self.redis)
        self.neighbours = Neighbours(config, leases=self.leases, reactor=reactor, now_ms=now_ms)
        self.nodes = self.neighbours.nodes
        lag = Lag(reactor, labels=())
        self.measured: list[IMeasured] = [lag, self.redis, self.neighbours.members, self.neighbours.links, self.nodes]
        self.checks: list[Callable[[], Sequence[Check]]] = [self.neighbours.checks]
        self.neighbours.measured = self.measured
        self.services: list[IService] = [lag]
        self.has = set(config.roles).__contains__
        self.bus = BroadcastBus(self.redis) if self.has("connector") or self.has("router") else None
        self.subscribe: ISubscribe = ChosenSubscribe(self.neighbours.subscribes)
        self.cache: ICache = ChosenCache(self.neighbours.cache)
        self.receipts: IReceipts = ChosenReceipts(self.neighbours.receipts)
        self.messages = ChosenMessages(self.neighbours.messages)
        self.router: IRouter = ChosenRouter(self.neighbours.routers)
        self.sender: Router | None = None
        self.served_router: IRouter | None = None
        self.end_waits: Callable[[], None] = lambda: None
        self.holder: CacheHolder | None = None
        self.own_probes: Mapping[str, IProbe] = {}
        self.websocket: IUpgrade | None = None
        self.chat = ChatPlug()
        self.ids: MessageIds | None = None
        self.group: GroupRole | None = None

    def build(self) -> list[IService]:
        """All of it, in order."""
        self._add("redis", OpenClose(self.redis.start, self.redis.stop))
        clock_check = ClockCheck(store_ms=self.redis.time_ms, now_ms=now_ms, clock=self.reactor)
        self.measured.append(clock_check)
        self.checks.append(clock_check.checks)
        self._add("clock", clock_check)
        self._add("members", self.neighbours.members)
        if self.has("subscribe"):
            self._subscribe()
        if self.has("cache"):
            self._cache()
        if self.has("router"):
            self._router()
        if self.holder is not None:
            schedule = build_schedule(
                self.holder,
                self.sender,
                neighbours=self.neighbours,
                subscribe=self.subscribe,
                clock=self.clock,
                reactor=self.reactor,
            )
            self._add("schedule", schedule)
        if self.has("group"):
            self._group()
        own = self._own_connector() if self.has("connector") else None
        self.neighbours.parts = self._parts()
        self._add("links", self.neighbours.service())
        if own is not None:
            self._add("connector", own)
        readiness = self._readiness()
        if self.has("api"):
            self._api(readiness)
        if self.config.health:
            health = build_health(
                self.config,
                readiness=readiness,
                measured=self.measured,
                reactor=self.reactor,
                open_files=self.open_files,
            )
            self._add("health", health)
        return self.services

    def _add(self, name: str, service: IService) -> None:
        service.setName(name)
        self.services.append(service)

    def _subscribe(self) -> None:
        evictions = Evictions(nodes=self.nodes, clock=self.reactor)
        saw, sightings = build_sightings(
            self.config, ChatStores.in_redis(self.redis), reactor=self.reactor, now_ms=self.clock.now_ms
        )
        subscribe = ClusterSubscribe(
            store=TokenStore(self.redis, max_tokens=self.config.max_tokens),
            directory=SessionDirectory(self.redis),
            authenticator=authenticator(self.config),
            now_ms=now_ms,
            clock=self.reactor,
            is_alive=self.neighbours.is_alive,
            replaced=evictions.replaced,
            refresh=self.neighbours.members.refresh,
            saw=saw,
        )
        self.subscribe = subscribe
        departures = Departures(subscribe=subscribe, members=self.neighbours.members, clock=self.reactor)
        self.neighbours.when_gone.append(departures.gone)
        self.measured.append(subscribe)
        self._add("sightings", sightings)
        self._add("subscribe", evictions)

    def _cache(self) -> None:
        holder = self.holder = CacheHolder(
            leases=self.leases,
            build=term_builder(
                self.config,
                redis=self.redis,
                subscribe=self.subscribe,
                reactor=self.reactor,
                clock=self.clock,
                measured=self.measured,
                give_up=self.give_up,
            ),
            floors=self.floors,
            subscribe=self.subscribe,
            nodes=self.nodes,
            clock=self.reactor,
            now_ms=self.clock.now_ms,
            details=self.neighbours.name.encode(),
            ttl_s=self.config.lease_s,
        )
        self.neighbours.has_cache = lambda: holder.is_serving
        self.neighbours.own_cache = holder.cache
        self.neighbours.own_receipts = holder.receipts
        self.neighbours.own_messages = Messages(
            receipts=holder.receipts, cache=holder.cache, subscribe=self.subscribe, now_ms=self.clock.now_ms
        )
        self.cache = ChosenCache(self.neighbours.cache, holder.cache)
        self.checks.append(holder.checks)
        self._add("cache", holder)

    def _router(self) -> None:
        assert self.bus is not None
        leased = self._leased_ids()
        own = build_own_router(
            self.config,
            neighbours=self.neighbours,
            bus=self.bus,
            subscribe=self.subscribe,
            cache=self.cache,
            receipts=self.receipts,
            ids=leased.ids,
            clock=self.clock,
            reactor=self.reactor,
        )
        self.sender = own.sender
        self.router = self.served_router = own.accepting
        self.end_waits = own.accepting.end_waits
        self.measured += own.measured
        self.checks.append(leased.checks)
        self._add("router", leased)

    def _leased_ids(self) -> LeasedIds:
        leased = build_ids(
            self.neighbours.name, leases=self.leases, floors=self.floors, clock=self.clock, reactor=self.reactor
        )
        self.ids = leased.ids
        return leased

    def _group(self) -> None:
        """Groups in Redis: any number of nodes may have this role."""
        if self.ids is None:
            self._add("ids", self._leased_ids())
        assert self.ids is not None
        group = self.group = build_group(
            self.config,
            seams=GroupSeams(chat=self.chat),
            stores=ChatStores.in_redis(self.redis),
            subscribe=self.subscribe,
            nodes=self.nodes,
            ids=self.ids,
            reactor=self.reactor,
            clock=self.clock,
            whereabouts=AskedSessions(self.subscribe),
        )
        self.neighbours.when_left.append(group.left)
        self.measured += group.measured
        self.router = GroupTargets(self.router, groups=group.side.groups, subscribe=self.subscribe)
        if self.served_router is not None:
            self.served_router = self.router
        self._add("group", group.service)

    def _group_side(self) -> GroupSide:
        """The groups as the API has them; where they are elsewhere, it looks up the members of a target itself."""
        if self.group is not None:
            return self.group.side
        side = remote_side(self.neighbours.group_of)
        self.router = GroupTargets(self.router, groups=side.groups, subscribe=self.subscribe)
        return side

    def _own_connector(self) -> IService:
        assert self.bus is not None
        own = build_own_connector(
            self.config,
            Surroundings(self.reactor, self.open_files, now_ms),
            neighbours=self.neighbours,
            bus=self.bus,
            subscribe=self.subscribe,
            cache=self.cache,
            chat=None if self.group is None else self.chat,
            measured=self.measured,
        )
        self.own_probes = {self.neighbours.name: own.probe}
        self.websocket = own.websocket
        self.measured += own.measured
        self.checks += own.checks
        return own.service

    def _parts(self) -> Parts:
        """What other nodes may ask of this one."""
        return Parts(
            subscribe=self.subscribe if self.has("subscribe") else None,
            cache=None if self.holder is None else self.holder.cache,
            receipts=None if self.holder is None else self.holder.receipts,
            router=self.served_router,
            messages=self.neighbours.own_messages,
            chat=None if self.group is None else self.chat,
            group=None if self.group is None else self.group.side,
        )

    def _api(self, readiness: Readiness) -> None:
        group = self._group_side()
        served = Served(
            self.router,
            self.subscribe,
            self.nodes,
            self.neighbours.members,
            self.messages,
            self.websocket,
            group,
            others=(OthersNumbers(self.neighbours.members.all, self.neighbours.name),),
        )
        api = build_api(
            self.config,
            served,
            readiness=readiness,
            measured=self.measured,
            reactor=self.reactor,
            open_files=self.open_files,
            now_ms=now_ms,
            end_waits=self.end_waits,
        )
        self._add("api", api)

    def _readiness(self) -> Readiness:
        store_check = StoreCheck(store=self.floors, now_ms=now_ms, clock=self.reactor)
        if not any(map(self.has, ("connector", "router", "api"))):
            return Readiness(self.checks, [store_check])  # nothing of it can be seen to arrive from here
        # What is wrong with one connector must not take all routers and APIs out of service.
        own = self.own_probes
        canary = Canary(
            router=self.router,
            probes=(lambda: own) if own else self.nodes.probes,
            clock=self.reactor,
            name=self.neighbours.name,
            is_one_enough=True,
        )
        self._add("canary", canary)
        return Readiness(self.checks, [store_check, canary])


def _redis(config: Config, reactor: Any) -> Redis:
    try:
        return Redis(parse_address(config.redis), reactor=reactor, prefix=config.redis_prefix)
    except ValueError as error:  # what it says has nothing of the URL in it
        raise SettingError(f"--redis or --redis-prefix: {error}") from None
