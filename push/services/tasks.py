"""The one way to start work that nobody waits for: failures are logged, shutdown waits for it.

Must not import adapters, stores or web.
"""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure


class Tasks:
    """The unattended work of one service."""

    _log = Logger()

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()

    def spawn(self, what: str, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Start it now.

        Args:
            what: a phrase for the log, should it fail.
            work: the coroutine; what it raises is logged.
        """
        running = Deferred.fromCoroutine(work)
        self._running.add(running)

        def finished(result: object) -> None:
            self._running.discard(running)
            if isinstance(result, Failure):
                self._log.failure("{what} failed", failure=result, what=what)

        running.addBoth(finished)

    def settled(self) -> "Deferred[None]":
        """Fires when all that runs now has ended."""
        return DeferredList(list(self._running)).addCallback(lambda _: None)
