"""Milliseconds since 1970 that never run back: what times of expiry are told by, and message ids made from.

The wall clock may be set back an hour; what should expire in a minute would then live for 61. Must not import adapters,
stores or web.
"""

from collections.abc import Callable


class SteadyClock:
    """The wall clock, or what it would show had it not been set back.

    Set back, it goes on with the monotonic clock until the wall clock has caught up. Set forward, it follows at once.

    Args:
        wall_ms: milliseconds since 1970; may jump.
        monotonic_s: seconds since whenever; never runs back.
    """

    def __init__(self, *, wall_ms: Callable[[], int], monotonic_s: Callable[[], float]) -> None:
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        # How far the wall clock was ahead of the monotonic one when it was furthest.
        self._ahead_ms = wall_ms() - int(monotonic_s() * 1000)

    def raise_floor(self, floor_ms: int) -> None:
        """Show no less than this from now on: where the clock of an earlier run stood."""
        self._ahead_ms = max(self._ahead_ms, floor_ms - int(self._monotonic_s() * 1000))

    def now_ms(self) -> int:
        """The time, milliseconds since 1970."""
        monotonic_ms = int(self._monotonic_s() * 1000)
        ahead_ms = self._wall_ms() - monotonic_ms
        if ahead_ms > self._ahead_ms:
            self._ahead_ms = ahead_ms
        return monotonic_ms + self._ahead_ms
