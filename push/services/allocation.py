"""Which connector a client is to go to: drawn by chance among those with room, the roomier the likelier.

By chance, because many who ask at once are all told the same numbers: the roomiest would be run over. Must not
import adapters, stores or web.
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError
from push.inodes import IAllocation, INodes, IPlaces
from push.ipush import IConnector
from push.model_cluster import FRAMED, Node
from push.protocols.wire.answers import NodeAddress
from push.services.periodic import Periodic
from push.services.tasks import Tasks

# What one client gets: it tries one after another, and then asks again.
MOST = 4
POLL_INTERVAL_S = 1.0


def draw(
    nodes: Sequence[Node],
    fraction: Callable[[], float],
    *,
    protocol: str | None = FRAMED,
    besides: str = "",
    most: int = MOST,
) -> list[NodeAddress]:
    """Choose where a client may go, the best first.

    Args:
        nodes: the connectors; those that share an address count together.
        fraction: random numbers in [0, 1).
        protocol: the wire protocol by which the client connects; None: whichever.
        besides: not to the connector at this "host:port".
        most: how many to choose.

    Returns:
        Addresses of connectors that take sessions and have room, each chance in proportion to the room.
    """
    room: dict[str, int] = {}
    for node in nodes:
        free = node.max_connections - node.connections
        place = node.public_address if protocol is None else node.place_of(protocol)
        if place and free > 0 and not node.draining and node.public_address != besides:
            room[place] = room.get(place, 0) + free
    # Efraimidis and Spirakis (2006): ordered by u ** (1 / weight), a draw without replacement by weight.
    drawn = sorted(room, key=lambda address: fraction() ** (1 / room[address]), reverse=True)
    return [address_of(each) for each in drawn[:most]]


def address_of(public_address: str) -> NodeAddress:
    """The two parts of "host:port", without the brackets of an IPv6 address."""
    host, _, port = public_address.rpartition(":")
    return NodeAddress(host.strip("[]"), int(port))


@implementer(IAllocation)
class Allocation:
    """Chooses among all connectors there are.

    Args:
        places: knows how they are.
        fraction: random numbers in [0, 1).
    """

    def __init__(self, places: IPlaces, fraction: Callable[[], float]) -> None:
        self._places = places
        self._fraction = fraction

    def draw(self, protocol: str) -> Sequence[NodeAddress]:
        """See IAllocation."""
        return draw(self._places.known(), self._fraction, protocol=protocol)


@implementer(IPlaces)
class PolledPlaces(Periodic):
    """The connectors that this node can call, asked how they are once a second.

    Args:
        nodes: which there are.
        clock: when to ask.
    """

    def __init__(self, nodes: INodes, *, clock: IReactorTime) -> None:
        super().__init__("asking connectors how they are", self._poll, interval_s=POLL_INTERVAL_S, clock=clock)
        self._nodes = nodes
        self._tasks = Tasks()
        self._found: dict[IConnector, Node] = {}
        self._asking: set[IConnector] = set()

    def startService(self) -> None:
        """Ask for the first time, and go on."""
        super().startService()
        self._poll()

    def known(self) -> Sequence[Node]:
        """See IPlaces."""
        return [self._found[each] for each in self._connectors().values() if each in self._found]

    def _connectors(self) -> Mapping[str, IConnector]:
        return self._nodes.connectors()

    def _poll(self) -> None:
        there = set(self._connectors().values())
        self._found = {connector: node for connector, node in self._found.items() if connector in there}
        for connector in there - self._asking:
            self._asking.add(connector)
            self._tasks.spawn("asking a connector how it is", self._ask(connector))

    async def _ask(self, connector: IConnector) -> None:
        try:
            self._found[connector] = await connector.node()
        except PushError:
            self._found.pop(connector, None)  # who does not answer is no place to send anybody
        finally:
            self._asking.discard(connector)
