"""Waiting for several nodes at once, and for none of them for ever."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from push.errors import PushError, Unavailable

T = TypeVar("T")

# A node that is alive answers in milliseconds; who asks over HTTP will not wait much longer than this.
TIMEOUT_S = 5.0


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def answers(
    clock: IReactorTime, questions: Sequence[Awaitable[T]], timeout_s: float = TIMEOUT_S
) -> list[T | PushError]:
    """Wait for all of them.

    Args:
        clock: counts the time.
        questions: already asked.
        timeout_s: the longest time for each, in seconds.

    Returns:
        For each question its answer, or what was raised; Unavailable for one that took too long.
    """
    asked = [Deferred.fromCoroutine(_awaited(question)).addTimeout(timeout_s, clock) for question in questions]
    found: list[T | PushError] = []
    for deferred in asked:
        try:
            found.append(await deferred)
        except TimeoutError:
            found.append(Unavailable("A node did not answer in time."))
        except PushError as error:
            found.append(error)
    return found
