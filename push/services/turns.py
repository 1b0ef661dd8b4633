"""Turns of the reactor: flushing once in each, and leaving off in the middle of long work.

Must not import adapters, stores or web.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.ipush import IConnection

# A heartbeat or a new connection may have to wait this long behind a broadcast. An empty turn of the reactor costs
# 4 to 6 µs (measured 2026-11-23), so dividing costs next to nothing.
SLICE_S = 0.005


class Slices:
    """Divides long work, so that other events are served in its middle.

    Args:
        clock: where callLater comes from.
        slice_s: the longest uninterrupted work, in seconds.
    """

    def __init__(self, clock: IReactorTime, slice_s: float = SLICE_S) -> None:
        self._clock = clock
        self._slice_s = slice_s

    def start(self) -> float:
        """When the slice that begins now will be over."""
        return self._clock.seconds() + self._slice_s

    def is_over(self, end_s: float) -> bool:
        """Whether a slice is over; ask every few dozen steps, not at each."""
        return self._clock.seconds() >= end_s

    def turn(self) -> "Deferred[None]":
        """Fires in the next turn of the reactor."""
        return self.pause(0)

    def pause(self, seconds: float) -> "Deferred[None]":
        """Fires after some seconds."""
        done: Deferred[None] = Deferred()
        self._clock.callLater(seconds, done.callback, None)
        return done


class Flusher:
    """Writes what was queued in a turn, once a connection.

    Args:
        clock: where callLater comes from.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._dirty: list[IConnection] = []
        self._scheduled = False
        self._has_flushed_early = False

    def mark(self, connection: IConnection) -> None:
        """Flush this connection before the next events are read, or earlier. Mark it once only until then."""
        self._dirty.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._turn)

    def flush_early(self) -> None:
        """Flush what is marked, now, if this is the first time in this turn: what comes later in it goes together."""
        if self._scheduled and not self._has_flushed_early:
            self._has_flushed_early = True
            self.flush()

    def flush(self) -> None:
        """Flush all that are marked, now."""
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            try:
                connection.flush()
            except Exception:  # the others must be written to all the same
                self._log.failure("a connection could not be written to")
                connection.abort()

    def _turn(self) -> None:
        self._scheduled = False
        self._has_flushed_early = False
        self.flush()
