"""What a method of the chat returns: something to wait for in any thread but the loop's, or to be told of."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Answer(Future[T]):
    """A future of the standard library, whose `result` does not wait where it would wait for itself.

    Callbacks (`add_done_callback`) are called in the loop's thread and without any lock, or at once where the answer is
    there already. They must not block.

    Args:
        is_loop: whether this is the loop's own thread.
        stop: has the client forget it, as it was cancelled; what was sent may be done.
    """

    def __init__(self, is_loop: Callable[[], bool], stop: "Callable[[Answer[Any]], None]") -> None:
        super().__init__()
        self._is_loop = is_loop
        self._stop = stop

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for it.

        Args:
            timeout_s: how long to wait; None: as long as it takes, which without a connection may be for ever.

        Raises:
            ChatError: the server refused.
            TimeoutError: there was none in time. It may still come.
            ClientError, RuntimeError: the client has ended; or this is the loop's own thread, which would wait for
                itself.
        """
        self._must_wait_elsewhere(timeout_s)
        return super().result(timeout_s)

    def exception(self, timeout_s: float | None = None) -> BaseException | None:
        """Wait for what `result` would raise, or None."""
        self._must_wait_elsewhere(timeout_s)
        return super().exception(timeout_s)

    def cancel(self) -> bool:
        """Want it no more; whether it had not come yet. What was sent may be done."""
        is_cancelled = super().cancel()
        if is_cancelled:
            self._stop(self)
        return is_cancelled

    def _must_wait_elsewhere(self, timeout_s: float | None) -> None:
        if not self.done() and (timeout_s is None or timeout_s > 0) and self._is_loop():
            raise RuntimeError("this is the loop's own thread, which would wait for itself: use add_done_callback()")
