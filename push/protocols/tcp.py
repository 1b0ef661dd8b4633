"""The framed protocol on a byte stream: a transport for the wire core's session, and nothing else.

One slotted object a connection, no timer, no Deferred, no closure. Decides nothing that concerns more than
this connection: limits and other connections are the host's. Must not import services, stores or web.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from push.ipush import IConnection, IConnectionHost, IPushForm, IPushRun
from push.model import Outcome, Registration
from push.protocols.forms import ACK_FORM, PLAIN_FORM
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.outbox import BeyondWindow, Outbox
from push.protocols.wire.server import Acknowledged, Event, OpenRequested, Reply, ServerSession, State
from push.protocols.wire.signals import CloseCode

_RETRY_AFTER_S = 5.0
_READS_SLOWLY = "this client reads more slowly than messages come"
_NODE_IS_FULL = "the node's outboxes are full and this client has a backlog"
# 64 KiB can hold 6,500 empty frames, which would keep everybody else waiting for 40 ms (measured 2026-11-23).
MAX_FRAMES_A_TURN = 128
# Looking a member up in its class costs more than a local name, once for each message.
_SENT = Outcome.SENT


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer, IConnection)
class FramedProtocol:
    """One client over TCP or TLS.

    Writes go through the outbox, so that what is queued in one reactor turn leaves in one write, and so that
    nothing piles up in the transport: while it has paused us, the outbox fills up to its limits.
    """

    __slots__ = (
        "_beyond",
        "_closing",
        "_decoder",
        "_has_ended",
        "_host",
        "_in_transport_bytes",
        "_paused",
        "_queued",
        "_session",
        "_unwelcome",
        "_waiting",
        "broadcast_number",
        "form",
        "peer_host",
        "registration",
        "transport",
    )

    def __init__(self, host: IConnectionHost) -> None:
        self._host = host
        self._session = ServerSession(host.now_s())
        self._decoder = FrameDecoder(host.limits.max_body_before_open_bytes)
        # What waits to be written: nothing, one part, or an Outbox of several. Most writes are of one part, and most
        # connections have nothing to write, so neither pays for a queue.
        self._queued: bytes | Outbox | None = None
        self._paused = False
        self._closing = False
        self._has_ended = False
        # Bytes of the write that made the transport pause us: counted as queued until it resumes us.
        self._in_transport_bytes = 0
        self._unwelcome: Disconnect | None = None
        # Frames that came with too many others; None nearly always.
        self._waiting: list[Frame] | None = None
        # Messages that wait for acknowledgements of earlier ones; None nearly always.
        self._beyond: BeyondWindow | None = None
        # An ITransport that is an IConsumer as well, as those of TCP and TLS are; None before and after.
        self.transport: Any = None
        self.peer_host = ""
        self.registration: Registration | None = None
        self.form: IPushForm = PLAIN_FORM
        self.broadcast_number = 0

    # IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        """Take the transport."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin: the handshake deadline runs from here."""
        transport = self.transport
        self.peer_host = getattr(transport.getPeer(), "host", "") or "unix"
        if hasattr(transport, "setTcpNoDelay"):
            # Writes are coalesced here already: Nagle's algorithm would only delay them.
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self._unwelcome = self._host.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Decode and act; after the end of the session, ignore."""
        if self._closing:
            return
        self._session.heard(self._host.now_s())
        frames = self._decoder.feed(data)
        if self._waiting is None:
            self._serve(frames)
        else:
            self._waiting += frames

    def connectionLost(self, reason: Failure) -> None:
        """Free everything."""
        self._closing = True
        self._drop_queue()
        if self._in_transport_bytes:
            self._host.outbox_grew(-self._in_transport_bytes)
            self._in_transport_bytes = 0
        self._host.lost(self)
        self.registration = None
        self.transport = None

    def readConnectionLost(self) -> None:
        """The client will send no more, but still reads: answer what it has asked, and close."""
        self._has_ended = True
        if self._closing and self.transport is not None:
            self.transport.loseConnection()  # both sides have ended
        else:
            self._end_if_answered()

    def writeConnectionLost(self) -> None:
        """Our side has ended, as disconnect() wanted."""

    def logPrefix(self) -> str:
        """How log lines of the transport are headed."""
        return "framed"

    # IPushProducer

    def pauseProducing(self) -> None:
        """The transport is full: let the outbox fill. What is queued waits for it from now on, and counts."""
        if not self._paused:
            self._paused = True
            if self._queued is not None:
                self._host.outbox_grew(len(self._queued))

    def resumeProducing(self) -> None:
        """The transport has room."""
        if not self._paused:
            return
        self._paused = False
        if self._in_transport_bytes:
            self._host.outbox_grew(-self._in_transport_bytes)
            self._in_transport_bytes = 0
        queued = self._queued
        if queued is not None:
            self._host.outbox_grew(-len(queued))
            self.flush()

    def stopProducing(self) -> None:
        """The transport is gone: connectionLost follows and cleans up."""

    # IConnection

    def opened(self, registration: Registration, interval_ms: int | None, server_time_ms: int) -> None:
        """Answer the client's SUB or CONNECT with 200."""
        self.registration = registration
        self._decoder.max_body_bytes = self._host.limits.max_body_bytes
        session = self._session
        events = session.accept(token=registration.token, interval_ms=interval_ms, server_time_ms=server_time_ms)
        session.heard(self._host.now_s())
        self.form = PLAIN_FORM if session.unacknowledged is None else ACK_FORM
        self._act(events)
        self._end_if_answered()

    def refused(self, status: int, reason: str, retry_after_s: float | None) -> None:
        """Answer the client's SUB or CONNECT with another status."""
        self._act(self._session.refuse(status, reason, retry_after_s))
        self._end_if_answered()

    def push(self, message_id: int, frame: bytes) -> Outcome:
        """See IConnection."""
        if self._closing:
            return Outcome.OFFLINE
        session = self._session
        if session.unacknowledged is not None and (
            self._beyond is not None or not session.may_push(message_id, self._host.limits.ack_window)
        ):
            return _SENT if self._queue_beyond(message_id, frame) else Outcome.OVERFLOW
        return _SENT if self._queue(frame, 1) else Outcome.OVERFLOW

    def push_run(self, run: IPushRun) -> int:
        """See IConnection."""
        message_ids = run.message_ids
        if self._session.unacknowledged is None and not self._closing:
            joined = run.joined(self.form)
            # What is more than may wait is queued one by one, so that the limits can be looked at in between.
            if len(message_ids) == 1 or self._has_room(len(joined), len(message_ids)):
                return len(message_ids) if self._queue(joined, len(message_ids)) else 0
        for sent, (message_id, frame) in enumerate(zip(message_ids, run.frames(self.form), strict=True)):
            if self.push(message_id, frame) is not Outcome.SENT:
                return sent
        return len(message_ids)

    def flush(self) -> None:
        """See IConnection."""
        if self._paused or self.transport is None:
            return
        queued = self._queued
        if queued is not None:
            self._queued = None
            data = queued if type(queued) is bytes else queued.joined()  # type: ignore[union-attr]
            self.transport.write(data)
            if self._paused:
                self._in_transport_bytes += len(data)
                if not self._host.outbox_grew(len(data)):
                    self._finish_slow(CloseCode.OVERLOAD, _NODE_IS_FULL)

    def deadline_s(self) -> float:
        """See IConnection."""
        limits = self._host.limits
        return self._session.deadline_s(limits.handshake_timeout_s, limits.idle_grace_s)

    def disconnect(self, reason: Disconnect) -> None:
        """See IConnection."""
        self._finish(reason, say_so=True)

    def abort(self) -> None:
        """See IConnection."""
        self._closing = True
        self._drop_queue()
        if self.transport is not None:
            self.transport.abortConnection()

    # Inside

    def _serve(self, frames: list[Frame]) -> None:
        """Act on frames; on too many at once, in several turns, and read no more until then."""
        for frame in frames[:MAX_FRAMES_A_TURN]:
            self._act(self._session.receive(frame))
            if self._closing:
                return
        if len(frames) > MAX_FRAMES_A_TURN:
            self._waiting = frames[MAX_FRAMES_A_TURN:]
            self.transport.pauseProducing()
            self._host.next_turn(self._serve_waiting)
            return
        error = self._decoder.error
        if error is not None:
            self._finish(Disconnect(error.code, error.reason), say_so=error.peer_speaks)

    def _serve_waiting(self) -> None:
        frames, self._waiting = self._waiting, None
        if self._closing or frames is None:
            return
        self._serve(frames)
        if self._waiting is None and not self._closing:
            self.transport.resumeProducing()

    def _act(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Reply):
                self._reply(event.frame)
            elif isinstance(event, OpenRequested):
                if self._unwelcome is None:
                    self._host.open(self, event.request)
                else:
                    self._turn_away(self._unwelcome)
            elif isinstance(event, Acknowledged):
                self._host.acknowledged(self, event.message_ids)
                self._release_beyond()
            else:
                self._finish(event.disconnect, say_so=not event.by_peer, by_peer=event.by_peer)
            if self._closing:
                return

    def _end_if_answered(self) -> None:
        if self._has_ended and self._session.state is not State.OPENING:
            self._finish(Disconnect(0, "the client has ended its side"), say_so=False, by_peer=True)

    def _turn_away(self, reason: Disconnect) -> None:
        self.refused(503, reason.reason, reason.retry_after_s)
        self._finish(reason, say_so=True)

    def _reply(self, frame: Frame) -> None:
        data = encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)
        self._queue(data, 1)

    def _queue(self, data: bytes, messages: int) -> bool:
        """Queue behind the rest; False where the peer reads too slowly and has been closed for it."""
        if self._queued is None and not self._paused and messages == 1:
            self._queued = data
            self._host.mark_dirty(self)
            return True
        return self._queue_more(data, messages)

    def _has_room(self, data_bytes: int, messages: int) -> bool:
        """Whether the limits allow that much to wait; what the transport has not sent yet waits as well."""
        limits = self._host.limits
        queued = self._queued
        beyond = self._beyond
        waiting_bytes = self._in_transport_bytes + (0 if queued is None else len(queued))
        waiting = 0 if queued is None else queued.messages if isinstance(queued, Outbox) else 1
        if beyond is not None:
            waiting_bytes += beyond.size_bytes
            waiting += len(beyond)
        if not waiting_bytes:
            return data_bytes <= limits.max_outbox_bytes or messages == 1
        return (
            waiting_bytes + data_bytes <= limits.max_outbox_bytes and waiting + messages <= limits.max_outbox_messages
        )

    def _queue_more(self, data: bytes, messages: int) -> bool:
        """Queue where something waits already, or the transport takes nothing: look at the limits."""
        if not self._has_room(len(data), messages):
            self.flush()  # many messages in one turn are no backlog while the transport takes them
            if self._closing:
                return False
            if not self._has_room(len(data), messages):
                self._finish_slow(CloseCode.SLOW_CONSUMER, _READS_SLOWLY)
                return False
        queued = self._queued
        if queued is None and not self._paused:
            self._host.mark_dirty(self)
        outbox = queued if isinstance(queued, Outbox) else Outbox(queued)
        outbox.append(data, messages)
        self._queued = outbox
        if self._paused and not self._host.outbox_grew(len(data)):
            self._finish_slow(CloseCode.OVERLOAD, _NODE_IS_FULL)
            return False
        return True

    def _queue_beyond(self, message_id: int, frame: bytes) -> bool:
        """Queue what must wait for an acknowledgement; False where too much waits and the client has been closed."""
        if not self._has_room(len(frame), 1):
            self._finish_slow(CloseCode.SLOW_CONSUMER, "this client acknowledges more slowly than messages come")
            return False
        if self._beyond is None:
            self._beyond = BeyondWindow()
        self._beyond.append(message_id, frame)
        if not self._host.outbox_grew(len(frame)):
            self._finish_slow(CloseCode.OVERLOAD, _NODE_IS_FULL)
            return False
        return True

    def _release_beyond(self) -> None:
        """Send what acknowledgements have made room for."""
        window = self._host.limits.ack_window
        while self._beyond is not None and self._session.may_push(self._beyond.next_id, window):
            frame = self._beyond.take()
            self._host.outbox_grew(-len(frame))
            if not len(self._beyond):
                self._beyond = None
            if not self._queue(frame, 1):
                return

    def _finish_slow(self, code: CloseCode, reason: str) -> None:
        self._drop_queue()
        self._finish(Disconnect(code, reason, "backoff", _RETRY_AFTER_S), say_so=True)

    def _take(self) -> bytes:
        queued, self._queued = self._queued, None
        if queued is None:
            return b""
        return queued.joined() if isinstance(queued, Outbox) else queued

    def _drop_queue(self) -> None:
        """Forget what is queued; what the transport holds still counts, until it is gone."""
        dropped_bytes = len(self._take())
        if self._paused and dropped_bytes:
            self._host.outbox_grew(-dropped_bytes)
        beyond, self._beyond = self._beyond, None
        if beyond is not None:
            self._host.outbox_grew(-beyond.size_bytes)

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
        if say_so:
            goodbye = ServerSession.goodbye(reason)
            last += encode(goodbye.signal, goodbye.body)
        self._host.closing(self, reason, by_peer)
        transport.unregisterProducer()  # a paused producer would keep the socket open for ever
        if last:
            transport.write(last)
        if say_so and ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport):
            # Closing with unread input would make the kernel send RST, which can overtake our DISCONNECT: so
            # end our side only, and go on ignoring input until the peer ends its own.
            transport.loseWriteConnection()
        else:
            transport.loseConnection()
