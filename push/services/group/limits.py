"""What one party, and one group, may do in a second. Bounded: who was quiet longest is forgotten first.

Must not import adapters, stores or web.
"""

from collections import OrderedDict
from collections.abc import Callable

from push.errors import RateLimited
from push.rates import TokenBucket

MAX_KEPT = 100_000
# How many seconds' worth may come at once.
BURST_S = 2.0


class Rates:
    """One limit, for each of many.

    Args:
        what: for the error, e.g. "requests of one user".
        rate_per_s: mean rate.
        now_s: seconds on a monotonic clock.
    """

    def __init__(self, what: str, rate_per_s: float, now_s: Callable[[], float]) -> None:
        self._what = what
        self._rate_per_s = rate_per_s
        self._now_s = now_s
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, name: str) -> None:
        """Count one.

        Raises:
            RateLimited: it is too many.
        """
        now_s = self._now_s()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(self._rate_per_s, self._rate_per_s * BURST_S, now_s)
            if len(self._buckets) > MAX_KEPT:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        wait_s = bucket.take(now_s)
        if wait_s:
            raise RateLimited(f"too many {self._what}", retry_after_s=round(max(wait_s, 0.001), 3))
