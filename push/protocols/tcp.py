"""The framed protocol on a byte stream: bytes in, frames to the session, frames out as bytes.

One slotted object a connection, no timer, no Deferred, no closure. What the session does, and what waits to be
written, is in connection.py and queued.py. Must not import services, stores or web.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface import implementer

from push.ipush import IConnectionHost, IPushForm
from push.protocols.connection import SessionConnection
from push.protocols.forms import ACK_FORM, PLAIN_FORM
from push.protocols.wire.frames import Frame, FrameDecoder, cut, encode, lone_ack
from push.protocols.wire.messages import Disconnect

# 64 KiB can hold 6,500 empty frames, which would keep everybody else waiting for 40 ms (measured 2026-11-23).
MAX_FRAMES_A_TURN = 128


class _Incoming(FrameDecoder):
    """What has come of a frame in part, or with too many others, and has to wait.

    Attributes:
        frames: that came with too many others; None nearly always.
    """

    __slots__ = ("frames",)

    def __init__(self, max_body_bytes: int, *, has_spoken: bool) -> None:
        FrameDecoder.__init__(self, max_body_bytes, has_spoken=has_spoken)
        self.frames: list[Frame] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self.buffered_bytes and self.frames is None and self.error is None


# Of all connections from which nothing has come yet.
_NOTHING_YET = _Incoming(0, has_spoken=False)


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class FramedProtocol(SessionConnection):
    """One client over TCP or TLS."""

    __slots__ = ("_incoming",)

    speaks = "framed"

    def __init__(self, host: IConnectionHost) -> None:
        SessionConnection.__init__(self, host, PLAIN_FORM)
        # None where nothing waits, so that an idle session pays for no decoder.
        self._incoming: _Incoming | None = _NOTHING_YET

    # IProtocol

    def dataReceived(self, data: bytes) -> None:
        """Decode and act; after the end of the session, ignore."""
        if self._closing:
            return
        self._session.heard(self._host.now_s())
        incoming = self._incoming
        if incoming is None or incoming is _NOTHING_YET:
            message_id = lone_ack(data)
            if message_id is not None and self._acknowledged(message_id):
                return
            limits = self._host.limits
            max_body_bytes = limits.max_body_before_open_bytes if self.registration is None else limits.max_body_bytes
            frames, used = cut(data, max_body_bytes)
            if used == len(data) and len(frames) <= MAX_FRAMES_A_TURN:
                self._incoming = None
                self._act_on(frames)
                return
            incoming = self._incoming = _Incoming(max_body_bytes, has_spoken=incoming is None)
        if incoming.frames is None:
            self._serve(incoming, incoming.feed(data))
        else:
            incoming.frames += incoming.feed(data)

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
        if self._incoming is not None:
            self._incoming.max_body_bytes = self._host.limits.max_body_bytes

    # Inside

    def _act_on(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self._act(self._session.receive(frame))
            if self._closing:
                return

    def _serve(self, incoming: _Incoming, frames: list[Frame]) -> None:
        """Act on frames; on too many at once, in several turns, and read no more until then."""
        if len(frames) > MAX_FRAMES_A_TURN:
            incoming.frames = frames[MAX_FRAMES_A_TURN:]
            self._act_on(frames[:MAX_FRAMES_A_TURN])
            if not self._closing:
                self.transport.pauseProducing()
                self._host.next_turn(self._serve_waiting)
            return
        self._act_on(frames)
        if self._closing:
            return
        error = incoming.error
        if error is not None:
            self._finish(Disconnect(error.code, error.reason), say_so=error.peer_speaks)
        elif incoming.is_empty:
            self._incoming = None

    def _serve_waiting(self) -> None:
        incoming = self._incoming
        if self._closing or incoming is None or incoming.frames is None:
            return
        frames, incoming.frames = incoming.frames, None
        self._serve(incoming, frames)
        if incoming.frames is None and not self._closing:
            self.transport.resumeProducing()
