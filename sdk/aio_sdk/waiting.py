"""Time and waiting: the clock that a client is given, and the one way in which it waits for several things.

Standard library only. No task outlives the call that made it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Seconds that only grow, and a way to let them pass."""

    def time(self) -> float:
        """Seconds since some moment."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after so many seconds; 0 or less returns in the next turn of the loop."""
        ...


class LoopClock:
    """The clock of the running event loop."""

    def time(self) -> float:
        """Seconds of the loop's clock."""
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        """Sleep in the loop."""
        await asyncio.sleep(delay_s)


async def first(*work: Coroutine[Any, Any, T]) -> T:
    """Run until one is done, then cancel the others and wait until they have ended.

    Args:
        work: what to run; where several are done in the same turn, the one named first counts.

    Returns:
        What the first returned, or raises what it raised.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        # Gathered, so that no exception of a loser is left unseen.
        await asyncio.gather(*tasks, return_exceptions=True)
    return done.result()


async def expire(clock: Clock, delay_s: float, reason: str) -> NoReturn:
    """Raise TimeoutError with this reason after so many seconds; the other side of a `first`."""
    await clock.sleep(delay_s)
    raise TimeoutError(reason)
