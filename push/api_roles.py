"""Part of the composition root: the HTTP API, and the little one that only says how a node is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from twisted.application.service import IService

from push import __version__
from push.access import api_keys
from push.config import Config
from push.connecting import API_CONNECTIONS, connection_limits, server_endpoint
from push.igroup import GroupSide
from push.ihealth import IMeasured, IReadiness
from push.inodes import INodes, IPlaces
from push.ipush import IRouter
from push.ireceipts import IMessages
from push.isubscribe import ISubscribe
from push.iupgrade import IUpgrade
from push.protocols.websocket.plugin import WebSocketUpgrade
from push.protocols.wire.frames import ID_BYTES
from push.services.allocation import Allocation
from push.services.draining import Draining
from push.services.listening import Listener
from push.services.ordered import OpenClose, OrderedServices
from push.services.signpost import Signpost

WEBSOCKET_PATH = "/ws"


@dataclass(frozen=True, slots=True)
class Served:
    """What the HTTP API serves.

    Attributes:
        router: takes the messages.
        subscribe: knows the tokens.
        nodes: the connectors that can be called.
        places: how all connectors are.
        messages: knows what was accepted.
        websocket: takes clients, where they are held in this process.
        group: the group role, if there is one.
        others: what other nodes have told of their numbers.
    """

    router: IRouter
    subscribe: ISubscribe
    nodes: INodes
    places: IPlaces
    messages: IMessages
    websocket: IUpgrade | None = None
    group: GroupSide | None = None
    others: Sequence[IMeasured] = ()


def build_api(
    config: Config,
    served: Served,
    *,
    readiness: IReadiness,
    measured: list[IMeasured],
    reactor: Any,
    open_files: int,
    now_ms: Callable[[], int],
    end_waits: Callable[[], None] = lambda: None,
) -> IService:
    """Build the HTTP API.

    Args:
        config: all settings.
        served: what it serves.
        readiness: tries whether this node works.
        measured: whose numbers are shown; what is added to it later, too.
        reactor: time and endpoints.
        open_files: how many this process may have.
        now_ms: milliseconds since 1970.
        end_waits: has those answered who wait until something is delivered, before the server stops.

    Raises:
        SettingError: its endpoint turns out to be unusable.
    """
    # Importing klein installs the reactor, which must not happen before twistd has chosen one.
    from push.web.site import build_site

    allocation = Allocation(served.places, SystemRandom().random)
    websocket, signpost = served.websocket, None
    if websocket is None:
        limits = connection_limits(config, open_files)
        signpost = Signpost(allocation=allocation, limits=limits, clock=reactor)
        websocket = WebSocketUpgrade(signpost)
        measured.append(signpost)
    elif not config.has_clients_at_api:
        websocket = None
    site = build_site(
        router=served.router,
        subscribe=served.subscribe,
        nodes=served.nodes,
        allocation=allocation,
        draining=Draining(nodes=served.nodes, places=served.places, clock=reactor),
        messages=served.messages,
        readiness=readiness,
        measured=measured,
        others=served.others,
        settings=api_settings(config, reactor, open_files),
        group=served.group,
        clock=reactor,
        now_ms=now_ms,
        upgrades=None if websocket is None else {WEBSOCKET_PATH: websocket},
    )
    measured.append(site.measure)
    services = _listening(config, "--api", config.api, site, reactor, end_waits)
    if signpost is not None:
        signpost.setServiceParent(services)
    return services


def build_health(
    config: Config, *, readiness: IReadiness, measured: Sequence[IMeasured], reactor: Any, open_files: int
) -> IService:
    """Build what serves /healthz, /readyz and /metrics, for a node without API, or at another port than that.

    Raises:
        SettingError: its endpoint turns out to be unusable.
    """
    from push.web.site import build_health_site

    site = build_health_site(
        readiness=readiness, measured=measured, settings=api_settings(config, reactor, open_files), clock=reactor
    )
    return _listening(config, "--health", config.health, site, reactor)


def api_settings(config: Config, reactor: Any, open_files: int) -> Any:
    """What the HTTP API allows: an ApiSettings, of push.web."""
    from push.web.settings import ApiSettings

    return ApiSettings(
        version=__version__,
        started_s=reactor.seconds(),
        keys=api_keys(config),
        max_body_bytes=config.api_max_body_bytes,
        max_batch=config.api_max_batch,
        max_targets=config.api_max_targets,
        max_delay_s=config.max_delay_s,
        max_payload_bytes=config.max_body_bytes - ID_BYTES,
        requests_per_s=config.api_requests_per_s,
        burst=max(1, int(config.api_requests_per_s)),
        allocate_per_s=config.allocate_per_s,
        request_timeout_s=config.api_timeout_s,
        max_connections=max(1, min(API_CONNECTIONS, open_files // 8)),
        max_connections_per_address=config.api_max_connections_per_address or None,
    )


def _listening(
    config: Config,
    setting: str,
    description: str,
    site: Any,
    reactor: Any,
    end_waits: Callable[[], None] = lambda: None,
) -> OrderedServices:
    endpoint = server_endpoint(reactor, setting, description)
    listener = Listener(setting, description=description, endpoint=endpoint, factory=site)
    # Stopped the other way round: first no connection is accepted, then those there are get their answers.
    services = OrderedServices()

    def stop() -> Any:
        end_waits()
        return site.stop(config.stop_timeout_s / 2)

    OpenClose(lambda: None, stop).setServiceParent(services)
    listener.setServiceParent(services)
    return services
