"""Which messages came, which are handled, and which of those the server is still to be told of. Pure.

Delivery is at least once: a message is acknowledged when the application has handled it, and one that the
server sends again is dropped, and acknowledged again if it was handled (its PUB_ACK was lost with a
connection, or with the run before: handled ids are kept beside the token).
"""

from collections import deque
from collections.abc import Iterable

from push.protocols.wire.seen import DEFAULT_LIMIT, SeenIds

# Kept between runs. A server leaves at most 256 ids unacknowledged on a connection (ack_window); these are four such.
MAX_KEPT_IDS = 1_024


class Receipts:
    """The ids of one client, over all of its connections."""

    def __init__(self) -> None:
        self._received = SeenIds()
        self._handled = SeenIds()
        # Bounded: what falls out while there is no connection is sent again by the server, and acknowledged then.
        self._to_send: deque[int] = deque(maxlen=DEFAULT_LIMIT)

    @property
    def wanting(self) -> bool:
        """Whether there are ids to acknowledge."""
        return bool(self._to_send)

    def received(self, message_id: int) -> bool:
        """Note that a message came.

        Returns:
            Whether it is new; if not, drop it.
        """
        if self._received.add(message_id):
            return True
        if message_id in self._handled:
            self._to_send.append(message_id)
        return False

    def handled(self, message_id: int) -> bool:
        """Note that the application is done with a message.

        Returns:
            Whether that is news.
        """
        if not self._handled.add(message_id):
            return False
        self._to_send.append(message_id)
        return True

    def take(self) -> list[int]:
        """The ids to acknowledge now; they are the caller's to send."""
        ids = list(self._to_send)
        self._to_send.clear()
        return ids

    def kept(self) -> tuple[int, ...]:
        """The ids last handled, for the next run."""
        return self._handled.newest(MAX_KEPT_IDS)

    def restore(self, handled: Iterable[int]) -> None:
        """These were handled in an earlier run."""
        for message_id in handled:
            self._received.add(message_id)
            self._handled.add(message_id)
