"""Threads for tests of what has threads: none at all, by hand, and real ones without a reactor."""

import queue
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import cooperate
from twisted.python.failure import Failure

from push.stores.sqlite.lanes import one_thread

T = TypeVar("T")

TIMEOUT_S = 60.0


class ImmediateThreads:
    """Calls at once, in the caller's thread."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to end."""

    def callInThread(self, func: Callable[..., object], *args: Any) -> None:
        """Call."""
        func(*args)


class HeldThreads(ImmediateThreads):
    """Keeps calls until a test lets them go: what is held is what would be in flight."""

    def __init__(self) -> None:
        self.held: deque[Callable[[], object]] = deque()

    def callInThread(self, func: Callable[..., object], *args: Any) -> None:
        """Keep."""
        self.held.append(lambda: func(*args))

    def step(self) -> None:
        """Do the oldest call."""
        self.held.popleft()()

    def drain(self) -> None:
        """Do all, and those that come of them."""
        while self.held:
            self.step()


class LaterThreads(ImmediateThreads):
    """Calls in a later turn of the reactor under trial, so that what is submitted in one turn is done together."""

    def callInThread(self, func: Callable[..., object], *args: Any) -> None:
        """Call, but not yet."""
        cooperate(iter(lambda: func(*args), None))


def call_now(func: Callable[..., object], *args: Any) -> None:
    """The way back from threads that are none."""
    func(*args)


class Loop:
    """The little of a reactor that comes back from threads."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def call_from_thread(self, func: Callable[..., object], *args: Any) -> None:
        """As the reactor's."""
        self._calls.put(lambda: func(*args))

    def run(self) -> None:
        """Make the calls that have come back by now."""
        while not self._calls.empty():
            self._calls.get()()

    def wait(self, deferred: Deferred[T]) -> T:
        """Run until it fires.

        Raises:
            queue.Empty: nothing came back for a minute.
        """
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            self._calls.get(timeout=TIMEOUT_S)()
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result


# As in production.
real_threads = one_thread
