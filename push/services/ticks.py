"""A coarse clock, whose times many share: one number for all who look at it in the same quarter of a second.

A time of its own for each session would be 32 bytes. Must not import adapters, stores or web.
"""

from collections.abc import Callable
from math import ceil

# Late by less than a quarter of a second is nothing beside how often silent sessions are looked for (clients.py).
TICK_S = 0.25


class Ticks:
    """The time, rounded up: who is given so long from now on is never cut short.

    Args:
        seconds: the fine clock.
    """

    __slots__ = ("_now_s", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now_s = 0.0

    def now_s(self) -> float:
        """The next full tick, or this very moment if it is one."""
        fine_s = self._seconds()
        if not self._now_s - TICK_S < fine_s <= self._now_s:
            self._now_s = ceil(fine_s / TICK_S) * TICK_S
        return self._now_s
