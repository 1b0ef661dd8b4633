"""What is asked of one connection: the calls that wait for it, and the numbers about all of them."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

from twisted.internet.defer import Deferred

from push.errors import PushError
from push.model_health import Histogram, Sample

# From a look-up on the same host to the default time limit.
CALL_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Call:
    """One command.

    Attributes:
        packed: as it goes to Redis.
        started_s: when it was asked for.
        deadline_s: when it fails at the latest.
        answer: what its caller waits for.
        is_patient: waits for the connection, though that is known to be away.
    """

    __slots__ = ("answer", "deadline_s", "is_patient", "packed", "started_s")

    def __init__(self, packed: bytes, started_s: float, deadline_s: float, *, is_patient: bool) -> None:
        self.packed = packed
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.is_patient = is_patient
        self.answer: Deferred[object] = Deferred()

    def fail(self, error: PushError) -> None:
        """Answer with an error, unless the caller waits no more."""
        if not self.answer.called:
            self.answer.errback(error)


class Calls:
    """In the order in which they were asked for.

    Attributes:
        waiting: not sent yet.
        sent: not answered yet.
        size_bytes: of both.
    """

    def __init__(self) -> None:
        self.waiting: deque[Call] = deque()
        self.sent: deque[Call] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.sent)

    def next_deadline_s(self) -> float | None:
        """When the first of them is to be looked at."""
        heads = [queue[0].deadline_s for queue in (self.waiting, self.sent) if queue]
        return min(heads, default=None)

    def take_waiting(self, *, impatient_only: bool = False) -> list[Call]:
        """Take out those that wait."""
        taken = [call for call in self.waiting if not (impatient_only and call.is_patient)]
        self.waiting = deque(call for call in self.waiting if impatient_only and call.is_patient)
        self.size_bytes -= sum(len(call.packed) for call in taken)
        return taken


class CallMeasures:
    """How calls of one connection went.

    Args:
        connection: its name, as the label.

    Attributes:
        failures: calls that failed.
        connects: how often it was connected.
    """

    def __init__(self, connection: str) -> None:
        self._labels = (("connection", connection),)
        self._counts = [0] * (len(CALL_BOUNDS_S) + 1)
        self._total_s = 0.0
        self.failures = 0
        self.connects = 0

    def answered(self, seconds: float) -> None:
        """A call was answered, whatever with."""
        self._counts[bisect_left(CALL_BOUNDS_S, seconds)] += 1
        self._total_s += seconds

    def samples(self, *, is_up: bool, unanswered: int) -> Iterable[Sample]:
        """The numbers as they are now."""
        labels = self._labels
        durations = Histogram(CALL_BOUNDS_S, tuple(self._counts), self._total_s)
        yield Sample("push_redis_up", "gauge", "Whether Redis is connected.", is_up, labels)
        yield Sample("push_redis_connects_total", "counter", "Connections made to Redis.", self.connects, labels)
        yield Sample("push_redis_failures_total", "counter", "Calls of Redis that failed.", self.failures, labels)
        yield Sample("push_redis_waiting", "gauge", "Calls of Redis that are not answered yet.", unanswered, labels)
        yield Sample("push_redis_call_seconds", "histogram", "Time until Redis answers.", durations, labels)
