"""All messages that are kept, and each step that one can take at one token: docs/delivery.md has them in a table.

No I/O and no waiting: a step is done when the call returns, in memory; what of it belongs on disk is left with
Staging. Must not import adapters, stores or web.

To keep a message for one token and to see it acknowledged before it was written costs 2 to 3 µs together, in calls with
ten messages or more; in calls with one, 3 to 4 µs (2026-11-23, CPython 3.11). So that way is short: `keep`,
`Index.add`, and in Endings what is not even on its way to disk.
"""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from itertools import groupby

import msgspec

from push.errors import PushError, Unavailable
from push.ireceipts import IReceipts
from push.model import PLAIN, OnFull, Place, PushResult
from push.model_cache import CacheLimits, Keep, Keeping, StoredMessage, StoredReply
from push.services.cache.dues import Dues
from push.services.cache.endings import Endings
from push.services.cache.index import Added, Index
from push.services.cache.log import BroadcastLog
from push.services.cache.placing import Placing
from push.services.cache.records import LATER, Record, loaded, row_of
from push.services.cache.replies import Replies
from push.services.cache.shelf import Shelf
from push.services.cache.staging import LOG, Staging
from push.services.cache.tickets import Tickets
from push.services.ids import first_id_at

RETRY_AFTER_S = 5.0
NO_CEILING = (1 << 63) - 1

_PLACED = Added.PLACED
_NOBODY: Mapping[int, Sequence[str]] = {}


class Holdings:
    """What is kept.

    Args:
        limits: how much.
        receipts: told what happens.
        replies: keeps the answer of a request with the request.
        dues: knows what a message was made of.
        now_ms: milliseconds since 1970.

    Attributes:
        index: by token.
        log: for all.
        staging: what is not on disk as it should be.
        tickets: who waits for that.
        endings: how messages leave.
        ceiling: no position is above it.
    """

    def __init__(
        self, *, limits: CacheLimits, receipts: IReceipts, replies: Replies, dues: Dues, now_ms: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._receipts = receipts
        self._replies = replies
        self._dues = dues
        self._now_ms = now_ms
        self.index = Index(limits)
        self.log = BroadcastLog(limits.max_logged_broadcasts)
        self.tickets = Tickets()
        self.staging = Staging(index=self.index, log=self.log, tickets=self.tickets)
        self._shelf = Shelf()
        self.ceiling = NO_CEILING
        self._now_position = 0
        self.endings = Endings(
            index=self.index, log=self.log, shelf=self._shelf, staging=self.staging, receipts=receipts
        )

    @property
    def size_bytes(self) -> int:
        """Of all payloads; one for several tokens counted once."""
        return self._shelf.size_bytes

    @property
    def last_position(self) -> int:
        """The newest position that was given out."""
        return self._shelf.last_position

    def keep(self, batch: Sequence[Keep]) -> Keeping:
        """See ICache."""
        self._check_room(batch)
        shelf, add, rows = self._shelf, self.index.add, self.staging.rows
        ticket = self.tickets.last + 1
        refused: dict[int, list[str]] | None = None
        waits = 0
        last = shelf.last_position
        ceiling = self.ceiling
        if ceiling != NO_CEILING:
            self._now_position = min(first_id_at(self._now_ms()), ceiling)
        for number, keep in enumerate(batch):
            message_id = keep.message_id
            last = message_id if last < message_id <= ceiling else self._after(last, message_id)
            if last != message_id:
                shelf.note(message_id, last)
            tokens = keep.tokens
            if keep.options is PLAIN and len(tokens) == 1 and not keep.is_ahead and keep.audience is None:
                payload = keep.payload
                record = Record(last, message_id, keep.expires_ms, len(payload), tokens[0], ticket, payload, keep.owner)
                if add(record, tokens[0]) is _PLACED:
                    rows[last] = record
                    shelf.size_bytes += record.size_bytes
                    waits += 1
                    continue
            count, full = self._keep(keep, last, ticket)
            waits += count
            if full:
                refused = refused or {}
                refused[number] = full
        shelf.last_position = last
        if self._dues.are_any:
            for keep in batch:
                self._dues.sent(keep.message_id, ticket)
        return Keeping(self.tickets.begin(waits), refused or _NOBODY)

    def places(self, batch: Sequence[Keep], after: int, newest: int) -> list[Place]:
        """Where messages are that have just been kept, and nothing since.

        Args:
            batch: all that `keep` was given.
            after: the last position before that.
            newest: the last position in the log before that.
        """
        before = self.index.before
        for_all = self.log.newest_for_all
        places = []
        for keep in batch:
            message_id = keep.message_id
            after = message_id if after < message_id <= self.ceiling else self._after(after, message_id)
            if keep.audience is not None:
                places.append(Place(after, (), newest))
                newest = after
            else:
                logged = for_all if for_all < after else 0
                places.append(Place(after, tuple([before(token, after) for token in keep.tokens]), logged))
        return places

    def place_due(self, batch: Sequence[Keep]) -> None:
        """Give what was scheduled its place now: its id is as old as the request."""
        if any(keep.message_id in self._dues for keep in batch):
            self.begin_above(min(first_id_at(self._now_ms()), self.ceiling - len(batch)))

    def _after(self, last: int, message_id: int) -> int:
        """The position of a message whose id cannot be it: behind the last, and where its id is ahead, at this time.

        When a token was registered is compared with positions: they must not stay behind the time.
        """
        return last + 1 if message_id <= self.ceiling else max(last + 1, self._now_position)

    def begin_above(self, position: int) -> None:
        """Give out no position up to this one."""
        self._shelf.last_position = max(self._shelf.last_position, position)

    def keep_in_steps(self, batch: Sequence[Keep]) -> Generator[None, None, Keeping]:
        """`keep` for messages with many tokens, in steps: nothing else may be kept until it is done.

        Until then nobody is given any of it: it is as if it were all kept in the last step.
        """
        self._check_room(batch)
        if self.ceiling != NO_CEILING:
            self._now_position = min(first_id_at(self._now_ms()), self.ceiling)
        last = self._shelf.last_position
        placings = []
        self.staging.is_placing = True
        for keep in batch:
            last = keep.message_id if last < keep.message_id <= self.ceiling else self._after(last, keep.message_id)
            placing = Placing(keep, last, LATER)
            placings.append(placing)
            placing.hold()
            for tokens in placing.parts():
                placing.place(self.index, tokens)
                yield
        self.staging.is_placing = False
        ticket = self.tickets.last + 1
        waits = 0
        refused: dict[int, list[str]] = {}
        for number, placing in enumerate(placings):
            if placing.position != placing.keep.message_id:
                self._shelf.note(placing.keep.message_id, placing.position)
            placing.record.ticket = ticket
            waits += self._placed(placing)
            if placing.refused:
                refused[number] = placing.refused
        self.begin_above(last)
        return Keeping(self.tickets.begin(waits), refused or _NOBODY)

    def _keep(self, keep: Keep, position: int, ticket: int) -> tuple[int, list[str]]:
        """Keep one that is not as simple as most. Returns how much of it waits for the disk, and who has no room."""
        placing = Placing(keep, position, ticket)
        placing.place(self.index, placing.record.tokens())
        return self._placed(placing), placing.refused

    def _placed(self, placing: Placing) -> int:
        """A message is in the index for all of its tokens that have room. Returns how much of it waits for the disk."""
        keep, record, position = placing.keep, placing.record, placing.position
        ticket = record.ticket
        waits = len(placing.joined)
        for same, token in placing.joined:
            self.staging.join(same, token, ticket)
        for token in placing.displacing:
            self.staging.displace(token, ticket)
        if keep.audience is not None:
            self._log(record)
        if placing.settle() or keep.audience is not None:
            self.staging.rows[position] = record
            self._shelf.size_bytes += record.size_bytes
            waits += 1
        elif position != keep.message_id:
            self._shelf.leave(keep.message_id, position)
        if keep.options.once is not None and keep.message_id not in self._dues:
            self._answer(keep, ticket, placing.count, len(placing.refused))
            waits += 1
        return waits

    def _check_room(self, batch: Sequence[Keep]) -> None:
        limits = self._limits
        count = self.index.count + len(self.log) + self._dues.count
        size_bytes = self._shelf.size_bytes + self._dues.size_bytes
        count += sum([len(keep.tokens) for keep in batch])
        size_bytes += sum([len(keep.payload) for keep in batch])
        logged = [keep for keep in batch if keep.audience is not None]
        demanding = sum([keep.options.on_full is not OnFull.DROP_OLDEST for keep in logged])
        if count + len(logged) > limits.max_cached_messages or size_bytes > limits.max_cached_bytes:
            raise Unavailable("the cache is full: try again later", retry_after_s=RETRY_AFTER_S)
        if self._shelf.last_position + len(batch) > self.ceiling:
            raise Unavailable("the cache is reserving places", retry_after_s=1.0)
        if demanding and demanding > self.log.room():
            raise Unavailable("the log of broadcasts is full: try again later", retry_after_s=RETRY_AFTER_S)

    def check_room_for(self, size_bytes: int) -> None:
        """Raise Unavailable where there is no room for something else of this size."""
        self._check_room([Keep(0, bytes(size_bytes), ("",), 0)])

    def _log(self, record: Record) -> None:
        if not self.log.room():
            self.staging.displace(LOG, record.ticket)
        self.log.add(record, self._now_ms())

    def _answer(self, keep: Keep, ticket: int, placed: int, refused: int) -> None:
        """Should the server be killed before it answers: what the request is answered when it is made again."""
        assert keep.options.once is not None
        result = PushResult(
            keep.message_id,
            len(keep.tokens),
            0,
            cached=placed,
            rejected=refused,
            is_logged=keep.audience is not None,
        )
        expires_ms = self._now_ms() + self._limits.idempotency_s * 1000
        self._replies.begin(StoredReply(keep.options.once, result, expires_ms), ticket)

    def kept(self, message_id: int) -> StoredMessage | None:
        """See ICache."""
        found = self._shelf.find(message_id, self.staging.places())
        if not found:
            return None
        tokens = [token for record in found for token in self.index.needed_by(record)]
        return msgspec.structs.replace(row_of(found[0], tokens), payload=None)

    def load(self, rows: Sequence[StoredMessage], done: Mapping[int, Collection[str]]) -> None:
        """Take in what is on disk, before anything else is done. A million take 2 s: so, much for many at once.

        Args:
            rows: in the order of positions.
            done: position → tokens that need that message no more.
        """
        shelf = self._shelf
        records = [loaded(row) for row in rows]
        shelf.load(records)
        unneeded: list[Record] = []
        for is_rare, some in groupby(records, lambda record: record.more is not None or record.position in done):
            if is_rare:
                unneeded += [each for each in some if not self._load_rare(each, done.get(each.position, ()))]
            else:
                unneeded += self.index.load(some)
        for record in unneeded:
            # All were done; or it was kept once more before its first row was removed. Then there was a crash.
            shelf.forget(record)
            self.staging.remove(record.position)

    def _load_rare(self, record: Record, done: Collection[str]) -> bool:
        """Take in what is not as simple as most. Returns whether anybody needs it."""
        more = record.more
        if more is not None and more.audience is not None:
            self.log.add(record)
            return True
        needing = [token for token in record.tokens() if token not in done]
        added = [self.index.add(record, token, is_limited=False) >= _PLACED for token in needing]
        if more is not None:
            more.left = sum(added)
        return any(added)

    # The disk

    def committed(self) -> None:
        """The transaction that was closed is on disk."""
        flight = self.staging.succeeded()
        for record in flight.rows.values():
            self._shelf.store(record)
        for token, record, event in flight.victims:
            self.endings.displaced(token, record, event)
        stored = self._shelf.stored
        self.endings.cached(
            record
            for position, record in flight.rows.items()
            if position in stored and (record.more is None or record.more.audience is None)
        )

    def failed(self, error: PushError) -> None:
        """The transaction that was closed is not on disk."""
        flight = self.staging.failed(error)
        for record in (*flight.rows.values(), *flight.left_out.values()):
            self.log.remove(record)
            for token in self.index.needed_by(record):
                self.index.take(token, record.message_id)
            self._shelf.forget(record)
