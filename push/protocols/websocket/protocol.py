"""One client over WebSocket: the handshake, messages to the session, the closing handshake.

No timer, no Deferred, no closure. What the session does, and what waits to be written, is in push.protocols.connection
and queued. Must not import services, stores or web.
"""

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.ipush import IConnectionHost, IPushForm
from push.protocols.connection import SessionConnection
from push.protocols.websocket import forms
from push.protocols.websocket.forms import FORMS, Kind
from push.protocols.websocket.head import HeadReader, refusal
from push.protocols.websocket.inbound import Event, Fault, Inbound, PeerCloses, Ping
from push.protocols.websocket.upgrade import accept
from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import RETRY_BACKOFF, RETRY_NO, Disconnect
from push.protocols.wire.signals import CloseCode

# 64 KiB can hold 10,000 empty frames, which would keep everybody else waiting for 30 ms (measured 2026-11-23).
MAX_FRAMES_A_TURN = 128
_NORMAL_CLOSURE = 1000
# Of codes that a client gives, those of the protocol's own range are counted by their number.
_OWN_CODES = range(3_000, 4_000)


@implementer(IProtocol, IPushProducer)
class WebSocketProtocol(SessionConnection):
    """One client.

    Args:
        host: the connector.
        inbound: reads the messages, where the handshake is done already.
    """

    __slots__ = ("_close_code", "_head", "_inbound", "_is_waiting")

    speaks = "websocket"

    def __init__(self, host: IConnectionHost, inbound: Inbound | None = None) -> None:
        SessionConnection.__init__(self, host, FORMS[Kind.TEXT, False])
        self._inbound = inbound
        self._head = HeadReader() if inbound is None else None
        # What has come is more than is taken in one turn.
        self._is_waiting = False
        # For the Close frame, where it is not that of the DISCONNECT; 0 for no difference.
        self._close_code: int | None = 0

    # IProtocol

    def dataReceived(self, data: bytes) -> None:
        """Act on what came; after our Close, look only for the client's."""
        if self._head is not None:
            self._shake_hands(self._head, data)
            return
        inbound = self._inbound
        if inbound is None:
            return
        if not self._closing:
            self._session.heard(self._host.now_s())
        inbound.feed(data)
        if not self._is_waiting:
            self._serve(inbound)

    def connectionLost(self, reason: Failure) -> None:
        """Free everything."""
        self._head = self._inbound = None
        SessionConnection.connectionLost(self, reason)

    def logPrefix(self) -> str:
        """How log lines of the transport are headed."""
        return "websocket"

    # SessionConnection

    def _encode(self, frame: Frame) -> bytes:
        return forms.encode_frame(self._kind, frame)

    def _form(self, *, acks: bool) -> IPushForm:
        return FORMS[self._kind, acks]

    def _is_open(self) -> None:
        if self._inbound is not None:
            self._inbound.max_body_bytes = self._host.limits.max_body_bytes

    def _farewell(self, reason: Disconnect, *, say_so: bool) -> bytes:
        """The DISCONNECT, if it is to be said why, and the Close frame."""
        if self._inbound is None:  # there has been no handshake
            return refusal(_before_handshake(reason)) if say_so else b""
        code = self._close_code
        if code == 0:
            code = int(reason.code) if say_so else _NORMAL_CLOSURE
        close = forms.close(code, reason.reason if say_so else "")
        return SessionConnection._farewell(self, reason, say_so=say_so) + close

    def _close(self, *, say_so: bool) -> None:
        """Wait for the client's Close, which is the last that it sends; the host aborts what takes too long."""
        inbound = self._inbound
        if inbound is None or inbound.is_dead:
            # A client that has sent its Close waits for us to end the connection. Of one that has sent what cannot be
            # read, nothing more is understood: its input is ignored until it goes.
            SessionConnection._close(self, say_so=inbound is None or not inbound.peer_has_closed)

    # Inside

    @property
    def _kind(self) -> Kind:
        """What is written to this client; text to one that has not said anything yet."""
        inbound = self._inbound
        return Kind.TEXT if inbound is None or inbound.kind is None else inbound.kind

    def _shake_hands(self, reader: HeadReader, data: bytes) -> None:
        try:
            head = reader.feed(data)
            if head is None:
                return
            limits = self._host.limits
            accepted = accept(head.method, head.version, head.headers, origins=limits.allowed_origins)
        except PushError as error:
            self._head = None
            self._refuse(error)
            return
        self._head = None
        self._inbound = Inbound(limits.max_body_before_open_bytes, accepted.kind)
        self.transport.write(accepted.response)
        if head.rest:
            self.dataReceived(head.rest)

    def _refuse(self, error: PushError) -> None:
        """Answer a request that does not lead to a session, and close."""
        self._queue(refusal(error), 1)
        self._finish(Disconnect(0, str(error), RETRY_NO), say_so=False)

    def _serve(self, inbound: Inbound) -> None:
        """Act on what came; on too much at once, in several turns, and read no more until then."""
        for _ in range(MAX_FRAMES_A_TURN):
            event = inbound.next()
            if event is None:
                return
            self._take_event(event)
            if inbound.is_dead or self.transport is None:
                return
        self._is_waiting = True
        self.transport.pauseProducing()
        self._host.next_turn(self._serve_waiting)

    def _serve_waiting(self) -> None:
        inbound = self._inbound
        self._is_waiting = False
        if inbound is None or self.transport is None:
            return
        self._serve(inbound)
        if not self._is_waiting and self.transport is not None:
            self.transport.resumeProducing()

    def _take_event(self, event: Event) -> None:
        if self._closing:
            if isinstance(event, PeerCloses | Fault):
                self._close(say_so=True)
        elif isinstance(event, Frame):
            self._act(self._session.receive(event))
        elif isinstance(event, Ping):
            self._queue(forms.message(forms.PONG, event.payload), 1)
        elif isinstance(event, PeerCloses):
            self._close_code = event.code
            code = event.code if event.code in _OWN_CODES else 0
            self._finish(Disconnect(code or 0, "the client has closed"), say_so=False, by_peer=True)
        elif isinstance(event, Fault):
            self._fail(event)

    def _fail(self, fault: Fault) -> None:
        """What came cannot be taken; say so in the form of the session only to one that has used it."""
        self._close_code = fault.close_code
        is_known = self._inbound is not None and self._inbound.kind is not None
        self._finish(Disconnect(fault.code, fault.reason), say_so=is_known)


def _before_handshake(reason: Disconnect) -> PushError:
    """What a connection is answered that ends before its handshake is complete."""
    if reason.code == CloseCode.IDLE:
        return Unavailable("The request took too long to arrive.")
    return Unavailable(
        reason.reason, retry_after_s=reason.retry_after_s or (1.0 if reason.retry == RETRY_BACKOFF else None)
    )
