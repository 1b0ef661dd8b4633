"""Requests with keys that are under way at several routers: one at a time is let in.

A router asks what a request with a key was answered; if nothing is known, it makes it. Another one that asks meanwhile
waits until the first has given it to the cache, which then knows; or until the first has had time enough, and seems to
have failed. Should it be late nevertheless, what it gives to the cache then is refused. Must not import adapters,
stores or web.
"""

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

# Looking up tokens takes milliseconds, and at most two seconds (docs/redis.md).
CLAIM_S = 2.5
MAX_CLAIMS = 100_000


class Claims:
    """Keys that somebody is making a request with.

    Args:
        clock: when that has taken too long.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._claims: dict[str, tuple[IDelayedCall, list[Deferred[None]]]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._claims)

    def __contains__(self, key: str) -> bool:
        """Whether somebody makes a request with this one."""
        return key in self._claims

    async def free(self, keys: Sequence[str]) -> None:
        """Wait until nobody else makes a request with one of these."""
        while claimed := next((key for key in keys if key in self._claims), None):
            waiter: Deferred[None] = Deferred()
            self._claims[claimed][1].append(waiter)
            await waiter

    def take(self, keys: Iterable[str]) -> None:
        """Whoever asked makes these now."""
        for key in keys:
            if key not in self._claims and len(self._claims) < MAX_CLAIMS:
                self._claims[key] = (self._clock.callLater(CLAIM_S, self.end, (key,)), [])

    def end(self, keys: Iterable[str]) -> None:
        """They were given to the cache, or will not be."""
        for key in keys:
            timer, waiting = self._claims.pop(key, (None, []))
            if timer is not None and timer.active():
                timer.cancel()
            for waiter in waiting:
                if not waiter.called:
                    waiter.callback(None)

    def clear(self) -> None:
        """Forget all."""
        self.end(list(self._claims))
