"""Brings connections that are behind up to date: pulls what the cache has for them, as fast as they take it.

One pull at a time for a connection; those that want more in a turn are looked at together when it ends. Must
not import adapters, stores or web.
"""

from collections import deque

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from push.errors import PushError
from push.icache import IPulling
from push.ipush import IConnection
from push.model_cache import Cursor, Kept
from push.services.reports import Reports
from push.services.tasks import Tasks

# How much of the cache may be in memory for one connection.
_PAGE_BYTES = 256 * 1024
# A cache that cannot be read now is asked again after so long.
_RETRY_S = 1.0


class _Replay:
    """How far one connection is."""

    __slots__ = ("cursor", "has_more", "is_pulling", "page", "position", "retry")

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.position = 0
        self.page: deque[Kept] = deque()
        self.is_pulling = False
        # When the cache that could not be read is asked again.
        self.retry: IDelayedCall | None = None
        # Whether the cache has, or may have, what has not been pulled yet.
        self.has_more = True


class Replays:
    """All connections of a connector that are behind.

    Args:
        cache: is pulled from.
        reports: told what was handed over where nobody acknowledges; flushed before each pull, so that what
            has arrived is not pulled again.
        clock: turns, and waiting.
        tasks: runs the pulls.
    """

    _log = Logger()

    def __init__(self, *, cache: IPulling, reports: Reports, clock: IReactorTime, tasks: Tasks) -> None:
        self._cache = cache
        self._reports = reports
        self._clock = clock
        self._tasks = tasks
        self._replays: dict[IConnection, _Replay] = {}
        self._awake: dict[IConnection, None] = {}
        self._held: set[IConnection] = set()

    def __len__(self) -> int:
        """How many connections are behind."""
        return len(self._replays)

    def begin(self, connection: IConnection) -> None:
        """A session begins, or is renewed: it gets what the cache has for it before anything newer."""
        self._end(connection)
        connection.fall_behind()

    def wants_more(self, connection: IConnection) -> None:
        """Something is kept for a connection that is behind, or it has room."""
        replay = self._replays.get(connection)
        if replay is None:
            self._replays[connection] = _Replay(Cursor(log=connection.log_position))
        else:
            replay.has_more = True
        self._wake(connection)

    def forget(self, connection: IConnection) -> None:
        """Its session is over."""
        self._end(connection)
        self._awake.pop(connection, None)
        self._held.discard(connection)

    def hold(self, connection: IConnection) -> None:
        """Others may not know where this one is: from now on it stays behind, until it is let go."""
        connection.fall_behind()
        self._held.add(connection)

    def let_go(self, connection: IConnection) -> None:
        """Others know where it is: it gets what was kept for it meanwhile, and then what is newer."""
        if connection in self._held:
            self._held.discard(connection)
            connection.fall_behind()

    def _wake(self, connection: IConnection) -> None:
        if not self._awake:
            self._clock.callLater(0, self._turn)
        self._awake[connection] = None

    def _turn(self) -> None:
        awake, self._awake = self._awake, {}
        for connection in awake:
            replay = self._replays.get(connection)
            if replay is not None and not replay.is_pulling and connection not in self._held:
                self._step(connection, replay)

    def _step(self, connection: IConnection, replay: _Replay) -> None:
        """Hand over what has been pulled, and then pull more, or let the connection go."""
        if not self._hand_over(connection, replay):
            return
        if not replay.has_more:
            self._finish(connection, replay)
        elif connection.room():
            replay.is_pulling = True
            self._tasks.spawn("pulling from the cache", self._pull(connection, replay))

    def _hand_over(self, connection: IConnection, replay: _Replay) -> bool:
        """Queue what has been pulled; False where it was closed meanwhile, or takes no more for now."""
        page = replay.page
        handed: list[int] = []
        while page and connection.push_pulled(page[0]):
            handed.append(page.popleft().message_id)
        registration = connection.registration
        if handed and not connection.acks and registration is not None:
            self._reports.handed(registration.token, handed)
        return self._replays.get(connection) is replay and not page

    def _finish(self, connection: IConnection, replay: _Replay) -> None:
        if replay.cursor.log > connection.log_position:
            connection.log_position = replay.cursor.log
        if replay.position > connection.kept_position:
            connection.kept_position = replay.position
        del self._replays[connection]
        connection.caught_up()

    async def _pull(self, connection: IConnection, replay: _Replay) -> None:
        registration = connection.registration
        if registration is None:
            return
        self._reports.flush()
        # On its way in this session: by the time the page is here it may be acknowledged, and must not come again.
        had = frozenset(connection.unacknowledged())
        replay.has_more = False  # unless the page, or somebody meanwhile, says otherwise
        try:
            page = await self._cache.pull(registration, replay.cursor, connection.room(), _PAGE_BYTES)
        except Exception as error:
            if not isinstance(error, PushError):
                self._log.failure("pulling from the cache failed")
            replay.has_more = True
            if self._replays.get(connection) is replay:
                replay.retry = self._clock.callLater(_RETRY_S, self._again, connection, replay)
            return
        replay.is_pulling = False
        if self._replays.get(connection) is not replay:
            return
        if connection in self._held:
            replay.has_more = True  # what was found before may not be all
            return
        replay.page.extend(kept for kept in page.messages if kept.message_id not in had)
        replay.cursor = page.cursor
        replay.position = page.position
        replay.has_more = replay.has_more or page.has_more
        if self._hand_over(connection, replay) and not replay.has_more:
            self._finish(connection, replay)
        elif self._replays.get(connection) is replay:
            self._wake(connection)  # the next page in the next turn: others come first

    def _end(self, connection: IConnection) -> None:
        replay = self._replays.pop(connection, None)
        if replay is not None and replay.retry is not None and replay.retry.active():
            replay.retry.cancel()

    def _again(self, connection: IConnection, replay: _Replay) -> None:
        replay.is_pulling = False
        if self._replays.get(connection) is replay and connection not in self._held:
            self._step(connection, replay)
