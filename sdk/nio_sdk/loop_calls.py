"""The part of a client that a loop of its caller's calls. Which client, and how it began, its subclass knows."""

import abc
import math

from nio_sdk.callers_loop import CallersLoop
from nio_sdk.life import Life


class LoopCalls(abc.ABC):
    """What the loop watches and calls."""

    def fileno(self) -> int:
        """What the loop is to watch: the same for the client's whole life, until `close`.

        It becomes readable whenever there is something to do, a line that can be written to included.

        Raises:
            TokenFileError: the token cannot be read, or something else is there.
            RuntimeError: the client has a thread or was closed, or this system has neither epoll nor kqueue, so that
                it needs one.
        """
        return self._in_loop()[0].fileno()

    def want_write(self) -> bool:
        """Whether bytes wait for the line to take them. A loop that watches for reading alone misses nothing."""
        return self._in_loop()[1].wants_write

    def next_timer_s(self) -> float | None:
        """In how many seconds to call `on_timer` if nothing happens before; None: never. Ask after each call."""
        life = self._in_loop()[1]
        return None if life.due_s == math.inf else max(0.0, life.due_s - life.now_s)

    def on_readable(self) -> None:
        """Do what there is to do; calls `on_message` and `on_status`. Waits for nothing.

        Raises:
            TokenFileError, RuntimeError: as `fileno` does.
        """
        loop, life = self._in_loop()
        loop.turn(life)

    def on_writable(self) -> None:
        """The same."""
        self.on_readable()

    def on_timer(self) -> None:
        """The same."""
        self.on_readable()

    @abc.abstractmethod
    def _in_loop(self) -> tuple[CallersLoop, Life]:
        """The loop and the life, which begins here if it has not."""
