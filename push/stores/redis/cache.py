"""The cache's rows in Redis: a log of its own for each node that keeps messages.

Keys, behind `PREFIX:{cache:NAME}:`. Positions and ids are eight bytes, big-endian. Rows are those of cache_rows.py.

| key | type | holds |
|---|---|---|
| `order` | sorted set, score 0 | positions, so in their order |
| `heads`, `payloads` | hash | position → row without payload; payload |
| `done` | sorted set, score 0 | position and token, one behind the other |
| `positions` | hash | token → position in the log of broadcasts |
| `replies` | hash | key → expiry (eight bytes) and row |
| `expiry` | sorted set, score = milliseconds | the keys of replies |
| `due` | hash | message id → time (eight bytes) and row |
| `writer:ID` | string, expires | the number of the last commit of a process |
| `fence` | string | the number of who may write |

A commit is one script, so it is done as a whole. One at a time is under way, repeated until Redis says that it is done.
If that does not come, it is said to have failed; and before the next commit, what it may have stored is deleted.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from push.errors import StartError, Unavailable
from push.icache import ICacheStore
from push.ileases import IFenced
from push.model import Once
from push.model_cache import CacheChanges, StoredDue, StoredMessage, StoredReply
from push.stores.cache_rows import UnknownRow, decode_messages, decode_replies, decode_requests
from push.stores.redis.cache_changes import Commit, number, numbered, sought
from push.stores.redis.cache_scripts import (
    COMMIT,
    MESSAGES,
    PAGE_BYTES,
    PAGE_ROWS,
    PRUNE_POSITIONS,
    PRUNE_REPLIES,
    PRUNED,
    VALUES,
)
from push.stores.redis.client import Redis
from push.stores.redis.errors import AnswerLost
from push.stores.redis.fence import Fence
from push.stores.redis.ordered import Ordered, together
from push.stores.redis.writer import Writer

# How long a commit is repeated. Longer than it takes Sentinel to find another master where it is told to hurry; whoever
# pushes waits so long for nothing but messages that must be stored before they are sent.
PATIENCE_S = 5.0
_PART = 500
_NAMES = ("order", "heads", "payloads", "done", "positions", "replies", "expiry", "due")


@implementer(ICacheStore, IFenced)
class CacheStore:
    """The cache of one node.

    Args:
        redis: where it is.
        name: of the node: nobody else may write under it at the same time.
        patience_s: how long a commit is repeated.
    """

    def __init__(self, redis: Redis, *, name: str, patience_s: float = PATIENCE_S) -> None:
        self._redis = redis
        prefix = redis.keys("cache", name)
        self._keys = {name: prefix + name for name in _NAMES}
        self._writer = Writer(redis, prefix, is_replicated=True)
        self._fence = Fence(redis, prefix)
        self._patience_s = patience_s
        self._commits: Ordered[Commit, None] = Ordered(self._do, max_batch=1)
        self._unsettled: Commit | None = None
        self._undo: Commit | None = None
        self._pruned_position = 0

    def open(self, fence: int, lost: Callable[[], None]) -> "Deferred[None]":
        """See IFenced."""
        return Deferred.fromCoroutine(self._fence.open(fence, lost))

    def commit(self, changes: CacheChanges) -> "Deferred[None]":
        """Write everything, as a whole.

        Raises:
            Superseded: nothing was written: another node has opened the store, or it was emptied.
            Unavailable: nothing was written, or it will be deleted before anything else is written.
            ValueError: a text has lone surrogates, a message no payload or a position that is taken.
        """
        try:
            commit = Commit.of(changes)
        except (ValueError, OverflowError):
            return fail()
        return self._commits.submit(commit)

    def messages(self, after: int, limit: int) -> "Deferred[Sequence[StoredMessage]]":
        """The next rows by position, without payloads.

        Raises:
            StartError: one cannot be read.
        """
        arguments: list[bytes | int] = [number(after), min(limit, PAGE_ROWS), PAGE_BYTES]
        page = self._redis.reads.run(MESSAGES, [self._keys["order"], self._keys["heads"]], arguments)
        return page.addCallback(_messages)

    def done(self, after: tuple[int, str], limit: int) -> "Deferred[Sequence[tuple[int, str]]]":
        """The next (position, token) pairs."""
        place = b"(" + number(after[0]) + after[1].encode()
        page = self._redis.reads.call(
            "ZRANGE", self._keys["done"], place, "+", "BYLEX", "LIMIT", 0, min(limit, PAGE_ROWS)
        )
        return page.addCallback(lambda pairs: [(numbered(pair[:8]), pair[8:].decode()) for pair in pairs])

    def due(self) -> "Deferred[Sequence[StoredDue]]":
        """All that is to be sent later, in the order of time.

        Raises:
            StartError: one cannot be read.
        """
        return Deferred.fromCoroutine(self._due())

    def payloads(self, positions: Sequence[int]) -> "Deferred[Mapping[int, bytes]]":
        """Payloads by position; those that are gone are left out."""
        return Deferred.fromCoroutine(self._payloads(list(dict.fromkeys(positions))))

    def log_positions(self, tokens: Sequence[str]) -> "Deferred[Mapping[str, int]]":
        """Places in the log of broadcasts; tokens without one are left out."""
        return Deferred.fromCoroutine(self._log_positions(tokens))

    def replies(self, keys: Sequence[str]) -> "Deferred[Mapping[str, StoredReply]]":
        """Answers by key; unknown keys are left out.

        Raises:
            StartError: one cannot be read.
        """
        return Deferred.fromCoroutine(self._replies(keys))

    def prune(self, now_ms: int, log_position: int) -> "Deferred[None]":
        """Delete answers that have expired, and log positions before this one, a few at a time."""
        return Deferred.fromCoroutine(self._prune(now_ms, log_position))

    async def _do(self, commits: Sequence[Commit]) -> Sequence[None]:
        (commit,) = commits
        await self._settle()
        try:
            await self._write(commit)
        except AnswerLost:
            self._unsettled = commit
            raise
        return [None]

    async def _settle(self) -> None:
        """See that a commit that was said to have failed has not been done, or is undone."""
        if self._unsettled is not None:
            if await self._writer.settle():
                self._undo = self._unsettled.undone()
            self._unsettled = None
        if self._undo is not None:
            # To undo it twice does no harm.
            await self._write(self._undo)
            self._undo = None

    async def _write(self, commit: Commit) -> None:
        keys = list(self._keys.values())
        try:
            await self._writer.insist(COMMIT, keys, commit.arguments(), patience_s=self._patience_s, fence=self._fence)
        except Unavailable as error:
            if getattr(error, "word", "") == "TAKEN":
                raise ValueError("a position is taken") from None
            raise

    async def _due(self) -> Sequence[StoredDue]:
        rows: dict[bytes, bytes] = {}
        cursor = b"0"
        while True:
            cursor, page = await self._redis.reads.call("HSCAN", self._keys["due"], cursor, "COUNT", 100)
            rows.update(zip(page[::2], page[1::2], strict=True))
            if cursor == b"0":
                break
        try:
            requests = decode_requests(len(rows), b"".join(row[8:] for row in rows.values()))
        except UnknownRow as error:
            raise _unreadable("scheduled message", error) from None
        found = [
            StoredDue(numbered(message_id), numbered(row[:8]), request)
            for (message_id, row), request in zip(rows.items(), requests, strict=True)
        ]
        return sorted(found, key=lambda one: (one.due_ms, one.message_id))

    async def _payloads(self, positions: Sequence[int]) -> Mapping[int, bytes]:
        values = await self._values("payloads", [number(position) for position in positions])
        return {at: value for at, value in zip(positions, values, strict=True) if value is not None}

    async def _log_positions(self, tokens: Sequence[str]) -> Mapping[str, int]:
        values = await self._values("positions", [sought(token) for token in tokens])
        return {token: numbered(value) for token, value in zip(tokens, values, strict=True) if value is not None}

    async def _replies(self, keys: Sequence[str]) -> Mapping[str, StoredReply]:
        values = await self._values("replies", [sought(key) for key in keys])
        found = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        try:
            rows = decode_replies(len(found), b"".join(value[8:] for value in found.values()))
        except UnknownRow as error:
            raise _unreadable("reply", error) from None
        return {
            key: StoredReply(Once(key, fingerprint), result, numbered(value[:8]))
            for (key, value), (fingerprint, result) in zip(found.items(), rows, strict=True)
        }

    async def _values(self, name: str, fields: Sequence[bytes]) -> list[bytes | None]:
        parts = [fields[at : at + _PART] for at in range(0, len(fields), _PART)]
        found = await together([Deferred.fromCoroutine(self._part(name, part)) for part in parts])
        return [value for part in found for value in part]

    async def _part(self, name: str, fields: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = []
        while len(found) < len(fields):
            arguments: list[bytes | int] = [PAGE_BYTES, *fields[len(found) :]]
            found += await self._redis.reads.run(VALUES, [self._keys[name]], arguments)
        return found

    async def _prune(self, now_ms: int, log_position: int) -> None:
        replies = [self._keys["replies"], self._keys["expiry"]]
        while await self._redis.writes.run(PRUNE_REPLIES, replies, [now_ms, PRUNED]) == PRUNED:
            pass
        if log_position <= self._pruned_position:
            # Looks at every one, so only if there is something new to find.
            return
        cursor: Any = 0
        while cursor != b"0":
            arguments: list[Any] = [number(log_position), cursor, PRUNED]
            cursor = await self._redis.writes.run(PRUNE_POSITIONS, [self._keys["positions"]], arguments)
        self._pruned_position = log_position


def _messages(page: list[bytes]) -> list[StoredMessage]:
    positions = list(struct.unpack(f">{len(page) // 2}q", b"".join(page[::2])))
    try:
        return decode_messages(positions, b"".join(page[1::2]))
    except UnknownRow as error:
        raise _unreadable("message", error) from None


def _unreadable(what: str, error: UnknownRow) -> StartError:
    return StartError(
        f"Redis holds a {what} that cannot be read ({error}): install the version of this server that wrote it, or "
        "choose another prefix to begin with nothing"
    )
