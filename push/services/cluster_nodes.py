"""The connectors of a cluster, as one node can call them: its own, those that are linked to it, and those out of reach.

Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Mapping, Sequence

from zope.interface import implementer

from push.errors import Unreachable
from push.ihealth import IMeasured, IProbe
from push.inodes import ILinkedConnector, INodes
from push.ipush import IConnector
from push.model import Delivery, DeliveryReport, Place, Registration
from push.model_chat import Notice
from push.model_cluster import Node
from push.model_health import Sample
from push.protocols.wire.messages import Disconnect


@implementer(IConnector)
class OutOfReach:
    """A connector that is alive, but not linked to this node now.

    Args:
        address: its name.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    async def deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        """See IConnector."""
        raise self._error()

    async def broadcast(
        self, message_id: int, payload: bytes | None, is_logged: bool = False, place: Place | None = None
    ) -> int:
        """See IConnector."""
        raise self._error()

    async def bring(self, message_id: int) -> int:
        """See IConnector."""
        raise self._error()

    async def notify(self, notices: Sequence[Notice]) -> int:
        """See IConnector."""
        raise self._error()

    async def refill(self, tokens: Sequence[str]) -> None:
        """See IConnector."""
        raise self._error()

    async def kick(self, token: str, reason: Disconnect) -> bool:
        """See IConnector."""
        raise self._error()

    async def replaced(self, registrations: Sequence[Registration]) -> None:
        """See IConnector."""
        raise self._error()

    async def drain(self, sessions_per_s: float | None) -> None:
        """See IConnector."""
        raise self._error()

    async def node(self) -> Node:
        """See IConnector."""
        raise self._error()

    def _error(self) -> Unreachable:
        return Unreachable("the connector cannot be reached now", retry_after_s=1.0)


@implementer(INodes, IMeasured)
class ClusterNodes:
    """The connectors there are, from here."""

    def __init__(self) -> None:
        self._own: dict[str, IConnector] = {}
        self._linked: dict[str, ILinkedConnector] = {}
        self._out_of_reach: dict[str, IConnector] = {}
        self._connectors: Mapping[str, IConnector] = {}
        self._probes: dict[str, IProbe] = {}

    def connectors(self) -> Mapping[str, IConnector]:
        """See INodes."""
        return self._connectors

    def probes(self) -> Mapping[str, IProbe]:
        """The clients of themselves of those that serve clients and can be reached, by name."""
        return self._probes

    def own(self, connector: IConnector, probe: IProbe) -> None:
        """The connector of this node."""
        self._own[connector.address] = connector
        self._probes[connector.address] = probe
        self._join()

    def alive(self, names: Iterable[str]) -> None:
        """These connectors are alive, besides that of this node."""
        before = self._out_of_reach
        self._out_of_reach = {name: before.get(name) or OutOfReach(name) for name in names}
        if before.keys() != self._out_of_reach.keys():
            self._join()

    def arrived(self, connector: ILinkedConnector) -> None:
        """A connector has joined; in the place of what was linked under its name before."""
        self._probes.pop(connector.address, None)
        self._linked[connector.address] = connector
        self._join()

    def serves(self, name: str) -> None:
        """A connector serves clients."""
        connector = self._linked.get(name)
        if connector is not None:
            self._probes[name] = connector.probe

    def lost(self, connector: ILinkedConnector) -> None:
        """The link to it is lost."""
        if self._linked.get(connector.address) is connector:
            del self._linked[connector.address]
            self._probes.pop(connector.address, None)
            self._join()

    def samples(self) -> Iterable[Sample]:
        """How the links do."""
        for connector in self._linked.values():
            yield from connector.link_samples()

    def _join(self) -> None:
        self._connectors = {**self._out_of_reach, **self._linked, **self._own}
