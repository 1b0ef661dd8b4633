"""How the cache in Redis is changed: CacheChanges as the lists that the script takes."""

import struct
from collections.abc import Iterable, Sequence

from push.model_cache import CacheChanges, StoredMessage
from push.stores.cache_rows import encode_message, encode_reply, encode_request

_NUMBER = struct.Struct(">q")

Values = list[bytes | int]


def number(value: int) -> bytes:
    """A number from 0 to 2^63 - 1, as bytes that sort as it does."""
    if not 0 <= value < 1 << 63:
        raise OverflowError("a number is too large for the store")
    return _NUMBER.pack(value)


def numbered(value: bytes) -> int:
    """It, back again."""
    return int(_NUMBER.unpack(value)[0])


def sought(text: str) -> bytes:
    """A text to be looked for: what cannot be stored is not found."""
    return text.encode("utf-8", "surrogatepass")


class Commit:
    """What one script does.

    Args:
        lists: order, heads, payloads, done, finished, positions, replies, expiry, due, undue, keys of answers to be
            forgotten.
    """

    def __init__(self, lists: Sequence[Values]) -> None:
        self._lists = lists

    @classmethod
    def of(cls, changes: CacheChanges) -> "Commit":
        """Take a copy of changes.

        Raises:
            ValueError: a text has lone surrogates, a message no payload; or two have the same position.
            OverflowError: a number is negative, or 2^63 or more.
        """
        positions = [number(message.position) for message in changes.messages]
        if len(set(positions)) < len(positions):
            raise ValueError("a position is taken")
        heads = [encode_message(message) for message in changes.messages]
        payloads = [_payload(message) for message in changes.messages]
        replies = {reply.once.key.encode(): reply for reply in changes.replies}
        return cls(
            [
                _pairs((0, position) for position in positions),
                _pairs(zip(positions, heads, strict=True)),
                _pairs(zip(positions, payloads, strict=True)),
                _pairs((0, number(position) + token.encode()) for position, token in changes.done),
                [number(position) for position in changes.finished],
                _pairs((token.encode(), number(position)) for token, position in changes.log_positions.items()),
                _pairs(
                    (key, number(reply.expires_ms) + encode_reply(reply.once.fingerprint, reply.result))
                    for key, reply in replies.items()
                ),
                _pairs((reply.expires_ms, key) for key, reply in replies.items()),
                _pairs(
                    (number(due.message_id), number(due.due_ms) + encode_request(due.request)) for due in changes.due
                ),
                [number(message_id) for message_id in changes.undue],
                [],
            ]
        )

    def undone(self) -> "Commit":
        """What deletes the messages, answers and scheduled requests that this stores. What it deletes stays deleted."""
        order, replies, due = self._lists[0], self._lists[6], self._lists[8]
        empty: Values = []
        return Commit([*[empty] * 4, order[1::2], *[empty] * 4, due[::2], replies[::2]])

    def arguments(self) -> Values:
        """Each list behind its length."""
        return [value for values in self._lists for value in (len(values), *values)]


def _pairs(pairs: Iterable[tuple[bytes | int, bytes]]) -> Values:
    return [value for pair in pairs for value in pair]


def _payload(message: StoredMessage) -> bytes:
    if message.payload is None:
        raise ValueError("a message without payload cannot be stored")
    return message.payload
