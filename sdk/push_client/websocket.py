"""Frames of the session in binary messages of WebSocket, from the client's side (RFC 6455). Pure.

Asks for the subprotocol `push.framed`, so that a message is frames, as on the bare line; for no extension, so that
nothing is compressed. What comes is given on as it comes: a long message is never held here.
"""

import base64
import hashlib
import struct
from collections.abc import Callable

from push.protocols.wire.frames import Frame, FrameDecoder, FrameError, encode
from push.protocols.wire.signals import CloseCode
from push_client.address import Address

SUBPROTOCOL = "push.framed"
# RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_MASK_BYTES = 4
_MAX_HEAD_BYTES = 16_384
# Section 5.2.
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_FIN = 0x80
_MASKED = 0x80
_MIDDLE_MARK, _LONG_MARK = 126, 127
_MAX_CONTROL_BYTES = 125
_NORMAL_CLOSURE = 1000


class WebSocketCarrier:
    """Frames over WebSocket.

    Args:
        address: where the line leads.
        max_body_bytes: the largest body of a frame to accept.
        random_bytes: for the key of the handshake and the masks.

    Attributes:
        output: bytes to be sent; whoever sends them clears it.
        error: why nothing more is read.
    """

    def __init__(self, address: Address, max_body_bytes: int, random_bytes: Callable[[int], bytes]) -> None:
        self.error: FrameError | None = None
        self._random_bytes = random_bytes
        self._decoder = FrameDecoder(max_body_bytes)
        self._key = base64.b64encode(random_bytes(_KEY_BYTES))
        self._is_open = False
        # What has come and is not understood yet: the answer's head, the header of a frame, or a control frame.
        self._data = bytearray()
        # How much of a message's frame is still to come.
        self._payload_left = 0
        self._is_in_message = False
        # What may be sent only when the server has agreed.
        self._held = bytearray()
        self._has_ended = False
        self.output = bytearray(_request(address, self._key))

    @property
    def buffered_bytes(self) -> int:
        """How many bytes are held of what has not come whole."""
        return len(self._data) + self._payload_left + self._decoder.buffered_bytes

    def send(self, frame: Frame) -> None:
        """Put a frame into the output, once the server has agreed to speak WebSocket."""
        data = encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)
        self._write(_BINARY, data)

    def end(self) -> None:
        """Say that nothing more will be sent."""
        if self._is_open and not self._has_ended:
            self._has_ended = True
            self._write(_CLOSE, struct.pack(">H", _NORMAL_CLOSURE))

    def feed(self, data: bytes) -> list[Frame]:
        """Take what has come; the frames that are whole with it."""
        frames: list[Frame] = []
        if self.error is None:
            self._data += data
            if self._is_open or self._agreed():
                self._read(frames)
        return frames

    # The handshake

    def _agreed(self) -> bool:
        """Whether the server's answer is here, and good; what could not be sent before is sent now."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > _MAX_HEAD_BYTES:
                self._fail("the answer to the request for WebSocket does not end")
            return False
        head = bytes(self._data[:end]).decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        why_not = self._why_not(head)
        if why_not:
            self._fail(why_not)
            return False
        self._is_open = True
        self.output += self._held
        self._held.clear()
        return True

    def _why_not(self, head: list[str]) -> str:
        """What is wrong with the answer; "" for nothing (section 4.1)."""
        words = head[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1."):
            return "the server does not speak HTTP"
        if words[1] != "101":
            shown = words[1] if words[1].isascii() and words[1].isdigit() and len(words[1]) == 3 else "nothing known"
            return f"the server does not speak WebSocket here: it answered {shown}"
        fields: dict[str, str] = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        expected = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest()).decode()
        if fields.get("upgrade", "").lower() != "websocket" or fields.get("sec-websocket-accept") != expected:
            return "the server's answer to the request for WebSocket is not one"
        if fields.get("sec-websocket-extensions"):
            return "the server wants an extension of WebSocket that was not asked for"
        if fields.get("sec-websocket-protocol") != SUBPROTOCOL:
            return f"the server does not speak {SUBPROTOCOL} over WebSocket"
        return ""

    # Frames of WebSocket

    def _read(self, frames: list[Frame]) -> None:
        data = self._data
        while self.error is None and data:
            if self._payload_left:
                part = bytes(data[: self._payload_left])
                del data[: len(part)]
                self._payload_left -= len(part)
                frames += self._decoder.feed(part)
                self.error = self._decoder.error
            elif not self._took_header():
                return

    def _took_header(self) -> bool:
        """Read a header, or a whole control frame; False where more has to come first."""
        data = self._data
        if len(data) < 2:
            return False
        opcode, size, start = data[0] & 0x0F, data[1] & 0x7F, 2
        if data[0] & 0x70 or data[1] & _MASKED:
            return self._fail("the server does not keep to WebSocket")
        if size >= _MIDDLE_MARK:
            start = 4 if size == _MIDDLE_MARK else 10
            if len(data) < start:
                return False
            size = int.from_bytes(data[2:start], "big")
        if opcode >= _CLOSE:
            return self._took_control(opcode, size)
        is_last = bool(data[0] & _FIN)
        if opcode not in (_CONTINUATION, _BINARY) or (opcode == _CONTINUATION) is not self._is_in_message:
            return self._fail("the server does not keep to WebSocket")
        self._is_in_message = not is_last
        self._payload_left = size
        del data[:start]
        return True

    def _took_control(self, opcode: int, size: int) -> bool:
        data = self._data
        if not data[0] & _FIN or size > _MAX_CONTROL_BYTES or opcode not in (_CLOSE, _PING, _PONG):
            return self._fail("the server does not keep to WebSocket")
        if len(data) < 2 + size:
            return False
        payload = bytes(data[2 : 2 + size])
        del data[: 2 + size]
        if opcode == _PING:
            self._write(_PONG, payload)
        elif opcode == _CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 0
            return self._fail(f"the server closed the connection with code {code}" if code else "the server closed")
        return True

    def _write(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < _MIDDLE_MARK:
            header = struct.pack(">BB", _FIN | opcode, _MASKED | size)
        elif size <= 0xFFFF:
            header = struct.pack(">BBH", _FIN | opcode, _MASKED | _MIDDLE_MARK, size)
        else:
            header = struct.pack(">BBQ", _FIN | opcode, _MASKED | _LONG_MARK, size)
        mask = self._random_bytes(_MASK_BYTES)
        to = self.output if self._is_open else self._held
        to += header + mask + _xored(payload, mask)

    def _fail(self, reason: str) -> bool:
        """Read nothing more. It is never the peer's to be told: its protocol may be another one."""
        self.error = FrameError(CloseCode.BAD_FRAME, reason, False)
        return False


def _request(address: Address, key: bytes) -> bytes:
    lines = (
        f"GET {address.path} HTTP/1.1",
        f"Host: {address.authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def _xored(payload: bytes, mask: bytes) -> bytes:
    """Masked (section 5.3) as whole numbers: byte by byte would take far longer."""
    size = len(payload)
    repeated = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
