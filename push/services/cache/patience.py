"""How long what is kept may wait for its acknowledgement before it is written. Pure: no clock, no I/O.

A message that is never written saves 10 to 15 µs of the core. So where many come, and acknowledgements of what has just
come do too, a transaction takes only what is older than most are when they are acknowledged. Where few come nobody
waits, nor where nobody acknowledges, or only after long. Must not import adapters, stores or web.
"""

from collections import deque

# Nobody waits longer.
MAX_WAIT_S = 0.4
# How often it is looked whether waiting is worth it.
PERIOD_S = 0.05
# Fewer messages a second than this are written at once: to write them all takes a twentieth of a core.
MANY_PER_S = 4_000
# Waiting is for when at least this part of what comes is acknowledged meanwhile.
LEAST_PART = 0.25
# An acknowledgement of something older, after a reconnect perhaps, counts as one of something that is so old.
_MAX_AGE_S = 2 * MAX_WAIT_S
# The newest age counts for so much of the mean.
_WEIGHT = 0.1
# What is kept within this time is looked at together.
_GRAIN_S = 0.001


class Patience:
    """Knows when tickets were begun, and how old messages are when they are acknowledged."""

    def __init__(self) -> None:
        # When it was begun, and the last of those begun within a grain; what is not in here any more need not wait.
        self._begun: deque[tuple[float, int]] = deque()
        self._age_s = _MAX_AGE_S
        self._since_s = 0.0
        self._kept = self._acknowledged = 0
        self._is_worth_it = False

    def kept(self, now_s: float, ticket: int, count: int) -> None:
        """So many messages came with a ticket."""
        self._kept += count
        begun = self._begun
        if begun and now_s - begun[-1][0] < _GRAIN_S:
            now_s, _ = begun.pop()
        begun.append((now_s, ticket))

    def acknowledged(self, count: int, age_s: float) -> None:
        """So many messages were acknowledged; one of them was accepted so long ago."""
        self._acknowledged += count
        self._age_s += _WEIGHT * (min(max(age_s, 0.0), _MAX_AGE_S) - self._age_s)

    def wait_s(self, now_s: float) -> float:
        """How long to wait now."""
        elapsed_s = now_s - self._since_s
        if elapsed_s >= PERIOD_S:
            self._is_worth_it = (
                self._kept >= MANY_PER_S * elapsed_s
                and self._acknowledged >= LEAST_PART * self._kept
                and self._age_s < MAX_WAIT_S
            )
            self._since_s = now_s
            self._kept = self._acknowledged = 0
        return min(2 * self._age_s, MAX_WAIT_S) if self._is_worth_it else 0.0

    def due(self, until_s: float) -> int:
        """The last ticket that was begun by then and has not been told; 0 where there is none."""
        ticket = 0
        begun = self._begun
        while begun and begun[0][0] <= until_s:
            _, ticket = begun.popleft()
        return ticket

    def next_s(self) -> float | None:
        """When the oldest ticket was begun that has not been told."""
        return self._begun[0][0] if self._begun else None
