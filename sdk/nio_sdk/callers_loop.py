"""What stands in for a thread where the loop is the caller's: a selector whose own descriptor that loop watches.

epoll and kqueue can be watched themselves, by one another and by select, poll, Qt, GLib or Tk. So the descriptor
stays the same while sockets come and go within; watching those themselves, a loop would have to learn of every new
one, and of those whose number is that of an old one.
"""

import selectors
import threading

from nio_sdk.life import Life
from nio_sdk.waker import Waker
from nio_sdk.watch import Watch


class CallersLoop:
    """The place of one client in a loop of its caller's."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker.fileno(), selectors.EVENT_READ)
        self._thread_id: int | None = None

    @property
    def is_current(self) -> bool:
        """Whether this is called in the thread of the loop, as far as is known."""
        return self._thread_id in (None, threading.get_ident())

    def fileno(self) -> int:
        """What the loop is to watch.

        Raises:
            RuntimeError: this system has neither epoll nor kqueue.
        """
        number = getattr(self._selector, "fileno", None)
        if number is None:
            raise RuntimeError("this system has neither epoll nor kqueue: use start()")
        return int(number())

    def watch(self) -> Watch:
        """A place in the selector."""
        return Watch(self._selector, None)

    def wake(self) -> None:
        """Make the loop call; called in any thread."""
        self._waker.wake()

    def turn(self, life: Life) -> None:
        """Let the client do what it can."""
        self._thread_id = threading.get_ident()
        self._waker.drain()
        try:
            life.turn()
        except Exception as error:  # said to those who wait for messages too
            life.fail(error)
            raise

    def close(self) -> None:
        """Let go of the descriptors."""
        self._selector.close()
        self._waker.close()
