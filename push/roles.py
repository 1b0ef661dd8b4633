"""The composition root: a role is a function that builds its services, wired through the interfaces.

The only module that names concrete classes of more than one room. Roles are called in the order of
push.settings.ROLES; each finds in the House what earlier ones put there.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService

from push.access import authenticator
from push.api_roles import Served, build_api, build_health
from push.cache_roles import Keeping, build_cache, build_front
from push.cluster_roles import build_cluster
from push.config import Config
from push.connecting import Surroundings, build_connector
from push.group_roles import ChatStores, GroupRole, GroupSeams, build_group
from push.ihealth import IMeasured, IProbe, IReadiness
from push.ileases import IFloorStore
from push.inodes import INodes, IPlaces
from push.ipush import IRouter
from push.ireceipts import IMessages
from push.isubscribe import ISubscribe
from push.iupgrade import IUpgrade
from push.model import Registration
from push.model_health import Check
from push.protocols.framed import FramedFactory
from push.protocols.websocket.plugin import WebSocketUpgrade
from push.services.allocation import PolledPlaces
from push.services.canary import Canary
from push.services.group.targets import GroupTargets
from push.services.ids import RESERVE_MS, IdFloor, MessageIds
from push.services.lag import Lag
from push.services.nodes import LocalNodes
from push.services.ordered import OpenClose, OrderedServices
from push.services.probe import Probe
from push.services.readiness import Readiness
from push.services.router import Router
from push.services.steady_clock import SteadyClock
from push.services.store_check import StoreCheck
from push.services.subscribe import Subscribe
from push.services.tasks import Tasks
from push.settings import SettingError
from push.stores.sqlite.database import Database
from push.stores.sqlite.floors import FloorStore
from push.stores.sqlite.lanes import one_thread
from push.stores.sqlite.tokens import TokenStore
from push.worker_roles import Team, build_team

DATABASE_FILE = "push.sqlite3"


@dataclass(slots=True)
class House:
    """What the roles of one process share.

    Attributes:
        config: all settings.
        reactor: time, threads and endpoints.
        open_files: the limit on them.
        give_up: ends the process with a sentence, where it turns out only after the start that it cannot work.
        measured: whose numbers are shown.
        checks: what must hold for readiness, answered at once.
    """

    config: Config
    reactor: Any
    open_files: int
    give_up: Callable[[str], None]
    measured: list[IMeasured] = field(default_factory=list)
    checks: list[Callable[[], list[Check]]] = field(default_factory=list)
    subscribe: ISubscribe | None = None
    database: Database | None = None
    floors: IFloorStore | None = None
    keeping: Keeping | None = None
    nodes: INodes | None = None
    places: IPlaces | None = None
    websocket: IUpgrade | None = None
    probes: Callable[[], Mapping[str, IProbe]] = dict
    team: Team | None = None
    router: IRouter | None = None
    messages: IMessages | None = None
    end_waits: Callable[[], None] = lambda: None
    readiness: IReadiness | None = None
    ids: MessageIds | None = None
    group_seams: GroupSeams = field(default_factory=GroupSeams)
    group: GroupRole | None = None
    clock: SteadyClock = field(init=False)

    def __post_init__(self) -> None:
        """Make the clock that never runs back."""
        self.clock = SteadyClock(wall_ms=self.now_ms, monotonic_s=self.reactor.seconds)

    def now_ms(self) -> int:
        """Milliseconds since 1970 on the wall clock."""
        return time.time_ns() // 1_000_000

    def replaced(self, registration: Registration) -> None:
        """A session has a newer one at another connector: have it closed."""
        if self.team is not None:
            self.team.nodes.replaced(registration)


def build(config: Config, *, reactor: Any, open_files: int, give_up: Callable[[str], None]) -> list[IService]:
    """Build the services of all configured roles.

    Args:
        config: what to run.
        reactor: the reactor that will run it.
        open_files: how many files this process may have open.
        give_up: see House.

    Returns:
        The roles' services, named after them, in the order in which they are to start.

    Raises:
        SettingError: a setting turns out to be unusable, e.g. a key file or an endpoint.
    """
    if config.redis:
        return build_cluster(config, reactor=reactor, open_files=open_files, give_up=give_up)
    house = House(config, reactor, open_files, give_up)
    lag = Lag(reactor, labels=(("node", "parent"),) if config.workers else ())
    lag.setName("lag")
    house.measured.append(lag)
    services: list[IService] = [lag]
    for name in config.roles:
        service = ROLES[name](house)
        service.setName(name)
        services.append(service)
    if config.health and house.readiness is not None:
        services.append(
            build_health(
                config, readiness=house.readiness, measured=house.measured, reactor=reactor, open_files=open_files
            )
        )
    return services


def subscribe_role(house: House) -> IService:
    """Tokens, in SQLite."""
    config = house.config
    database = Database(
        Path(config.data_dir) / DATABASE_FILE,
        thread_pool=one_thread,
        call_from_thread=house.reactor.callFromThread,
        clock=house.reactor,
    )
    store = TokenStore(database, max_tokens=config.max_tokens)
    house.database = database
    house.floors = FloorStore(database)
    subscribe = Subscribe(
        store=store,
        authenticator=authenticator(config),
        now_ms=house.clock.now_ms,
        random_bytes=secrets.token_bytes,
        replaced=house.replaced,
        watcher=house.group_seams.sessions,
    )
    house.subscribe = subscribe
    house.measured += [subscribe, database]
    return OpenClose(database.open, database.close)


def cache_role(house: House) -> IService:
    """What clients have not got yet, and what became of the rest."""
    if house.subscribe is None or house.database is None:
        raise SettingError("--role: cache needs subscribe")
    keeping = build_cache(
        house.config,
        database=house.database,
        subscribe=house.subscribe,
        reactor=house.reactor,
        clock=house.clock,
        give_up=house.give_up,
    )
    house.keeping = keeping
    house.measured += keeping.measured
    house.checks.append(lambda: list(keeping.cache.checks()))
    return keeping.service


def connector_role(house: House) -> IService:
    """Client connections, in this process or in others."""
    config = house.config
    if house.subscribe is None or house.keeping is None:
        raise SettingError("--role: connector needs subscribe and cache")
    cache = house.keeping.cache
    if config.workers:
        team = house.team = build_team(
            config, subscribe=house.subscribe, cache=cache, chat=house.group_seams.chat, reactor=house.reactor
        )
        house.nodes = team.nodes
        house.places = _polled(house, team.nodes, team.service)
        house.probes = team.nodes.probes
        house.measured += [team.nodes, team.workers]
        house.checks.append(lambda: list(team.nodes.checks()))
        return team.service
    surroundings = Surroundings(house.reactor, house.open_files, house.now_ms)
    connector, clients = build_connector(
        config, surroundings, subscribe=house.subscribe, cache=cache, chat=house.group_seams.chat
    )
    probe = Probe(connector=connector, subscribe=house.subscribe, protocol=FramedFactory, clock=house.reactor)
    house.probes = lambda: {connector.address: probe}
    house.nodes = LocalNodes(connector)
    house.websocket = WebSocketUpgrade(connector)
    house.measured.append(connector)
    house.checks.append(lambda: list(clients.checks()))
    services = OrderedServices()
    clients.setServiceParent(services)
    house.places = _polled(house, house.nodes, services)
    return services


def router_role(house: House) -> IService:
    """The way from a request to the connectors, and the proof that it works."""
    if house.subscribe is None or house.nodes is None or house.floors is None or house.keeping is None:
        raise SettingError("--role: router needs subscribe, cache and connector")
    keeping = house.keeping
    ids = MessageIds(node=house.config.node_id, now_ms=house.clock.now_ms)
    # The floor is ahead of the time at which it was written, by what a crash may cost.
    floor = IdFloor(
        ids,
        store=house.floors,
        clock=house.reactor,
        tasks=Tasks(),
        loaded=lambda floor_ms: house.clock.raise_floor(floor_ms - RESERVE_MS),
    )
    router = Router(
        subscribe=house.subscribe, nodes=house.nodes, cache=keeping.cache, receipts=keeping.receipts, ids=ids
    )
    front = build_front(
        house.config,
        router=router,
        keeping=keeping,
        subscribe=house.subscribe,
        ids=ids,
        reactor=house.reactor,
        clock=house.clock,
    )
    services = OrderedServices()
    floor.setServiceParent(services)
    canary = Canary(router=router, probes=house.probes, clock=house.reactor)
    canary.setServiceParent(services)
    front.service.setServiceParent(services)
    house.ids = ids
    house.router = front.router
    house.messages = front.messages
    house.end_waits = front.end_waits
    house.measured.append(router)
    house.checks.append(lambda: [Check("message ids", ids.is_ready, "" if ids.is_ready else "not loaded yet")])
    store_check = StoreCheck(store=house.floors, now_ms=house.now_ms, clock=house.reactor)
    house.readiness = Readiness(house.checks, [store_check, canary])
    return services


def group_role(house: House) -> IService:
    """Groups and chat."""
    if house.subscribe is None or house.database is None or house.nodes is None or house.ids is None:
        raise SettingError("--role: group needs subscribe, connector and router")
    group = house.group = build_group(
        house.config,
        seams=house.group_seams,
        stores=ChatStores.in_sqlite(house.database),
        subscribe=house.subscribe,
        nodes=house.nodes,
        ids=house.ids,
        reactor=house.reactor,
        clock=house.clock,
    )
    house.measured += group.measured
    if house.router is not None:
        house.router = GroupTargets(house.router, groups=group.side.groups, subscribe=house.subscribe)
    return group.service


def api_role(house: House) -> IService:
    """The HTTP API."""
    if house.subscribe is None or house.nodes is None or house.router is None or house.readiness is None:
        raise SettingError("--role: api needs subscribe, connector and router")
    if house.messages is None or house.places is None:
        raise SettingError("--role: api needs cache and connector")
    served = Served(
        house.router,
        house.subscribe,
        house.nodes,
        house.places,
        house.messages,
        house.websocket,
        None if house.group is None else house.group.side,
    )
    return build_api(
        house.config,
        served,
        readiness=house.readiness,
        measured=house.measured,
        reactor=house.reactor,
        open_files=house.open_files,
        now_ms=house.now_ms,
        end_waits=house.end_waits,
    )


ROLES: Mapping[str, Callable[[House], IService]] = {
    "subscribe": subscribe_role,
    "cache": cache_role,
    "connector": connector_role,
    "router": router_role,
    "group": group_role,
    "api": api_role,
}


def _polled(house: House, nodes: INodes, services: MultiService) -> IPlaces:
    """What is known of connectors that this process can call; asked as long as these services run."""
    places = PolledPlaces(nodes, clock=house.reactor)
    places.setServiceParent(services)
    return places
