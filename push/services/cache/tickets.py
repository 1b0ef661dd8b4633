"""Who waits for what to be on disk. Pure: no clock, no I/O.

A ticket stands for what came in one call. It is settled when all of that is on disk, or need not be any more.
Must not import adapters, stores or web.
"""

from collections import deque
from itertools import takewhile

from twisted.internet.defer import Deferred

from push.errors import PushError, Unavailable

# Failures that nobody has asked for; whoever asks does so at once, so this is for those who never do.
MAX_FAILURES = 10_000


class Tickets:
    """Numbers that grow, and what became of them.

    Attributes:
        last: the newest one.
    """

    def __init__(self) -> None:
        self.last = 0
        # Ticket → how much of it is neither on disk nor over; in the order of tickets.
        self._open: dict[int, int] = {}
        self._waiters: dict[int, Deferred[PushError | None]] = {}
        self._failed: dict[int, PushError] = {}
        self._forgotten = 0
        self._answers: deque[tuple[Deferred[PushError | None], PushError | None]] = deque()
        self._is_answering = False

    @property
    def is_waiting(self) -> bool:
        """Whether any are not settled."""
        return bool(self._open)

    def is_waiting_for(self, ticket: int) -> bool:
        """Whether any up to this one is not settled."""
        return bool(self._open) and next(iter(self._open)) <= ticket

    def begin(self, count: int) -> int:
        """A new ticket, for so many things; with none it is settled."""
        self.last += 1
        if count:
            self._open[self.last] = count
        return self.last

    def settle(self, ticket: int, count: int = 1) -> None:
        """So many things need not be on disk any more."""
        left = self._open.get(ticket, 0) - count
        if left > 0:
            self._open[ticket] = left
        elif ticket in self._open:
            del self._open[ticket]
            self._answer(ticket, None)

    def succeeded(self, ticket: int) -> None:
        """Everything up to this ticket is on disk."""
        for each in tuple(takewhile(ticket.__ge__, self._open)):
            del self._open[each]
            self._answer(each, None)

    def failed(self, ticket: int, error: PushError) -> None:
        """What was not yet settled of the tickets up to this one will not be on disk."""
        for each in tuple(takewhile(ticket.__ge__, self._open)):
            self.fail(each, error)

    def fail(self, ticket: int, error: PushError) -> None:
        """What was not yet settled of this ticket will not be on disk."""
        if self._open.pop(ticket, None) is None:
            return
        if ticket in self._waiters:
            self._answer(ticket, error)
            return
        self._failed[ticket] = error
        if len(self._failed) > MAX_FAILURES:
            self._forgotten = next(iter(self._failed))
            del self._failed[self._forgotten]

    def outcome(self, ticket: int) -> "PushError | Deferred[PushError | None] | None":
        """What became of a ticket, None for the best; or what will say so. Ask once."""
        if ticket in self._open:
            waiter = self._waiters[ticket] = Deferred()
            return waiter
        error = self._failed.pop(ticket, None)
        if error is None and ticket <= self._forgotten:
            return Unavailable("it is not known any more whether the message is on disk")
        return error

    def answer(self) -> None:
        """Tell those who wait. Not done on the spot: what they then do must not find things half changed."""
        if self._is_answering or not self._answers:
            return
        self._is_answering = True
        try:
            while self._answers:
                waiter, error = self._answers.popleft()
                waiter.callback(error)
        finally:
            self._is_answering = False

    def _answer(self, ticket: int, error: PushError | None) -> None:
        waiter = self._waiters.pop(ticket, None)
        if waiter is not None:
            self._answers.append((waiter, error))
