"""The nodes of a simulated cluster: the real services, over links and stores that the world has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.config import Config
from push.errors import PushError, Unavailable
from push.group_roles import ChatStores, GroupSeams, build_group
from push.icache import ICache
from push.inodes import INodes
from push.model_cache import StoredDue, StoredReply
from push.model_cluster import Lease
from push.services.asking import ChatPlug
from push.services.cache_holder import LEASE
from push.services.chosen_chat import ChosenChat
from push.services.client_auth import OpenDoor
from push.services.cluster_subscribe import ClusterSubscribe
from push.services.connector import Connector
from push.services.evictions import Evictions
from push.services.group.whereabouts import AskedSessions
from push.services.ids import MessageIds
from push.services.leased_ids import LeasedIds
from push.services.periodic import Periodic
from push.services.router import Router
from push.services.session_keeper import SessionKeeper
from push.services.steady_clock import SteadyClock
from push.services.tasks import Tasks
from push.services.tenancy import Tenancy
from push.services.watches import Watches
from push.testing.connections import LIMITS
from tests.cluster.world import Link, Process, RedisWire, Remote, World
from tests.fakes_cache import MemoryReceipts
from tests.fakes_cluster import MemoryLeases, MemorySessionDirectory
from tests.fakes_store import MemoryTokenStore
from tests.services.holders import Rows, begun, make_holder

CHAT = Config(presence_debounce_s=5.0)
LOOK_S = 1.0
LEASE_S = 2.0
# What would heal in time is to be found missing.
NEVER_S = 1e9
CONNECTOR = "connector:"


class SharedStores:
    """What is in Redis.

    Args:
        world: whose time it has.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.empty()

    def empty(self) -> None:
        """It has lost everything."""
        if hasattr(self, "rows"):  # who has a handle on it sees that, too
            rows = self.rows
            for store in (rows.cache, rows.receipts, rows.floors):
                store.__init__()  # type: ignore[misc]
            rows.cache_guard.number = rows.receipt_guard.number = None
        else:
            self.rows = Rows()
        self.tokens = MemoryTokenStore()
        self.directory = MemorySessionDirectory(lambda: self._world.now_ms() * 1000)
        self.leases = MemoryLeases(self._world.clock)  # type: ignore[arg-type]


class Node(Process):
    """What all nodes have: a view of the others, and the tokens.

    Args:
        cluster: all of it.
        name: unique.
    """

    def __init__(self, cluster: "Cluster", name: str) -> None:
        super().__init__(cluster.world, name)
        self.cluster = cluster
        stores = cluster.stores
        wire = self.wire = RedisWire(self)
        self.leases = wire.proxy(lambda: stores.leases, may_lose_answers=True)
        self.known: dict[str, Lease] = {}
        self.tasks = Tasks()
        self.nodes = NodesView(self)
        self.evictions = Evictions(nodes=self.nodes, clock=self.clock)
        self.subscribe = ClusterSubscribe(
            store=wire.proxy(lambda: stores.tokens),
            directory=wire.proxy(lambda: stores.directory, may_lose_answers=True),
            authenticator=OpenDoor(),
            now_ms=self.now_ms,
            clock=self.clock,
            is_alive=lambda address: CONNECTOR + address in self.known,
            replaced=self.evictions.replaced,
            random_bytes=lambda size: cluster.world.random.randbytes(size),
            refresh=self.refresh,
        )
        self._looks = Periodic("looking who is there", self._look, interval_s=LOOK_S, clock=self.clock)
        self._is_looking = False

    def now_ms(self) -> int:
        """Its wall clock."""
        return self.cluster.world.now_ms() + self.cluster.skews_ms[self.name]

    def start(self) -> None:
        """Begin."""
        self.evictions.startService()
        self._looks.startService()
        self._look()

    def link(self, other: Process) -> Any:
        """To another node."""
        return self.world.links.get(frozenset((self.name, other.name)))

    def _look(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self.tasks.spawn("looking who is there", self._held())

    async def refresh(self) -> None:
        """Know who is alive now."""
        self.known = {lease.name: lease for lease in await self.leases.held()}

    async def _held(self) -> None:
        try:
            held = {lease.name: lease for lease in await self.leases.held()}
        except PushError:
            return
        finally:
            self._is_looking = False
        gone = [name for name in self.known if name.startswith(CONNECTOR) and name not in held]
        self.known = held
        for name in gone:
            self.tasks.spawn("forgetting sessions", self._departed(name))
        self.looked()

    def looked(self) -> None:
        """The leases were read."""

    async def _departed(self, name: str) -> None:
        async def is_dead() -> bool:
            return name not in {lease.name for lease in await self.leases.held()}

        try:
            await self.subscribe.departed(name.removeprefix(CONNECTOR), is_dead)
        except PushError:
            return


@implementer(INodes)
class NodesView:
    """The connectors that are alive.

    Args:
        node: who looks.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def connectors(self) -> Mapping[str, Any]:
        """See INodes."""
        node, found = self._node, {}
        for each in node.cluster.connectors.values():
            if each is node:
                found[each.name] = each.connector
            elif CONNECTOR + each.name in node.known and (link := node.link(each)) is not None:
                found[each.name] = Remote(link, node, lambda each=each: each.connector, address=each.name)
        return found


@implementer(ICache)
class FollowedCache:
    """The cache, at the node that holds it.

    Args:
        node: who calls.
        changed: called when it is elsewhere, or can be reached again.
    """

    is_shared = True

    def __init__(self, node: Node, changed: Callable[[], None] = lambda: None) -> None:
        self._node = node
        self._changed = changed
        self._number = 0

    def look(self) -> None:
        """The leases were read."""
        lease = self._node.known.get(LEASE)
        if lease is not None and lease.number != self._number:
            self._number = lease.number
            self._changed()

    def call(self, name: str, *args: Any) -> Any:
        """Call what is there."""
        return self._remote(name)(*args)

    def _remote(self, name: str) -> Any:
        lease = self._node.known.get(LEASE)
        holder = None if lease is None else self._node.cluster.holders.get(lease.details.decode())
        link = None if holder is None else self._node.link(holder)
        if holder is None or link is None:
            raise Unavailable("nobody holds the cache")
        return getattr(Remote(link, self._node, lambda: holder.holder.cache), name)

    def has(self, token: str) -> bool:
        """See ICache."""
        return True

    def scheduled(self) -> Sequence[StoredDue]:
        """See ICache."""
        return ()

    def answered(self, reply: StoredReply) -> None:
        """See ICache."""

    def committed(self, ticket: int) -> Deferred[Any]:
        """See ICache. Who cannot be asked has not said so."""
        return begun(self._committed(ticket))

    async def _committed(self, ticket: int) -> Any:
        try:
            return await self.call("committed", ticket)
        except PushError as error:
            return error

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            return await self.call(name, *args)

        return call


class RouterNode(Node):
    """A router."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        super().__init__(cluster, name)
        self.ids = LeasedIds(
            leases=self.leases,
            floors=self.wire.proxy(lambda: cluster.stores.rows.floors),
            name="router",  # so that all like the same number
            clock=self.clock,
            now_ms=self.now_ms,
            ttl_s=LEASE_S,
        )
        self.cache = FollowedCache(self)
        self.receipts = MemoryReceipts()
        self.router = Router(
            subscribe=self.subscribe,
            nodes=self.nodes,
            cache=self.cache,
            receipts=self.receipts,
            ids=self.ids.ids,
            refresh=lambda: self.refresh(),  # a test may have it do something else
        )

    def start(self) -> None:
        """Begin."""
        super().start()
        self.ids.startService()


class HolderNode(Node):
    """Holds the cache, or stands by."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        super().__init__(cluster, name)
        stores = cluster.stores
        self.holder = make_holder(
            lambda: stores.rows,
            leases=self.leases,
            subscribe=self.subscribe,
            nodes=self.nodes,
            clock=self.clock,
            now_ms=self.now_ms,
            proxy=self.wire.proxy,
            details=name.encode(),
            ttl_s=LEASE_S,
        )

    def start(self) -> None:
        """Begin."""
        super().start()
        self.holder.startService()


class GroupNode(Node):
    """Has the group role."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        super().__init__(cluster, name)
        assert cluster.chats is not None
        seams = GroupSeams()
        self.chat = seams.chat
        self.role = build_group(
            CHAT,
            seams=seams,
            stores=cluster.chats,
            subscribe=self.subscribe,
            nodes=self.nodes,
            ids=MessageIds(node=int(name[-1]), now_ms=self.now_ms),
            reactor=self.clock,
            clock=SteadyClock(wall_ms=self.now_ms, monotonic_s=self.clock.seconds),
            whereabouts=AskedSessions(self.subscribe),
        )

    def start(self) -> None:
        """Begin."""
        super().start()
        self.role.service.startService()


class ConnectorNode(Node):
    """Holds clients."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        super().__init__(cluster, name)
        self.cache = FollowedCache(self, lambda: self.keeper.cache_moved())
        plug = ChatPlug()
        self.connector = Connector(
            address=name,
            limits=LIMITS,
            subscribe=self.subscribe,
            cache=self.cache,
            clock=self.clock,
            now_ms=self.now_ms,
            version="test",
            chat=plug,
        )
        self.watches = plug.chat = Watches(
            ChosenChat(self._chats),
            links=lambda: {group: link.run for group, link in self._groups().items()},
            by_token=self.connector.connections.by_token,
            clock=self.clock,
        )
        self.connector.noticed = self.watches.noticed
        self.keeper = SessionKeeper(
            connector=self.connector,
            subscribe=self.subscribe,
            cache=self.cache,
            clock=self.clock,
            look_s=4.0,
            ask_s=NEVER_S,
        )
        self.tenancy = Tenancy(
            lambda: (CONNECTOR + name,),
            leases=self.leases,
            details=b"",
            ttl_s=LEASE_S,
            clock=self.clock,
            gained=lambda lease: self.keeper.back(),
            lost=self.keeper.lost,
        )

    def start(self) -> None:
        """Begin."""
        super().start()
        self.tenancy.startService()
        self.keeper.startService()
        self.watches.startService()

    def _groups(self) -> Mapping[str, Link]:
        links = {name: self.link(each) for name, each in self.cluster.groups.items()}
        return {name: link for name, link in links.items() if link is not None and link.is_up}

    def _chats(self) -> Mapping[str, Any]:
        groups = self.cluster.groups
        return {name: Remote(link, self, lambda name=name: groups[name].chat) for name, link in self._groups().items()}

    def looked(self) -> None:
        """The leases were read."""
        self.cache.look()


class Cluster:
    """Nodes that are linked each with each.

    Args:
        seed: of all chance.
        routers: how many.
        connectors: how many.
        groups: how many nodes with the group role.
        chats: where groups are, for those.
    """

    def __init__(
        self, seed: int, *, routers: int = 2, connectors: int = 3, groups: int = 0, chats: ChatStores | None = None
    ) -> None:
        self.world = World(seed)
        self.chats = chats
        self.stores = SharedStores(self.world)
        self.routers: dict[str, RouterNode] = {}
        self.holders: dict[str, HolderNode] = {}
        self.connectors: dict[str, ConnectorNode] = {}
        self.groups: dict[str, GroupNode] = {}
        self._kinds: dict[str, tuple[dict[str, Any], Any]] = {}
        for number in range(routers):
            self._kinds[f"router{number}"] = (self.routers, RouterNode)
        for number in range(2):
            self._kinds[f"holder{number}"] = (self.holders, HolderNode)
        for number in range(connectors):
            self._kinds[f"10.0.0.{number}:1"] = (self.connectors, ConnectorNode)
        for number in range(groups):
            self._kinds[f"group{number}"] = (self.groups, GroupNode)
        self.skews_ms = {name: self.world.random.choice((0, 0, 30, 500)) for name in self._kinds}
        for name in self._kinds:
            self.start(name)

    def start(self, name: str) -> None:
        """A node begins, perhaps again."""
        nodes, kind = self._kinds[name]
        node = kind(self, name)
        others = [each for each in self.all() if each.name != name and each.is_alive]
        nodes[name] = node
        for other in others:
            link = self.world.connect(node, other)
            link.when_up.append(lambda ends=(node, other): _meet(ends))
            link.when_down.append(lambda ends=(node, other): _part(ends))
        node.start()
        if isinstance(node, HolderNode):
            for connector in self.connectors.values():
                _meet((node, connector))

    def all(self) -> list[Node]:
        """All nodes, dead or alive."""
        kinds: Sequence[Mapping[str, Node]] = (self.routers, self.holders, self.connectors, self.groups)
        return [node for kind in kinds for node in kind.values()]

    def dead(self) -> list[str]:
        """Those to be started again."""
        return [node.name for node in self.all() if not node.is_alive]


def _meet(ends: tuple[Node, Node]) -> None:
    """Two nodes have a link again."""
    for one, other in (ends, ends[::-1]):
        if isinstance(one, ConnectorNode) and isinstance(other, HolderNode) and one.is_alive:
            one.keeper.cache_moved()


def _part(ends: tuple[Node, Node]) -> None:
    """The link between two nodes is lost: each is told of it before the next one is made."""
    for one, other in (ends, ends[::-1]):
        if isinstance(one, GroupNode) and isinstance(other, ConnectorNode):
            one.clock.callLater(0, one.role.left, other.name)
