"""Ending what one connector holds: sessions that are over, connections that are to close, and those silent too long.

Tells who must know of it, each once, and cuts what does not close in time. Must not import adapters, stores or web.
"""

from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError
from push.icache import IPulling
from push.ipush import IConnection
from push.isubscribe import ISubscribe
from push.model import ConnectionLimits, Registration
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode
from push.services.connections import Connections
from push.services.log_places import logged_up_to
from push.services.measures import ConnectorMeasures
from push.services.opening import Openings
from push.services.replays import Replays
from push.services.reports import Reports
from push.services.tasks import Tasks


class Endings:
    """Sessions and connections that end.

    Args:
        limits: how long they may be silent, and take to close.
        connections: all there are.
        openings: sessions that are being opened.
        replays: sessions that are being brought up to date.
        reports: what the cache is still to be told.
        subscribe: told of sessions that are over.
        cache: told what they had.
        clock: monotonic seconds.
        tasks: runs what takes time.
        measures: counts them.

    Attributes:
        cut_after_s: nobody who still has something to read is cut before this.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        limits: ConnectionLimits,
        connections: Connections,
        openings: Openings,
        replays: Replays,
        reports: Reports,
        subscribe: ISubscribe,
        cache: IPulling,
        clock: IReactorTime,
        tasks: Tasks,
        measures: ConnectorMeasures,
    ) -> None:
        self._limits = limits
        self._connections = connections
        self._opening = openings.under_way
        self._replays = replays
        self._reports = reports
        self._subscribe = subscribe
        self._cache = cache
        self._clock = clock
        self._tasks = tasks
        self._measures = measures
        # Connections that are over: when to abort what is left of them, and why they ended.
        self._closing: dict[IConnection, tuple[float, str]] = {}
        self.cut_after_s = 0.0

    def closing(self, connection: IConnection, reason: Disconnect, by_peer: bool) -> None:
        """See IConnectionHost."""
        self._measures.closed(int(reason.code), by_peer)
        deadline_s = max(self._clock.seconds() + self._limits.close_timeout_s, self.cut_after_s)
        self._closing[connection] = (deadline_s, f"{int(reason.code)} {reason.reason}" if not by_peer else "by client")
        self._end_session(connection)

    def lost(self, connection: IConnection) -> None:
        """See IConnectionHost."""
        self._end_session(connection)
        _, why = self._closing.pop(connection, (0.0, ""))
        if self._connections.remove(connection):
            if not why:
                why = "the connection was lost"
                self._measures.closed(0, by_peer=True)
            registration = connection.registration
            self._log.debug(
                "{peer} ended: {why}; session {token}",
                peer=connection.peer_host,
                why=why,
                token="none" if registration is None else _shortened(registration.token),
            )

    def sweep(self) -> None:
        """Close what has been silent for too long, abort what does not close."""
        now_s = self._clock.seconds()
        for connection in [each for each, (deadline_s, _) in self._closing.items() if deadline_s <= now_s]:
            connection.abort()
        for connection in self._connections:
            if connection not in self._closing and connection.deadline_s() <= now_s:
                if connection.registration is None:
                    why = f"no session was opened within {self._limits.handshake_timeout_s:g} s"
                else:
                    why = "nothing was heard for longer than the promised interval"
                connection.disconnect(Disconnect(CloseCode.IDLE, why, "backoff"))

    def note_place(self, connection: IConnection, token: str) -> None:
        """A session is over: have its place in the log of broadcasts remembered."""
        log_position = logged_up_to(connection)
        if log_position >= 0:
            self._tasks.spawn("noting what a session had", self._moved(token, log_position))

    def _end_session(self, connection: IConnection) -> None:
        self._opening.discard(connection)
        self._replays.forget(connection)
        registration = self._connections.unbind(connection)
        if registration is not None:
            self._reports.flush()
            self.note_place(connection, registration.token)
            self._tasks.spawn("closing a session", self._closed(registration))

    async def _closed(self, registration: Registration) -> None:
        await self._subscribe.closed([registration])

    async def _moved(self, token: str, log_position: int) -> None:
        with suppress(PushError):  # what it is not told comes again, to the next sessions of this token
            await self._cache.moved([(token, log_position)])


def _shortened(token: str) -> str:
    """Enough of a token to tell it from others in a log, and too little to use it."""
    return token[: min(8, len(token) // 4)] + "…"
