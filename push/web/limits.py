"""How often callers may call. Knows no HTTP."""

from collections import OrderedDict

from twisted.internet.interfaces import IReactorTime

from push.errors import RateLimited
from push.rates import TokenBucket
from push.web.errors import up_to_ms

# More callers than this are told apart by forgetting the one that was quiet for longest.
_MAX_CALLERS = 10_000


class RequestRates:
    """A token bucket for each caller.

    Args:
        clock: tells the time.
        requests_per_s: mean rate of one caller.
        burst: how many may come at once after a pause.
    """

    def __init__(self, *, clock: IReactorTime, requests_per_s: float, burst: int) -> None:
        self._clock = clock
        self._requests_per_s = requests_per_s
        self._burst = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request.

        Args:
            caller: the name of a key, or an address.

        Raises:
            RateLimited: it is one too many; says when the next will be let in.
        """
        now_s = self._clock.seconds()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = TokenBucket(self._requests_per_s, self._burst, now_s)
            if len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(caller)
        wait_s = bucket.take(now_s)
        if wait_s > 0:
            raise RateLimited(
                f"More than {self._requests_per_s:g} requests a second. Try again in {up_to_ms(wait_s):.3f} s.",
                retry_after_s=wait_s,
            )
