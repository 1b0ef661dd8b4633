"""A clock that is turned by hand, for clients that sleep on it in an event loop."""

import asyncio

# No test waits for this: it turns a wait that would never end into a failure.
GUARD_S = 20.0


class HandClock:
    """A clock that stands still until `advance`."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self._sleepers: dict[asyncio.Future[None], tuple[float, float]] = {}
        self._changed = asyncio.Event()

    def time(self) -> float:
        """The time it shows."""
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        """Wait for `advance`."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers[future] = (self.now_s + delay_s, delay_s)
        self._changed.set()
        try:
            await future
        finally:
            del self._sleepers[future]

    async def somebody_sleeps(self, delay_s: float) -> None:
        """Wait until something has begun to sleep for just so long; fail if that does not come about."""
        try:
            async with asyncio.timeout(GUARD_S):
                while not any(abs(asked_s - delay_s) < 1e-6 for _, asked_s in self._sleepers.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            sleeps = sorted(asked_s for _, asked_s in self._sleepers.values())
            raise AssertionError(f"nothing sleeps for {delay_s} s, but for {sleeps}") from None

    async def pass_over(self, delay_s: float) -> None:
        """Wait until something sleeps for so long, and let that time pass."""
        await self.somebody_sleeps(delay_s)
        self.advance(delay_s)

    def advance(self, delay_s: float) -> None:
        """Let time pass and wake whoever is due."""
        self.now_s += delay_s
        for future, (due_s, _) in list(self._sleepers.items()):
            if due_s <= self.now_s + 1e-9 and not future.done():
                future.set_result(None)

    @property
    def sleepers(self) -> int:
        """How many sleep."""
        return len(self._sleepers)
