"""Messages of the chat on their way from the loop's thread to those of the application.

Nothing of the application's is called under its lock.
"""

import threading
import time
from collections import deque

from push_client.chat import ChatMessage


class ChatInbox:
    """The queue of one client.

    Args:
        max_messages: full at so many; what is more waits, or is asked for later.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._messages: deque[ChatMessage] = deque()
        self._changed = threading.Condition()
        self._has_ended = False
        self._error: Exception | None = None
        self._is_refusing = False

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before `put`; once it was full, until half of it is empty."""
        with self._changed:
            size = len(self._messages)
            self._is_refusing = size >= self._max_messages or (self._is_refusing and 2 * size > self._max_messages)
            return self._is_refusing

    def put(self, message: ChatMessage) -> None:
        """Add a message behind the others."""
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def take(self, timeout_s: float | None) -> tuple[ChatMessage | None, bool]:
        """The next message.

        Args:
            timeout_s: how long to wait for it; None: as long as it takes.

        Returns:
            The message, and whether taking it has made room. None once the client is closed.

        Raises:
            TimeoutError: there was none in time.
            Exception: why the client has given up, once all messages are taken.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._messages:
                if self._has_ended:
                    if self._error is not None:
                        raise self._error
                    return None, False
                left_s = None if end_s is None else end_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    raise TimeoutError("nothing came in time")
                self._changed.wait(left_s)
            message = self._messages.popleft()
            return message, self._is_refusing and 2 * len(self._messages) <= self._max_messages

    def ended(self, error: Exception | None) -> None:
        """The client has given up for this reason, or was closed: then what is queued is dropped."""
        with self._changed:
            self._has_ended = True
            self._error = error
            if error is None:
                self._messages.clear()
            self._changed.notify_all()
