"""Broadcasts that are kept once, for all who are away.

Pure: no clock, no I/O. Must not import adapters, stores or web.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from push.model import TagQuery
from push.model_cache import Everybody
from push.model_receipts import Event
from push.services.cache.records import Record
from push.services.ids import accepted_ms, first_id_at


def _position(record: Record) -> int:
    return record.position


def _logged_ms(ahead: tuple[int, int]) -> int:
    return ahead[0]


def _ahead_position(ahead: tuple[int, int]) -> int:
    return ahead[1]


def matches(query: TagQuery, tags: Sequence[str]) -> bool:
    """Whether a token with these tags is meant."""
    has = frozenset(tags)
    return (not query.any or not has.isdisjoint(query.any)) and has.issuperset(query.all) and has.isdisjoint(query.none)


def is_for(record: Record, tags: Sequence[str]) -> bool:
    """Whether a logged message is for a token with these tags."""
    audience = None if record.more is None else record.more.audience
    return not isinstance(audience, TagQuery) or matches(audience, tags)


class BroadcastLog:
    """Logged messages in the order of their positions.

    Args:
        max_messages: how many there may be.

    Attributes:
        by_id: message id → message.
        newest: the position of the newest there has been.
        newest_for_all: of the newest that was for everybody.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._records: list[Record] = []
        # When messages were logged whose positions are ahead of the clock, and these: as ids are for some seconds
        # after a restart.
        self._ahead: list[tuple[int, int]] = []
        self.by_id: dict[int, Record] = {}
        self.newest = 0
        self.newest_for_all = 0

    def __len__(self) -> int:
        return len(self._records)

    def room(self) -> int:
        """How many more there may be."""
        return max(0, self._max_messages - len(self._records))

    def add(self, record: Record, now_ms: int | None = None) -> None:
        """Append one; its position is the greatest.

        Args:
            record: what to append.
            now_ms: when it is logged, milliseconds since 1970; None for one of an earlier run.
        """
        self._records.append(record)
        self.by_id[record.message_id] = record
        self.newest = record.position
        if record.more is not None and isinstance(record.more.audience, Everybody):
            self.newest_for_all = record.position
        if now_ms is not None and accepted_ms(record.position) > now_ms:
            del self._ahead[: bisect_left(self._ahead, self._records[0].position, key=_ahead_position)]
            self._ahead.append((now_ms, record.position))

    def place_at(self, at_ms: int) -> int:
        """The place of a token that was registered then: behind all that was logged before."""
        place = first_id_at(at_ms) - 1
        before = bisect_left(self._ahead, at_ms, key=_logged_ms)
        return max(place, self._ahead[before - 1][1]) if before else place

    def remove(self, record: Record) -> bool:
        """Remove one. Returns whether it was there."""
        if self.by_id.get(record.message_id) is not record:
            return False
        del self.by_id[record.message_id]
        del self._records[bisect_right(self._records, record.position, key=_position) - 1]
        return True

    def has(self, record: Record) -> bool:
        """Whether this one is there."""
        return self.by_id.get(record.message_id) is record

    def has_position(self, position: int) -> bool:
        """Whether the message at a position is there."""
        found = bisect_right(self._records, position, key=_position)
        return found > 0 and self._records[found - 1].position == position

    def oldest(self) -> int | None:
        """The position of the oldest there is."""
        return self._records[0].position if self._records else None

    def after(self, place: int) -> Sequence[Record]:
        """Those with greater positions, in order."""
        return self._records[bisect_right(self._records, place, key=_position) :]

    def victims(self, ticket: int) -> list[tuple[Record, Event]]:
        """The oldest, which are to go when everything up to a ticket is on disk."""
        counted = [record for record in self._records if record.ticket <= ticket]
        return [(record, Event.DROPPED) for record in counted[: max(0, len(counted) - self._max_messages)]]
