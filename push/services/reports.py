"""What clients have, collected over a turn of the reactor and told to the cache in one call.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Sequence

from twisted.internet.interfaces import IReactorTime

from push.ipush import IPulling
from push.services.tasks import Tasks


class Reports:
    """Acknowledgements, and messages handed to clients that do not acknowledge.

    Args:
        cache: is told.
        clock: its turns.
        tasks: runs the calls.
    """

    def __init__(self, *, cache: IPulling, clock: IReactorTime, tasks: Tasks) -> None:
        self._cache = cache
        self._clock = clock
        self._tasks = tasks
        self._acknowledged: list[tuple[str, Sequence[int]]] = []
        self._handed: list[tuple[str, Sequence[int]]] = []
        self._is_due = False

    def acknowledged(self, token: str, message_ids: Sequence[int]) -> None:
        """A token's client has acknowledged messages."""
        self._acknowledged.append((token, message_ids))
        if not self._is_due:
            self._wait()

    def handed(self, token: str, message_ids: Sequence[int]) -> None:
        """Messages out of the cache were handed to a client that does not acknowledge."""
        self._handed.append((token, message_ids))
        if not self._is_due:
            self._wait()

    def flush(self) -> None:
        """Tell what there is now: before anything is asked of the cache that depends on it."""
        if self._acknowledged:
            batch, self._acknowledged = self._acknowledged, []
            self._tasks.spawn("reporting acknowledgements", _done(self._cache.acknowledged(batch)))
        if self._handed:
            batch, self._handed = self._handed, []
            self._tasks.spawn("reporting deliveries", _done(self._cache.handed(batch)))

    def _wait(self) -> None:
        self._is_due = True
        self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()


async def _done(call: Awaitable[None]) -> None:
    await call
