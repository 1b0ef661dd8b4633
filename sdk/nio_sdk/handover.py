"""Where the loop's thread and the application's threads meet: messages one way, and what is known of the session.

The only lock of a client is in here, and nothing of the application's is ever called under it.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from push_client.backlog import Backlog
from push_client.message import Message

T = TypeVar("T")
_CLOSED = "the client was closed"


class Handover:
    """What one client's threads share.

    Args:
        backlog: the messages not yet taken.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._changed = threading.Condition()
        self._token: str | None = None
        self._error: Exception | None = None
        self._has_ended = False
        # From full to half empty, as to change threads for each message would cost more than all else.
        self._is_refusing = False

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before `put`; once it was full, until half of it is empty."""
        with self._changed:
            self._is_refusing = self._backlog.is_full or (self._is_refusing and not self._backlog.is_half_empty)
            return self._is_refusing

    @property
    def has_ended(self) -> bool:
        """Whether the client has given up or was closed."""
        return self._has_ended

    def put(self, message: Message) -> None:
        """Add a message behind the others."""
        with self._changed:
            self._backlog.put(message)
            self._changed.notify_all()

    def opened(self, token: str | None) -> None:
        """A session is open with this token, or with None no longer."""
        with self._changed:
            self._token = token
            self._changed.notify_all()

    def ended(self, error: Exception | None) -> None:
        """The client has given up for this reason, or was closed.

        Once closed, what is queued is dropped, and whoever waits or comes later gets None, or the error if there
        was one.
        """
        with self._changed:
            self._has_ended = True
            self._token = None
            if error is not None:
                self._error = error
                self._backlog.fail(error)
            else:
                self._backlog.close()
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> tuple[Message | None, bool]:
        """The next message.

        Args:
            timeout_s: how long to wait for it; None: as long as it takes.

        Returns:
            The message, and whether taking it has made room. None once the client is closed.

        Raises:
            TimeoutError: there was none in time.
            Exception: why the client has given up, once all messages are taken.
        """
        with self._changed:
            message = self._wait(self._next, timeout_s)
            return message, self._is_refusing and self._backlog.is_half_empty

    def wait_open(self, timeout_s: float | None) -> str:
        """Wait until a session is open.

        Raises:
            TimeoutError: there was none in time.
            RuntimeError: the client was closed.
            Exception: why the client has given up.
        """
        with self._changed:
            token = self._wait(lambda: self._token, timeout_s)
        if token is None:
            raise self._error or RuntimeError(_CLOSED)
        return token

    def wait_ended(self, timeout_s: float) -> None:
        """Wait until the client has ended, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended, timeout_s)

    def _next(self) -> Message | None:
        return self._backlog.take()

    def _wait(self, ask: Callable[[], T | None], timeout_s: float | None) -> T | None:
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while (found := ask()) is None and not self._has_ended:
            left_s = None if end_s is None else end_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError("nothing came in time")
            self._changed.wait(left_s)
        return found
