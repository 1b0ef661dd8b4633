"""When messages expire: buckets of one second. Pure: no clock, no I/O.

Only what is on disk is in them, so that what is acknowledged at once never touches them. A bucket is a dict without
values: a full collection walks through every set there is, which takes 40 ms for a million positions, but not
through a dict that has nothing but numbers in it (measured 2026-11-23). Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Iterator


class Buckets:
    """Positions by the second in which they expire."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, None]] = {}
        # What expires earlier than this is put in here: a sweep has been there, or is under way.
        self._first_s = 0
        # All earlier seconds are empty.
        self._swept_s = 0

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
        """It is not needed any more. One that had expired when it was put in may come all the same, once."""
        second = expires_ms // 1000
        bucket = self._buckets.get(second)
        if bucket is not None:
            bucket.pop(position, None)
            if not bucket:
                del self._buckets[second]

    def due(self, now_ms: int) -> Iterator[int]:
        """Take out, one after the other, what expired before this second. May be left off; one at a time."""
        end_s = self._first_s = max(now_ms // 1000, self._first_s)
        if end_s - self._swept_s > len(self._buckets):
            seconds: Iterable[int] = sorted(second for second in self._buckets if second < end_s)
        else:
            seconds = range(self._swept_s, end_s)
        for second in seconds:
            self._swept_s = second
            while bucket := self._buckets.get(second):
                yield bucket.popitem()[0]
            self._buckets.pop(second, None)
        self._swept_s = end_s
