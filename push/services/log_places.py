"""Tells the cache now and then which logged broadcasts open sessions have, so that a crash repeats few of them.

At its end each session says so itself; only a crash takes that away. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Sequence

from push.errors import PushError
from push.icache import IPulling
from push.ipush import IConnection
from push.services.tasks import Tasks
from push.services.turns import Slices

# How old what the cache knows may be, in seconds.
INTERVAL_S = 5.0
# Connections looked at between two looks at the clock, and told of in one call.
_STRIDE = 256


class LogPlaces:
    """The places of one connector's sessions in the log of broadcasts.

    Args:
        cache: is told.
        connections: gives a snapshot of those that have a session.
        slices: when to leave off.
        tasks: runs the telling.

    Attributes:
        has_moved: whether a logged broadcast was delivered since the last look.
    """

    def __init__(
        self,
        *,
        cache: IPulling,
        connections: Callable[[], Sequence[IConnection]],
        slices: Slices,
        tasks: Tasks,
    ) -> None:
        self._cache = cache
        self._connections = connections
        self._slices = slices
        self._tasks = tasks
        self._is_busy = False
        self.has_moved = False

    def look(self) -> None:
        """Tell the cache of all sessions, if there is anything to tell."""
        if self.has_moved and not self._is_busy:
            self.has_moved = False
            self._is_busy = True
            self._tasks.spawn("noting what sessions have", self._tell())

    async def _tell(self) -> None:
        try:
            connections = self._connections()
            for start in range(0, len(connections), _STRIDE):
                places = list(_places(connections[start : start + _STRIDE]))
                if places:
                    await self._cache.moved(places)
                await self._slices.turn()
        except PushError:
            self.has_moved = True  # the next look tells it
        finally:
            self._is_busy = False


def logged_up_to(connection: IConnection) -> int:
    """Up to which id a session has every logged broadcast, for good; -1 where nothing can be said."""
    places = connection.logged_places
    oldest = min((places.get(each, each) for each in connection.unacknowledged()), default=None)
    return connection.log_position if oldest is None else min(connection.log_position, oldest - 1)


def _places(connections: Iterable[IConnection]) -> Iterable[tuple[str, int]]:
    for connection in connections:
        registration = connection.registration
        position = logged_up_to(connection)
        if registration is not None and position >= 0:
            yield registration.token, position
