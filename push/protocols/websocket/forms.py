"""What is written to WebSocket clients: messages, control frames, and pushes in their four forms.

Must not import services, stores or web.
"""

import struct
from enum import IntEnum

from zope.interface import implementer

from push.ipush import IPushForm
from push.protocols import forms
from push.protocols.wire.frames import Frame, encode
from push.protocols.wire.json_frames import write_frame, write_push


class Kind(IntEnum):
    """What the messages of a connection are: the opcodes of RFC 6455, section 5.2."""

    TEXT = 0x1
    BINARY = 0x2


CLOSE = 0x8
PONG = 0xA

# All of a message in one frame, without extensions: FIN alone. A server does not mask (RFC 6455, section 5.1).
_FIN = 0x80
_SHORT = struct.Struct(">BB")
_MIDDLE = struct.Struct(">BBH")
_LONG = struct.Struct(">BBQ")
_MAX_SHORT_BYTES = 125
_MAX_MIDDLE_BYTES = 0xFFFF
_MIDDLE_MARK = 126
_LONG_MARK = 127
_CODE = struct.Struct(">H")
_MAX_REASON_BYTES = _MAX_SHORT_BYTES - _CODE.size


def message(kind: int, payload: bytes) -> bytes:
    """One frame of WebSocket that is a whole message, or a control frame.

    Args:
        kind: its opcode.
        payload: at most 125 bytes for a control frame.
    """
    size = len(payload)
    if size <= _MAX_SHORT_BYTES:
        return _SHORT.pack(_FIN | kind, size) + payload
    if size <= _MAX_MIDDLE_BYTES:
        return _MIDDLE.pack(_FIN | kind, _MIDDLE_MARK, size) + payload
    return _LONG.pack(_FIN | kind, _LONG_MARK, size) + payload


def close(code: int | None, reason: str = "") -> bytes:
    """A Close frame.

    Args:
        code: 1000-4999, but those that may not be sent; None for a frame without (RFC 6455, section 7.1.5).
        reason: as much of it as there is room for is sent.
    """
    if code is None:
        return message(CLOSE, b"")
    cut = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
    return message(CLOSE, _CODE.pack(code) + cut)


def encode_frame(kind: Kind, frame: Frame) -> bytes:
    """A frame of the session, as the message that it is on a connection of this kind."""
    if kind is Kind.TEXT:
        return message(kind, write_frame(frame))
    return message(kind, encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id))


@implementer(IPushForm)
class _Text:
    """JSON text; the id is not sent."""

    def encode_push(self, message_id: int, payload: bytes) -> bytes:
        """See IPushForm."""
        return message(Kind.TEXT, write_push(None, payload))


@implementer(IPushForm)
class _TextWithId:
    """JSON text for a client that acknowledges."""

    def encode_push(self, message_id: int, payload: bytes) -> bytes:
        """See IPushForm."""
        return message(Kind.TEXT, write_push(message_id, payload))


@implementer(IPushForm)
class _Binary:
    """A frame of the framed protocol.

    Args:
        inner: how that is written.
    """

    def __init__(self, inner: IPushForm) -> None:
        self._inner = inner

    def encode_push(self, message_id: int, payload: bytes) -> bytes:
        """See IPushForm."""
        return message(Kind.BINARY, self._inner.encode_push(message_id, payload))


# By kind and whether the client acknowledges. One of each, so that connections share what is encoded for them.
FORMS: dict[tuple[Kind, bool], IPushForm] = {
    (Kind.TEXT, False): _Text(),
    (Kind.TEXT, True): _TextWithId(),
    (Kind.BINARY, False): _Binary(forms.PLAIN_FORM),
    (Kind.BINARY, True): _Binary(forms.ACK_FORM),
}
