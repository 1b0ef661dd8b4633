"""One call that may block (a name to look up, a credential to fetch, a file to write), in a thread of its own.

The thread is a daemon: whoever no longer wants the outcome forgets it. A client runs one of a kind at a time.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Errand(Generic[T]):
    """A call that is under way.

    Args:
        call: what to call.
        done: called in that thread when there is an outcome.

    Raises:
        OSError: the system has no thread to give.
    """

    def __init__(self, call: Callable[[], T], done: Callable[[], None]) -> None:
        self._call = call
        self._done = done
        self._result: list[T] = []
        self._error: Exception | None = None
        self.is_done = False
        self._thread = threading.Thread(target=self._run, name="nio_sdk errand", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(str(error)) from None

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is done, but no longer than this; whether it is."""
        self._thread.join(timeout_s)
        return self.is_done

    def outcome(self) -> T:
        """What the call returned, or raises what it raised; waits for it if it must."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:  # handed to whoever asks for the outcome
            self._error = error
        self.is_done = True
        self._done()
