"""Lives of messages for one token each that are in a chunk, in columns: numbers without objects of their own.

See receipt_memory.py. Must not import adapters, stores or web.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from push.services.lives import LoneLife

# For messages that are not kept.
_NEVER = 0


class Sent:
    """Messages that were sent to one token each, and of which nothing else was told; no more are added.

    Args:
        messages: message id → token. Tokens had better be the texts that others have as well.
    """

    __slots__ = ("_ids", "_tokens")

    def __init__(self, messages: Mapping[int, str]) -> None:
        ids = sorted(messages)
        self._ids = array("Q", ids)
        self._tokens = [messages[message_id] for message_id in ids]

    def __len__(self) -> int:
        return len(self._ids)

    def items(self) -> Iterable[tuple[int, str]]:
        """All, in the order of ids."""
        return zip(self._ids, self._tokens, strict=True)

    def get(self, message_id: int) -> str | None:
        """The token of a message, None where it is not here."""
        at = bisect_left(self._ids, message_id)
        return self._tokens[at] if at < len(self._ids) and self._ids[at] == message_id else None


class Ended:
    """Messages that are over; no more are added.

    Args:
        lives: message id → its life, all of which is known.
    """

    __slots__ = ("_at_ms", "_bits", "_expires_ms", "_ids", "_tokens")

    def __init__(self, lives: Mapping[int, LoneLife]) -> None:
        ids = sorted(lives)
        in_order = [lives[message_id] for message_id in ids]
        self._ids = array("Q", ids)
        self._tokens = [life.token for life in in_order]
        self._bits = array("H", [life.bits for life in in_order])
        self._at_ms = array("Q", [life.at_ms for life in in_order])
        self._expires_ms = array("Q", [life.expires_ms or _NEVER for life in in_order])

    def __len__(self) -> int:
        return len(self._ids)

    def items(self) -> Iterable[tuple[int, LoneLife]]:
        """All, in the order of ids."""
        return ((message_id, self._at(at)) for at, message_id in enumerate(self._ids))

    def get(self, message_id: int) -> LoneLife | None:
        """The life of a message, None where it is not here."""
        ids = self._ids
        at = bisect_left(ids, message_id)
        return self._at(at) if at < len(ids) and ids[at] == message_id else None

    def _at(self, at: int) -> LoneLife:
        return LoneLife(self._tokens[at], self._bits[at], self._at_ms[at], self._expires_ms[at] or None)
