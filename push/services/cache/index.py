"""Which messages each token is to get: all of it, in memory. Pure: no clock, no I/O.

A token with one message has the record itself for a value, and no queue, which would be 350 bytes. 1,000,000 messages
for as many tokens are 420 MB in all, for 10,000 tokens 340 (2026-11-23, CPython 3.11). The dict holds nothing that the
collector knows, so a full collection does not walk through it either.
Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum

from push.model_cache import CacheLimits
from push.model_receipts import Event
from push.services.cache.records import Record
from push.services.cache.token_queue import TokenQueue


class Added(IntEnum):
    """What became of a message that was to be added for a token."""

    REFUSED = 0  # the token's cache is full
    ALREADY = 1  # the token has this very message
    PLACED = 2
    DISPLACING = 3  # others have to go once it is on disk


class Index:
    """Token → its messages in the order of their positions.

    Attributes:
        count: how many messages there are, one for several tokens counted once for each.
        tokens: token → its only message, or its queue.
    """

    def __init__(self, limits: CacheLimits) -> None:
        self._max_messages = limits.max_cached_messages_per_token
        self._max_bytes = limits.max_cached_bytes_per_token
        self.count = 0
        self.tokens: dict[str, Record | TokenQueue] = {}

    def add(self, record: Record, token: str, *, drops_oldest: bool = False, is_limited: bool = True) -> Added:
        """Add a message for a token, behind all that it has.

        Args:
            record: the message.
            token: for whom.
            drops_oldest: make room rather than refuse it.
            is_limited: False for what was accepted earlier.
        """
        if is_limited and record.size_bytes > self._max_bytes:
            return Added.REFUSED
        found = self.tokens.setdefault(token, record)
        if found is record:
            self.count += 1
            return Added.PLACED
        if type(found) is Record:
            if found.message_id == record.message_id:
                return Added.ALREADY
            queue = TokenQueue(found.token or token, {}, {})
            queue.add(found)
        else:
            assert isinstance(found, TokenQueue)
            queue = found
            if queue.get(record.message_id) is not None:
                return Added.ALREADY
        if is_limited and record.more is None:
            is_full = len(queue) >= self._max_messages or queue.size_bytes + record.size_bytes > self._max_bytes
        else:
            is_full = is_limited and not queue.fits(record, self._max_messages, self._max_bytes)
        if is_full and not drops_oldest:
            return Added.REFUSED
        self.tokens[token] = queue
        if record.token:
            record.token = queue.token  # one text for all messages of a token
        self.count += 1
        return Added.DISPLACING if queue.add(record) or is_full else Added.PLACED

    def add_to_each(self, record: Record, tokens: Sequence[str]) -> list[str]:
        """`add` for many tokens, in a fifth of the time, where there is room and nothing is displaced.

        Returns:
            Those for which it was not done: for them, `add` says what becomes of it.
        """
        size_bytes, message_id = record.size_bytes, record.message_id
        if size_bytes > self._max_bytes or (record.more is not None and record.more.collapse_key):
            return list(tokens)
        at, is_urgent = self.tokens.setdefault, is_high(record)
        others = []
        for token in tokens:
            found = at(token, record)
            if found is record:
                continue
            if type(found) is TokenQueue and found.size_bytes + size_bytes <= self._max_bytes:
                normal, high = found.normal, found.high
                if len(normal) + len(high) < self._max_messages and message_id not in normal and message_id not in high:
                    (high if is_urgent else normal)[message_id] = record
                    found.size_bytes += size_bytes
                    continue
            elif type(found) is Record and not is_urgent and found.message_id != message_id:
                both_bytes = found.size_bytes + size_bytes
                is_usual = found.more is None or not (found.more.is_high or found.more.collapse_key)
                if is_usual and self._max_messages > 1 and both_bytes <= self._max_bytes:
                    both = {found.message_id: found, message_id: record}
                    self.tokens[token] = TokenQueue(found.token or token, both, {}, both_bytes)
                    continue
            others.append(token)
        self.count += len(tokens) - len(others)
        return others

    def load(self, records: Iterable[Record]) -> list[Record]:
        """`add`, for accepted messages, each for one token and without options. Returns those that were not new.

        A million take 0.9 s, most of it waiting for memory: every one is for another token than the one before it
        (2026-11-23).
        """
        at = self.tokens.setdefault
        known = []
        for record in records:
            found = at(record.token, record)
            if type(found) is TokenQueue:
                record.token = found.token
                if found.normal.setdefault(record.message_id, record) is record:
                    found.size_bytes += record.size_bytes
                    self.count += 1
                else:
                    known.append(record)
            elif found is record:
                self.count += 1
            elif self.add(record, record.token, is_limited=False) < Added.PLACED:
                known.append(record)
        return known

    def take(self, token: str, message_id: int) -> Record | None:
        """Remove a message for a token. Returns it, or None where the token does not have it."""
        found = self.tokens.get(token)
        if found is None:
            return None
        if type(found) is Record:
            if found.message_id != message_id:
                return None
            del self.tokens[token]
            self.count -= 1
            return found
        assert isinstance(found, TokenQueue)
        record = found.take(message_id)
        if record is None:
            return None
        self.count -= 1
        if not found.normal and not found.high:
            del self.tokens[token]
        return record

    def get(self, token: str, message_id: int) -> Record | None:
        """The message with an id that a token is to get."""
        found = self.tokens.get(token)
        if isinstance(found, TokenQueue):
            return found.get(message_id)
        return found if found is not None and found.message_id == message_id else None

    def has(self, record: Record, token: str) -> bool:
        """Whether a token is to get this very record."""
        return self.get(token, record.message_id) is record

    def needed_by(self, record: Record) -> list[str]:
        """The tokens that are still to get a message."""
        return [token for token in record.tokens() if self.has(record, token)]

    def of(self, token: str) -> list[Record]:
        """All that a token is to get, the oldest first."""
        found = self.tokens.get(token)
        if isinstance(found, TokenQueue):
            return list(found.in_order())
        return [] if found is None else [found]

    def not_for(self, token: str, uid: str | None) -> list[Record]:
        """What a token is to get only as another user's."""
        found = self.tokens.get(token)
        if isinstance(found, TokenQueue):
            return [each for each in found.in_order() if each.owner is not None and each.owner != uid]
        return [] if found is None or found.owner is None or found.owner == uid else [found]

    def after(self, token: str, high: int, normal: int) -> Iterator[Record]:
        """What comes for a token after these positions: urgent messages, then others; each in order."""
        found = self.tokens.get(token)
        if isinstance(found, TokenQueue):
            yield from found.after(high, normal)
        elif found is not None and found.position > (high if is_high(found) else normal):
            yield found

    def older(self, record: Record, token: str) -> Iterable[Record]:
        """What a token has with the same collapse key from before this message."""
        found = self.tokens.get(token)
        return found.older(record) if isinstance(found, TokenQueue) else ()

    def before(self, token: str, position: int) -> int:
        """The position of the latest that a token is to get before this position; 0 for none."""
        found = self.tokens.get(token)
        if isinstance(found, TokenQueue):
            return found.before(position)
        return found.position if found is not None and found.position < position else 0

    def victims(self, token: str, ticket: int, *, is_all: bool) -> list[tuple[Record, Event]]:
        """What a token loses when everything up to a ticket is on disk: see TokenQueue.victims."""
        found = self.tokens.get(token)
        if not isinstance(found, TokenQueue):
            return []
        return found.victims(ticket, self._max_messages, self._max_bytes, is_all=is_all)


def is_high(record: Record) -> bool:
    """Whether a message is urgent."""
    return record.more is not None and record.more.is_high
