"""Waiting for messages, and for room for them: the backlog with asyncio's events around it."""

import asyncio

from push_client.backlog import Backlog
from push_client.message import Message


class Inbox:
    """The queue of one client, over all of its connections.

    Args:
        backlog: the queue itself.
    """

    def __init__(self, backlog: Backlog[Message]) -> None:
        self._backlog = backlog
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._is_awaited = False

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before `put`."""
        return self._backlog.is_full

    async def room(self) -> None:
        """Wait until it is not full."""
        while self._backlog.is_full:
            self._room.clear()
            await self._room.wait()

    def put(self, message: Message) -> None:
        """Add a message behind the others."""
        self._backlog.put(message)
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
        while (message := self._backlog.take()) is None and not self._backlog.ended:
            self._arrived.clear()
            self._is_awaited = True
            try:
                await self._arrived.wait()
            finally:
                self._is_awaited = False
        self._room.set()
        return message

    def fail(self, error: Exception) -> None:
        """Let those who wait have what is queued, and then this error."""
        self._backlog.fail(error)
        self._arrived.set()

    def close(self) -> None:
        """Drop what is queued; whoever waits or comes later gets None, or the error if there was one."""
        self._backlog.close()
        self._arrived.set()
        self._room.set()
