"""The connector as a service: its listeners, its sweep, its orderly end. Must not import adapters, stores or web."""

from collections.abc import Callable, Sequence

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from push.model import Check
from push.services.connector import Connector
from push.services.departure import depart
from push.services.listening import Listener
from push.services.log_places import INTERVAL_S
from push.services.periodic import Periodic

SWEEP_INTERVAL_S = 1.0


class Clients(MultiService):
    """Everything that faces clients.

    Args:
        connector: holds their connections.
        listeners: accept them.
        clock: for the sweep and the end.
        stop_timeout_s: how long the end may take.
        stop_spread_s: over how long clients are asked to spread their return.
        fraction: random numbers in [0, 1).
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
    ) -> None:
        super().__init__()
        self._connector = connector
        self._listeners = listeners
        self._clock = clock
        self._stop_timeout_s = stop_timeout_s
        self._stop_spread_s = stop_spread_s
        self._fraction = fraction
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

    def checks(self) -> Sequence[Check]:
        """Whether all listeners listen."""
        return [Check("listeners", all(listener.is_listening for listener in self._listeners))]

    def stopService(self) -> "Deferred[None]":
        """Take no more clients, tell those there are, and cut off who does not leave."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
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
