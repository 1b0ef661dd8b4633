"""What stands in front of a payload between nodes: its place and owner, and tokens. Standard library only."""

import struct
from collections.abc import Sequence

from push.protocols.wire.messages import MAX_UID_CHARS

MAX_TOKEN_BYTES = 128

_NUMBER = struct.Struct(">Q")
_LENGTH = struct.Struct(">H")
_MAX_NUMBER = (1 << 63) - 1
# Added to a place that is followed by one in the log.
_WITH_LOGGED = 1 << 63
# In UTF-8.
_MAX_OWNER_BYTES = 4 * MAX_UID_CHARS

# Of a place and an owner; of one token and what comes before.
MAX_FRONT_BYTES = 2 * _NUMBER.size + _LENGTH.size + _MAX_OWNER_BYTES
MAX_BYTES = 1 + MAX_TOKEN_BYTES + _NUMBER.size


def front(position: int | None, owner: str | None, logged: int = -1) -> bytes:
    """A place, if there is one, with what is before it in the log, if that is said; and an owner, if there is one.

    Raises:
        ValueError: they cannot be written.
    """
    written = b"" if position is None else place(position, logged)
    if owner is None:
        return written
    name = owner.encode()
    if len(name) > _MAX_OWNER_BYTES:
        raise ValueError("an owner is too long")
    return written + _LENGTH.pack(len(name)) + name


def place(position: int, logged: int) -> bytes:
    """A place, and what is before it in the log; -1 where that is not said.

    Raises:
        ValueError: it cannot be written.
    """
    if position > _MAX_NUMBER:
        raise ValueError("a place is too large")
    return _packed(position) if logged < 0 else _packed(position | _WITH_LOGGED) + _packed(logged)


def read_place(body: bytes, position: int) -> tuple[int, int, int]:
    """Read what `place` wrote. Returns the two, and where they end.

    Raises:
        ValueError: it is cut off.
    """
    at, position = _any_number(body, position), position + _NUMBER.size
    if at <= _MAX_NUMBER:
        return at, -1, position
    return at - _WITH_LOGGED, _number(body, position), position + _NUMBER.size


def tokens(names: Sequence[str], before: Sequence[int] | None) -> bytes:
    """Tokens that are not too long, each with what the message comes after, if that is said.

    Raises:
        ValueError: one is not ASCII, or there is not one number for each.
    """
    if before is None:
        return b"".join([bytes((len(name),)) + name.encode("ascii") for name in names])
    return b"".join(
        [bytes((len(name),)) + name.encode("ascii") + _packed(each) for name, each in zip(names, before, strict=True)]
    )


def read_front(
    body: bytes, position: int, *, is_placed: bool, is_owned: bool
) -> tuple[tuple[int, int] | None, str | None, int]:
    """Read what `front` wrote. Returns the place with what is before it in the log, the owner, and where they end.

    Raises:
        ValueError: it is cut off, too long or no text.
    """
    at = owner = None
    if is_placed:
        number, logged, position = read_place(body, position)
        at = (number, logged)
    if is_owned:
        begin = position + _LENGTH.size
        if begin > len(body):
            raise ValueError("a frame is cut off")
        end = begin + _LENGTH.unpack_from(body, position)[0]
        if end > min(len(body), begin + _MAX_OWNER_BYTES):
            raise ValueError("an owner is too long or cut off")
        try:
            owner = body[begin:end].decode()
        except UnicodeDecodeError:
            raise ValueError("an owner is not UTF-8") from None
        position = end
    return at, owner, position


def read_tokens(
    body: bytes, position: int, count: int, *, is_placed: bool
) -> tuple[tuple[str, ...], tuple[int, ...], int]:
    """Read what `tokens` wrote. Returns the tokens, what the message comes after for each of them, and where they end.

    Raises:
        ValueError: a token is empty, too long, cut off or not ASCII; or a number is cut off or too large.
    """
    names, before = [], []
    for _ in range(count):
        end = position + 1 + (body[position] if position < len(body) else MAX_TOKEN_BYTES + 1)
        if not position + 2 <= end <= min(len(body), position + 1 + MAX_TOKEN_BYTES):
            raise ValueError("a token is empty, too long or cut off")
        names.append(_ascii(body[position + 1 : end]))
        position = end
        if is_placed:
            before.append(_number(body, position))
            position += _NUMBER.size
    return tuple(names), tuple(before), position


def _packed(number: int) -> bytes:
    try:
        return _NUMBER.pack(number)
    except struct.error:
        raise ValueError("a place is too large") from None


def _number(body: bytes, position: int) -> int:
    number = _any_number(body, position)
    if number > _MAX_NUMBER:
        raise ValueError("a place is too large")
    return number


def _any_number(body: bytes, position: int) -> int:
    if position + _NUMBER.size > len(body):
        raise ValueError("a frame is cut off")
    number: int = _NUMBER.unpack_from(body, position)[0]
    return number


def _ascii(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("a token is not ASCII") from None
