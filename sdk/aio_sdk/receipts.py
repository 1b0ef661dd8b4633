"""Which messages came, which are handled, and which of those the server is still to be told of.

Delivery is at least once: a message is acknowledged when the application has handled it, and one that the
server sends again is dropped, and acknowledged again if it was handled (its PUB_ACK was lost with a
connection). Imports only the wire core and asyncio.
"""

import asyncio
from collections import deque

from push.protocols.wire.seen import DEFAULT_LIMIT, SeenIds


class Receipts:
    """The ids of one client, over all of its connections."""

    def __init__(self) -> None:
        self._received = SeenIds()
        self._handled = SeenIds()
        # Bounded: what falls out while there is no connection is sent again by the server, and acknowledged then.
        self._to_send: deque[int] = deque(maxlen=DEFAULT_LIMIT)
        self._wanted = asyncio.Event()

    def received(self, message_id: int) -> bool:
        """Note that a message came.

        Returns:
            Whether it is new; if not, drop it.
        """
        if self._received.add(message_id):
            return True
        if message_id in self._handled:
            self._want(message_id)
        return False

    def handled(self, message_id: int) -> None:
        """Note that the application is done with a message; a second time changes nothing."""
        if self._handled.add(message_id):
            self._want(message_id)

    def take(self) -> list[int]:
        """The ids to acknowledge now; they are the caller's to send."""
        ids = list(self._to_send)
        self._to_send.clear()
        self._wanted.clear()
        return ids

    async def wanted(self) -> None:
        """Wait until there are ids to acknowledge."""
        await self._wanted.wait()

    def _want(self, message_id: int) -> None:
        self._to_send.append(message_id)
        self._wanted.set()
