"""One client's session on any transport: what is pushed to it, in which order, and how it ends.

An IConnection, and an IProtocol but for the way in: who inherits from it decodes what arrives, gives frames to
`_act`, and says how frames are written. Decides nothing that concerns more than this connection. Must not import
services, stores or web.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from twisted.internet.interfaces import ISSLTransport, ITCPTransport, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from push.ipush import IConnection, IConnectionHost, IPushForm, IPushRun
from push.model import Outcome, Registration
from push.model_cache import Kept
from push.protocols.queued import QueuedWrites
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.outbox import Backlog
from push.protocols.wire.server import Acknowledged, ChatAsked, Event, OpenRequested, Reply, ServerSession, State
from push.protocols.wire.signals import CloseCode, Signal

_RETRY_AFTER_S = 5.0
_ACKNOWLEDGES_SLOWLY = "this client acknowledges more slowly than messages come"
# How many messages are pulled at once for a client that does not acknowledge: it is given more when it has read them.
_PULL_MESSAGES = 64
# What is logged, and on its way to sessions page by page, while one of them pulls it first, is few at a time.
_PULLED = 8
# Looking a member up in its class costs more than a local name, once for each message.
_SENT = Outcome.SENT
# Of nearly all connections.
_NO_PLACES: Mapping[int, int] = MappingProxyType({})


class _Logged:
    """What a session was given of the log of broadcasts: see IConnection.

    Attributes:
        places: as its `logged_places`.
        pulled: as its `pulled`.
    """

    __slots__ = ("places", "pulled")

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.pulled: tuple[int, ...] = ()


@implementer(IConnection)
class SessionConnection(QueuedWrites):
    """A session and its transport.

    Args:
        host: the connector.
        form: how pushes to a client that does not acknowledge are written.
    """

    __slots__ = (
        "_has_ended",
        "_logged",
        "_session",
        "_unwelcome",
        "broadcast_number",
        "form",
        "kept_position",
        "log_position",
        "peer_host",
        "registration",
    )

    # See IConnection. One that does not say it is sent nowhere.
    speaks = ""

    def __init__(self, host: IConnectionHost, form: IPushForm) -> None:
        QueuedWrites.__init__(self, host)
        self._session = ServerSession(host.now_s())
        self._has_ended = False
        self._unwelcome: Disconnect | None = None
        self.peer_host = ""
        self.registration: Registration | None = None
        self.form = form
        self.broadcast_number = 0
        self.log_position = -1
        self.kept_position = 0
        # None until it has pulled something of the log.
        self._logged: _Logged | None = None

    # IProtocol, but for what comes

    def makeConnection(self, transport: ITransport) -> None:
        """Take the transport."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin: the deadline for handshake and session runs from here."""
        transport = self.transport
        self.peer_host = getattr(transport.getPeer(), "host", "") or "unix"
        if hasattr(transport, "setTcpNoDelay"):
            # Writes are coalesced here already: Nagle's algorithm would only delay them.
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self._unwelcome = self._host.connected(self)

    def connectionLost(self, reason: Failure) -> None:
        """Free everything."""
        self._closing = True
        self._forget_transport()
        self._host.lost(self)
        self.registration = None

    # To be said by who inherits

    def _encode(self, frame: Frame) -> bytes:
        """A frame as the bytes that go to the transport."""
        raise NotImplementedError

    def _form(self, *, acks: bool) -> IPushForm:
        """How pushes are written."""
        raise NotImplementedError

    def _is_open(self) -> None:
        """The session is open: larger frames may come."""

    # What a transport of messages may say otherwise

    def _farewell(self, reason: Disconnect, *, say_so: bool) -> bytes:
        """The last bytes that are written: the DISCONNECT, if it is to be said why."""
        return self._encode(ServerSession.goodbye(reason)) if say_so else b""

    # IConnection

    @property
    def is_behind(self) -> bool:
        """See IConnection."""
        return self._backlog is not None and self._backlog.is_behind

    @property
    def acks(self) -> bool:
        """See IConnection."""
        return self._session.unacknowledged is not None

    @property
    def logged_places(self) -> Mapping[int, int]:
        """See IConnection."""
        return _NO_PLACES if self._logged is None else self._logged.places

    @property
    def pulled(self) -> Sequence[int]:
        """See IConnection."""
        return () if self._logged is None else self._logged.pulled

    @property
    def is_chat(self) -> bool:
        """See IConnection."""
        return self._session.is_chat

    def opened(self, registration: Registration, interval_ms: int | None, server_time_ms: int) -> None:
        """Answer the client's SUB or CONNECT with 200."""
        self.registration = registration
        self._is_open()
        session = self._session
        events = session.accept(token=registration.token, interval_ms=interval_ms, server_time_ms=server_time_ms)
        session.heard(self._host.now_s())
        self.form = self._form(acks=session.unacknowledged is not None)
        self._act(events)
        if self._backlog is not None:
            self._go_on()  # a client that acknowledges no more has room
        self._end_if_answered()

    def refused(self, status: int, reason: str, retry_after_s: float | None) -> None:
        """Answer the client's SUB or CONNECT with another status."""
        self._act(self._session.refuse(status, reason, retry_after_s))
        self._end_if_answered()

    def redirected(self, nodes: Sequence[NodeAddress], retry_after_s: float) -> None:
        """See IConnection."""
        self._act(self._session.redirect(nodes, retry_after_s))
        self._end_if_answered()

    def missed(self) -> None:
        """See IConnection."""
        if not self._closing:
            self._act(self._session.missed())

    def answered(self, frame: Frame, body: bytes) -> None:
        """See IConnection."""
        if not self._closing:
            self._act(self._session.answer(frame, body))
            self._end_if_answered()

    def write_notice(self, subsignal: int, body: bytes) -> bytes:
        """See IConnection."""
        return self._encode(Frame(Signal.PUBLISH if self.is_chat else Signal.CONTACT, subsignal, 0, body))

    def notify(self, notices: bytes, count: int) -> bool:
        """See IConnection."""
        return not self._closing and self._queue(notices, count)

    def push(self, message_id: int, frame: bytes, is_kept: bool) -> Outcome:
        """See IConnection."""
        if self._closing:
            return Outcome.OFFLINE
        if is_kept and message_id <= self.kept_position and self._host.ids_say_order:
            # It took longer to be brought here than to be pulled, perhaps: then it was sent, and may be acknowledged.
            self.fall_behind()
            return Outcome.BEHIND
        if self._backlog is None:
            pending = self._session.unacknowledged
            if pending is None or len(pending) < self._host.limits.ack_window:
                if pending is not None:
                    pending.add(message_id)
                if self._queued is None and not self._paused:  # as in _queue, without the call
                    self._queued = frame
                    self._host.mark_dirty(self)
                    return _SENT
                return _SENT if self._queue_more(frame, 1) else Outcome.OVERFLOW
        if is_kept:
            self.fall_behind()
            return Outcome.BEHIND
        return _SENT if self._have_wait(message_id, frame) else Outcome.OVERFLOW

    def push_run(self, run: IPushRun) -> int:
        """See IConnection."""
        message_ids = run.message_ids
        if (
            self._session.unacknowledged is None
            and self._backlog is None
            and not self._closing
            and run.first_place > self.log_position >= run.all_after
        ):
            joined = run.joined(self.form)
            # What is more than may wait is queued one by one, so that the limits can be looked at in between.
            if len(message_ids) == 1 or self._has_room(len(joined), len(message_ids)):
                if not self._queue(joined, len(message_ids)):
                    return 0
                if run.last_place > self.log_position:
                    self.log_position = run.last_place
                return len(message_ids)
        frames = run.frames(self.form)
        for position, (message_id, place) in enumerate(zip(message_ids, run.places, strict=True)):
            frame = frames[position]
            if 0 <= place <= self.log_position:
                continue  # it was pulled before its turn in the broadcast came
            if frame is None or run.after[position] > self.log_position:  # only the cache knows what it lacks
                self.fall_behind()
                continue
            outcome = self.push(message_id, frame, place >= 0)
            if outcome is _SENT:
                if place >= 0:
                    self.logged(message_id, place)
            elif outcome is not Outcome.BEHIND:
                return position
        return len(message_ids)

    def fall_behind(self) -> None:
        """See IConnection."""
        if self._closing:
            return
        if self._backlog is None:
            self._backlog = Backlog(is_behind=True)
        self._backlog.is_behind = True
        self._host.wants_more(self)

    def room(self) -> int:
        """See IConnection."""
        if self._closing or self._paused or self.registration is None:
            return 0
        pending = self._session.unacknowledged
        return _PULL_MESSAGES if pending is None else max(0, self._host.limits.ack_window - len(pending))

    def push_pulled(self, kept: Kept) -> bool:
        """See IConnection."""
        backlog = self._backlog
        ids_say_order = self._host.ids_say_order
        if ids_say_order and backlog is not None and len(backlog) and backlog.next_id < kept.message_id:
            self._release(before_id=kept.message_id)
            if self._closing or (len(backlog) and backlog.next_id < kept.message_id):
                return False
        if not self.room():
            return False
        session = self._session
        pending = session.unacknowledged
        if pending is None or kept.message_id not in pending:
            frame = self.form.encode_push(kept.message_id, kept.payload)
            if self._queued is not None and not self._has_room(len(frame), 1):
                self.flush()
                if self._paused or self._closing:
                    return False  # nothing is lost by waiting: it stays with who pulled it
            session.may_push(kept.message_id, self._host.limits.ack_window)
            if not self._queue(frame, 1):
                return False
        if kept.is_logged:
            self.logged(kept.message_id, kept.position)
            of_log = self._of_log()
            of_log.pulled = (*of_log.pulled[1 - _PULLED :], kept.message_id)
        return True

    def logged(self, message_id: int, place: int) -> None:
        """See IConnection."""
        self.log_position = max(self.log_position, place)
        if place != message_id and self._session.unacknowledged is not None:
            self._of_log().places[message_id] = place

    def caught_up(self) -> None:
        """See IConnection."""
        backlog = self._backlog
        if backlog is not None:
            backlog.is_behind = False
            self._release()

    def unacknowledged(self) -> Iterable[int]:
        """See IConnection."""
        return self._session.unacknowledged or ()

    def deadline_s(self) -> float:
        """See IConnection."""
        limits = self._host.limits
        return self._session.deadline_s(limits.handshake_timeout_s, limits.idle_grace_s)

    def disconnect(self, reason: Disconnect) -> None:
        """See IConnection."""
        self._finish(reason, say_so=True)

    def shed(self, reason: str) -> None:
        """See IConnection."""
        self._shed(reason)

    def abort(self) -> None:
        """See IConnection."""
        self._closing = True
        self._drop_queue()
        if self.transport is not None:
            self.transport.abortConnection()

    # Inside

    def _of_log(self) -> _Logged:
        if self._logged is None:
            self._logged = _Logged()
        return self._logged

    def _act(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Reply):
                self._queue(self._encode(event.frame), 1)
            elif isinstance(event, OpenRequested):
                if self._unwelcome is None:
                    self._host.open(self, event.request)
                else:
                    self._turn_away(self._unwelcome)
            elif isinstance(event, Acknowledged):
                self._host.acknowledged(self, event.message_ids, event.awaited)
                if self._logged is not None:
                    self._forget_places(event.message_ids)
                if self._backlog is not None:
                    self._go_on()
            elif isinstance(event, ChatAsked):
                self._host.asked(self, event.frame)
            else:
                self._finish(event.disconnect, say_so=not event.by_peer, by_peer=event.by_peer)
            if self._closing:
                return

    def _acknowledged(self, message_id: int) -> bool:
        """Act on a PUB_ACK of one message. Returns False where it is to be judged as any other frame."""
        awaited = self._session.acknowledge(message_id)
        if awaited is None:
            return False
        self._host.acknowledged(self, (message_id,), awaited)
        if self._logged is not None:
            self._forget_places((message_id,))
        if self._backlog is not None:
            self._go_on()
        return True

    def _forget_places(self, message_ids: Iterable[int]) -> None:
        if self._logged is not None:
            for each in message_ids:
                self._logged.places.pop(each, None)

    def _go_on(self) -> None:
        """There is room for what waits."""
        backlog = self._backlog
        if backlog is None:
            return
        if not backlog.is_behind:
            self._release()
        elif self.room():
            self._host.wants_more(self)

    def _release(self, before_id: int | None = None) -> None:
        """Queue what waits in memory, as far as the client has room; forget the backlog when nothing waits any more."""
        window = self._host.limits.ack_window
        backlog = self._backlog
        while backlog is not None and len(backlog) and not self._closing:
            if before_id is not None and backlog.next_id >= before_id:
                return
            if not self._session.may_push(backlog.next_id, window):
                return
            frame = backlog.take()
            self._host.outbox_grew(-len(frame))
            if not self._queue(frame, 1):
                return
        if backlog is not None and not backlog.is_behind and not self._closing:
            self._backlog = None

    def _have_wait(self, message_id: int, frame: bytes) -> bool:
        """Keep back what is kept nowhere else; False where too much waits and the client has been closed."""
        if not self._has_room(len(frame), 1):
            self._shed(_ACKNOWLEDGES_SLOWLY)
            return False
        if self._backlog is None:
            self._backlog = Backlog(is_behind=False)
        self._backlog.append(message_id, frame)
        self._host.outbox_grew(len(frame))
        return not self._closing

    def _end_if_answered(self) -> None:
        if self._has_ended and self._session.state is not State.OPENING and not self._session.asked:
            self._finish(Disconnect(0, "the client has ended its side"), say_so=False, by_peer=True)

    def _turn_away(self, reason: Disconnect) -> None:
        nodes = self._host.instead(self, reason)
        if nodes:
            self.redirected(nodes, 0.0)
        else:
            self.refused(503, reason.reason, reason.retry_after_s)
        self._finish(reason, say_so=True)

    def _shed(self, reason: str) -> None:
        self._drop_queue()
        self._finish(Disconnect(CloseCode.SLOW_CONSUMER, reason, "backoff", _RETRY_AFTER_S), say_so=True)

    def _finish(self, reason: Disconnect, *, say_so: bool, by_peer: bool = False) -> None:
        """Stop the session, write what is queued and why, and close; the host aborts what takes too long."""
        transport = self.transport
        if self._closing or transport is None:
            return
        self._session.close()
        self._closing = True
        last = self._take()
        if self._paused:
            self._in_transport_bytes += len(last)  # it counts on until the transport is gone
        self._drop_queue()
        last += self._farewell(reason, say_so=say_so)
        self._host.closing(self, reason, by_peer)
        transport.unregisterProducer()  # a paused producer would keep the socket open for ever
        if last:
            transport.write(last)
        self._close(say_so=say_so)

    def _close(self, *, say_so: bool) -> None:
        """Close the transport behind what was written."""
        transport = self.transport
        if say_so and ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport):
            # Closing with unread input would make the kernel send RST, which can overtake our DISCONNECT: so
            # end our side only, and go on ignoring input until the peer ends its own.
            transport.loseWriteConnection()
        else:
            transport.loseConnection()
