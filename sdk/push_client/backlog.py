"""Messages between the connection and the application: a queue with two limits, messages and bytes. Pure.

Policy when full: nothing is dropped; the connection is not read until the application has taken some, so that TCP
slows the server down, which in turn closes a client that stays slow (3003).
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from push_client.message import Message

M = TypeVar("M")


def data_bytes(message: Message) -> int:
    """What a pushed message counts for."""
    return len(message.data)


class Backlog(Generic[M]):
    """The queue of one client, over all of its connections.

    Args:
        max_messages: full at so many.
        max_bytes: full at so many bytes.
        size_bytes: what a message counts for.
    """

    def __init__(self, max_messages: int, max_bytes: int, size_bytes: Callable[[M], int]) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._size_of = size_bytes
        self._messages: deque[M] = deque()
        self._size_bytes = 0
        self._error: Exception | None = None
        self.ended = False

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before `put`."""
        return len(self._messages) >= self._max_messages or self._size_bytes >= self._max_bytes

    @property
    def is_half_empty(self) -> bool:
        """Whether it is worth reading on after it was full: a driver that pays for each pause waits for this."""
        return 2 * len(self._messages) <= self._max_messages and 2 * self._size_bytes <= self._max_bytes

    def put(self, message: M) -> None:
        """Add a message behind the others."""
        self._messages.append(message)
        self._size_bytes += self._size_of(message)

    def take(self) -> M | None:
        """The next message; None if there is none, now or, once `ended`, for good.

        Raises:
            Exception: what `fail` was given, once all messages before it are gone.
        """
        if self._messages:
            message = self._messages.popleft()
            self._size_bytes -= self._size_of(message)
            return message
        if self._error is not None:
            raise self._error
        return None

    def fail(self, error: Exception) -> None:
        """Let the application have what is queued, and then this error."""
        if not self.ended:
            self._error = error
            self.ended = True

    def close(self) -> None:
        """Drop what is queued: from now on None, or the error if there was one."""
        self.ended = True
        self._messages.clear()
        self._size_bytes = 0
