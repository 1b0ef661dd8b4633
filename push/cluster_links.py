"""Part of the composition root of a cluster's node: who the other nodes are, and the links with them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.application.service import MultiService
from twisted.python.failure import Failure
from twisted.spread import pb

from push import __version__
from push.cluster_settings import JOINED_ROLES
from push.config import Config
from push.connecting import server_endpoint
from push.errors import PushError, Unavailable
from push.icache import ICache
from push.igroup import IChat
from push.ihealth import IMeasured
from push.ileases import ILeases
from push.ipush import IRouter
from push.ireceipts import IMessages, IReceipts
from push.isubscribe import ISubscribe
from push.model_cluster import Member, Node
from push.model_health import Check
from push.peering import Tls, own_name, own_peer, secrets_of
from push.protocols.peer.answers import Answers, Parts
from push.protocols.peer.asking import Asking
from push.protocols.peer.avatar import Arrival, NodeAvatar
from push.protocols.peer.connector_door import Door
from push.protocols.peer.envelopes import MAJOR, MINOR, MINOR_GROUPS
from push.protocols.peer.link import Link
from push.protocols.peer.links import Links
from push.protocols.peer.login import PeerServerFactory, Realm, SharedSecrets
from push.protocols.peer.remote_connector import RemoteConnector
from push.protocols.peer.remote_node import RemoteNode
from push.services.chosen_chat import chosen
from push.services.cluster_nodes import ClusterNodes
from push.services.listening import Listener
from push.services.members import Members
from push.services.numbers import numbers_of

# Who asks whom. A connector joins everybody who might call it; others ask themselves where they have the role.
_ASKS: Mapping[str, Sequence[str]] = {
    "connector": JOINED_ROLES,
    "router": ("subscribe", "cache"),
    "api": ("router", "subscribe", "cache", "group"),
    "cache": ("subscribe",),
    "group": ("subscribe",),
}


def _no_node() -> Node | None:
    return None


class Neighbours:
    """The other nodes, as one node has them.

    Args:
        config: all settings.
        leases: where nodes say that they are there.
        reactor: time, turns and the network.
        now_ms: milliseconds since 1970.

    Attributes:
        parts: what others may ask of this node.
        door: builds what can be called over a link that this node makes.
        own_node: how the connector of this node is, if there is one.
        measured: what this node has measured.
        own_cache: the cache of this node where it is held here; likewise receipts and messages.
        when_gained: called when this node counts as alive; the others likewise when it may not, when something has
            changed, and with the name of a node that is gone, was joined, or was a connector linked to this node.
    """

    def __init__(self, config: Config, *, leases: ILeases, reactor: Any, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._now_ms = now_ms
        self._reactor = reactor
        self.name = own_name(config)
        self.parts = Parts()
        self.door: Callable[[Asking, int], Door] = Door
        self.own_node: Callable[[], Node | None] = _no_node
        self.measured: Sequence[IMeasured] = ()
        self.has_cache: Callable[[], bool] = bool
        self.own_cache: ICache | None = None
        self.own_receipts: IReceipts | None = None
        self.own_messages: IMessages | None = None
        self.when_gained: list[Callable[[], None]] = []
        self.when_lost: list[Callable[[], None]] = []
        self.when_cache_moved: list[Callable[[], None]] = []
        self.when_cache_joined: list[Callable[[], None]] = []
        self.when_gone: list[Callable[[str], None]] = []
        self.when_joined: list[Callable[[RemoteNode], None]] = []
        self.when_left: list[Callable[[str], None]] = []
        self.nodes = ClusterNodes()
        self.members = Members(
            self.name,
            describe=self._describe,
            leases=leases,
            clock=reactor,
            ttl_s=config.lease_s,
            gained=lambda: _call(self.when_gained),
            lost=lambda: _call(self.when_lost),
            changed=self._changed,
            gone=lambda name: _call(self.when_gone, name),
        )
        secrets = secrets_of(config)
        self._tls = Tls(config, reactor)
        self._needs = {asked for role in config.roles for asked in _ASKS.get(role, ()) if self._must_ask(asked)}
        self.links = Links(
            self.name,
            roles=config.roles,
            secret=secrets[0].decode(),
            endpoint=self._tls.endpoint,
            door=lambda asking, minor: self.door(asking, minor),
            clock=reactor,
            fraction=random.SystemRandom().random,
            joined=self._joined,
        )
        self._factory = PeerServerFactory(Realm(self._avatar), SharedSecrets(secrets), clock=reactor)
        self._cache_term: tuple[str, int] = ("", 0)
        # The link over which each connector that is linked has joined this node last.
        self._joined_by: dict[str, Link] = {}

    def service(self) -> MultiService:
        """What listens for others, and finds and joins them; to be started before what uses them."""
        services = MultiService()
        if self._config.peer:
            description = self._config.peer
            endpoint = server_endpoint(self._reactor, "--peer", description)
            factory = self._tls.served(self._factory)
            Listener("--peer", description=description, endpoint=endpoint, factory=factory).setServiceParent(services)
        self.links.setServiceParent(services)
        return services

    # What other nodes have

    def subscribes(self) -> Sequence[ISubscribe]:
        """Nodes with the tokens."""
        return [node.subscribe for node in self.links.nodes("subscribe")]

    def routers(self) -> Mapping[str, IRouter]:
        """Nodes that take messages."""
        return {node.name: node.router for node in self.links.nodes("router")}

    def chats(self) -> Mapping[str, IChat]:
        """Nodes with the groups."""
        return {node.name: node.chat for node in self.links.nodes("group")}

    def chat_links(self) -> Mapping[str, object]:
        """The links to them: another one where a node is joined again."""
        return {node.name: node.link for node in self.links.nodes("group")}

    def group_of(self, about: str) -> Asking:
        """The questions to the node with the groups that is to be asked about something: the same while it is there.

        Raises:
            Unavailable: there is none.
        """
        there = {node.name: node.asking for node in self.links.nodes("group") if node.minor >= MINOR_GROUPS}
        if not there:
            raise Unavailable("no node with the role group is there", retry_after_s=1.0)
        return there[chosen(there, about)]

    def cache(self) -> ICache | None:
        """The cache of whoever holds it."""
        if self.has_cache():
            return self.own_cache
        node = self._holder()
        return None if node is None else node.cache

    def receipts(self) -> IReceipts | None:
        """Likewise."""
        if self.has_cache():
            return self.own_receipts
        node = self._holder()
        return None if node is None else node.receipts

    def messages(self) -> IMessages | None:
        """Likewise."""
        if self.has_cache():
            return self.own_messages
        node = self._holder()
        return None if node is None else node.messages

    def is_alive(self, name: str) -> bool:
        """Whether a connector is there, as far as is known."""
        return name in self.members.all()

    def checks(self) -> list[Check]:
        """Whether this node can ask all that it needs to."""
        checks = list(self.members.checks())
        for role in ("subscribe", "router"):
            if role in self._needs and role not in self._config.roles:
                is_there = bool(self.links.nodes(role))
                checks.append(Check(role, is_there, "" if is_there else self.links.troubles(role)))
        if "cache" in self._needs and not self.has_cache():
            checks.append(Check("cache", self._holder() is not None, self._why_no_cache()))
        if any(role in self._config.roles for role in ("router", "api")):
            is_there = bool(self.nodes.probes())
            checks.append(Check("connectors", is_there, "" if is_there else "no connector has joined this node yet"))
        return checks

    # Inside

    def _must_ask(self, role: str) -> bool:
        return role == "cache" or role not in self._config.roles or "connector" in self._config.roles

    def _describe(self) -> Member:
        return Member(
            self.name,
            self._config.roles,
            own_peer(self._config),
            MAJOR,
            MINOR,
            __version__,
            connector=self._own_connector(),
            numbers=numbers_of(self.measured, self._now_ms()),
        )

    def _own_connector(self) -> Node | None:
        """Without a node that has the tokens it opens no session: others send nobody here then."""
        node = self.own_node()
        if node is None or "subscribe" in self._config.roles or self.links.nodes("subscribe"):
            return node
        return replace(node, draining=True)

    def _holder(self) -> RemoteNode | None:
        node = self.links.find(self.members.cache_holder)
        return node if node is not None and node.is_linked else None

    def _why_no_cache(self) -> str:
        holder = self.members.cache_holder
        if not holder:
            return "no node holds the cache yet"
        node = self.links.find(holder)
        return "" if self._holder() is not None else f"{holder}: {'not known yet' if node is None else node.trouble}"

    def _changed(self) -> None:
        members = self.members
        self.nodes.alive([each.name for each in members.others("connector")])
        self.links.want(each for each in members.all().values() if self._needs.intersection(each.roles))
        term = (members.cache_holder, members.cache_number)
        if term != self._cache_term and members.cache_holder:
            self._cache_term = term
            _call(self.when_cache_moved)

    def _joined(self, node: RemoteNode) -> None:
        _call(self.when_joined, node)
        if node.name == self.members.cache_holder:
            _call(self.when_cache_joined)

    def _avatar(self, name: str, mind: pb.RemoteReference) -> NodeAvatar:
        return NodeAvatar(
            name,
            mind,
            answers=Answers(name, self.parts),
            clock=self._reactor,
            max_waiting_bytes=self._config.max_node_outbox_bytes,
            arrived=self._arrived,
            ready=self.nodes.serves,
        )

    def _arrived(self, arrival: Arrival) -> None:
        connector = arrival.connector
        if connector is not None:
            name = connector.address
            before = self._joined_by.get(name)
            self._joined_by[name] = arrival.link
            self.nodes.arrived(connector)
            if before is not None:
                before.lose("it has joined again")
            arrival.link.when_lost(lambda why: self._left(connector, arrival.link))

    def _left(self, connector: RemoteConnector, link: Link) -> None:
        self.nodes.lost(connector)
        if self._joined_by.get(connector.address) is link:
            del self._joined_by[connector.address]
        _call(self.when_left, connector.address)


def told(link_call: Any) -> None:
    """Something is said over a link, and whether it arrives shows elsewhere."""
    link_call.addErrback(_expected)


def _expected(failure: Failure) -> None:
    failure.trap(PushError)


def _call(calls: Sequence[Callable[..., None]], *arguments: object) -> None:
    for call in calls:
        call(*arguments)
