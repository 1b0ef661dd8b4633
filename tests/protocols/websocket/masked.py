"""What clients of WebSocket send, written down by hand from RFC 6455, section 5.2."""

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = bytes.fromhex("37fa213d")


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes = MASK) -> bytes:
    """One frame of a client."""
    return header(opcode, len(payload), fin=fin, rsv=rsv) + mask + xored(payload, mask)


def header(opcode: int, size: int, *, fin: bool = True, rsv: int = 0) -> bytes:
    """The header of a frame of a client, without the mask's key."""
    first = fin << 7 | rsv << 4 | opcode
    if size < 126:
        return struct.pack(">BB", first, 0x80 | size)
    if size < 1 << 16:
        return struct.pack(">BBH", first, 0x80 | 126, size)
    return struct.pack(">BBQ", first, 0x80 | 127, size)


def xored(payload: bytes, mask: bytes = MASK) -> bytes:
    """Masked, or unmasked."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A Close frame of a client."""
    return masked(CLOSE, b"" if code is None else struct.pack(">H", code) + reason)
