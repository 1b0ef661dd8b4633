"""Part of the composition root: what a cluster's broadcast bus is to a connector and to a router."""

from typing import Any

from push.config import Config
from push.icluster import IBroadcastBus
from push.inodes import IPlaces
from push.protocols.peer.hearing import Hearing
from push.services.broadcasting import OverBus
from push.services.connector import Connector
from push.services.reception import Reception

# Of what may wait for clients on a node, the share that may wait for its turn after it came over the bus.
_SHARE = 4


def build_reception(
    config: Config, bus: IBroadcastBus, *, connector: Connector, hearing: Hearing, reactor: Any
) -> Reception:
    """A connector's ear.

    Args:
        config: all settings.
        bus: where to.
        connector: gets what is heard.
        hearing: tells routers; each link to one is to be attached to it.
        reactor: has the time.

    Returns:
        A service; its checks and numbers are to be shown.
    """
    return Reception(
        bus,
        heard=connector.hear(config.max_node_outbox_bytes // _SHARE),
        resynchronise=connector.resynchronise,
        max_payload_bytes=config.max_body_bytes,
        clock=reactor,
        changed=hearing.changed,
    )


def build_broadcasting(bus: IBroadcastBus, *, reactor: Any, places: IPlaces | None = None) -> OverBus:
    """A router's mouth.

    Args:
        bus: where to.
        reactor: has the time.
        places: knows the connectors of the cluster, also those that this router cannot reach.

    Returns:
        To be given to the router; its numbers are to be shown.
    """
    return OverBus(bus, clock=reactor, known=lambda: 0 if places is None else len(places.known()))
