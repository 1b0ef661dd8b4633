"""Part of the composition root of a cluster's node: its connector, and what keeps that in step with other nodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.application.service import IService

from push.bus_roles import build_reception
from push.cluster_links import Neighbours, told
from push.config import Config
from push.connecting import Surroundings, build_connector
from push.icache import ICache
from push.icluster import IBroadcastBus
from push.igroup import IChat
from push.ihealth import IMeasured, IProbe
from push.isubscribe import ISubscribe
from push.iupgrade import IUpgrade
from push.model_health import Check
from push.protocols.framed import FramedFactory
from push.protocols.peer.asking import Asking
from push.protocols.peer.connector_door import ConnectorDoor
from push.protocols.peer.hearing import Hearing
from push.protocols.peer.remote_node import RemoteNode
from push.protocols.websocket.plugin import WebSocketUpgrade
from push.services.allocation import PolledPlaces
from push.services.asking import ChatPlug
from push.services.chosen_chat import ChosenChat
from push.services.nodes import LocalNodes
from push.services.ordered import OrderedServices
from push.services.probe import Probe
from push.services.session_keeper import SessionKeeper
from push.services.watches import Watches


@dataclass(frozen=True, slots=True)
class OwnConnector:
    """The connector of a node.

    Attributes:
        service: all of it, in order.
        probe: its client of itself.
        websocket: takes clients at the API.
        measured: whose numbers are shown.
        checks: what must hold for readiness.
    """

    service: IService
    probe: IProbe
    websocket: IUpgrade
    measured: Sequence[IMeasured]
    checks: Sequence[Callable[[], Sequence[Check]]]


def build_own_connector(
    config: Config,
    surroundings: Surroundings,
    *,
    neighbours: Neighbours,
    bus: IBroadcastBus,
    subscribe: ISubscribe,
    cache: ICache,
    chat: IChat | None,
    measured: Sequence[IMeasured],
) -> OwnConnector:
    """Build the connector of a node.

    Args:
        config: all settings.
        surroundings: of this process.
        neighbours: the other nodes; told of the connector, and ask to be told what concerns it.
        bus: for broadcasts.
        subscribe: where sessions are opened.
        cache: keeps what clients have not got yet.
        chat: the group role of this node; None: others are asked.
        measured: what else this node has measured.

    Raises:
        SettingError: a setting turns out to be unusable.
    """
    clock = surroundings.reactor
    plug = ChatPlug()
    connector, clients = build_connector(
        config,
        surroundings,
        subscribe=subscribe,
        cache=cache,
        chat=plug,
        address=neighbours.name,
        places=neighbours.members,
    )
    probe = Probe(connector=connector, subscribe=subscribe, protocol=FramedFactory, clock=clock)
    hearing = Hearing()
    reception = build_reception(config, bus, connector=connector, hearing=hearing, reactor=clock)
    keeper = SessionKeeper(connector=connector, subscribe=subscribe, cache=cache, clock=clock)
    watches = Watches(
        ChosenChat(neighbours.chats),
        links=neighbours.chat_links,
        by_token=connector.connections.by_token,
        clock=clock,
    )
    plug.chat = watches if chat is None else chat
    connector.noticed = watches.noticed
    own_places = PolledPlaces(LocalNodes(connector), clock=clock)
    shown = (connector, reception)

    def door(asking: Asking, minor: int) -> ConnectorDoor:
        return ConnectorDoor(
            name=neighbours.name,
            connector=connector,
            probe=probe,
            asking=asking,
            measured=(*shown, *measured),
            max_payload_bytes=config.max_body_bytes,
            minor=minor,
        )

    def joined(node: RemoteNode) -> None:
        if node.link is not None:
            hearing.attach(node.link)
            told(node.link.call("ready"))

    neighbours.door = door
    neighbours.own_node = lambda: next(iter(own_places.known()), None)
    neighbours.nodes.own(connector, probe)
    neighbours.when_joined.append(joined)
    neighbours.when_lost.append(keeper.lost)
    neighbours.when_gained.append(keeper.back)
    neighbours.when_cache_moved.append(keeper.cache_moved)
    neighbours.when_cache_joined.append(keeper.cache_joined)
    services = OrderedServices()
    for each in (keeper, watches, own_places, reception, clients):
        each.setServiceParent(services)
    return OwnConnector(services, probe, WebSocketUpgrade(connector), shown, (clients.checks, reception.checks))
