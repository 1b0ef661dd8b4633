"""The seams of several connectors: which there are, how all are reached, which one a client is sent to.

The rules of push.ipush hold here. Imports only that and push.ihealth, on which it stands, the values and the wire core.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from zope.interface import Attribute, Interface

from push.ihealth import IProbe
from push.ipush import IConnector
from push.model import Place
from push.model_cluster import Node
from push.model_health import Sample
from push.protocols.wire.answers import NodeAddress


class INodes(Interface):
    """Which connectors there are."""

    def connectors() -> Mapping[str, IConnector]:
        """Address → connector, for all that are alive now. Calls to one that is out of reach fail with Unreachable."""


class ILinkedConnector(IConnector):
    """A connector in another process, for as long as the link to it lasts; calls fail with Unavailable after that."""

    waiting_bytes: int = Attribute("Bytes of messages that wait for the link.")
    hears: bool = Attribute("Whether what is published on the broadcast bus comes in there.")
    probe: IProbe = Attribute("Its client of itself.")

    def samples() -> Awaitable[Sequence[Sample]]:
        """What its process has measured."""

    def link_samples() -> Iterable[Sample]:
        """How the link to it does, with its name."""


class IBroadcasting(Interface):
    """The way of one message to everybody on several connectors."""

    def broadcast(
        message_id: int,
        payload: bytes | None,
        is_logged: bool,
        connectors: Sequence[IConnector],
        place: Place | None = None,
    ) -> Sequence[Awaitable[int]]:
        """Begin it on each of them, as IConnector.broadcast does.

        Returns:
            For each connector how many connections it was handed to; or what went wrong there.
        """


class IPlaces(Interface):
    """How connectors are, for those who choose one for a client."""

    def known() -> Sequence[Node]:
        """All connectors of the cluster, as they were a few seconds ago at most. Asks nobody; may be called often."""


class IAllocation(Interface):
    """Chooses where clients are to connect."""

    def draw(protocol: str) -> Sequence[NodeAddress]:
        """A few connectors that take sessions and have room, the best first; others each time. None: there is no room.

        Asks nobody; may be called often.

        Args:
            protocol: the wire protocol that the client speaks, e.g. "framed".
        """


class IDraining(Interface):
    """Emptying connectors, so that they can be stopped without anybody noticing."""

    def drain(name: str, sessions_per_s: float | None) -> Awaitable[Sequence[Node]]:
        """Begin, or end (None) and take sessions again. Asking twice does no harm: the last rate counts.

        Args:
            name: of a connector, or the address that several share.
            sessions_per_s: how many sessions are sent elsewhere in a second, by all of them together.

        Returns:
            Those concerned, as they are then.

        Raises:
            NotFound: there is no such connector.
            NowhereElse: no other connector takes sessions: nothing is changed.
            Unavailable: not all of them could be asked. What was asked for may have been done, and can be asked again.
        """
