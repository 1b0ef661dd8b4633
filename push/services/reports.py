"""What clients have, collected over a turn of the reactor and told to the cache in one call.

What the holder of a shared cache was told of late, it may not have written when it dies; and sessions live on. So the
next holder is told of it again, before anything is pulled: nothing comes twice in a session.

Must not import adapters, stores or web.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.icache import IPulling
from push.services.tasks import Tasks

_Batch = list[tuple[str, Sequence[int]]]

RETRY_S = 1.0
# While the cache is away. What is forgotten of it comes again, to the next sessions.
MAX_WAITING = 100_000
# What was told so long before the latest that was: longer than a holder takes to write; and some 10 MB. What is
# forgotten of it comes again if the holder dies.
RECENT_S = 15.0
MAX_RECENT = 50_000


@dataclass(slots=True, eq=False)
class _Told:
    """What was told in one call, when, and whether it waits to be told again."""

    told_s: float
    batch: _Batch
    is_repeated: bool = False


class _Kind:
    """One kind of report.

    Attributes:
        tell: the call of the cache.
        waiting: what is to be told.
        recent: what was told of late.
        recent_count: how much of it.
        heard_s: when the cache last said that it was told.
    """

    __slots__ = ("heard_s", "recent", "recent_count", "tell", "waiting")

    def __init__(self, tell: Callable[[_Batch], Awaitable[None]]) -> None:
        self.tell = tell
        self.waiting: _Batch = []
        self.recent: deque[_Told] = deque()
        self.recent_count = 0
        self.heard_s = 0.0

    def remember(self, told: _Told) -> None:
        """This is being told."""
        self.recent.append(told)
        self.recent_count += len(told.batch)
        recent, since_s = self.recent, self.heard_s - RECENT_S
        while recent[0].told_s < since_s or self.recent_count > MAX_RECENT:
            self.recent_count -= len(recent.popleft().batch)
            if not recent:
                return

    def repeat(self) -> None:
        """Have all told again that was told of late."""
        since_s = self.heard_s - RECENT_S
        recent = [told for told in self.recent if told.told_s >= since_s and not told.is_repeated]
        for told in recent:
            told.is_repeated = True
        self.recent.clear()
        self.recent_count = 0
        self.waiting = [one for told in recent for one in told.batch] + self.waiting


class Reports:
    """Acknowledgements, and messages handed to clients that do not acknowledge.

    Args:
        cache: is told.
        clock: its turns.
        tasks: runs the calls.
    """

    def __init__(self, *, cache: IPulling, clock: IReactorTime, tasks: Tasks) -> None:
        self._clock = clock
        self._tasks = tasks
        self._acknowledged = _Kind(lambda batch: cache.acknowledged(batch))
        self._handed = _Kind(lambda batch: cache.handed(batch))
        self._is_due = False
        self._remembers = cache.is_shared

    def acknowledged(self, token: str, message_ids: Sequence[int]) -> None:
        """A token's client has acknowledged messages."""
        self._acknowledged.waiting.append((token, message_ids))
        if not self._is_due:
            self._wait()

    def handed(self, token: str, message_ids: Sequence[int]) -> None:
        """Messages out of the cache were handed to a client that does not acknowledge."""
        self._handed.waiting.append((token, message_ids))
        if not self._is_due:
            self._wait()

    def flush(self) -> None:
        """Tell what there is now: before anything is asked of the cache that depends on it."""
        if self._acknowledged.waiting:
            self._tasks.spawn("reporting acknowledgements", self._tell(self._acknowledged))
        if self._handed.waiting:
            self._tasks.spawn("reporting deliveries", self._tell(self._handed))

    def repeat(self) -> None:
        """Another node has the cache: what the one before it was told of late is told again."""
        for kind in (self._acknowledged, self._handed):
            kind.repeat()
        if not self._is_due:
            self._wait()

    async def _tell(self, kind: _Kind) -> None:
        told = _Told(self._clock.seconds(), kind.waiting)
        kind.waiting = []
        if self._remembers:
            kind.remember(told)
        try:
            await kind.tell(told.batch)
            kind.heard_s = self._clock.seconds()
        except PushError:  # told again before anything is pulled, and after a while
            if not told.is_repeated:
                told.is_repeated = True
                kind.waiting = (told.batch + kind.waiting)[-MAX_WAITING:]
            if not self._is_due:
                self._is_due = True
                self._clock.callLater(RETRY_S, self._turn)

    def _wait(self) -> None:
        self._is_due = True
        self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()
