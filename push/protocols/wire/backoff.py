"""When to try again: exponential backoff with full jitter. Pure: randomness comes in as an argument.

Source: "Exponential Backoff And Jitter" (AWS architecture blog, 2015): full jitter finishes a herd's
reconnection with the fewest attempts.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The delays of one client.

    Attributes:
        first_s: upper bound of the first delay, in seconds.
        limit_s: upper bound of any delay, in seconds.
        factor: by how much the bound grows with each failure.
        failures: failures since the last success.
    """

    first_s: float = 0.5
    limit_s: float = 30.0
    factor: float = 2.0
    failures: int = 0

    def failed(self, fraction: float, retry_after_s: float = 0.0) -> float:
        """Count a failure and say how long to wait.

        Args:
            fraction: a random number in [0, 1), drawn by the caller.
            retry_after_s: the least delay that the server asked for, in seconds.

        Returns:
            Seconds to wait: what the server asked for, plus a jittered share of the bound, so that clients that
            were all told the same time do not come back in the same instant.
        """
        # The exponent is bounded, as 2.0 ** 1100 would raise OverflowError.
        bound_s = min(self.limit_s, self.first_s * self.factor ** min(self.failures, 64))
        self.failures += 1
        return max(0.0, retry_after_s) + fraction * bound_s

    def succeeded(self) -> None:
        """Start again from `first_s`."""
        self.failures = 0
