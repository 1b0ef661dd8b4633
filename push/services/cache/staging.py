"""Group commit: what waits for the disk, what is on its way there, and what need not go there any more. Pure.

All that has a ticket up to some number goes in one transaction: it is on disk as a whole, or forgotten as a whole.
What a new message displaces (by its collapse key, or as the oldest where there is no room) stays until that
transaction has succeeded, as part of which it goes: so a disk that fails takes nothing that had been accepted.
Must not import adapters, stores or web.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from push.errors import PushError
from push.model_cache import CacheChanges, StoredMessage
from push.model_receipts import Event
from push.services.cache.index import Index
from push.services.cache.log import BroadcastLog
from push.services.cache.records import LATER, Record, row_of
from push.services.cache.tickets import Tickets

# Where more waits, it goes in several transactions: one of this size keeps the reactor for some 5 ms while it is put
# together, and again when it is done; so do removals (measured 2026-11-23).
MAX_MESSAGES = 4_096
MAX_BYTES = 8_388_608
MAX_FINISHED = 4_000

# Stands for the log of broadcasts where a token would stand.
LOG = ""


@dataclass(slots=True, eq=False)
class Flight:
    """What is being written.

    Attributes:
        ticket: all up to this one.
        rows: position → message, without those that are over meanwhile.
        left_out: those that are displaced by others of this flight, and never written.
        victims: token (LOG for the log), what it loses and why, once this is on disk.
        finished: positions of rows that are removed, victims not included.
        done: as in CacheChanges, victims not included.
    """

    ticket: int
    rows: dict[int, Record]
    left_out: dict[int, Record] = field(default_factory=dict)
    victims: list[tuple[str, Record, Event]] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    done: list[tuple[int, str]] = field(default_factory=list)


class Staging:
    """What is not on disk as it should be.

    Args:
        index: knows which tokens still need a message.
        log: likewise for logged ones.
        tickets: told what is settled.

    Attributes:
        rows: position → message that waits for the next transaction, in order.
        flight: what is being written, if anything is.
        removals: how often something on disk had to be removed.
        spared: how many messages were over before they were on disk, or on their way there.
        is_placing: whether messages are in the index that have no ticket yet.
    """

    def __init__(self, *, index: Index, log: BroadcastLog, tickets: Tickets) -> None:
        self._index = index
        self._log = log
        self._tickets = tickets
        self.rows: dict[int, Record] = {}
        self.flight: Flight | None = None
        self.removals = 0
        self.spared = 0
        self.is_placing = False
        # May be as many as there are messages, when all expire at once.
        self._finished: deque[int] = deque()
        self._urgent: list[int] = []
        self._done: list[tuple[int, str]] = []
        # Token → the newest ticket with a message that displaces others there.
        self._displacing: dict[str, int] = {}
        # Position of a message on its way to disk → token and ticket of those who brought the very same for it.
        self._twins: dict[int, list[tuple[str, int]]] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.rows) or self.removes_any

    def is_waiting_for(self, ticket: int) -> bool:
        """Whether there is any message to write of those up to this ticket."""
        return bool(self.rows) and next(iter(self.rows.values())).ticket <= ticket

    @property
    def removes_any(self) -> bool:
        """Whether anything on disk is to be removed."""
        return bool(self._finished or self._urgent or self._done)

    def places(self) -> list[dict[int, Record]]:
        """Where messages are that are not on disk: position → message."""
        if self.flight is None:
            return [self.rows]
        return [self.rows, self.flight.rows, self.flight.left_out]

    def displace(self, token: str, ticket: int) -> None:
        """A message of this ticket displaces others of this token."""
        self._displacing[token] = ticket

    def join(self, record: Record, token: str, ticket: int) -> None:
        """This ticket has the fate of a message that another one brought for this token."""
        self._twins.setdefault(record.position, []).append((token, ticket))

    def settle(self, record: Record, *, is_urgent: bool = False) -> None:
        """A message that is not on disk yet need not be: it is over for all of its tokens."""
        position = record.position
        if self.rows.pop(position, None) is not None:
            self.spared += 1
        elif self.flight is not None:
            if self.flight.rows.pop(position, None) is not None:
                self.remove(position, is_urgent=is_urgent)
            else:
                self.flight.left_out.pop(position, None)
        self.settled((record,))

    def settled(self, records: Sequence[Record]) -> None:
        """Messages that were taken out of `rows` need not be on disk; whoever took them has counted them as spared."""
        ticket = count = 0
        for record in records:
            if record.ticket != ticket:
                if count:
                    self._tickets.settle(ticket, count)
                ticket, count = record.ticket, 0
            count += 1
        if count:
            self._tickets.settle(ticket, count)
        if self._twins:
            for record in records:
                self._settle_twins(record.position)

    def remove(self, position: int, *, is_urgent: bool = False) -> None:
        """A row is on disk, or on its way, and not needed any more; `is_urgent` where somebody waits for its end."""
        self.removals += 1
        (self._urgent if is_urgent else self._finished).append(position)

    def part(self, record: Record, token: str) -> None:
        """A message is over for one of its tokens, and not for all."""
        position = record.position
        if self._twins:
            self._settle_twins(position, token)
        is_left_out = self.flight is not None and position in self.flight.left_out
        if position in self.rows or is_left_out or record.ticket == LATER:
            return  # there is no row yet: it will not name this token
        self.removals += 1
        self._done.append((position, token))

    def close(self, up_to: int) -> tuple[CacheChanges, int]:
        """Put the next transaction together, as `flight`.

        Args:
            up_to: the last ticket that may be in it.

        Returns:
            The transaction, and the ticket up to which it goes.
        """
        ticket, rows = self._cut(up_to)
        flight = self.flight = Flight(ticket, rows)
        changes = CacheChanges()
        flight.done, self._done = self._done, []
        take = self._finished.popleft
        flight.finished = self._urgent + [take() for _ in range(min(len(self._finished), MAX_FINISHED))]
        self._urgent = []
        changes.done += flight.done
        changes.finished += flight.finished
        absent = self._find_victims(flight, changes)
        changes.messages = self._rows(flight, absent)
        return changes, ticket

    def succeeded(self) -> Flight:
        """It is on disk. Returns it; victims are still to be removed."""
        flight, self.flight = self.flight, None
        assert flight is not None
        for record in flight.rows.values():
            record.ticket = 0
            record.payload = None
        if self._twins:
            for position in (*flight.rows, *flight.left_out):
                self._settle_twins(position)
        self._tickets.succeeded(flight.ticket)
        return flight

    def failed(self, error: PushError) -> Flight:
        """It is not on disk. Returns it; its messages are still to be forgotten, its victims stay."""
        flight, self.flight = self.flight, None
        assert flight is not None
        self._finished.extendleft(reversed(flight.finished))
        rows = flight.rows
        self._done = [*flight.done, *(each for each in self._done if each[0] not in rows)]
        for position in (*rows, *flight.left_out):
            for _, ticket in self._twins.pop(position, ()):
                self._tickets.fail(ticket, error)
        self._tickets.failed(flight.ticket, error)
        return flight

    def _settle_twins(self, position: int, token: str | None = None) -> None:
        """The same message need not be on disk any more, or is, for one token or for all."""
        twins = self._twins.pop(position, [])
        for of_token, ticket in twins:
            if token is None or of_token == token:
                self._tickets.settle(ticket)
        left = [each for each in twins if token is not None and each[0] != token]
        if left:
            self._twins[position] = left

    def _cut(self, up_to: int) -> tuple[int, dict[int, Record]]:
        """The rows of the next transaction, and the ticket up to which it goes: no ticket is cut in two."""
        rows = self.rows
        cut: dict[int, Record] = {}
        ticket = size_bytes = 0
        for position, record in rows.items():
            if record.ticket != ticket:
                if record.ticket > up_to:
                    ticket = up_to
                    break
                if len(cut) >= MAX_MESSAGES or size_bytes >= MAX_BYTES:
                    break
                ticket = record.ticket
            size_bytes += record.size_bytes
            cut[position] = record
        else:
            self.rows = {}
            return min(self._tickets.last, up_to), cut
        for position in cut:
            del rows[position]
        return ticket, cut

    def _find_victims(self, flight: Flight, changes: CacheChanges) -> dict[int, set[str]]:
        """Write down what is displaced. Returns position → tokens, of what is so before it is written."""
        absent: dict[int, set[str]] = {}
        is_all = not self.rows and not self.is_placing
        for token, last in list(self._displacing.items()):
            victims = (
                self._log.victims(flight.ticket)
                if token == LOG
                else self._index.victims(token, flight.ticket, is_all=is_all)
            )
            for record, event in victims:
                flight.victims.append((token, record, event))
                if record.ticket:
                    absent.setdefault(record.position, set()).add(token)
                elif record.token or token == LOG:
                    changes.finished.append(record.position)
                else:
                    changes.done.append((record.position, token))
            if last <= flight.ticket:
                del self._displacing[token]
        return absent

    def _rows(self, flight: Flight, absent: dict[int, set[str]]) -> list[StoredMessage]:
        made = []
        for position, record in flight.rows.items():
            if record.token:
                if position not in absent:
                    made.append(row_of(record, (record.token,)))
                    continue
            else:
                tokens = self._needed(record, absent.get(position, ()))
                is_logged = record.more is not None and record.more.audience is not None
                if tokens or (is_logged and position not in absent):
                    made.append(row_of(record, tokens))
                    continue
            flight.left_out[position] = record
        for position in flight.left_out:
            del flight.rows[position]
        return made

    def _needed(self, record: Record, absent: Iterable[str]) -> tuple[str, ...]:
        """Which of several tokens a row is to name."""
        more = record.more
        assert more is not None
        if more.left == len(more.tokens) and not absent:
            return tuple(more.tokens)
        return tuple(token for token in self._index.needed_by(record) if token not in absent)
