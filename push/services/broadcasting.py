"""How a router brings one message to everybody on several connectors: each by itself, or once over the bus for all.

Over the bus, the payload is published once; each connector is told over its own link when its turn is, in a few bytes,
so that it comes between what was sent before and after it, and so that it is counted. A connector that does not
hear gets the payload over its link, and so do all while the bus is away. Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError, Unheard
from push.icluster import IBroadcastBus
from push.ihealth import IMeasured
from push.inodes import IBroadcasting, ILinkedConnector
from push.ipush import IConnector
from push.model import Place
from push.model_health import Sample
from push.services.reception import write_broadcast
from push.services.tasks import Tasks

# For fewer, it is shorter to tell each.
_LEAST = 2
# When the bus has not taken a broadcast, others are not tried with it for so long: who waits for them waits in vain.
_MISTRUST_S = 1.0


@implementer(IBroadcasting)
class EachByItself:
    """Tells every connector."""

    def broadcast(
        self,
        message_id: int,
        payload: bytes | None,
        is_logged: bool,
        connectors: Sequence[IConnector],
        place: Place | None = None,
    ) -> Sequence[Awaitable[int]]:
        """See IBroadcasting."""
        return [connector.broadcast(message_id, payload, is_logged, place) for connector in connectors]


@implementer(IBroadcasting, IMeasured)
class OverBus:
    """Publishes once for all who hear.

    Args:
        bus: where to.
        clock: has the time.
        known: how many connectors the cluster has; those that this router cannot reach may hear it all the same.
    """

    def __init__(self, bus: IBroadcastBus, *, clock: IReactorTime, known: Callable[[], int] = lambda: 0) -> None:
        self._bus = bus
        self._known = known
        self._clock = clock
        self._mistrusted_until_s = clock.seconds()
        self._tasks = Tasks()
        self._published = 0
        self._unpublished = 0

    def broadcast(
        self,
        message_id: int,
        payload: bytes | None,
        is_logged: bool,
        connectors: Sequence[IConnector],
        place: Place | None = None,
    ) -> Sequence[Awaitable[int]]:
        """See IBroadcasting."""
        linked = [each for each in connectors if ILinkedConnector.providedBy(each)]
        hearing = {each for each in linked if each.hears}
        # What is in the log is pulled from there; what a connector is only told of needs no bus.
        elsewhere = self._known() - (len(connectors) - len(linked))
        is_worth_it = bool(hearing) and max(len(hearing), elsewhere) >= _LEAST
        if payload is None or is_logged or not is_worth_it or not self._is_trusted():
            hearing = set()
        else:
            self._tasks.spawn("publishing a broadcast", self._publish(message_id, payload))
        return [
            Deferred.fromCoroutine(_bring(each, message_id, payload))
            if payload is not None and each in hearing
            else each.broadcast(message_id, payload, is_logged, place)
            for each in connectors
        ]

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_bus_published_total", "counter", "Broadcasts published, once for all.", self._published)
        yield Sample("push_bus_unpublished_total", "counter", "Broadcasts the bus did not take.", self._unpublished)

    def _is_trusted(self) -> bool:
        return self._bus.is_listening and self._clock.seconds() >= self._mistrusted_until_s

    async def _publish(self, message_id: int, payload: bytes) -> None:
        try:
            await self._bus.publish(write_broadcast(message_id, payload))
        except PushError:
            self._unpublished += 1  # those who wait for it will say so
            self._mistrusted_until_s = self._clock.seconds() + _MISTRUST_S
        else:
            self._published += 1


async def _bring(connector: IConnector, message_id: int, payload: bytes) -> int:
    try:
        return await connector.bring(message_id)
    except Unheard:
        return await connector.broadcast(message_id, payload)
