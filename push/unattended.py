"""Runs coroutines that nobody waits for: half the cost of Deferred.fromCoroutine, and no cycle for the collector.

What that makes besides (two Deferreds that know each other, a copy of the context) serves waiting and cancelling, of
which there is none here. Imports nothing of the project.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Unattended:
    """A coroutine that is taken from one Deferred that it awaits to the next, until it ends.

    Args:
        work: the coroutine.
        ended: told at its end: this, and the failure if it raised something. Must not raise.
    """

    __slots__ = ("_ended", "_work")

    def __init__(
        self, work: Coroutine[Deferred[Any], Any, None], ended: Callable[["Unattended", Failure | None], object]
    ) -> None:
        self._work = work
        self._ended = ended

    def step(self, result: object = None) -> None:
        """Begin, and later go on with what was awaited: its result, or its failure."""
        failure = None
        try:
            if isinstance(result, Failure):
                awaited = result.throwExceptionIntoGenerator(self._work)
            else:
                awaited = self._work.send(result)
        except StopIteration:
            pass
        except BaseException:
            failure = Failure()
        else:
            awaited.addBoth(self.step)
            return
        self._ended(self, failure)


def run(work: Coroutine[Deferred[Any], Any, None], failed: Callable[[Failure], object]) -> None:
    """Run a coroutine, as far as it gets before this returns and the rest later.

    Args:
        work: the coroutine.
        failed: told if it raises something.
    """

    def ended(_: Unattended, failure: Failure | None) -> None:
        if failure is not None:
            failed(failure)

    Unattended(work, ended).step()
