"""The one way to start work that nobody waits for: failures are logged, shutdown waits for it.

Must not import adapters, stores or web.
"""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from push.unattended import Unattended


class Tasks:
    """The unattended work of one service."""

    _log = Logger()

    def __init__(self) -> None:
        # What runs → a phrase for the log.
        self._running: dict[Unattended, str] = {}
        # What is still to end for each who waits.
        self._settling: list[tuple[set[Unattended], Deferred[None]]] = []

    def spawn(self, what: str, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Start it now.

        Args:
            what: a phrase for the log, should it fail.
            work: the coroutine; what it raises is logged.
        """
        running = Unattended(work, self._ended)
        self._running[running] = what
        running.step()

    def settled(self) -> "Deferred[None]":
        """Fires when all that runs now has ended."""
        settled: Deferred[None] = Deferred()
        if self._running:
            self._settling.append((set(self._running), settled))
        else:
            settled.callback(None)
        return settled

    def _ended(self, ended: Unattended, failure: Failure | None) -> None:
        what = self._running.pop(ended)
        if failure is not None:
            self._log.failure("{what} failed", failure=failure, what=what)
        if self._settling:
            self._settle(ended)

    def _settle(self, ended: Unattended) -> None:
        waiting, self._settling = self._settling, []
        for awaited, settled in waiting:
            awaited.discard(ended)
            if awaited:
                self._settling.append((awaited, settled))
            else:
                settled.callback(None)
