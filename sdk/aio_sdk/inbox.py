"""Messages between the connection and the application: a queue with two limits, messages and bytes.

When it is full its connection stops reading, so that TCP slows the server down. Imports only asyncio.
"""

import asyncio
from collections import deque

from aio_sdk.message import Message


class Inbox:
    """The queue of one client, over all of its connections.

    Args:
        max_messages: full at so many.
        max_bytes: full at so many bytes of data.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: deque[Message] = deque()
        self._size_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._is_awaited = False
        self._ended = False
        self._error: Exception | None = None

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before `put`."""
        return len(self._messages) >= self._max_messages or self._size_bytes >= self._max_bytes

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def put(self, message: Message) -> None:
        """Add a message behind the others."""
        self._messages.append(message)
        self._size_bytes += len(message.data)
        self._arrived.set()

    async def get(self) -> Message | None:
        """Wait for the next message; a cancelled wait loses none.

        Returns:
            The message; None after `close`.

        Raises:
            Exception: what `fail` was given, once all messages before it are gone.
            RuntimeError: somebody else is waiting already.
        """
        if self._is_awaited:
            raise RuntimeError("somebody else is waiting for the next message: iterate in one task at a time")
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._arrived.clear()
            self._is_awaited = True
            try:
                await self._arrived.wait()
            finally:
                self._is_awaited = False
        message = self._messages.popleft()
        self._size_bytes -= len(message.data)
        self._room.set()
        return message

    def fail(self, error: Exception) -> None:
        """Let those who wait have what is queued, and then this error."""
        if not self._ended:
            self._error = error
            self._ended = True
            self._arrived.set()

    def close(self) -> None:
        """Drop what is queued; whoever waits or comes later gets None, or the error if there was one."""
        self._ended = True
        self._messages.clear()
        self._size_bytes = 0
        self._arrived.set()
        self._room.set()
