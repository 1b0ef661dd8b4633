"""Message ids: unique in the cluster, growing with time, also when the clock steps back or the node restarts.

42 bits of milliseconds since 2026-01-01, 10 of node, 12 of sequence. Source: docs/protocol.md, "PUSH".
Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError, Unavailable
from push.ileases import IFloorStore
from push.services.periodic import Periodic
from push.services.tasks import Tasks

EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MAX_NODE = 1023
_NODE_SHIFT = 12
_TIME_SHIFT = 22
_SEQUENCES = 1 << _NODE_SHIFT
# The floor on disk is kept this far ahead of the clock, and of ids that run ahead of the clock: a crash can
# put later ids this much in the future, but never repeats one. The second is small, so that a server that is
# killed again and again does not drift away from the time of day.
RESERVE_MS = 10_000
RESERVE_AHEAD_MS = 1_000
FLOOR = "message_id_ms"


def accepted_ms(message_id: int) -> int:
    """When a message was accepted, milliseconds since 1970: its id says so."""
    return EPOCH_MS + (message_id >> _TIME_SHIFT)


def first_id_at(at_ms: int) -> int:
    """The least id that a message accepted in this millisecond can have."""
    return max(0, at_ms - EPOCH_MS) << _TIME_SHIFT


class MessageIds:
    """Gives out ids.

    Args:
        node: 0-1023, this node's number.
        now_ms: milliseconds since 1970 on the wall clock.
        is_held: whether the number is this node's in this moment, where nodes get their numbers for a time.

    Attributes:
        is_ready: whether ids may be given out: not before the floor of earlier runs is known.
        now_ms: the clock.
        last_ms: the milliseconds of the newest id.
    """

    def __init__(self, *, node: int, now_ms: Callable[[], int], is_held: Callable[[], bool] | None = None) -> None:
        self._node_bits = 0
        self.renumber(node)
        self._is_held = is_held
        self.now_ms = now_ms
        self._sequence = 0
        self.last_ms = EPOCH_MS
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """See Attributes."""
        return self._is_ready and (self._is_held is None or self._is_held())

    @is_ready.setter
    def is_ready(self, is_ready: bool) -> None:
        self._is_ready = is_ready

    def renumber(self, node: int) -> None:
        """Give out ids of this node from now on."""
        if not 0 <= node <= MAX_NODE:
            raise ValueError(f"node must be 0 to {MAX_NODE}, not {node}")
        self._node_bits = node << _NODE_SHIFT

    def raise_floor(self, floor_ms: int) -> None:
        """Make every further id later than this."""
        if floor_ms >= self.last_ms:
            self.last_ms = floor_ms + 1
            self._sequence = 0

    def take(self, count: int) -> list[int]:
        """The next ids, at one look at the clock; in order, as `next` gives them.

        Raises:
            Unavailable: the node's number is not its own any more.
        """
        if count <= 0:
            return []
        first = self.next()
        left_in_ms = _SEQUENCES - self._sequence
        if count <= left_in_ms:
            self._sequence += count - 1
            return list(range(first, first + count))
        self._sequence = _SEQUENCES - 1
        return [*range(first, first + left_in_ms), *self.take(count - left_in_ms)]

    def next(self) -> int:
        """The next id, greater than any before. Runs ahead of the clock rather than repeat.

        Raises:
            Unavailable: the node's number is not its own any more.
        """
        if self._is_held is not None and not self._is_held():
            raise Unavailable("this node has no number for message ids now", retry_after_s=1.0)
        now_ms = self.now_ms()
        if now_ms > self.last_ms:
            self.last_ms = now_ms
            self._sequence = 0
        else:
            self._sequence += 1
            if self._sequence == _SEQUENCES:
                self.last_ms += 1
                self._sequence = 0
        return (self.last_ms - EPOCH_MS) << _TIME_SHIFT | self._node_bits | self._sequence


class IdFloor(Service):
    """Keeps the floor of the ids on disk ahead of those that are given out.

    Args:
        ids: whose floor.
        store: where.
        clock: for the interval.
        tasks: runs the writes.
        loaded: told the floor, in milliseconds since 1970, before ids are given out.
        name: of the floor.
    """

    _log = Logger()

    def __init__(
        self,
        ids: MessageIds,
        *,
        store: IFloorStore,
        clock: IReactorTime,
        tasks: Tasks,
        loaded: Callable[[int], None] = lambda floor_ms: None,
        name: str = FLOOR,
    ) -> None:
        self._ids = ids
        self._store = store
        self._tasks = tasks
        self._loaded = loaded
        self._name = name
        self._written_ms = 0
        self._is_over = False
        self._is_busy = False
        self._has_failed = False
        self._periodic = Periodic("keeping message ids growing", self._look, interval_s=1.0, clock=clock)

    async def load(self) -> None:
        """Read the floor and reserve the next stretch; ids may be given out after this."""
        floor_ms = await self._store.floor(self._name)
        self._ids.raise_floor(floor_ms)
        self._loaded(floor_ms)
        await self._reserve()
        if not self._is_over:
            self._ids.is_ready = True

    def startService(self) -> None:
        """Load it, and begin to keep it ahead."""
        super().startService()
        self._is_over = False
        self._periodic.startService()
        self._look()

    async def _reserve(self) -> None:
        wanted_ms = max(self._ids.last_ms + RESERVE_AHEAD_MS, self._ids.now_ms() + RESERVE_MS)
        await self._store.raise_floor(self._name, wanted_ms)
        self._written_ms = wanted_ms

    def _look(self) -> None:
        ids = self._ids
        if self._is_busy:
            return
        if not ids.is_ready:
            self._tasks.spawn("loading the floor of message ids", self._alone(self.load()))
            return
        ahead_of_ids_ms = self._written_ms - ids.last_ms - RESERVE_AHEAD_MS // 2
        ahead_of_clock_ms = self._written_ms - ids.now_ms() - RESERVE_MS // 2
        if min(ahead_of_ids_ms, ahead_of_clock_ms) < 0:
            self._tasks.spawn("reserving message ids", self._alone(self._reserve()))

    async def _alone(self, work: Awaitable[None]) -> None:
        """Do one thing at a time; a store that does not work is said once, and asked again."""
        self._is_busy = True
        try:
            await work
        except PushError as error:
            if not self._has_failed:
                self._log.warn("message ids cannot be reserved now: {reason}", reason=str(error))
            self._has_failed = True
        else:
            self._has_failed = False
        finally:
            self._is_busy = False

    def stopService(self) -> "Deferred[None]":
        """Stop; fires when nothing is being written any more."""
        super().stopService()
        self._is_over = True
        self._periodic.stopService()
        return self._tasks.settled()
