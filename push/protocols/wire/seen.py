"""Which message ids were here before: the last few thousand of them. Pure.

A server sends again what was not acknowledged; "a client drops ids that it has seen" (docs/protocol.md,
section "PUSH"). Ids grow with time, but what is sent again is older than what is new, so the greatest id
alone would not do.
"""

from collections import deque

# A server leaves at most 256 ids unacknowledged on a connection (ack_window); this remembers sixteen such.
DEFAULT_LIMIT = 4_096


class SeenIds:
    """A set of ids that forgets the one added first when it is full.

    Args:
        limit: how many ids it remembers, at least 1.
    """

    __slots__ = ("_ids", "_order")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        if limit < 1:
            raise ValueError("limit must be at least 1")
        self._ids: set[int] = set()
        self._order: deque[int] = deque(maxlen=limit)

    def add(self, message_id: int) -> bool:
        """Remember an id.

        Returns:
            Whether it is new.
        """
        if message_id in self._ids:
            return False
        if len(self._order) == self._order.maxlen:
            self._ids.remove(self._order[0])
        self._order.append(message_id)
        self._ids.add(message_id)
        return True

    def newest(self, count: int) -> tuple[int, ...]:
        """At most so many ids, those added last, in the order in which they were added."""
        return tuple(self._order)[-count:]

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)
