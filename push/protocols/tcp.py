"""The framed protocol on a byte stream: bytes in, frames to the session, frames out as bytes.

One slotted object a connection, no timer, no Deferred, no closure. What the session does, and what waits to be
written, is in connection.py and queued.py. Must not import services, stores or web.
"""

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface import implementer

from push.ipush import IConnectionHost, IPushForm
from push.protocols.connection import SessionConnection
from push.protocols.forms import ACK_FORM, PLAIN_FORM
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect

# 64 KiB can hold 6,500 empty frames, which would keep everybody else waiting for 40 ms (measured 2026-11-23).
MAX_FRAMES_A_TURN = 128


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class FramedProtocol(SessionConnection):
    """One client over TCP or TLS."""

    __slots__ = ("_decoder", "_waiting")

    speaks = "framed"

    def __init__(self, host: IConnectionHost) -> None:
        SessionConnection.__init__(self, host, PLAIN_FORM)
        self._decoder = FrameDecoder(host.limits.max_body_before_open_bytes)
        # Frames that came with too many others; None nearly always.
        self._waiting: list[Frame] | None = None

    # IProtocol

    def dataReceived(self, data: bytes) -> None:
        """Decode and act; after the end of the session, ignore."""
        if self._closing:
            return
        self._session.heard(self._host.now_s())
        if self._waiting is None:
            message_id = self._decoder.lone_ack(data)
            if message_id is None or not self._acknowledged(message_id):
                self._serve(self._decoder.feed(data))
        else:
            self._waiting += self._decoder.feed(data)

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

    # SessionConnection

    def _encode(self, frame: Frame) -> bytes:
        return encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)

    def _form(self, *, acks: bool) -> IPushForm:
        return ACK_FORM if acks else PLAIN_FORM

    def _is_open(self) -> None:
        self._decoder.max_body_bytes = self._host.limits.max_body_bytes

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
