"""Waiting for something to become true, as seen from outside a process."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Nothing takes a tenth of this on an idle machine; it is for those that are busy with something else.
DEADLINE_S = 60.0
_PAUSE_S = 0.02


def wait_until(what: str, condition: Callable[[], Result], deadline_s: float = DEADLINE_S) -> Result:
    """Ask until the answer is true.

    Args:
        what: a sentence, for the failure.
        condition: asked again and again.
        deadline_s: for how long, in seconds.

    Returns:
        The first true answer.

    Raises:
        AssertionError: there was none in time.
    """
    end_s = time.monotonic() + deadline_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end_s:
            raise AssertionError(f"after {deadline_s:g} s it is still not so that {what}")
        time.sleep(_PAUSE_S)
