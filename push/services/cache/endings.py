"""How a message ends at a token: acknowledged, handed over, cancelled, expired, displaced, or forgotten with its token.

What is long is done in steps, so that others are served in its middle. No I/O. Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Iterator, Sequence

from push.ireceipts import IReceipts
from push.model import Registration
from push.model_receipts import Event
from push.services.cache.index import Index
from push.services.cache.log import BroadcastLog
from push.services.cache.records import Record
from push.services.cache.shelf import Shelf
from push.services.cache.staging import LOG, Staging

# How many tokens of one message are done in a step.
CHUNK = 256
# How many messages that are for one token each are looked at in a step.
EXPIRED_CHUNK = 16


class Endings:
    """Takes messages out of memory, and leaves with Staging what is to be done on disk.

    Args:
        index: by token.
        log: for all.
        shelf: by position.
        staging: what is not on disk as it should be.
        receipts: told what happens.

    Attributes:
        events: how often each event happened.
    """

    def __init__(self, *, index: Index, log: BroadcastLog, shelf: Shelf, staging: Staging, receipts: IReceipts) -> None:
        self._index = index
        self._log = log
        self._shelf = shelf
        self._staging = staging
        self._receipts = receipts
        self.events = [0] * len(Event)

    def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]], event: Event) -> None:
        """Tokens have messages: DELIVERED or, where nobody acknowledges, SENT."""
        take, end, logged, rows = self._index.take, self._end, self._log.by_id, self._staging.rows
        # As nearly all: for one token, without options, and not even on their way to disk.
        early: list[Record] = []
        told: list[tuple[int, str]] = []
        for token, message_ids in batch:
            for message_id in message_ids:
                record = take(token, message_id)
                if record is not None and record.more is None and rows.pop(record.position, None) is not None:
                    early.append(record)
                    told.append((message_id, record.token))
                elif record is not None:
                    end(record, token, event)
                    if record.more is not None and record.more.collapse_key:
                        self._replace_older(record, token)
                if logged and message_id in logged:
                    self._had(message_id, token, event, was_kept=record is not None)
        self._staging.spared += len(early)
        self._shelf.leave_early(early)
        self._staging.settled(early)
        self._tell(told, event)

    def cancel(self, message_id: int) -> Iterator[int]:
        """Forget a message, in steps. Yields of each for how many tokens it was kept."""
        for record in self._shelf.find(message_id, self._staging.places()):
            yield from self._drop(record, Event.CANCELLED, is_urgent=True)

    def expire(self, now_ms: int) -> Iterator[int]:
        """Forget what has expired, in steps; one at a time."""
        shelf, take = self._shelf, self._index.take
        ended: list[tuple[int, str]] = []
        for number, position in enumerate(shelf.buckets.due(now_ms), 1):
            record = shelf.stored.get(position)
            if record is not None and record.token:  # as nearly all
                take(record.token, record.message_id)
                self._release(record)
                ended.append((record.message_id, record.token))
            elif record is not None:
                yield self._tell_expired(ended)
                yield from self._drop(record, Event.EXPIRED)
            if number % EXPIRED_CHUNK == 0:
                yield self._tell_expired(ended)
        yield self._tell_expired(ended)

    def forget(self, token: str) -> None:
        """Forget what is kept for a token."""
        for record in self._index.of(token):
            self._index.take(token, record.message_id)
            self._end(record, token, Event.CANCELLED, is_urgent=True)

    def displaced(self, token: str, record: Record, event: Event) -> None:
        """A victim goes, unless it has gone by itself; the disk knows already."""
        if token == LOG:
            if not self._log.remove(record):
                return
            self._receipts.counted(event, record.message_id, 1)
        else:
            if not self._index.has(record, token):
                return
            self._index.take(token, record.message_id)
            self._receipts.happened(event, record.message_id, (token,))
        self.events[event] += 1
        more = record.more
        if more is not None and more.tokens:
            more.left -= 1
            if more.left:
                return
            if not record.ticket:  # the disk knows of its tokens, not yet that these were all
                self._staging.remove(record.position)
        self._shelf.forget(record)

    def part(self, registration: Registration) -> bool:
        """Forget what a token was to get only as another user's. Returns whether there was any."""
        strange = self._index.not_for(registration.token, registration.uid)
        for record in strange:
            self._index.take(registration.token, record.message_id)
            self._end(record, registration.token, Event.CANCELLED)
        return bool(strange)

    def cached(self, records: Iterable[Record]) -> None:
        """Messages are on disk, for those tokens that still need them."""
        lone: list[tuple[int, str]] = []
        for record in records:
            if record.token:
                lone.append((record.message_id, record.token))
                continue
            more = record.more
            is_for_all = more is not None and more.left == len(more.tokens)
            tokens = record.tokens() if is_for_all else self._index.needed_by(record)
            self.events[Event.CACHED] += len(tokens)
            self._receipts.happened(Event.CACHED, record.message_id, tokens)
        self._tell(lone, Event.CACHED)

    def _tell(self, ended: Sequence[tuple[int, str]], event: Event) -> None:
        """This happened to messages for these tokens: (message id, token)."""
        self.events[event] += len(ended)
        if ended and event is not Event.SENT:
            self._receipts.happened_each(event, ended)
            return
        for message_id, token in ended:
            self._receipts.handed(message_id, (token,))

    def _tell_expired(self, ended: list[tuple[int, str]]) -> int:
        count = len(ended)
        self._tell(tuple(ended), Event.EXPIRED)
        ended.clear()
        return count

    def _end(self, record: Record, token: str, event: Event, *, is_urgent: bool = False) -> None:
        """A message that was taken out of the index is over for this token."""
        self.events[event] += 1
        if event is Event.SENT:
            self._receipts.handed(record.message_id, (token,))
        else:
            self._receipts.happened(event, record.message_id, (token,))
        more = record.more
        if more is not None and more.tokens:
            more.left -= 1
            if more.left:
                self._staging.part(record, token)
                return
        self._release(record, is_urgent=is_urgent)

    def _drop(self, record: Record, event: Event, *, is_urgent: bool = False) -> Iterator[int]:
        """A message is over for all, in steps. Yields of each for how many tokens."""
        if self._log.remove(record):
            self.events[event] += 1
            self._receipts.counted(event, record.message_id, 1)
            self._release(record, is_urgent=is_urgent)
            yield 1
            return
        tokens = record.tokens()
        for start in range(0, len(tokens), CHUNK):
            ended = [token for token in tokens[start : start + CHUNK] if self._index.has(record, token)]
            if not ended:
                continue
            for token in ended:
                self._index.take(token, record.message_id)
            self.events[event] += len(ended)
            self._receipts.happened(event, record.message_id, ended)
            if record.more is not None:
                record.more.left -= len(ended)
            if record.more is None or not record.more.left:
                self._release(record, is_urgent=is_urgent)
            yield len(ended)

    def _replace_older(self, record: Record, token: str) -> None:
        """A token has a message: what that was to replace is of no use any more."""
        for older in tuple(self._index.older(record, token)):
            self._index.take(token, older.message_id)
            self._end(older, token, Event.REPLACED)

    def _had(self, message_id: int, token: str, event: Event, *, was_kept: bool) -> None:
        """A token has a message that is logged, and was perhaps kept for it besides."""
        logged = self._log.by_id[message_id].more
        if not was_kept:
            self.events[event] += 1
            self._receipts.counted(event, message_id, 1)
        elif logged is not None:
            logged.had = logged.had or set()
            logged.had.add(token)

    def _release(self, record: Record, *, is_urgent: bool = False) -> None:
        """A message is over for all of its tokens."""
        self._shelf.forget(record)
        if record.ticket:
            self._staging.settle(record, is_urgent=is_urgent)
        else:
            self._staging.remove(record.position, is_urgent=is_urgent)
