"""What a connector is built of, whichever process it runs in: limits, listeners, its address.

Part of the composition root: names concrete classes of more than one room.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.plugin import getPlugins

from push import __version__, endpoint_text
from push.config import Config
from push.icache import IPulling
from push.igroup import IChat
from push.inodes import IPlaces
from push.ipush import IWireProtocol
from push.isubscribe import ISubscribe
from push.model import ConnectionLimits
from push.protocols.wire.answers import NodeAddress
from push.services.allocation import draw
from push.services.clients import Clients
from push.services.connections import MAX_UNWELCOME
from push.services.connector import Connector
from push.services.listening import Listener
from push.settings import SettingError

# Open files that are no client's: connections of the API, those that are only told that there is no room, and the
# database, logs and listeners.
API_CONNECTIONS = 600
_RESERVED_FILES = API_CONNECTIONS + MAX_UNWELCOME + 64


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process gives.

    Attributes:
        reactor: time, threads and endpoints.
        open_files: the limit on them.
        now_ms: milliseconds since 1970.
    """

    reactor: Any
    open_files: int
    now_ms: Callable[[], int]


def build_connector(
    config: Config,
    surroundings: Surroundings,
    *,
    subscribe: ISubscribe,
    cache: IPulling,
    chat: IChat,
    address: str | None = None,
    places: IPlaces | None = None,
) -> tuple[Connector, Clients]:
    """Build a connector and the service that faces its clients.

    Args:
        config: all settings.
        surroundings: of this process.
        subscribe: where sessions are opened.
        cache: keeps what clients have not got yet.
        chat: answers what clients ask of the group role.
        address: its unique name; None: the address that it advertises.
        places: knows the other connectors, where there are any at other addresses.

    Raises:
        SettingError: a setting turns out to be unusable.
    """
    reactor = surroundings.reactor
    fraction = random.SystemRandom().random

    def elsewhere(protocol: str | None) -> Sequence[NodeAddress]:
        here = connector.address.partition("#")[0]
        return () if places is None else draw(places.known(), fraction, protocol=protocol, besides=here)

    connector = Connector(
        address=advertised(config) if address is None else address,
        limits=connection_limits(config, surroundings.open_files),
        subscribe=subscribe,
        cache=cache,
        clock=reactor,
        now_ms=surroundings.now_ms,
        version=__version__,
        chat=chat,
        elsewhere=elsewhere,
        fraction=fraction,
    )
    protocols = {protocol.name: protocol for protocol in getPlugins(IWireProtocol)}
    clients = Clients(
        connector,
        listeners=[_listener(reactor, connector, protocols, listen) for listen in config.listen],
        clock=reactor,
        stop_timeout_s=config.stop_timeout_s,
        stop_spread_s=config.stop_spread_s,
        fraction=fraction,
        drain_timeout_s=config.drain_timeout_s,
        places=client_places(config),
    )
    return connector, clients


def connection_limits(config: Config, open_files: int) -> ConnectionLimits:
    """What one connector allows.

    Raises:
        SettingError: more connections are asked for than there may be open files.
    """
    room = max(1, open_files - min(_RESERVED_FILES, open_files // 4))
    if config.max_connections > room:
        raise SettingError(
            f"--max-connections: {config.max_connections} connections need more open files than this process may "
            f"have ({open_files}): raise the limit (ulimit -n, LimitNOFILE) or set at most {room}"
        )
    return ConnectionLimits(
        max_connections=config.max_connections or room,
        max_connections_per_address=config.max_connections_per_address,
        max_subs_per_s=config.max_subs_per_s,
        max_body_bytes=config.max_body_bytes,
        max_body_before_open_bytes=config.max_body_before_open_bytes,
        handshake_timeout_s=config.handshake_timeout_s,
        default_interval_ms=int(config.default_interval_s * 1000),
        idle_grace_s=config.idle_grace_s,
        max_outbox_bytes=config.max_outbox_bytes,
        max_outbox_messages=config.max_outbox_messages,
        max_node_outbox_bytes=config.max_node_outbox_bytes,
        ack_window=config.ack_window,
        close_timeout_s=config.close_timeout_s,
        allowed_origins=config.allowed_origins,
    )


def server_endpoint(reactor: Any, setting: str, description: str) -> IStreamServerEndpoint:
    """The endpoint that a setting describes.

    Raises:
        SettingError: it describes none.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as error:  # endpoint parsers are plug-ins: they may raise anything
        raise SettingError(f"{setting}: {description} is no endpoint that can be listened on: {error}") from None
    return endpoint


def advertised(config: Config) -> str:
    """The address of a connector: what is set, or its first listener; "" where its port is known only once it listens.

    Raises:
        SettingError: neither says where clients connect.
    """
    if config.advertise:
        return config.advertise
    description = config.listen[0].partition("=")[2]
    host = endpoint_text.interface(description)
    if host is None or host in ("", "0.0.0.0", "::"):
        raise SettingError(
            f"--advertise: {description} does not say at which address clients reach it: "
            "set --advertise to that host:port"
        )
    port = endpoint_text.port(description)
    if port is None:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_places(config: Config) -> list[tuple[str, str]]:
    """For each listener, in their order, its wire protocol and where others reach it: "host:port".

    The port is 0 where it is known only once it listens, and the place "" where others cannot reach it, or it is not
    the first of its protocol. What is set comes first; then the address of the connector for its first listener; then
    where it listens, or for all addresses the host of the connector.

    Raises:
        SettingError: a place is set for a protocol that no listener speaks.
    """
    given = dict(each.split("=", 1) for each in config.advertise_protocols)
    unknown = given.keys() - {listen.partition("=")[0] for listen in config.listen}
    if unknown:
        raise SettingError(f"--advertise-protocol: nothing listens for {', '.join(sorted(unknown))} here: see --listen")
    host = config.advertise.rpartition(":")[0]
    places: list[tuple[str, str]] = []
    for listen in config.listen:
        protocol, _, description = listen.partition("=")
        place = ""
        if protocol not in dict(places):
            is_first = not places
            place = given.get(protocol) or (config.advertise if is_first else _place(description, host))
            place = place or _place(description, host)
        places.append((protocol, place))
    return places


def _place(description: str, host: str) -> str:
    """Where others reach an endpoint, as far as it can be told; `host` is of this machine, "" where nobody says it."""
    there = endpoint_text.interface(description)
    if there is None:
        return ""
    if there in ("", "0.0.0.0", "::"):
        there = host
    elif host and endpoint_text.is_loopback(there) and not endpoint_text.is_loopback(host.strip("[]")):
        return ""  # what is behind a proxy has an address that only its operator knows
    elif ":" in there:
        there = f"[{there}]"
    return f"{there}:{endpoint_text.port(description) or 0}" if there else ""


def _listener(reactor: Any, connector: Connector, protocols: Mapping[str, IWireProtocol], listen: str) -> Listener:
    name, _, description = listen.partition("=")
    protocol = protocols.get(name)
    if protocol is None:
        raise SettingError(f"--listen: no protocol is called {name!r}: there are {', '.join(sorted(protocols))}")
    endpoint = server_endpoint(reactor, "--listen", description)
    return Listener("--listen", description=description, endpoint=endpoint, factory=protocol.factory(connector))
