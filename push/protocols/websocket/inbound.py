"""What a WebSocket client sends: bytes in, frames of the session and control frames out, one at a time.

wsproto takes the frames apart; here are the limits, which wsproto has none of, and what the messages mean. Knows
no transport. Must not import services, stores or web.
"""

from collections import deque
from enum import Enum
from typing import NamedTuple

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed, RsvBits
from wsproto.frame_protocol import Frame as Part
from wsproto.frame_protocol import FrameDecoder as PartDecoder

from push.protocols.websocket.forms import Kind
from push.protocols.wire.frames import HEADER_BYTES, Frame, FrameDecoder, FrameError
from push.protocols.wire.json_frames import max_text_bytes, read_frame
from push.protocols.wire.signals import CloseCode

_NO_BITS = RsvBits(False, False, False)
# RFC 6455, section 7.4.1: "no status code was actually present"; must not be sent.
_NO_STATUS = 1005


class Quiet(Enum):
    """Something came that asks for nothing: a pong, a part of a message, text that is no frame."""

    QUIET = 0


class Ping(NamedTuple):
    """Answer with a Pong of the same payload."""

    payload: bytes


class PeerCloses(NamedTuple):
    """The client closes; the code that it gave, None for none."""

    code: int | None


class Fault(NamedTuple):
    """What came cannot be taken, and nothing that follows can.

    Attributes:
        code: for the DISCONNECT.
        reason: a sentence, without a byte of what came.
        close_code: for the Close frame.
    """

    code: CloseCode
    reason: str
    close_code: int


Event = Frame | Ping | PeerCloses | Fault | Quiet

# What else can be wrong is against RFC 6455: 1002.
_REASONS = {
    CloseReason.INVALID_FRAME_PAYLOAD_DATA: "text is not UTF-8",
    CloseReason.PROTOCOL_ERROR: "this is not valid WebSocket",
}


class _SizeLimit(Extension):
    """Sees the length of every frame before any of its payload is taken; is never negotiated.

    A length may be seen more than once, as wsproto reads a header anew that has not come whole.

    Attributes:
        max_body_bytes: the largest body of a frame of the session.
    """

    name = "push-size-limit"
    __slots__ = ("_max_bytes", "_of_earlier_frames", "_of_this_frame", "max_body_bytes")

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_bytes = max_text_bytes(max_body_bytes)
        self._of_earlier_frames = 0
        self._of_this_frame = 0

    def enabled(self) -> bool:
        """Always."""
        return True

    def offer(self) -> bool:
        """Never."""
        return False

    def frame_inbound_header(
        self, proto: PartDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """A frame begins; no extension that uses a reserved bit is in force (nothing is ever inflated)."""
        self._of_this_frame = 0
        if opcode.iscontrol():
            return _NO_BITS
        if opcode is not Opcode.CONTINUATION:
            self._of_earlier_frames = 0
            limit = self.max_body_bytes
            self._max_bytes = max_text_bytes(limit) if opcode is Opcode.TEXT else limit + HEADER_BYTES
        if self._of_earlier_frames + payload_length > self._max_bytes:
            return CloseReason.MESSAGE_TOO_BIG
        self._of_this_frame = payload_length
        return _NO_BITS

    def frame_inbound_complete(self, proto: PartDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """A frame is complete."""
        self._of_earlier_frames += self._of_this_frame
        self._of_this_frame = 0
        return None


class Inbound:
    """Reads one connection.

    Args:
        max_body_bytes: the largest body of a frame of the session.
        kind: what the messages have to be; None: what the first one is.

    Attributes:
        kind: the same, None as long as that is open.
        is_dead: after a Fault or PeerCloses: nothing more is read.
        peer_has_closed: after PeerCloses.
    """

    __slots__ = ("_decoder", "_frames", "_limit", "_parts", "_protocol", "is_dead", "kind", "peer_has_closed")

    def __init__(self, max_body_bytes: int, kind: Kind | None) -> None:
        self.kind = kind
        self.is_dead = False
        self.peer_has_closed = False
        self._limit = _SizeLimit(max_body_bytes)
        self._protocol = FrameProtocol(client=False, extensions=[self._limit])
        # What has come of a message whose end has not; None nearly always.
        self._parts: bytearray | None = None
        # Frames of a binary message that held several; None nearly always.
        self._frames: deque[Frame] | None = None
        self._decoder: FrameDecoder | None = None

    @property
    def max_body_bytes(self) -> int:
        """The largest body of a frame of the session, from the next message on."""
        return self._limit.max_body_bytes

    @max_body_bytes.setter
    def max_body_bytes(self, value: int) -> None:
        self._limit.max_body_bytes = value
        if self._decoder is not None:
            self._decoder.max_body_bytes = value

    def feed(self, data: bytes) -> None:
        """Take what the transport received."""
        if not self.is_dead:
            self._protocol.receive_bytes(data)

    def next(self) -> Event | None:
        """The next thing that came; None where there is nothing more yet."""
        if self._frames is not None:
            return self._next_frame()
        if self.is_dead:
            return None
        try:
            part = next(self._protocol.received_frames(), None)
        except ParseFailed as failure:
            return self._dead(failure.code)
        return None if part is None else self._read(part)

    def _read(self, part: Part) -> Event:
        opcode = part.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            return self._message(Kind(opcode), part)
        if opcode is Opcode.PING:
            assert isinstance(part.payload, bytes)
            return Ping(part.payload)
        if opcode is Opcode.CLOSE:
            assert isinstance(part.payload, tuple)
            self.is_dead = self.peer_has_closed = True
            code = int(part.payload[0])
            return PeerCloses(None if code == _NO_STATUS else code)
        return Quiet.QUIET

    def _message(self, kind: Kind, part: Part) -> Event:
        payload = part.payload
        assert isinstance(payload, bytes | str)
        if not part.message_finished or self._parts is not None:
            parts = self._parts
            if parts is None:
                parts = self._parts = bytearray()
            parts += payload.encode() if isinstance(payload, str) else payload
            if not part.message_finished:
                return Quiet.QUIET
            self._parts = None
            payload = parts.decode() if kind is Kind.TEXT else bytes(parts)
        return self._text(payload) if isinstance(payload, str) else self._binary(payload)

    def _text(self, text: str) -> Event:
        read = read_frame(text, self.max_body_bytes)
        if read is None:
            return Quiet.QUIET
        if self._is_other(Kind.TEXT):
            return self._fault(CloseCode.BAD_FRAME, "messages of this connection are binary")
        if isinstance(read, FrameError):
            return self._fault(read.code, read.reason)
        return read

    def _binary(self, data: bytes) -> Event:
        if self._is_other(Kind.BINARY):
            return self._fault(CloseCode.BAD_FRAME, "messages of this connection are text")
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = FrameDecoder(self.max_body_bytes)
        frames = decoder.feed(data)
        if len(frames) == 1 and decoder.error is None and not decoder.buffered_bytes:
            return frames[0]
        self._frames = deque(frames)
        return self._next_frame()

    def _next_frame(self) -> Event:
        """The next frame of a message of several; behind the last one, what is wrong with the message."""
        if self._frames:
            return self._frames.popleft()
        self._frames = None
        assert self._decoder is not None
        error = self._decoder.error
        if error is not None:
            return self._fault(error.code, error.reason)
        if self._decoder.buffered_bytes:
            return self._fault(CloseCode.BAD_FRAME, "a message ends within a frame")
        return Quiet.QUIET

    def _is_other(self, kind: Kind) -> bool:
        if self.kind is None:
            self.kind = kind
        return self.kind is not kind

    def _dead(self, code: CloseReason) -> Fault:
        if code is CloseReason.MESSAGE_TOO_BIG:
            return self._fault(CloseCode.TOO_LARGE, f"a body has at most {self.max_body_bytes} bytes")
        return self._fault(CloseCode.BAD_FRAME, _REASONS.get(code, "this is not valid WebSocket"), int(code))

    def _fault(self, code: CloseCode, reason: str, close_code: int = 0) -> Fault:
        self.is_dead = True
        return Fault(code, reason, close_code or int(code))
