"""Work for Redis that must be done in order: one call under way, and what comes meanwhile goes together in the next.

A call that has to be repeated, because a script was not known or a connection was lost, so cannot come behind a later
one. And a group costs Python little more than one.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from push.errors import PushError, Unavailable
from push.stores.redis.errors import RETRY_AFTER_S
from push.unattended import run

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WAITING = 20_000
MAX_BATCH = 256


async def together(calls: Sequence["Deferred[Result]"]) -> list[Result]:
    """Wait for all. Where some fail, what the first of these raises."""
    outcomes: Sequence[tuple[bool, Any]] = await DeferredList(calls, consumeErrors=True)
    for is_well, outcome in outcomes:
        if not is_well:
            outcome.raiseException()
    return [outcome for _, outcome in outcomes]


class Ordered(Generic[Item, Result]):
    """One piece of work after the other.

    Args:
        work: does several items; an outcome for each, a PushError where one was refused.
        max_waiting: how many items may wait.
        max_batch: how many are done together.
    """

    _log = Logger()

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | PushError]]],
        *,
        max_waiting: int = MAX_WAITING,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._work = work
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._waiting: deque[tuple[Item, Deferred[Result]]] = deque()
        self._is_busy = False

    def submit(self, item: Item) -> "Deferred[Result]":
        """Have something done after all that was submitted before.

        Raises:
            PushError: it was refused, or could not be done; as a failure of the Deferred.
        """
        if len(self._waiting) >= self._max_waiting:
            return fail(Unavailable("too much waits for Redis", retry_after_s=RETRY_AFTER_S))
        answer: Deferred[Result] = Deferred()
        self._waiting.append((item, answer))
        if not self._is_busy:
            self._is_busy = True
            run(self._empty(), self._failed)
        return answer

    async def _empty(self) -> None:
        try:
            while self._waiting:
                count = min(self._max_batch, len(self._waiting))
                await self._do([self._waiting.popleft() for _ in range(count)])
        finally:
            self._is_busy = False

    async def _do(self, group: Sequence[tuple[Item, "Deferred[Result]"]]) -> None:
        outcomes: Sequence[Result | PushError | Failure]
        try:
            outcomes = await self._work([item for item, _ in group])
        except Exception:  # each of those who wait is told
            outcomes = [Failure()] * len(group)
        for (_, answer), outcome in zip(group, outcomes, strict=True):
            if answer.called:
                continue
            if isinstance(outcome, (PushError, Failure)):
                answer.errback(outcome)
            else:
                answer.callback(outcome)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("work for Redis failed", failure)
