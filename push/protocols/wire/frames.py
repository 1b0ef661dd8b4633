"""The frame codec: ten bytes of header and a body. The only module that knows byte offsets.

A decoder never raises: it returns the frames that were whole and, after a violation, holds `error` and is
dead. The length is checked before any of a body is kept; bytes of an unfinished body are not looked at again.

Source: docs/protocol.md, section "Frame".
"""

import struct
from typing import NamedTuple

from push.protocols.wire.signals import ACCEPTED_VERSIONS, MAGIC, VERSION, CloseCode, Signal, SubSignal

HEADER = struct.Struct(">BBBIBH")
HEADER_BYTES = HEADER.size
ID = struct.Struct(">Q")
ID_BYTES = ID.size
# A header and the id that its body begins with.
HEADER_AND_ID = struct.Struct(">BBBIBHQ")

MAX_BODY_BYTES = 65_536
MAX_BODY_BEFORE_OPEN_BYTES = 4_096
MAX_MESSAGE_ID = 0xFFFF

_LOW_7_BITS = 0x7F
_LAST_SIGNAL = max(Signal)
# A frame that acknowledges one message, which is what a server of acknowledging clients reads most.
_LONE_ACK_BYTES = HEADER_BYTES + ID_BYTES
_LONE_ACK_HEADS = tuple(
    HEADER.pack(MAGIC, version, Signal.PUB_ACK, ID_BYTES, SubSignal.MN, 0) for version in sorted(ACCEPTED_VERSIONS)
)


class Frame(NamedTuple):
    """One frame as received: numbers as ints (an unknown subsignal is legal), the body as bytes."""

    signal: int
    subsignal: int
    message_id: int
    body: bytes


class FrameError(NamedTuple):
    """Why a decoder died.

    Attributes:
        code: the close code to send.
        reason: one sentence, with no byte of the peer's body in it.
        peer_speaks: True where the peer has shown that it speaks this protocol, so that a DISCONNECT is due.
    """

    code: CloseCode
    reason: str
    peer_speaks: bool


def encode(signal: int, body: bytes = b"", *, subsignal: int = 0, message_id: int = 0) -> bytes:
    """Encode one frame.

    Args:
        signal: 0-127.
        body: any bytes; its length is the caller's to limit.
        subsignal: 0-127.
        message_id: 0-65535, the id that a reply echoes.

    Returns:
        Header and body.

    Raises:
        struct.error: a number is out of its range.
    """
    return HEADER.pack(MAGIC, VERSION, signal, len(body), subsignal, message_id) + body


def cut(data: bytes, max_body_bytes: int) -> tuple[list[Frame], int]:
    """The whole frames that some bytes begin with; keeps nothing.

    Args:
        data: from the beginning of a frame on.
        max_body_bytes: the largest body accepted.

    Returns:
        These, and how many bytes they have. What follows, if anything, is in part or wrong: a FrameDecoder says which.
    """
    frames: list[Frame] = []
    used = 0
    size = len(data)
    while size - used >= HEADER_BYTES:
        magic, version, signal, length, subsignal, message_id = HEADER.unpack_from(data, used)
        signal &= _LOW_7_BITS
        end = used + HEADER_BYTES + length
        if (
            magic != MAGIC
            or version not in ACCEPTED_VERSIONS
            or not 0 < signal <= _LAST_SIGNAL
            or length > max_body_bytes
            or end > size
        ):
            break
        frames.append(Frame(signal, subsignal & _LOW_7_BITS, message_id, data[used + HEADER_BYTES : end]))
        used = end
    return frames, used


def lone_ack(data: bytes) -> int | None:
    """The id that is acknowledged, where the bytes are one PUB_ACK of one message, written as it usually is.

    Args:
        data: from the beginning of a frame on.

    Returns:
        None where they are anything else.
    """
    if len(data) == _LONE_ACK_BYTES and data.startswith(_LONE_ACK_HEADS):
        (message_id,) = ID.unpack_from(data, HEADER_BYTES)
        return message_id  # type: ignore[no-any-return]
    return None


class _Unfinished(NamedTuple):
    """What is held of a frame, and how many bytes that must be before looking at it again can help."""

    data: bytearray
    needed_bytes: int


class FrameDecoder:
    """Cuts a stream of bytes into frames. While nothing is held, `cut` does the same without one.

    Args:
        max_body_bytes: the largest body accepted.
        has_spoken: whether the peer has shown already that it speaks this protocol.

    Attributes:
        max_body_bytes: the largest body accepted from the next header on; may be changed at any time.
        error: None while alive, else why this decoder is dead; what is fed after that is ignored.
        has_spoken: whether there has been a good header.
    """

    __slots__ = ("_unfinished", "error", "has_spoken", "max_body_bytes")

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES, *, has_spoken: bool = False) -> None:
        self.max_body_bytes = max_body_bytes
        self.error: FrameError | None = None
        self.has_spoken = has_spoken
        # None when nothing is held.
        self._unfinished: _Unfinished | None = None

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return 0 if self._unfinished is None else len(self._unfinished.data)

    def feed(self, data: bytes) -> list[Frame]:
        """Take what the transport received.

        Args:
            data: any number of bytes, cut anywhere.

        Returns:
            The frames completed by it, in order; look at `error` after handling them.
        """
        if self.error is not None:
            return []
        unfinished = self._unfinished
        if unfinished is not None:
            unfinished.data.extend(data)
            if len(unfinished.data) < unfinished.needed_bytes:
                return []
            data = bytes(unfinished.data)
            self._unfinished = None
        frames, used = cut(data, self.max_body_bytes)
        if frames:
            self.has_spoken = True
        if used < len(data):
            self._hold(data, used)
        return frames

    def _hold(self, data: bytes, used: int) -> None:
        """Keep a frame that has come in part, or die of one that is wrong."""
        needed_bytes = HEADER_BYTES
        if len(data) - used >= HEADER_BYTES:
            magic, version, signal, length, _, _ = HEADER.unpack_from(data, used)
            self.error = self._judge(magic, version, signal & _LOW_7_BITS, length)
            self.has_spoken |= self.error is None
            needed_bytes += length
        elif data[used] != MAGIC:  # known from one byte: somebody who speaks otherwise need not be waited for
            self.error = self._judge(data[used], VERSION, Signal.NONE, 0)
        if self.error is None:
            self._unfinished = _Unfinished(bytearray(data[used:]), needed_bytes)

    def _judge(self, magic: int, version: int, signal: int, length: int) -> FrameError | None:
        if magic != MAGIC:
            reason = f"frame starts with 0x{magic:02x}, not 0x{MAGIC:02x}"
            return FrameError(CloseCode.BAD_FRAME, reason, self.has_spoken)
        if version not in ACCEPTED_VERSIONS:
            return FrameError(CloseCode.BAD_FRAME, f"protocol version {version} is not spoken here: use 2", True)
        if not 0 < signal <= _LAST_SIGNAL:
            return FrameError(CloseCode.BAD_FRAME, f"signal {signal} does not exist", True)
        limit = self.max_body_bytes
        if length > limit:
            return FrameError(CloseCode.TOO_LARGE, f"body of {length} bytes is over the limit of {limit}", True)
        return None
