"""Where clients come in a process that holds none: whoever asks for a session is told where to connect instead (302).

For a browser that is the only way to be told: it follows no redirect of HTTP on its way to a WebSocket. Must not import
adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.ihealth import IMeasured
from push.inodes import IAllocation
from push.ipush import IConnection, IConnectionHost
from push.model import ConnectionLimits
from push.model_health import Sample
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.chat import write_refusal
from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import RETRY_BACKOFF, Disconnect, SubRequest
from push.protocols.wire.signals import CloseCode
from push.services.connections import Connections
from push.services.periodic import Periodic
from push.services.turns import Flusher

# Who has been told where to go goes at once; who does not say anything is closed like anywhere else.
MAX_CONNECTIONS = 1_000
RETRY_AFTER_S = 5.0
_SWEEP_S = 1.0
_NOWHERE = "no connector has room for another client, or none says where clients of this protocol reach it"
_STOPPING = Disconnect(CloseCode.SHUTDOWN, "the server is stopping", RETRY_BACKOFF, 1.0)


@implementer(IConnectionHost, IMeasured)
class Signpost(MultiService):
    """Opens no sessions.

    Args:
        allocation: knows where there is room.
        limits: as of a connector; of connections there are fewer.
        clock: for the deadlines.
    """

    ids_say_order = True

    def __init__(self, *, allocation: IAllocation, limits: ConnectionLimits, clock: IReactorTime) -> None:
        super().__init__()
        self.limits = replace(limits, max_connections=min(limits.max_connections, MAX_CONNECTIONS))
        self._allocation = allocation
        self._clock = clock
        self._connections = Connections(self.limits)
        self._closing: dict[IConnection, float] = {}
        self._flusher = Flusher(clock)
        self._redirected = 0
        interval_s = min(_SWEEP_S, limits.handshake_timeout_s, limits.close_timeout_s)
        Periodic("sweeping connections", self.sweep, interval_s=interval_s, clock=clock).setServiceParent(self)

    def now_s(self) -> float:
        """See IConnectionHost."""
        return self._clock.seconds()

    def connected(self, connection: IConnection) -> Disconnect | None:
        """See IConnectionHost."""
        return self._connections.add(connection)

    def open(self, connection: IConnection, request: SubRequest) -> None:
        """Say where."""
        nodes = self._allocation.draw(connection.speaks)
        if nodes:
            self._redirected += 1
            connection.redirected(nodes, 0.0)
        else:
            connection.refused(503, _NOWHERE, RETRY_AFTER_S)

    def instead(self, connection: IConnection, refusal: Disconnect) -> Sequence[NodeAddress]:
        """Nowhere: who is over a limit here would be told where to go as often as it comes."""
        return ()

    def acknowledged(self, connection: IConnection, message_ids: Sequence[int], awaited: int) -> None:
        """Nothing was sent."""

    def asked(self, connection: IConnection, frame: Frame) -> None:
        """See IConnectionHost. Nobody has a session that could ask."""
        connection.answered(frame, write_refusal(frame.signal, 501, "this server has no part in groups"))

    def wants_more(self, connection: IConnection) -> None:
        """Nothing is kept here."""

    def next_turn(self, call: Callable[[], None]) -> None:
        """See IConnectionHost."""
        self._clock.callLater(0, call)

    def mark_dirty(self, connection: IConnection) -> None:
        """See IConnectionHost."""
        self._flusher.mark(connection)

    def outbox_grew(self, size_bytes: int) -> None:
        """What can wait is an answer a connection, and of those there are few."""

    def closing(self, connection: IConnection, reason: Disconnect, by_peer: bool) -> None:
        """See IConnectionHost."""
        self._closing[connection] = self._clock.seconds() + self.limits.close_timeout_s

    def lost(self, connection: IConnection) -> None:
        """See IConnectionHost."""
        self._closing.pop(connection, None)
        self._connections.remove(connection)

    def sweep(self) -> None:
        """Close who has asked for nothing, or stays; abort what does not close."""
        now_s = self._clock.seconds()
        for connection in [each for each, deadline_s in self._closing.items() if deadline_s <= now_s]:
            connection.abort()
        for connection in self._connections:
            if connection not in self._closing and connection.deadline_s() <= now_s:
                why = f"no session was asked for within {self.limits.handshake_timeout_s:g} s, or none can be had here"
                connection.disconnect(Disconnect(CloseCode.IDLE, why, RETRY_BACKOFF))

    def stopService(self) -> Any:
        """Say goodbye."""
        for connection in self._connections:
            connection.disconnect(_STOPPING)
        return super().stopService()

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_signposted_total", "counter", "Clients at the API told where to connect.", self._redirected)
