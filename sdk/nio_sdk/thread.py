"""One thread for many clients: a selector, and a heap of the times at which they want their turn."""

import heapq
import itertools
import logging
import math
import selectors
import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

from nio_sdk.life import Life
from nio_sdk.waker import Waker
from nio_sdk.watch import Watch

# So many times that no longer hold may lie about before they are cleared away.
_SPARE_TIMES = 64
_log = logging.getLogger("nio_sdk")


class ClientThread:
    """A daemon thread in which clients live: `client.start(thread)`. It begins with the first of them.

    What a client calls back is called in this thread, so it must not block: that would hold up all of them.

    Args:
        ends_when_empty: whether the thread ends with its last client, as that of a client of its own does.
    """

    def __init__(self, *, ends_when_empty: bool = False) -> None:
        self._ends_when_empty = ends_when_empty
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker.fileno(), selectors.EVENT_READ, None)
        # Those that want a turn, from any thread.
        self._woken: deque[Life] = deque()
        self._lives: set[Life] = set()
        self._times: list[tuple[float, int, Life]] = []
        self._scheduled: dict[Life, float] = {}
        self._number = itertools.count()
        self._thread = threading.Thread(target=self._run, name="nio_sdk.ClientThread", daemon=True)
        # Guards what is begun and ended, and is never held while anything is called.
        self._lock = threading.Lock()
        self._has_begun = False
        self._is_closing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all clients in it, and wait until they and the thread have ended; may be called twice.

        Called in the thread itself, it does not wait.
        """
        with self._lock:
            self._is_closing = True
            has_begun = self._has_begun
        if has_begun:
            self._waker.wake()
            if not self.is_current:
                self._thread.join()
        else:
            self._release()

    @property
    def is_current(self) -> bool:
        """Whether this is called in the thread."""
        return threading.current_thread() is self._thread

    def watch(self) -> Watch:
        """A place in the selector, for one life that is going to be added."""
        return Watch(self._selector, None)

    def add(self, life: Life, watch: Watch) -> None:
        """Let a client live in here.

        Args:
            life: of the client.
            watch: that it was made with.

        Raises:
            RuntimeError: the thread is closed.
        """
        with self._lock:
            if self._is_closing:
                raise RuntimeError("the thread is closed: make a new one")
            watch.data = life
            self._woken.append(life)
            if not self._has_begun:
                self._has_begun = True
                self._thread.start()
        self._waker.wake()

    def wake(self, life: Life) -> None:
        """Give a client a turn; called in any thread."""
        self._woken.append(life)
        self._waker.wake()

    def _run(self) -> None:
        while self._lives or self._woken or not (self._is_closing or self._ends_when_empty):
            events = self._selector.select(self._wait_s())
            self._waker.drain()
            due = {key.data for key, _ in events if key.data is not None}
            for _ in range(len(self._woken)):
                due.add(self._woken.popleft())
            due |= self._take_due(time.monotonic())
            if self._is_closing:
                due |= self._lives
            for life in due:
                self._give_turn(life)
        self._release()

    def _give_turn(self, life: Life) -> None:
        if self._is_closing:
            life.stop()
        try:
            life.turn()
        except Exception as error:  # one client must not take the others with it
            _log.exception("a client has failed")
            life.fail(error)
        if life.is_over:
            self._lives.discard(life)
            self._scheduled.pop(life, None)
            return
        self._lives.add(life)
        due_s = life.due_s
        if due_s != self._scheduled.get(life, math.inf):
            self._scheduled[life] = due_s
            if due_s < math.inf:
                heapq.heappush(self._times, (due_s, next(self._number), life))
            if len(self._times) > 2 * len(self._scheduled) + _SPARE_TIMES:
                self._times = [one for one in self._times if self._scheduled.get(one[2]) == one[0]]
                heapq.heapify(self._times)

    def _wait_s(self) -> float | None:
        if self._woken:
            return 0.0
        # What is not as it was scheduled last has been scheduled anew since.
        while self._times and self._scheduled.get(self._times[0][2]) != self._times[0][0]:
            heapq.heappop(self._times)
        return max(0.0, self._times[0][0] - time.monotonic()) if self._times else None

    def _take_due(self, now_s: float) -> set[Life]:
        due = set()
        while self._times and self._times[0][0] <= now_s:
            due_s, _, life = heapq.heappop(self._times)
            if self._scheduled.get(life) == due_s:
                del self._scheduled[life]
                due.add(life)
        return due

    def _release(self) -> None:
        self._selector.close()
        self._waker.close()
