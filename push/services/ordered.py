"""Services that start one after the other and stop the other way round, each when the one before it has stopped.

MultiService stops all its children at once and hides what fails. Must not import adapters, stores or web.
"""

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger


class OrderedServices(MultiService):
    """A MultiService with an order: that in which its children were added."""

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self._stopping: Deferred[None] | None = None

    def stopService(self) -> "Deferred[None]":
        """Stop the children, last first. May be called twice; fires when all have stopped."""
        Service.stopService(self)
        waiter: Deferred[None] = Deferred()
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())
        self._stopping.addCallback(lambda _: waiter.callback(None))
        return waiter

    async def _stop(self) -> None:
        children: list[IService] = list(self)
        for child in reversed(children):
            try:
                await maybeDeferred(child.stopService)
            except Exception:
                self._log.failure("stopping {name} failed", name=child.name)


class OpenClose(Service):
    """Something that is opened at the start and closed at the end.

    Args:
        open: called at the start; what it raises keeps the server from starting.
        close: called at the end; what it returns is waited for.
    """

    def __init__(self, open: Callable[[], None], close: Callable[[], Any]) -> None:
        self._open = open
        self._close = close

    def startService(self) -> None:
        """Open it."""
        super().startService()
        self._open()

    def stopService(self) -> Any:
        """Close it."""
        super().stopService()
        return self._close()
