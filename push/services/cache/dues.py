"""What is to be sent later. Pure: no clock, no I/O. Must not import adapters, stores or web."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from push.model_cache import StoredDue


def _when(due: StoredDue) -> tuple[int, int]:
    return due.due_ms, due.message_id


class Dues:
    """Requests in the order in which they are due.

    One is here once it is on disk. It goes with the message that is made of it: in the same transaction.

    Attributes:
        count: how many there are, those on the way to disk included.
        size_bytes: of their payloads, likewise.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, StoredDue] = {}
        self._in_order: list[StoredDue] = []
        self._new: list[tuple[int, StoredDue]] = []
        self._written: list[StoredDue] = []
        # Message id → the ticket of the keep that it was sent by.
        self._sent: dict[int, int] = {}
        self._gone: list[int] = []
        self._going: list[int] = []
        self.count = 0
        self.size_bytes = 0

    @property
    def are_any(self) -> bool:
        """Whether a message could be made of one."""
        return bool(self._by_id)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._by_id

    @property
    def waiting(self) -> int:
        """How many changes are not on disk, nor on the way there."""
        return len(self._new) + len(self._gone) + len(self._sent)

    def load(self, due: StoredDue) -> None:
        """One that is on disk."""
        self.count += 1
        self.size_bytes += len(due.request.payload)
        self._by_id[due.message_id] = due
        insort(self._in_order, due, key=_when)

    def add(self, due: StoredDue, ticket: int) -> None:
        """A new one."""
        self.count += 1
        self.size_bytes += len(due.request.payload)
        self._new.append((ticket, due))

    def sent(self, message_id: int, ticket: int) -> None:
        """A message was made of one: once that is on disk, this one is not."""
        if message_id in self._by_id:
            self._sent[message_id] = ticket

    def remove(self, message_id: int) -> bool:
        """Remove one. Returns whether it was there."""
        due = self._by_id.pop(message_id, None)
        if due is None:
            return False
        self.count -= 1
        self._in_order.pop(bisect_left(self._in_order, _when(due), key=_when))
        self.size_bytes -= len(due.request.payload)
        self._sent.pop(message_id, None)
        self._gone.append(message_id)
        return True

    def all(self) -> Sequence[StoredDue]:
        """All that are on disk, in the order of time."""
        return tuple(self._in_order)

    def take(self, ticket: int) -> tuple[list[StoredDue], list[int]]:
        """What is new and what is gone up to a ticket; say what became of it."""
        self._written = [due for of_ticket, due in self._new if of_ticket <= ticket]
        self._new = [each for each in self._new if each[0] > ticket]
        self._going, self._gone = self._gone, []
        sent = [message_id for message_id, of_ticket in self._sent.items() if of_ticket <= ticket]
        for message_id in sent:
            del self._sent[message_id]
        return self._written, self._going + sent

    def ended(self, *, is_on_disk: bool) -> None:
        """What was taken has been written, or not; then only removals are tried again."""
        written, self._written = self._written, []
        going, self._going = self._going, []
        if not is_on_disk:
            self._gone = going + self._gone
        for due in written:
            self.count -= 1
            self.size_bytes -= len(due.request.payload)
            if is_on_disk:
                self.load(due)
