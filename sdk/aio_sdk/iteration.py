"""One iteration over messages; it knows the message that the application is busy with."""

from typing import Self

from aio_sdk.inbox import Inbox
from push_client.message import Message


class Messages:
    """The iterator.

    Args:
        inbox: where messages come from.
        auto_ack: whether asking for the next message acknowledges the one before.
    """

    def __init__(self, inbox: Inbox, auto_ack: bool) -> None:
        self._inbox = inbox
        self._auto_ack = auto_ack
        self._current: Message | None = None

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Message:
        """The next message."""
        if self._current is not None and self._auto_ack:
            self._current.ack()
        self._current = None
        message = await self._inbox.get()
        if message is None:
            raise StopAsyncIteration
        self._current = message
        return message
