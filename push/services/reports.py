"""What clients have, collected over a turn of the reactor and told to the cache in one call.

Must not import adapters, stores or web.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.ipush import IPulling
from push.services.tasks import Tasks

_Batch = list[tuple[str, Sequence[int]]]

RETRY_S = 1.0
# While the cache is away. What is forgotten of it comes again, to the next sessions.
MAX_WAITING = 100_000


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
        self._acknowledged: _Batch = []
        self._handed: _Batch = []
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
            self._tasks.spawn("reporting acknowledgements", self._tell_acknowledged(batch))
        if self._handed:
            batch, self._handed = self._handed, []
            self._tasks.spawn("reporting deliveries", self._tell_handed(batch))

    async def _tell_acknowledged(self, batch: _Batch) -> None:
        try:
            await self._cache.acknowledged(batch)
        except PushError:
            self._acknowledged = self._again(batch, self._acknowledged)

    async def _tell_handed(self, batch: _Batch) -> None:
        try:
            await self._cache.handed(batch)
        except PushError:
            self._handed = self._again(batch, self._handed)

    def _again(self, batch: _Batch, later: _Batch) -> _Batch:
        """What the cache could not be told now: it is told before anything is pulled, and after a while."""
        if not self._is_due:
            self._is_due = True
            self._clock.callLater(RETRY_S, self._turn)
        return (batch + later)[-MAX_WAITING:]

    def _wait(self) -> None:
        self._is_due = True
        self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()
