"""Messages by position: those on disk, when they expire, and how much there is of them all. Pure: no clock, no I/O.

Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from push.services.cache.expiry import Buckets
from push.services.cache.records import Record

_FIRST = itemgetter(0)


class Shelf:
    """Where messages stand.

    Attributes:
        stored: position → message, for those on disk.
        buckets: when those expire.
        size_bytes: of all payloads, on disk or not; one for several tokens counted once.
        last_position: the newest that was given out.
    """

    def __init__(self) -> None:
        self.stored: dict[int, Record] = {}
        self.buckets = Buckets()
        self.size_bytes = 0
        self.last_position = 0
        # Message id → positions, where those are not equal.
        self._elsewhere: dict[int, list[int]] = {}

    def note(self, message_id: int, position: int) -> None:
        """A message stands at a position that is not its id."""
        self._elsewhere.setdefault(message_id, []).append(position)

    def load(self, records: Sequence[Record]) -> None:
        """These are on disk at the start; in the order of positions."""
        positions = [record.position for record in records]
        self.stored.update(zip(positions, records, strict=True))
        self.size_bytes += sum([record.size_bytes for record in records])
        self.last_position = max(self.last_position, positions[-1])
        seconds = [record.expires_ms // 1000 for record in records]
        for second, some in groupby(zip(seconds, positions, strict=True), _FIRST):
            self.buckets.load([position for _, position in some], second)
        if positions != [record.message_id for record in records]:
            for record in records:
                if record.position != record.message_id:
                    self.note(record.message_id, record.position)

    def store(self, record: Record) -> None:
        """A message is on disk."""
        self.stored[record.position] = record
        self.buckets.add(record.position, record.expires_ms)

    def leave_early(self, records: Sequence[Record]) -> None:
        """Messages that were never on disk are gone."""
        self.size_bytes -= sum([record.size_bytes for record in records])
        if self._elsewhere:
            for record in records:
                if record.position != record.message_id:
                    self.leave(record.message_id, record.position)

    def forget(self, record: Record) -> None:
        """A message is gone; its `ticket` says whether it was on disk."""
        self.leave_early((record,))
        if not record.ticket:
            del self.stored[record.position]
            self.buckets.discard(record.position, record.expires_ms)

    def leave(self, message_id: int, position: int) -> None:
        """What `note` said is over."""
        positions = self._elsewhere[message_id]
        positions.remove(position)
        if not positions:
            del self._elsewhere[message_id]

    def find(self, message_id: int, others: Iterable[Mapping[int, Record]]) -> list[Record]:
        """All messages with an id, here or in other mappings by position."""
        positions = (message_id, *self._elsewhere.get(message_id, ()))
        places = (self.stored, *others)
        found = [place[position] for position in positions for place in places if position in place]
        return [record for record in found if record.message_id == message_id]
