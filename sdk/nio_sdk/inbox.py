"""Messages on their way from the loop's thread to those of the application.

Nothing of the application's is ever called under its lock.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from push_client.backlog import Backlog

M = TypeVar("M")
T = TypeVar("T")


class Inbox(Generic[M]):
    """One queue of one client.

    Args:
        backlog: the messages not yet taken.
    """

    def __init__(self, backlog: Backlog[M]) -> None:
        self._backlog = backlog
        self._changed = threading.Condition()
        self._has_ended = False
        # From full to half empty, as to change threads for each message would cost more than all else.
        self._is_refusing = False

    @property
    def is_full(self) -> bool:
        """Whether to wait for room before `put`; once it was full, until half of it is empty."""
        with self._changed:
            self._is_refusing = self._backlog.is_full or (self._is_refusing and not self._backlog.is_half_empty)
            return self._is_refusing

    def put(self, message: M) -> None:
        """Add a message behind the others."""
        with self._changed:
            self._backlog.put(message)
            self._changed.notify_all()

    def ended(self, error: Exception | None) -> None:
        """The client has given up for this reason, or was closed.

        Once closed, what is queued is dropped, and whoever waits or comes later gets None, or the error if there
        was one.
        """
        with self._changed:
            self._has_ended = True
            if error is not None:
                self._backlog.fail(error)
            else:
                self._backlog.close()
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> tuple[M | None, bool]:
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
            message = self._wait(self._backlog.take, timeout_s)
            return message, self._is_refusing and self._backlog.is_half_empty

    def _wait(self, ask: Callable[[], T | None], timeout_s: float | None) -> T | None:
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while (found := ask()) is None and not self._has_ended:
            left_s = None if end_s is None else end_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError("nothing came in time")
            self._changed.wait(left_s)
        return found
