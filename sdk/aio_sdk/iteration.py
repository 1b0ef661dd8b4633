"""One iteration over messages, or over what is said; it knows what the application is busy with."""

import weakref
from collections.abc import Awaitable, Callable
from typing import Self

from aio_sdk.inbox import Inbox
from push_client.chat import ChatMessage
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


class Reading:
    """What several iterations have handed out and nobody has read yet.

    Args:
        tell: told what was read.
    """

    def __init__(self, tell: Callable[[ChatMessage], None]) -> None:
        self._tell = tell
        # One for each iteration that is still somebody's.
        self._handed: list[tuple[weakref.ref[ChatMessages], ChatMessage]] = []

    def handed(self, iteration: "ChatMessages", message: ChatMessage) -> None:
        """This iteration hands out this message."""
        self._handed.append((weakref.ref(iteration), message))

    def asked(self, iteration: "ChatMessages") -> None:
        """It wants the next one: it has read the last, and so has one that was left."""
        handed, self._handed = self._handed, []
        for whose, message in handed:
            if whose() in (iteration, None):
                self._tell(message)
            else:
                self._handed.append((whose, message))


class ChatMessages:
    """The iterator over what is said.

    Args:
        get: waits for the next message; None at the end.
        reading: knows what has been read.
    """

    def __init__(self, get: Callable[[], Awaitable[ChatMessage | None]], reading: Reading) -> None:
        self._get = get
        self._reading = reading

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> ChatMessage:
        """The next message."""
        self._reading.asked(self)
        message = await self._get()
        if message is None:
            raise StopAsyncIteration
        self._reading.handed(self, message)
        return message
