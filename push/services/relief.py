"""Keeps what waits for clients under a node's ceiling: those with the most of it are closed first.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable

from push.ipush import IConnection

# How much of the ceiling is freed at a time: looking at all connections takes a while.
_SHARE = 0.1
# Where closing frees too little, as transports still hold it, look again only after it has grown by this share.
_STEP = 0.01
_REASON = "the node's outboxes are full, and this client reads more slowly than messages come"


class Ceiling:
    """The bytes that wait for the clients of one node.

    Args:
        max_bytes: the ceiling.
        connections: gives those that may be closed.

    Attributes:
        waiting_bytes: how many there are.
    """

    def __init__(self, *, max_bytes: int, connections: Callable[[], Iterable[IConnection]]) -> None:
        self._max_bytes = max_bytes
        self._connections = connections
        self._look_at_bytes = max_bytes
        self._is_looking = False
        self.waiting_bytes = 0

    def grew(self, size_bytes: int) -> None:
        """Count bytes that wait, or (negative) no longer do. Where there are too many, close who has most of them."""
        self.waiting_bytes += size_bytes
        if size_bytes < 0:
            if self.waiting_bytes <= self._max_bytes:
                self._look_at_bytes = self._max_bytes
        elif self.waiting_bytes > self._look_at_bytes and not self._is_looking:
            self._is_looking = True
            try:
                self._shed()
            finally:
                self._is_looking = False
            self._look_at_bytes = max(self._max_bytes, self.waiting_bytes + int(self._max_bytes * _STEP))

    def _shed(self) -> None:
        backlogs = [(waiting, each) for each in self._connections() if (waiting := each.waiting_bytes())]
        backlogs.sort(key=lambda backlog: backlog[0], reverse=True)
        to_free = int(self._max_bytes * _SHARE)
        for waiting_bytes, connection in backlogs:
            if to_free <= 0:
                return
            connection.shed(_REASON)
            to_free -= waiting_bytes
