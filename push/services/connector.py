"""A connector: holds connections of any wire protocol, has their sessions opened and ended, delivers to them.

What protocols need (IConnectionHost) and what routers need (IConnector): puts the parts that do it together over one
table of connections (opening.py, ending.py, delivering.py, replays.py, …). Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import Unheard
from push.icache import IPulling
from push.igroup import IChat
from push.ihealth import IMeasured
from push.ipush import IConnection, IConnectionHost, IConnector
from push.isubscribe import ISubscribe
from push.model import ConnectionLimits, Delivery, DeliveryReport, Place, Registration
from push.model_chat import Notice
from push.model_cluster import Node
from push.model_health import Sample
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.messages import Disconnect
from push.services.asking import Asking, ChatPlug
from push.services.broadcast import Broadcaster
from push.services.connections import FULL, REPLACED, Connections
from push.services.delivering import Delivering
from push.services.ending import Endings
from push.services.expiries import Expiries
from push.services.heard import Heard
from push.services.log_places import LogPlaces
from push.services.measures import ConnectorMeasures
from push.services.moving import Moving
from push.services.notifying import Notifying
from push.services.opening import Openings
from push.services.relief import Ceiling
from push.services.replays import Replays
from push.services.reports import Reports
from push.services.tasks import Tasks
from push.services.ticks import Ticks
from push.services.turns import Flusher, Slices

# Sessions that begin to pull in one turn.
_STRIDE = 64


def _nowhere(protocol: str | None) -> Sequence[NodeAddress]:
    return ()


def _half() -> float:
    return 0.5


@implementer(IConnectionHost, IConnector, IMeasured)
class Connector:
    """One node's connections.

    Args:
        address: "host:port" that it advertises.
        limits: what it allows.
        subscribe: where sessions are opened.
        cache: keeps what clients have not got yet.
        clock: monotonic seconds and callLater.
        now_ms: milliseconds since 1970.
        version: of the software, for node().
        elsewhere: where a client of a wire protocol may go instead of here (None: of whichever), drawn anew at each
            call, the best first.
        fraction: random numbers in [0, 1), to spread what many are told; needed where there is an elsewhere.
        chat: answers what clients ask of the group role.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        address: str,
        limits: ConnectionLimits,
        subscribe: ISubscribe,
        cache: IPulling,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        version: str,
        elsewhere: Callable[[str | None], Sequence[NodeAddress]] = _nowhere,
        fraction: Callable[[], float] = _half,
        chat: IChat | None = None,
    ) -> None:
        self.address = address
        # See Node; known when all listen.
        self.places: tuple[tuple[str, str], ...] = ()
        self.limits = limits
        # See IConnectionHost: clocks of several routers may differ.
        self.ids_say_order = not cache.is_shared
        self.connections = Connections(limits)
        self.measures = ConnectorMeasures()
        self._expiries = Expiries(self.connections, now_ms)
        self.tasks = Tasks()
        self._subscribe = subscribe
        self._cache = cache
        self._clock = clock
        self._now_ms = now_ms
        self._version = version
        self._started_ms = now_ms()
        # See IConnectionHost.
        self.now_s = Ticks(clock.seconds).now_s
        self._flusher = Flusher(clock)
        # See IConnectionHost. Called once for each message: the call in between would be felt.
        self.mark_dirty = self._flusher.mark
        slices = self._slices = Slices(clock)
        self._broadcaster = Broadcaster(
            connections=self.connections.with_session,
            flusher=self._flusher,
            slices=slices,
            tasks=self.tasks,
            max_waiting_bytes=limits.max_node_outbox_bytes,
        )
        self._delivering = Delivering(
            by_token=self.connections.by_token, broadcaster=self._broadcaster, flusher=self._flusher, slices=slices
        )
        self._notifying = Notifying(
            by_token=self.connections.by_token,
            flusher=self._flusher,
            slices=slices,
            max_bytes=limits.max_outbox_bytes,
        )
        # See IConnectionHost.
        self.asked = Asking(chat=chat or ChatPlug(), clock=clock, tasks=self.tasks).asked
        self._ceiling = Ceiling(max_bytes=limits.max_node_outbox_bytes, connections=self.connections.with_session)
        # See IConnectionHost.
        self.outbox_grew = self._ceiling.grew
        self.reports = Reports(cache=cache, clock=clock, tasks=self.tasks)
        self.replays = Replays(cache=cache, reports=self.reports, clock=clock, tasks=self.tasks)
        # See IConnectionHost.
        self.wants_more = self.replays.wants_more
        self.log_places = LogPlaces(
            cache=cache, connections=self.connections.with_session, slices=slices, tasks=self.tasks
        )
        self._elsewhere = elsewhere
        self.moving = Moving(
            with_session=self.connections.with_session,
            elsewhere=elsewhere,
            slices=slices,
            tasks=self.tasks,
            fraction=fraction,
            now_s=clock.seconds,
        )
        openings = self._openings = Openings(
            address=lambda: self.address,
            limits=limits,
            subscribe=subscribe,
            connections=self.connections,
            moving=self.moving,
            elsewhere=elsewhere,
            clock=clock,
            tasks=self.tasks,
            measures=self.measures,
            attach=self.attach,
            went_on=self._went_on,
            doubt=self._doubt,
        )
        # See IConnectionHost.
        self.open = openings.open
        endings = self._endings = Endings(
            limits=limits,
            connections=self.connections,
            openings=openings,
            replays=self.replays,
            reports=self.reports,
            subscribe=subscribe,
            cache=cache,
            clock=clock,
            tasks=self.tasks,
            measures=self.measures,
        )
        # See IConnectionHost.
        self.closing = endings.closing
        self.lost = endings.lost
        # Told of a session that is said to be over, where it may turn out not to be: see SessionKeeper.
        self.unsure: Callable[[IConnection], None] | None = None
        # Told of what clients are told by the group role, where somebody has to know.
        self.noticed: Callable[[Sequence[Notice]], None] | None = None
        # What came over the broadcast bus, where there is one.
        self.heard: Heard | None = None

    # IConnectionHost

    def connected(self, connection: IConnection) -> Disconnect | None:
        """See IConnectionHost."""
        self.measures.accepted += 1
        refusal = self.connections.add(connection)
        if refusal is not None:
            self.measures.unwelcome += 1
        return refusal

    def instead(self, connection: IConnection, refusal: Disconnect) -> Sequence[NodeAddress]:
        """See IConnectionHost. Who comes too often from one address would do so everywhere."""
        nodes = self._elsewhere(connection.speaks) if refusal is FULL else ()
        self.measures.redirected += bool(nodes)
        return nodes

    def acknowledged(self, connection: IConnection, message_ids: Sequence[int], awaited: int) -> None:
        """See IConnectionHost."""
        self.measures.acknowledged += awaited
        registration = connection.registration
        if registration is not None:
            self.reports.acknowledged(registration.token, message_ids)

    def next_turn(self, call: Callable[[], None]) -> None:
        """See IConnectionHost."""
        self._clock.callLater(0, call)

    # IConnector

    async def deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        """See IConnector."""
        began_s = self._clock.seconds()
        report = await self._delivering.deliver(batch)
        if batch and batch[-1].is_logged:  # deliveries for tags come alone, or with others at the end of a call
            self.log_places.has_moved = True
        self.measures.sent += sum(report.sent)
        self.measures.delivery.observe(self._clock.seconds() - began_s, len(batch))
        return report

    async def broadcast(
        self, message_id: int, payload: bytes | None, is_logged: bool = False, place: Place | None = None
    ) -> int:
        """See IConnector."""
        began_s = self._clock.seconds()
        if self.heard is not None:
            self.heard.brought(message_id)
        sent = await self._delivering.broadcast(message_id, payload, is_logged, place)
        self.log_places.has_moved |= is_logged
        self.measures.delivery.observe(self._clock.seconds() - began_s, 1)
        return sent

    async def bring(self, message_id: int) -> int:
        """See IConnector."""
        heard = self.heard
        if heard is None:
            raise Unheard("this connector does not listen to the broadcast bus")
        if heard.is_brought(message_id):  # its turn comes so late that it went without
            return 0
        began_s = self._clock.seconds()
        try:
            sent = await self._delivering.bring(message_id, lambda: heard.payload(message_id))
        finally:
            heard.brought(message_id)  # or it will be, by who is told now that it was not heard
        self.measures.delivery.observe(self._clock.seconds() - began_s, 1)
        return sent

    async def notify(self, notices: Sequence[Notice]) -> int:
        """See IConnector."""
        if self.noticed is not None:
            self.noticed(notices)
        return await self._notifying.notify(notices)

    async def refill(self, tokens: Sequence[str]) -> None:
        """See IConnector."""
        for token in tokens:
            connection = self.connections.by_token.get(token)
            if connection is not None:
                connection.fall_behind()

    async def kick(self, token: str, reason: Disconnect) -> bool:
        """See IConnector."""
        connection = self.connections.by_token.get(token)
        if connection is None:
            return False
        connection.disconnect(reason)
        return True

    async def replaced(self, registrations: Sequence[Registration]) -> None:
        """See IConnector."""
        for registration in registrations:
            connection = self.connections.by_token.get(registration.token)
            held = None if connection is None else connection.registration
            if connection is not None and held is not None and held.epoch <= registration.epoch:
                self._doubt(connection)
            else:
                self._openings.overtaken(registration)

    async def drain(self, sessions_per_s: float | None) -> None:
        """See IConnector."""
        if sessions_per_s is None:
            self.moving.end()
        else:
            self.moving.begin(sessions_per_s)

    async def node(self) -> Node:
        """See IConnector."""
        return Node(
            address=self.address,
            connections=len(self.connections),
            sessions=self.connections.sessions,
            max_connections=self.limits.max_connections,
            started_ms=self._started_ms,
            draining=self._openings.is_leaving or self.moving.is_draining,
            version=self._version,
            places=self.places,
        )

    # For the services around it

    def attach(self, connection: IConnection, registration: Registration, interval_ms: int | None) -> None:
        """Give a connection the session that was opened for it, and close the one that had it before."""
        replaced = self.connections.bind(connection, registration.token)
        if replaced is not None:  # before it is asked what the new session lacks
            self._endings.note_place(replaced, registration.token)
        if connection.registration is None:  # a session that is only renewed still lacks what it lacked
            connection.broadcast_number = self._broadcaster.latest
        connection.opened(registration, interval_ms, self._now_ms())
        self._expiries.note(registration)
        if self._cache.has(registration.token) and connection.registration is registration:
            self.replays.begin(connection)
        if replaced is not None:
            self._replace(replaced, registration.token)

    def _doubt(self, connection: IConnection) -> None:
        """Its session is said to have a newer one elsewhere."""
        if self.unsure is None:
            connection.disconnect(REPLACED)
        else:
            self.unsure(connection)

    def _replace(self, connection: IConnection, token: str) -> None:
        """Close a session that has a newer one here; or it goes on, if the client of that had left before the answer.

        So it is where a client gave up waiting and came again, and both were opened in the other order.
        """
        if token in self.connections.by_token or connection.registration is None:
            connection.disconnect(REPLACED)
        else:
            self.connections.bind(connection, token)
            self.tasks.spawn("taking a session up again", self._went_on(connection, connection.registration))

    def sweep(self) -> None:
        """Close what has been silent for too long or may stay no longer, abort what does not close."""
        self._endings.sweep()
        self._expiries.sweep()

    def hear(self, max_bytes: int) -> Heard:
        """Take part in what is published on a broadcast bus: what comes over it is to be given to what is returned."""
        self.heard = Heard(clock=self._clock, max_bytes=max_bytes, bring=self._bring_unturned)
        return self.heard

    def resynchronise(self) -> None:
        """Something may have been missed: have all sessions pull what is kept for them, and tell who wants to know."""
        self.tasks.spawn("bringing sessions up to date", self._resynchronise())

    def has_elsewhere(self) -> bool:
        """Whether clients can be sent anywhere else now."""
        return bool(self._elsewhere(None))

    def leave(self, until_s: float) -> None:
        """Take no new sessions from now on; those that end have until then to be told everything."""
        self._openings.is_leaving = True
        self.moving.end()
        self._endings.cut_after_s = until_s

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_connections", "gauge", "Open connections.", len(self.connections))
        yield Sample("push_sessions", "gauge", "Open sessions.", self.connections.sessions)
        yield Sample("push_outbox_bytes", "gauge", "Bytes that wait for clients to read.", self._ceiling.waiting_bytes)
        yield Sample("push_sessions_behind", "gauge", "Sessions that are being brought up to date.", len(self.replays))
        yield Sample("push_moved_total", "counter", "Sessions told to go elsewhere (drain).", self.moving.moved)
        yield from self.measures.samples()

    # Inside

    def _bring_unturned(self, message_id: int, payload: bytes) -> None:
        self.tasks.spawn("a broadcast without a turn", self._broadcast(message_id, payload))

    async def _broadcast(self, message_id: int, payload: bytes) -> None:
        await self._delivering.broadcast(message_id, payload)

    async def _resynchronise(self) -> None:
        for position, connection in enumerate(self.connections.with_session()):
            if connection.registration is not None:
                connection.fall_behind()
                connection.missed()
            if position % _STRIDE == _STRIDE - 1:
                await self._slices.turn()

    async def _went_on(self, holder: IConnection, registration: Registration) -> None:
        """Its client opened a newer session, and left before that was open: this one is its token's again."""
        if self.unsure is not None:
            self.unsure(holder)
        else:
            await self._subscribe.reopened([registration])
