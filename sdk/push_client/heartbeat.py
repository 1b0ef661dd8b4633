"""The heartbeat of one open session: when a PING is due, and when silence means that the line is dead. Pure."""

import math

from push.protocols.wire.client import MAX_UNANSWERED, ClientSession
from push.protocols.wire.frames import Frame
from push_client.intervals import Intervals
from push_client.pulse import Pulse


class Heartbeat:
    """The heartbeat of one session.

    Args:
        session: that is open.
        intervals: says how long an interval to ask for, and is told what came of it.
        timeout_s: how long the line may be silent while a PING is unanswered.
        promised_ms: the interval that the session's SUB has promised.
        now_s: the time.
    """

    def __init__(
        self, session: ClientSession, intervals: Intervals, *, timeout_s: float, promised_ms: int, now_s: float
    ) -> None:
        self._session = session
        self._intervals = intervals
        self._timeout_s = timeout_s
        self._promised_ms = promised_ms
        self._asked_s: float | None = None
        self._probing = False
        self._heard_s = now_s
        self._pinged_s = now_s
        # When something last went either way, and how long that was ago when the last PING went.
        self._stirred_s = now_s
        self._silent_s = 0.0
        self._answered = 0
        self._round_trip_s: float | None = None
        self.paused = False

    @property
    def pulse(self) -> Pulse:
        """How it does."""
        return Pulse(self._interval_s, self._answered, self._round_trip_s)

    def next_s(self, now_s: float) -> float:
        """When to call `due` and `is_dead` again."""
        return min(self._ping_s(), self._dead_s(now_s))

    def heard(self, now_s: float) -> None:
        """Something came from the server."""
        self._heard_s = self._stirred_s = now_s

    def sent(self, now_s: float) -> None:
        """Something went to the server."""
        self._stirred_s = now_s

    def due(self, now_s: float) -> Frame | None:
        """The PING to send now, if any; also while nobody reads: the server must hear that this side is there."""
        if now_s < self._ping_s():
            return None
        return self._ping(now_s)

    def probe(self, now_s: float) -> Frame | None:
        """A PING to send at once, as the line may be dead for a reason that says nothing about intervals."""
        self._probing = True
        return self._ping(now_s)

    def answered(self, now_s: float) -> None:
        """The server has answered a PING."""
        self._answered += 1
        if self._asked_s is not None:
            self._round_trip_s = now_s - self._asked_s
        if self._asked_s is not None and not self._probing:
            self._intervals.succeeded(self._silent_s)
        self._asked_s = None
        self._probing = False

    def resumed(self, now_s: float) -> None:
        """Somebody reads again; the silence meanwhile was our own."""
        self.paused = False
        self._heard_s = now_s

    def is_dead(self, now_s: float) -> bool:
        """Whether the line has been silent for too long after a PING."""
        return self._dead_s(now_s) <= now_s

    def lost(self, cut_s: float | None = None) -> None:
        """The line is gone: a lesson, if a heartbeat found it so; perhaps one, if it was closed at `cut_s`."""
        if self._probing:
            return
        if self._asked_s is not None:
            self._intervals.lost()
        elif cut_s is not None:
            self._intervals.cut(cut_s - self._stirred_s)

    def _ping(self, now_s: float) -> Frame | None:
        self._silent_s = now_s - self._stirred_s
        self._pinged_s = now_s
        if self._asked_s is None:
            self._asked_s = now_s
        if self._session.unanswered >= MAX_UNANSWERED:
            return None
        wanted_ms = round(self._intervals.interval_s * 1000)
        if wanted_ms == self._promised_ms:
            return self._session.ping()
        # Said once for each change: a server that holds us to less than was promised has its reasons.
        self._promised_ms = wanted_ms
        return self._session.ping(wanted_ms)

    def _ping_s(self) -> float:
        return self._pinged_s + self._interval_s

    @property
    def _interval_s(self) -> float:
        return min(self._session.interval_ms / 1000, self._intervals.interval_s)

    def _dead_s(self, now_s: float) -> float:
        if self._asked_s is None:
            return math.inf
        # While nobody reads, silence proves nothing; and what has just been heard is as good as an answer.
        alive_s = now_s if self.paused else max(self._asked_s, self._heard_s)
        return alive_s + self._timeout_s
