"""What a session gets next: a token's own messages and the log of broadcasts, merged.

Urgent messages come first in each page; the others, and all logged ones, in the order of positions. A message that is
both in the log and kept for the token is taken from the latter, so that it can be acknowledged. Must not import
adapters, stores or web.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from push.icache import ICacheStore
from push.isubscribe import ISubscribe
from push.model import Registration
from push.model_cache import Cursor, Kept, Page
from push.services.cache.index import Index, is_high
from push.services.cache.log import BroadcastLog, is_for
from push.services.cache.places import Places
from push.services.cache.records import Record

# Payloads of logged messages that many will ask for one after the other.
MAX_READ_BYTES = 16_777_216

# A token that is not registered has nothing in the log.
_NO_TAGS: Sequence[str] = ()


@dataclass(slots=True)
class _Choice:
    """The records of a page, in order: with the payload where it is in memory, and whether from the log."""

    chosen: list[tuple[Record, bytes | None, bool]]
    cursor: Cursor
    has_more: bool


class Payloads:
    """Payloads on disk; the latest that were read of the log stay in memory, as the next token wants the same ones."""

    def __init__(self, store: ICacheStore, log: BroadcastLog) -> None:
        self._store = store
        self._broadcasts = log
        self._read: dict[int, bytes] = {}
        self._size_bytes = 0

    async def read(self, positions: Sequence[int]) -> Mapping[int, bytes]:
        """Those there are.

        Raises:
            Unavailable: the store cannot be read.
        """
        found = {position: self._read[position] for position in positions if position in self._read}
        missing = [position for position in positions if position not in found]
        if not missing:
            return found
        stored = await self._store.payloads(missing)
        for position, payload in stored.items():
            if self._broadcasts.has_position(position) and position not in self._read:
                self._read[position] = payload
                self._size_bytes += len(payload)
        while self._size_bytes > MAX_READ_BYTES:
            self._size_bytes -= len(self._read.pop(next(iter(self._read))))
        return {**found, **stored}


class Pulling:
    """Reads pages.

    Args:
        index: by token.
        log: for all.
        places: where tokens are in the log.
        store: has the payloads.
        subscribe: knows tags, and when tokens were registered.
        now_ms: milliseconds since 1970.
        commit_end: makes what fires at the end of the next commit.
        part: forgets what is not meant for the user that a session is of.
        last_position: the newest that was given out.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        index: Index,
        log: BroadcastLog,
        places: Places,
        store: ICacheStore,
        subscribe: ISubscribe,
        now_ms: Callable[[], int],
        commit_end: Callable[[], "Deferred[None]"],
        part: Callable[[Registration], None],
        last_position: Callable[[], int],
    ) -> None:
        self._index = index
        self._broadcasts = log
        self._places = places
        self._payloads = Payloads(store, log)
        self._subscribe = subscribe
        self._now_ms = now_ms
        self._commit_end = commit_end
        self._part = part
        self._last_position = last_position

    def might_find(self, token: str) -> bool:
        """Whether there may be anything for a session that begins now."""
        if token in self._index.tokens:
            return True
        return len(self._broadcasts) > 0 and self._places.known(token) < self._broadcasts.newest

    async def page(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See ICache.pull."""
        token = registration.token
        place, tags = cursor.log, None
        while True:
            if place < 0 or (tags is None and self._broadcasts.after(place)):
                place, tags = await self._in_log(token, place)
            self._part(registration)
            choice = self._choose(token, Cursor(cursor.high, cursor.normal, place), tags, max_messages, max_bytes)
            if choice.chosen or not choice.has_more:
                break
            await self._commit_end()  # what comes next may not be seen before it is on disk
        messages = await self._with_payloads(token, choice.chosen)
        # Looked at last, and then nothing is awaited any more: what is kept from now on finds the session where this
        # answer leaves it.
        rest = self._choose(token, choice.cursor, tags, 1, 0)
        return Page(messages, choice.cursor, bool(rest.chosen) or rest.has_more, self._last_position())

    async def _in_log(self, token: str, place: int) -> tuple[int, Sequence[str] | None]:
        """Where a token is in the log, and what tags it has if there is anything for it."""
        if not self._broadcasts.after(place):
            return self._broadcasts.newest, None
        if place < 0:
            place = await self._places.find(token)
        info = await self._subscribe.describe(token)
        if info is None:
            return self._broadcasts.newest, _NO_TAGS
        place = max(place, self._broadcasts.place_at(info.created_ms))
        if place >= self._broadcasts.newest:
            self._places.learn(token, place)
        return place, info.tags

    def _choose(
        self, token: str, cursor: Cursor, tags: Sequence[str] | None, max_messages: int, max_bytes: int
    ) -> _Choice:
        chosen: list[tuple[Record, bytes | None, bool]] = []
        high, normal, place = cursor.high, cursor.normal, cursor.log
        size_bytes = 0
        for record, is_logged in self._candidates(token, cursor, tags):
            size_bytes += record.size_bytes
            is_unseen = record.more is not None and record.more.is_ahead and record.ticket
            if is_unseen or (chosen and (len(chosen) >= max_messages or size_bytes > max_bytes)):
                return _Choice(chosen, Cursor(high, normal, place), True)
            chosen.append((record, record.payload, is_logged))
            if is_logged:
                place = record.position
            elif is_high(record):
                high = record.position
            else:
                normal = record.position
        return _Choice(chosen, Cursor(high, normal, max(place, self._broadcasts.newest)), False)

    def _candidates(self, token: str, cursor: Cursor, tags: Sequence[str] | None) -> Iterator[tuple[Record, bool]]:
        now_ms = self._now_ms()
        logged = self._logged(token, cursor.log, tags, now_ms)
        broadcast = next(logged, None)
        for record in self._index.after(token, cursor.high, cursor.normal):
            while broadcast is not None and broadcast.position < record.position and not is_high(record):
                yield broadcast, True
                broadcast = next(logged, None)
            if record.expires_ms > now_ms:
                yield record, False
        while broadcast is not None:
            yield broadcast, True
            broadcast = next(logged, None)

    def _logged(self, token: str, place: int, tags: Sequence[str] | None, now_ms: int) -> Iterator[Record]:
        """What is in the log for a token; all of it, where its tags are not known."""
        for record in self._broadcasts.after(place):
            if record.expires_ms <= now_ms or (tags is not None and not is_for(record, tags)):
                continue
            had = None if record.more is None else record.more.had
            if (had is None or token not in had) and self._index.get(token, record.message_id) is None:
                yield record

    async def _with_payloads(self, token: str, chosen: Sequence[tuple[Record, bytes | None, bool]]) -> list[Kept]:
        """Read what is not in memory; what is over meanwhile is left out."""
        positions = [record.position for record, payload, _ in chosen if payload is None]
        if not positions:
            return [_kept(record, payload or b"", is_logged=is_logged) for record, payload, is_logged in chosen]
        stored = await self._payloads.read(positions)
        now_ms = self._now_ms()
        messages = []
        for record, in_memory, is_logged in chosen:
            is_there = self._broadcasts.has(record) if is_logged else self._index.has(record, token)
            if not is_there or record.expires_ms <= now_ms:
                continue
            payload = stored.get(record.position) if in_memory is None else in_memory
            if payload is None:
                self._log.error("message {id} is in the cache, but not on disk", id=str(record.message_id))
                continue
            messages.append(_kept(record, payload, is_logged=is_logged))
        return messages


def _kept(record: Record, payload: bytes, *, is_logged: bool) -> Kept:
    return Kept(record.message_id, payload, is_logged, record.position if is_logged else 0)
