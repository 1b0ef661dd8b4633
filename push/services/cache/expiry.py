"""When messages expire: buckets of one second. Pure: no clock, no I/O.

Only what is on disk is in them, so that what is acknowledged at once never touches them. A bucket is a dict without
values: a full collection walks through every set there is, which takes 40 ms for a million positions, but not
through a dict that has nothing but numbers in it (measured 2026-11-23). What was there at the start stands in arrays,
which take a fifth of the time and of the memory; what is not needed any more stays in them until their second comes.
Must not import adapters, stores or web.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import chain


class Buckets:
    """Positions by the second in which they expire."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, None]] = {}
        self._loaded: dict[int, array[int]] = {}
        # What expires earlier than this is put in here: a sweep has been there, or is under way.
        self._first_s = 0
        # All earlier seconds are empty.
        self._swept_s = 0

    def load(self, positions: Iterable[int], second: int) -> None:
        """Put in some of those that are there at the start, before anything is due: they expire in this second."""
        loaded = self._loaded.get(second)
        if loaded is None:
            loaded = self._loaded[second] = array("q")
        loaded.extend(positions)

    def add(self, position: int, expires_ms: int) -> None:
        """Put one in; what has expired already comes with the next that are due."""
        second = expires_ms // 1000
        if second < self._first_s:
            second = self._first_s
        bucket = self._buckets.get(second)
        if bucket is None:
            self._buckets[second] = {position: None}
        else:
            bucket[position] = None

    def discard(self, position: int, expires_ms: int) -> None:
        """It is not needed any more. What was loaded, or was put in too late, may come all the same, once."""
        second = expires_ms // 1000
        bucket = self._buckets.get(second)
        if bucket is not None:
            bucket.pop(position, None)
            if not bucket:
                del self._buckets[second]

    def due(self, now_ms: int) -> Iterator[int]:
        """Take out, one after the other, what expired before this second. May be left off; one at a time."""
        end_s = self._first_s = max(now_ms // 1000, self._first_s)
        if end_s - self._swept_s > len(self._buckets) + len(self._loaded):
            known = chain(self._buckets, self._loaded)
            seconds: Iterable[int] = sorted({second for second in known if second < end_s})
        else:
            seconds = range(self._swept_s, end_s)
        for second in seconds:
            self._swept_s = second
            loaded = self._loaded.get(second)
            while loaded:
                yield loaded.pop()
            self._loaded.pop(second, None)
            while bucket := self._buckets.get(second):
                yield bucket.popitem()[0]
            self._buckets.pop(second, None)
        self._swept_s = end_s
