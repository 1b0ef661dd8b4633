"""Messages between nodes: one frame each, the tokens that it is for packed in front of its payload.

A frame of signal PUSH is for tokens; one of signal PUBLISH is for every session. Frames make one stream, which may be
cut anywhere on its way. What became of them goes back as reports (batch_reports.py). The body of a frame for tokens:
message id (8 bytes), number of tokens (2), flags (1); where the flags say so, its place (8) and the user that it is
meant for as length (2) and UTF-8; each token as its length (1) and ASCII, and behind it, if there is a place, what it
comes after (8); the payload. Of a frame for everybody: message id, flags, its place if they say so, payload. A place
whose highest bit is set is followed by what is before it in the log of broadcasts (8). A frame for no token says that
what has this place in the log has been brought to all whom it is for. Standard library only.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from push.protocols.wire import packed
from push.protocols.wire.frames import FrameDecoder
from push.protocols.wire.packed import MAX_TOKEN_BYTES
from push.protocols.wire.signals import MAGIC, VERSION, Signal

D = TypeVar("D")

# Bounds a report: 3 bytes for each token of a frame that was missed, and no more than so many tokens may have come in
# earlier pieces of the stream. A message for more tokens becomes several frames.
MAX_TOKENS = 4_096

KEPT = 1  # the cache has it
LOGGED = 2  # it is in the log of broadcasts
LENDS = 4  # the next frame has the same payload
BORROWS = 8  # this frame has the payload of the one before, and none of its own
PULLED = 16  # it has no payload: it is pulled from the cache, in its turn
PLACED = 32  # it says where it stands among all that is kept
OWNED = 64  # it is meant for one user
KEEPABLE = 128  # it is not kept, but can be
ON_BUS = 128  # for everybody, and its payload comes over the broadcast bus

# The largest payload that any node can be configured to take: what is larger is no message.
MAX_PAYLOAD_BYTES = 16_777_216

# What a frame for one token may say that is read in one step.
_SIMPLE = KEPT | LOGGED | KEEPABLE
_LONG = f"a token is over {MAX_TOKEN_BYTES} bytes"
_MAX_TOKENS_BYTES = MAX_TOKENS * packed.MAX_BYTES
_HEAD = struct.Struct(">QHB")
_ALL_HEAD = struct.Struct(">QB")
# A frame's header, head and the length of its first token in one: nearly all messages are for one token.
_LONE = struct.Struct(">BBBIBHQHBB")
_LONE_BYTES = _HEAD.size + 1  # of it, those that are of the body
_PUSH = int(Signal.PUSH)  # to look up and pack a member of an enumeration would be felt
_TO_TOKENS = struct.Struct(">BBBIBHQHB")
_TO_ALL = struct.Struct(">BBBIBHQB")


class ToTokens(NamedTuple):
    """A message for some tokens."""

    message_id: int
    payload: bytes | None
    tokens: tuple[str, ...]
    is_kept: bool
    is_logged: bool
    place: tuple[int, tuple[int, ...], int] | None = None
    owner: str | None = None
    is_keepable: bool = False


class ToEverybody(NamedTuple):
    """A message for every session. `payload` None: it is pulled, or comes over the bus."""

    message_id: int
    payload: bytes | None
    is_kept: bool
    is_logged: bool
    is_on_bus: bool = False
    place: tuple[int, int] | None = None


class TooLarge(Generic[D]):
    """A message whose payload is over the reader's limit.

    Attributes:
        message: what it would have been.
    """

    __slots__ = ("message",)

    def __init__(self, message: D | ToEverybody) -> None:
        self.message = message


def write_lone(message_id: int, token: str, payload: bytes, flags: int = 0) -> bytes:
    """A message for one token, as one frame.

    Raises:
        ValueError: the token is not ASCII, or too long.
    """
    name = token.encode("ascii")
    length = len(name)
    if length > MAX_TOKEN_BYTES:
        raise ValueError(_LONG)
    size = _LONE_BYTES + length + len(payload)
    return _LONE.pack(MAGIC, VERSION, _PUSH, size, 0, 0, message_id, 1, flags, length) + name + payload


def write_many(
    message_id: int,
    tokens: Sequence[str],
    payload: bytes,
    flags: int = 0,
    *,
    place: tuple[int, Sequence[int], int] | None = None,
    owner: str | None = None,
) -> list[bytes]:
    """A message for tokens, as one frame for every MAX_TOKENS of them; the payload travels once.

    Args:
        message_id: its id.
        tokens: for whom.
        payload: what clients get.
        flags: of KEPT, LOGGED, PULLED and KEEPABLE.
        place: its position, for each token what it comes after, and what it comes after in the log, or -1.
        owner: the user that it is meant for.

    Raises:
        ValueError: a token is not ASCII, or too long; or there is not one number for each.
    """
    flags |= (0 if place is None else PLACED) | (0 if owner is None else OWNED)
    front = packed.front(None, owner) if place is None else packed.front(place[0], owner, place[2])
    if max(map(len, tokens), default=0) > MAX_TOKEN_BYTES:
        raise ValueError(_LONG)
    frames = []
    for start in range(0, len(tokens), MAX_TOKENS):
        some = tokens[start : start + MAX_TOKENS]
        before = None if place is None else place[1][start : start + MAX_TOKENS]
        names = front + packed.tokens(some, before)
        mine = flags | (BORROWS if start else 0) | (LENDS if start + MAX_TOKENS < len(tokens) else 0)
        carried = b"" if start else payload
        size = _HEAD.size + len(names) + len(carried)
        head = _TO_TOKENS.pack(MAGIC, VERSION, Signal.PUSH, size, 0, 0, message_id, len(some), mine)
        frames.append(head + names + carried)
    return frames


def write_to_everybody(
    message_id: int, payload: bytes, flags: int = 0, *, place: tuple[int, int] | None = None
) -> bytes:
    """A message for every session, as one frame.

    Raises:
        ValueError: the place cannot be written.
    """
    front = b"" if place is None else packed.place(*place)
    flags |= 0 if place is None else PLACED
    size = _ALL_HEAD.size + len(front) + len(payload)
    return _TO_ALL.pack(MAGIC, VERSION, Signal.PUBLISH, size, 0, 0, message_id, flags) + front + payload


def write_passed_by(message_id: int, place: tuple[int, int]) -> bytes:
    """What is logged has been brought to all whom it is for.

    Raises:
        ValueError: the place cannot be written.
    """
    front = packed.place(*place)
    flags = KEPT | LOGGED | PLACED | PULLED
    return _TO_TOKENS.pack(MAGIC, VERSION, Signal.PUSH, _HEAD.size + len(front), 0, 0, message_id, 0, flags) + front


class BatchReader(Generic[D]):
    """Reads the stream of frames, in pieces that are cut anywhere.

    Args:
        max_payload_bytes: what is larger, up to MAX_PAYLOAD_BYTES, is marked as that.
        delivery: builds what is returned for a message to tokens, of the fields of ToTokens.
        place: builds what is given it as the place.

    Attributes:
        error: None while alive, else why this reader is dead; never a byte of what it read.
    """

    def __init__(
        self,
        max_payload_bytes: int,
        delivery: Callable[..., D],
        place: Callable[[int, tuple[int, ...], int], object] = lambda *fields: fields,
    ) -> None:
        self._decoder = FrameDecoder(_HEAD.size + packed.MAX_FRONT_BYTES + _MAX_TOKENS_BYTES + MAX_PAYLOAD_BYTES)
        self._max_payload_bytes = max_payload_bytes
        self._delivery = delivery
        self._place = place
        self._lent: bytes | None = None
        self._is_over = False
        self.error: str | None = None

    def feed(self, data: bytes) -> list[D | ToEverybody | TooLarge[D]]:
        """Take a piece; look at `error` after handling what is returned.

        Returns:
            The messages completed by it, in order.
        """
        messages: list[D | ToEverybody | TooLarge[D]] = []
        if self.error is not None:
            return messages
        used = 0 if self._decoder.buffered_bytes else self._feed_lone(data, messages)
        for frame in self._decoder.feed(data[used:] if used else data):
            try:
                message = self._message(frame.signal, frame.body)
            except ValueError as error:
                self.error = str(error)
                return messages
            messages.append(TooLarge(message) if self._is_over else message)
        if self._decoder.error is not None:
            self.error = self._decoder.error.reason
        return messages

    def _feed_lone(self, data: bytes, messages: list[D | ToEverybody | TooLarge[D]]) -> int:
        """Take the frames for one token that `data` begins with, as far as they are whole, in one step each.

        Returns:
            How many bytes they were; what follows, right or wrong, is for the slower way.
        """
        position = 0
        last = len(data) - _LONE.size
        most = _LONE_BYTES + MAX_TOKEN_BYTES + self._max_payload_bytes
        unpack = _LONE.unpack_from
        delivery = self._delivery
        while position <= last:
            magic, version, signal, size, _, _, message_id, count, flags, length = unpack(data, position)
            start = position + _LONE.size
            end = start - _LONE_BYTES + size
            if (
                magic != MAGIC
                or version != VERSION
                or signal != Signal.PUSH
                or count != 1
                or flags & ~_SIMPLE
                or not _LONE_BYTES + length <= size <= most
                or not 0 < length <= MAX_TOKEN_BYTES
                or end > len(data)
                or end - start - length > self._max_payload_bytes
            ):
                break
            payload = start + length
            token = data[start:payload]
            if not token.isascii():
                break
            tokens = (token.decode(),)
            kept, logged = bool(flags & KEPT), bool(flags & LOGGED)
            if flags & KEEPABLE:
                messages.append(delivery(message_id, data[payload:end], tokens, kept, logged, None, None, True))
            else:
                messages.append(delivery(message_id, data[payload:end], tokens, kept, logged))
            self._lent = None
            position = end
        return position

    def _message(self, signal: int, body: bytes) -> D | ToEverybody:
        if signal == Signal.PUBLISH:
            if len(body) < _ALL_HEAD.size:
                raise ValueError("a frame for everybody is too short")
            message_id, flags = _ALL_HEAD.unpack_from(body)
            at, _, position = packed.read_front(body, _ALL_HEAD.size, is_placed=bool(flags & PLACED), is_owned=False)
            payload = self._payload(body, position, flags)
            given = None if flags & (PULLED | ON_BUS) else payload
            return ToEverybody(message_id, given, bool(flags & KEPT), bool(flags & LOGGED), bool(flags & ON_BUS), at)
        if signal != Signal.PUSH:
            raise ValueError(f"a frame between nodes has signal {signal}")
        if len(body) < _HEAD.size:
            raise ValueError("a frame for tokens is too short")
        message_id, count, flags = _HEAD.unpack_from(body)
        is_placed = bool(flags & PLACED)
        least = 0 if is_placed and flags & LOGGED else 1
        if not least <= count <= MAX_TOKENS:
            raise ValueError(f"a frame is for {count} tokens, not {least} to {MAX_TOKENS}")
        placed, owner, position = packed.read_front(body, _HEAD.size, is_placed=is_placed, is_owned=bool(flags & OWNED))
        tokens, before, position = packed.read_tokens(body, position, count, is_placed=is_placed)
        carried = self._payload(body, position, flags)
        given = None if flags & PULLED else carried
        kept, logged = bool(flags & KEPT), bool(flags & LOGGED)
        is_keepable = bool(flags & KEEPABLE)
        if placed is None and owner is None and not is_keepable:
            return self._delivery(message_id, given, tokens, kept, logged)
        place = None if placed is None else self._place(placed[0], before, placed[1])
        return self._delivery(message_id, given, tokens, kept, logged, place, owner, is_keepable)

    def _payload(self, body: bytes, start: int, flags: int) -> bytes:
        if flags & BORROWS:
            if self._lent is None or start != len(body):
                raise ValueError("a frame borrows a payload that is not lent, or has one besides")
            payload = self._lent
        else:
            payload = body[start:]
            if len(payload) > MAX_PAYLOAD_BYTES:
                raise ValueError(f"a payload of {len(payload)} bytes is over the limit of {MAX_PAYLOAD_BYTES}")
        self._is_over = len(payload) > self._max_payload_bytes
        self._lent = payload if flags & LENDS else None
        return payload
