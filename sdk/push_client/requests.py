"""Requests of the chat and their answers, over connections that come and go. Pure.

What is wanted is a `Plan`: it asks one thing after another, and comes to a result or an error. `Requests` sends what
plans ask, keeps the time, asks again what may be asked again, and hands each plan the answers.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from push.protocols.wire.client import Answered
from push_client.chat import ChatError, read_answer, request

T = TypeVar("T")

# How long an answer may take, from when the request was sent.
REQUEST_TIMEOUT_S = 20.0
# A server lets a connection have 64 unanswered (docs/chat.md); what is more waits here.
MAX_UNANSWERED = 32
# What is more is refused here: nobody waits for so many.
MAX_WAITING = 1_024
# A server that says that it cannot now is asked again so often, after so long, unless it says how long.
ATTEMPTS = 10
_AGAIN_S = 0.5
_LONGEST_AGAIN_S = 30.0
_CANNOT_NOW = 503
_TOO_MUCH = 429


class Ask(NamedTuple):
    """One request.

    Attributes:
        subsignal: what it is about.
        fields: those that are None are left out.
        again: once more where the connection was lost before the answer came, or the server cannot now: it may be
            done twice.
        patiently: nobody waits for it, so it is asked until it is answered, also where this client asks too much.
    """

    subsignal: int
    fields: Mapping[str, object]
    again: bool = False
    patiently: bool = False


Plan = Generator[Ask, dict[str, Any], T]


class Doing(Generic[T]):
    """A plan under way.

    Making one runs it to its first request, so that what cannot be asked is raised to who wants it.

    Attributes:
        is_over: whether it has come to its end.
        result: what it came to.
        error: why it came to nothing.

    Raises:
        ValueError, TypeError: what it asks cannot be written.
    """

    __slots__ = ("_plan", "_result", "ask", "attempts", "body", "due_s", "error", "is_over")

    def __init__(self, plan: Plan[T]) -> None:
        self.is_over = False
        self.error: Exception | None = None
        self._result: list[T] = []
        self._plan = plan
        self._next(lambda: next(plan))
        if self.error is not None:
            raise self.error

    @property
    def result(self) -> T:
        """What it came to, or raises why it did not."""
        if self.error is not None:
            raise self.error
        return self._result[0]

    def answered(self, fields: dict[str, Any]) -> None:
        """What it asked was answered: it asks the next thing, or is over."""
        self._next(lambda: self._plan.send(fields))

    def fail(self, error: Exception) -> None:
        """What it asked was refused, or is not to be had any more."""
        self._next(lambda: self._plan.throw(error))

    def stop(self) -> None:
        """Nobody wants it any more."""
        self.is_over = True
        self._plan.close()

    def _next(self, step: Callable[[], Ask]) -> None:
        try:
            self.ask = step()
            self.body = request(self.ask.fields)
        except StopIteration as end:
            self._result.append(end.value)
            self.is_over = True
        except Exception as error:  # handed to whoever wants the result
            self.error = error
            self.is_over = True
        self.attempts = 0
        # Until when the answer may take; where it is to be asked again later, when.
        self.due_s = 0.0


class Requests:
    """What one client asks.

    Attributes:
        over: what has come to its end, for its owner to take; what was stopped is not among it.
    """

    def __init__(self) -> None:
        self.over: deque[Doing[Any]] = deque()
        # What is to be sent, what is to be sent at its time, and message id → what is unanswered on this connection.
        self._ready: deque[Doing[Any]] = deque()
        self._resting: list[Doing[Any]] = []
        self._sent: dict[int, Doing[Any]] = {}

    @property
    def is_ready(self) -> bool:
        """Whether `send` has something to send."""
        return bool(self._ready) and len(self._sent) < MAX_UNANSWERED

    def begin(self, doing: Doing[Any]) -> None:
        """Ask what it asks, as soon as there is a session."""
        if not doing.is_over and len(self._ready) + len(self._resting) >= MAX_WAITING:
            doing.fail(ChatError(_TOO_MUCH, "too many requests wait to be sent"))
        self._queue(doing)

    def stop(self, doing: Doing[Any]) -> None:
        """Nobody wants it any more. What was sent may be done."""
        if doing.is_over:
            return
        doing.stop()
        for queue in (self._ready, self._resting):
            if doing in queue:
                queue.remove(doing)
        for message_id in [each for each, sent in self._sent.items() if sent is doing]:
            del self._sent[message_id]

    def send(self, ask: Callable[[int, bytes], int], now_s: float) -> None:
        """Ask what is to be asked.

        Args:
            ask: sends a request, and returns the message id of its answer.
            now_s: the time, as in all calls.
        """
        while self.is_ready:
            doing = self._ready.popleft()
            doing.due_s = now_s + REQUEST_TIMEOUT_S
            self._sent[ask(doing.ask.subsignal, doing.body)] = doing

    def answered(self, event: Answered, now_s: float) -> None:
        """An answer came."""
        doing = self._sent.pop(event.frame.message_id, None)
        if doing is None:
            return
        try:
            fields = read_answer(event.frame)
        except ChatError as error:
            self._refused(doing, error, now_s)
        else:
            doing.answered(fields)
            self._queue(doing)

    def lost(self) -> None:
        """The connection is gone, and the answers with it."""
        sent, self._sent = self._sent, {}
        for doing in reversed(sent.values()):
            if doing.ask.again:
                self._ready.appendleft(doing)
            else:
                doing.fail(ChatError(_CANNOT_NOW, "the connection was lost: it may have been done"))
                self._queue(doing)

    def end(self, error: Exception) -> None:
        """Nothing is asked any more."""
        left = [*self._sent.values(), *self._resting, *self._ready]
        for queue in (self._sent, self._resting, self._ready):
            queue.clear()
        for doing in left:
            doing.fail(error)
            self.over.append(doing)

    def next_s(self) -> float:
        """When to call `tick`, if nothing happens before."""
        return min((doing.due_s for doing in (*self._sent.values(), *self._resting)), default=math.inf)

    def tick(self, now_s: float) -> None:
        """Give up what was not answered in time, and ask again what has rested."""
        for message_id in [each for each, doing in self._sent.items() if doing.due_s <= now_s]:
            self._refused(self._sent.pop(message_id), ChatError(_CANNOT_NOW, "no answer in time"), now_s)
        if self._resting:
            self._ready.extend(doing for doing in self._resting if doing.due_s <= now_s)
            self._resting = [doing for doing in self._resting if doing.due_s > now_s]

    def _refused(self, doing: Doing[Any], error: ChatError, now_s: float) -> None:
        ask = doing.ask
        doing.attempts += 1
        if ask.patiently and error.status in (_CANNOT_NOW, _TOO_MUCH):
            pause_s = min(_LONGEST_AGAIN_S, _AGAIN_S * 2.0 ** min(doing.attempts - 1, 10))
        elif ask.again and error.status == _CANNOT_NOW and doing.attempts < ATTEMPTS:
            pause_s = _AGAIN_S
        else:
            doing.fail(error)
            self._queue(doing)
            return
        doing.due_s = now_s + (error.retry_after_s or pause_s)
        self._resting.append(doing)

    def _queue(self, doing: Doing[Any]) -> None:
        (self.over if doing.is_over else self._ready).append(doing)
