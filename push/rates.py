"""A token bucket: how often something may happen. Pure; times come in as arguments. Imports nothing."""


class TokenBucket:
    """Lets things through at a mean rate, with bursts.

    Args:
        rate_per_s: mean rate, over 0.
        burst: how many may come at once after a pause, at least 1.
        now_s: seconds on any clock.
    """

    __slots__ = ("_burst", "_left", "_rate_per_s", "_seen_s")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(1.0, burst)
        self._left = self._burst
        self._seen_s = now_s

    def take(self, now_s: float) -> float:
        """Take one.

        Args:
            now_s: seconds on the same clock; a clock that steps back adds nothing.

        Returns:
            0.0 if it was there to take, else after how many seconds one will be.
        """
        self._left = min(self._burst, self._left + max(0.0, now_s - self._seen_s) * self._rate_per_s)
        self._seen_s = now_s
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self._rate_per_s
