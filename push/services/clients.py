"""The connector as a service: its listeners, its sweep, its orderly end. Must not import adapters, stores or web."""

from collections.abc import Callable, Sequence

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from push.model_health import Check
from push.services.connector import Connector
from push.services.departure import depart
from push.services.listening import Listener
from push.services.log_places import INTERVAL_S
from push.services.periodic import Periodic
from push.services.turns import Slices

SWEEP_INTERVAL_S = 1.0
# Of the time for draining, in which everybody is told to go; the rest is for their going.
_MOVING_SHARE = 0.7
_POLL_S = 0.1


class Clients(MultiService):
    """Everything that faces clients.

    Args:
        connector: holds their connections.
        listeners: accept them.
        clock: for the sweep and the end.
        stop_timeout_s: how long the end may take.
        stop_spread_s: over how long clients are asked to spread their return.
        fraction: random numbers in [0, 1).
        drain_timeout_s: how long sessions may be moved elsewhere before that, where there is an elsewhere.
        places: of each listener its wire protocol, and where others reach it: port 0 for that where it listens, ""
            for nowhere.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        listeners: Sequence[Listener],
        clock: IReactorTime,
        stop_timeout_s: float,
        stop_spread_s: float,
        fraction: Callable[[], float],
        drain_timeout_s: float = 0.0,
        places: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__()
        self._connector = connector
        self._listeners = listeners
        self._places = places
        # Those with a port are known before anybody listens, and so to who asks before that.
        connector.places = tuple((protocol, place) for protocol, place in places if place and place[-2:] != ":0")
        self._clock = clock
        self._stop_timeout_s = stop_timeout_s
        self._stop_spread_s = stop_spread_s
        self._fraction = fraction
        self._drain_timeout_s = drain_timeout_s
        self._slices = Slices(clock)
        # A test's clock may want deadlines looked at more often than once a second.
        interval_s = min(SWEEP_INTERVAL_S, connector.limits.handshake_timeout_s, connector.limits.close_timeout_s)
        self._sweep = Periodic("sweeping connections", connector.sweep, interval_s=interval_s, clock=clock)
        self._log_places = Periodic(
            "noting what sessions have", connector.log_places.look, interval_s=INTERVAL_S, clock=clock
        )
        for listener in listeners:
            listener.setServiceParent(self)
        self._log_places.setServiceParent(self)
        self._sweep.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Begin to listen; the first listener is the address, unless another is advertised."""
        super().privilegedStartService()
        if not self._connector.address:
            address = self._listeners[0].address
            if address is not None:
                host = f"[{address.host}]" if ":" in address.host else address.host
                self._connector.address = f"{host}:{address.port}"
        found = zip(self._places, self._listeners, strict=False)
        self._connector.places = tuple((protocol, _with_port(place, to)) for (protocol, place), to in found if place)

    def checks(self) -> Sequence[Check]:
        """Whether all listeners listen."""
        return [Check("listeners", all(listener.is_listening for listener in self._listeners))]

    def stopService(self) -> "Deferred[None]":
        """Take no more clients, tell those there are, and cut off who does not leave."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._drain_timeout_s and self._connector.has_elsewhere():
            await self._drain()
        for listener in self._listeners:
            await listener.stopService()
        await depart(
            self._connector,
            clock=self._clock,
            timeout_s=self._stop_timeout_s,
            spread_s=self._stop_spread_s,
            fraction=self._fraction,
        )
        self._log_places.stopService()
        self._sweep.stopService()

    async def _drain(self) -> None:
        """Move sessions elsewhere, as long as there is an elsewhere and time; who still comes is told where to go."""
        connector = self._connector
        deadline_s = self._clock.seconds() + self._drain_timeout_s
        connector.moving.begin(max(1.0, connector.connections.sessions / (_MOVING_SHARE * self._drain_timeout_s)))
        while connector.connections.sessions and self._clock.seconds() < deadline_s and connector.has_elsewhere():
            await self._slices.pause(_POLL_S)


def _with_port(place: str, listener: Listener) -> str:
    host, _, port = place.rpartition(":")
    return place if port != "0" or listener.address is None else f"{host}:{listener.address.port}"
