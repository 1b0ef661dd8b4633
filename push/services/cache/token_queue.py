"""What one token is to get, where that is more than one message. Pure: no clock, no I/O.

A queue is made with the second message and goes with the last. Must not import adapters, stores or web.
"""

from collections.abc import Iterator
from heapq import merge

import msgspec

from push.model_receipts import Event
from push.services.cache.records import Record


def _position(record: Record) -> int:
    return record.position


def _before(records: dict[int, Record], position: int) -> int:
    for record in reversed(records.values()):
        if record.position < position:
            return record.position
    return 0


class TokenQueue(msgspec.Struct, gc=False, eq=False):
    """The messages of one token, by id, in the order of positions.

    Attributes:
        token: whose.
        normal: those that are not urgent.
        high: those that are.
        size_bytes: of all their payloads.
        keys: collapse key → the messages that have it, the newest last: more than one only until that is on disk.
        doubled: the keys that have more than one.
    """

    token: str
    normal: dict[int, Record]
    high: dict[int, Record]
    size_bytes: int = 0
    keys: dict[str, list[Record]] | None = None
    doubled: set[str] | None = None

    def __len__(self) -> int:
        return len(self.normal) + len(self.high)

    def get(self, message_id: int) -> Record | None:
        """The message with an id."""
        return self.normal.get(message_id) or self.high.get(message_id)

    def add(self, record: Record) -> bool:
        """Take one, behind all there are.

        Returns:
            Whether it is to replace others.
        """
        more = record.more
        self.size_bytes += record.size_bytes
        if more is None:
            self.normal[record.message_id] = record
            return False
        (self.high if more.is_high else self.normal)[record.message_id] = record
        return bool(more.collapse_key) and self._has_same_key(more.collapse_key, record)

    def take(self, message_id: int) -> Record | None:
        """Remove one. Returns it, or None where there is none with this id."""
        record = self.normal.pop(message_id, None)
        if record is None and self.high:
            record = self.high.pop(message_id, None)
        if record is None:
            return None
        self.size_bytes -= record.size_bytes
        if self.keys is not None and record.more is not None and record.more.collapse_key:
            self._forget_key(record.more.collapse_key, record)
        return record

    def older(self, record: Record) -> list[Record]:
        """Those with the same collapse key that came before this one."""
        if self.keys is None or record.more is None:
            return []
        return [each for each in self.keys.get(record.more.collapse_key, ()) if each.position < record.position]

    def after(self, high: int, normal: int) -> Iterator[Record]:
        """What comes after these positions: urgent ones, then others."""
        for record in self.high.values():
            if record.position > high:
                yield record
        for record in self.normal.values():
            if record.position > normal:
                yield record

    def before(self, position: int) -> int:
        """The greatest position under this one, 0 for none. Quick where that is among the newest."""
        return max(_before(self.normal, position), _before(self.high, position) if self.high else 0)

    def in_order(self) -> Iterator[Record]:
        """All, the oldest first, urgent or not."""
        return (
            merge(self.normal.values(), self.high.values(), key=_position) if self.high else iter(self.normal.values())
        )

    def fits(self, record: Record, max_messages: int, max_bytes: int) -> bool:
        """Whether there is room for one more; what it replaces counts as gone."""
        replaced = self.older(record) if record.more is not None and record.more.collapse_key else ()
        count = len(self) + 1 - len(replaced)
        size_bytes = self.size_bytes + record.size_bytes - sum([each.size_bytes for each in replaced])
        return count <= max_messages and size_bytes <= max_bytes

    def victims(self, ticket: int, max_messages: int, max_bytes: int, *, is_all: bool) -> list[tuple[Record, Event]]:
        """What is to go when everything up to a ticket is on disk: what is replaced, then the oldest above the limits.

        Args:
            ticket: what came later stays out of it: whether that will ever be on disk is not known.
            max_messages: most messages of a token.
            max_bytes: most bytes of a token.
            is_all: whether nothing has come later.
        """
        gone: dict[int, tuple[Record, Event]] = {}
        for key in self.doubled or ():
            same = [each for each in (self.keys or {})[key] if each.ticket <= ticket]
            gone.update((each.message_id, (each, Event.REPLACED)) for each in same[:-1])
        counted = self if is_all else [each for each in self.in_order() if each.ticket <= ticket]
        count = len(counted) - len(gone)
        size_bytes = self.size_bytes if isinstance(counted, TokenQueue) else sum(each.size_bytes for each in counted)
        size_bytes -= sum(record.size_bytes for record, _ in gone.values())
        if count > max_messages or size_bytes > max_bytes:
            for each in self.in_order():
                if each.ticket > ticket or each.message_id in gone:
                    continue
                gone[each.message_id] = (each, Event.DROPPED)
                count -= 1
                size_bytes -= each.size_bytes
                if count <= max_messages and size_bytes <= max_bytes:
                    break
        return list(gone.values())

    def _has_same_key(self, key: str, record: Record) -> bool:
        if self.keys is None:
            self.keys = {}
        same = self.keys.setdefault(key, [])
        same.append(record)
        if len(same) == 1:
            return False
        if self.doubled is None:
            self.doubled = set()
        self.doubled.add(key)
        return True

    def _forget_key(self, key: str, record: Record) -> None:
        assert self.keys is not None
        same = self.keys[key]
        same.remove(record)
        if not same:
            del self.keys[key]
        if len(same) < 2 and self.doubled is not None:
            self.doubled.discard(key)
