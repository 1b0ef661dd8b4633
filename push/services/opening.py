"""Opening the sessions of one connector: how fast, where else they may go, and what if the client leaves meanwhile.

Asks ISubscribe, and gives what it opened to the connector; once it has done so, it knows nothing of a session. Must
not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError, RateLimited, Unavailable
from push.ipush import IConnection
from push.isubscribe import ISubscribe
from push.model import ConnectionLimits, Registration
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.liveness import held_interval_ms
from push.protocols.wire.messages import SubRequest
from push.rates import TokenBucket
from push.services.connections import REPLACED, Connections, Overtaken
from push.services.measures import ConnectorMeasures
from push.services.moving import Moving
from push.services.tasks import Tasks

_SHUTTING_DOWN = "this connector is shutting down"


class Openings:
    """Sessions that are being opened.

    Args:
        address: says how the connector is known: that may turn out only when it listens.
        limits: what it allows.
        subscribe: opens them.
        connections: who is here.
        moving: says whether sessions are sent elsewhere.
        elsewhere: where a client of a wire protocol may go instead of here.
        clock: monotonic seconds.
        tasks: runs it.
        measures: counts what is refused and opened.
        attach: gives a connection its session, with the interval that it is held to (None: as before).
        went_on: told of a connection whose session goes on, though a newer one of its token was opened and is over.
        doubt: told of a connection whose session is said to have been replaced elsewhere before its answer came.

    Attributes:
        under_way: connections that have asked; one that ends meanwhile leaves, and gets no session.
        is_leaving: no session is opened any more.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        address: Callable[[], str],
        limits: ConnectionLimits,
        subscribe: ISubscribe,
        connections: Connections,
        moving: Moving,
        elsewhere: Callable[[str | None], Sequence[NodeAddress]],
        clock: IReactorTime,
        tasks: Tasks,
        measures: ConnectorMeasures,
        attach: Callable[[IConnection, Registration, int | None], None],
        went_on: Callable[[IConnection, Registration], Awaitable[None]],
        doubt: Callable[[IConnection], None],
    ) -> None:
        self._address = address
        self._limits = limits
        self._subscribe = subscribe
        self._connections = connections
        self._moving = moving
        self._elsewhere = elsewhere
        self._clock = clock
        self._tasks = tasks
        self._measures = measures
        self._attach = attach
        self._went_on = went_on
        self._doubt = doubt
        self._subs = TokenBucket(limits.max_subs_per_s, limits.max_subs_per_s, clock.seconds())
        self._overtaken = Overtaken()
        self.under_way: set[IConnection] = set()
        self.is_leaving = False

    def open(self, connection: IConnection, request: SubRequest) -> None:
        """See IConnectionHost."""
        if self.is_leaving or (self._moving.is_draining and connection.registration is None):
            nodes = self._elsewhere(connection.speaks)
            if nodes:
                self._measures.redirected += 1
                connection.redirected(nodes, 0.0)
                return
            if self.is_leaving:  # else, where nobody else takes it, it is better off here
                connection.refused(503, _SHUTTING_DOWN, 1.0)
                return
        wait_s = self._subs.take(self._clock.seconds())
        if wait_s:
            self._measures.rate_limited += 1
            connection.refused(RateLimited.status, "too many sessions are being opened", round(max(wait_s, 1.0), 3))
            return
        self.under_way.add(connection)
        self._tasks.spawn("opening a session", self._open(connection, request))

    def overtaken(self, registration: Registration) -> None:
        """This session is over, and nobody has it here: it may be the answer that is still on its way."""
        if self.under_way:
            self._overtaken.note(registration)

    async def _open(self, connection: IConnection, request: SubRequest) -> None:
        interval_ms: int | None = held_interval_ms(request.interval_ms, self._limits.default_interval_ms)
        had = connection.registration
        if had is not None:  # the session is open: the client changes what it says now, and keeps the rest
            if request.interval_ms is None:
                interval_ms = None
            request = request._replace(token=had.token, ack=had.acks if request.ack is None else request.ack)
        try:
            registration = await self._subscribe.open(request, self._address())
        except Exception as error:
            if not isinstance(error, PushError):
                self._log.failure("opening a session failed")
                error = Unavailable("the session could not be opened", retry_after_s=5.0)
            if connection in self.under_way:
                self.under_way.discard(connection)
                connection.refused(error.status, str(error), error.retry_after_s)
            return
        if connection not in self.under_way:
            await self._abandon(registration)
            return
        self.under_way.discard(connection)
        holder = self._connections.by_token.get(registration.token)
        if holder is not None and _is_newer(holder, registration):
            connection.disconnect(REPLACED)
            return
        self._measures.opened += 1
        self._attach(connection, registration, interval_ms)
        if self._overtaken.has(registration) and self._connections.by_token.get(registration.token) is connection:
            self._doubt(connection)

    async def _abandon(self, registration: Registration) -> None:
        """The client left while its session was opened: the one that its token has here, if any, goes on."""
        await self._subscribe.closed([registration])
        holder = self._connections.by_token.get(registration.token)
        if holder is not None and holder.registration is not None:
            await self._went_on(holder, holder.registration)


def _is_newer(holder: IConnection, registration: Registration) -> bool:
    """Whether a token's session is newer than one whose opening was answered only now."""
    return holder.registration is not None and holder.registration.epoch > registration.epoch
