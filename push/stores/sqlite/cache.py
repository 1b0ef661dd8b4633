"""The cache's rows in SQLite. What is found by token is found in memory: here, rows are found by position alone.

An index by token would cost 20 µs a message, as tokens are random; a table that only grows at its end costs 2
(measured 2026-11-23). What goes into one transaction is made ready before it begins, as a few statements with a list
each: cache_changes.py. The forms of the rows are in cache_rows.py.

Messages of 128 bytes, the middle of six runs beside other work on two cores (measured 2026-11-23):

    rows a commit                  256    1,000    4,000
    rows/s, reactor idle        70,000  100,000  100,000
    rows/s, reactor busy        10,000   25,000   38,000
    removed/s, oldest first    110,000  120,000  190,000
    removed/s, from anywhere    27,000   50,000  110,000

A row costs 5 to 8 µs of a core, 2 to 3 of them in the reactor's thread; busy means that this runs Python without a
pause, and takes the lock back each time. Removed are 50,000 rows. From anywhere among 1,000,000 it is 23,000/s, as each
is in a page of its own: a commit should not have many of these. A million are read in 1.8 s, a thousand payloads from
anywhere in 5 ms.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from push.errors import StartError
from push.icache import ICacheStore
from push.model import Once
from push.model_cache import CacheChanges, StoredDue, StoredMessage, StoredReply
from push.stores.cache_rows import UnknownRow, decode_messages, decode_replies, decode_requests
from push.stores.sqlite.cache_changes import Slice, prune_positions, prune_replies, run, script
from push.stores.sqlite.database import Database
from push.stores.sqlite.records import first_part, in_parts, pack, with_records

# How many rows a transaction prunes: what a commit may have to wait for is some 20 ms.
_PRUNED_ROWS = 1_000
DUE_PAGE = 1_000

_numbers = msgspec.json.Decoder(list[int])
_pairs = msgspec.json.Decoder(list[tuple[int, int]])
_places = msgspec.json.Decoder(list[tuple[int, str]])

# group_concat joins the bytes of blobs as they are, and CAST gives them back: a page in one row.
_MESSAGES = """
    SELECT json_group_array(position), CAST(group_concat(head, '') AS BLOB)
    FROM (SELECT position, head FROM cache_messages WHERE position > ?1 ORDER BY position LIMIT ?2)
"""
_PAYLOADS = """
    SELECT json_group_array(json_array(position, length(payload))), CAST(group_concat(payload, '') AS BLOB)
    FROM (SELECT position, payload FROM cache_messages WHERE position IN (SELECT value FROM json_each(?1)))
"""
_DONE_PAGE = """
    SELECT json_group_array(json_array(position, token)) FROM (
        SELECT position, token FROM cache_done WHERE (position, token) > (?1, ?2) ORDER BY position, token LIMIT ?3
    )
"""
_DUE = """
    SELECT json_group_array(json_array(message_id, due_ms)), CAST(group_concat(request, '') AS BLOB)
    FROM (SELECT message_id, due_ms, request FROM due WHERE message_id > ?1 ORDER BY message_id LIMIT ?2)
"""
_POSITIONS = with_records("""
    SELECT json_group_array(json_array(l.position, l.token))
    FROM records CROSS JOIN log_positions AS l ON l.token = CAST(records.a AS TEXT)
""")
_REPLIES = with_records("""
    SELECT json_group_array(json_array(number, expires_ms)), CAST(group_concat(reply, '') AS BLOB)
    FROM (SELECT number, expires_ms, reply FROM records CROSS JOIN replies ON key = a)
""")
# One by one, to say which cannot be read.
_HEADS = "SELECT position, head FROM cache_messages WHERE position > ? ORDER BY position"
_REQUESTS = "SELECT message_id, request FROM due WHERE message_id > ? ORDER BY message_id"


@implementer(ICacheStore)
class CacheStore:
    """The cache of one server.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pruned_position = 0

    def commit(self, changes: CacheChanges) -> Deferred[None]:
        """Write everything in one transaction. Takes 1 to 2 µs a message before it returns.

        Raises:
            Unavailable: nothing was written, as a failure of the Deferred.
            ValueError: a text has lone surrogates, or a message no payload; likewise.
        """
        try:
            statements = script(changes)
        except (ValueError, OverflowError):
            return fail()
        return self._database.write(run, statements)

    def messages(self, after: int, limit: int) -> Deferred[Sequence[StoredMessage]]:
        """The next rows by position, without payloads.

        Raises:
            StartError: one cannot be read, as a failure of the Deferred.
        """

        def query(connection: sqlite3.Connection) -> Sequence[StoredMessage]:
            positions, rows = first_part(
                connection, lambda count: connection.execute(_MESSAGES, (after, count)).fetchone(), limit
            )
            try:
                return decode_messages(_numbers.decode(positions), rows or b"")
            except UnknownRow as error:
                raise self._unreadable("message", error, _damaged(connection, _HEADS, after, _decode_head)) from None

        return self._database.read(query)

    def done(self, after: tuple[int, str], limit: int) -> Deferred[Sequence[tuple[int, str]]]:
        """The next (position, token) pairs."""

        def query(connection: sqlite3.Connection) -> Sequence[tuple[int, str]]:
            (pairs,) = first_part(
                connection, lambda count: connection.execute(_DONE_PAGE, (*after, count)).fetchone(), limit
            )
            return _places.decode(pairs)

        return self._database.read(query)

    def due(self) -> Deferred[Sequence[StoredDue]]:
        """All that is to be sent later, in the order of time.

        Raises:
            StartError: one cannot be read, as a failure of the Deferred.
        """

        def query(connection: sqlite3.Connection) -> Sequence[StoredDue]:
            found: list[StoredDue] = []
            after = -1
            while True:
                numbers, rows = first_part(
                    connection,
                    lambda count: connection.execute(_DUE, (after, count)).fetchone(),  # noqa: B023 - called at once
                    DUE_PAGE,
                )
                if rows is None:
                    return sorted(found, key=lambda one: (one.due_ms, one.message_id))
                pairs = _pairs.decode(numbers)
                try:
                    requests = decode_requests(len(pairs), rows)
                except UnknownRow as error:
                    where = _damaged(connection, _REQUESTS, after, _decode_request)
                    raise self._unreadable("scheduled message", error, where) from None
                found += [StoredDue(*pair, request) for pair, request in zip(pairs, requests, strict=True)]
                after = pairs[-1][0]

        return self._database.read(query)

    def payloads(self, positions: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        """Payloads by position; those that are gone are left out."""

        def query(connection: sqlite3.Connection) -> Mapping[int, bytes]:
            found: dict[int, bytes] = {}
            for sizes, joined in in_parts(
                connection, lambda part: connection.execute(_PAYLOADS, (_text(part),)).fetchone(), positions
            ):
                at = 0
                for position, size in _pairs.decode(sizes):
                    found[position] = joined[at : at + size]
                    at += size
            return found

        return self._database.read(query)

    def log_positions(self, tokens: Sequence[str]) -> Deferred[Mapping[str, int]]:
        """Places in the log of broadcasts; tokens without one are left out."""

        def ask(connection: sqlite3.Connection, part: Sequence[str]) -> Any:
            wanted = b"".join(pack((0, _sought(token), b"") for token in part))
            return connection.execute(_POSITIONS, (wanted,)).fetchone()

        def query(connection: sqlite3.Connection) -> Mapping[str, int]:
            return {
                token: position
                for (pairs,) in in_parts(connection, lambda part: ask(connection, part), tokens)
                for position, token in _places.decode(pairs)
            }

        return self._database.read(query)

    def replies(self, keys: Sequence[str]) -> Deferred[Mapping[str, StoredReply]]:
        """Answers by key; unknown keys are left out.

        Raises:
            StartError: one cannot be read, as a failure of the Deferred.
        """

        def ask(connection: sqlite3.Connection, part: Sequence[int]) -> Any:
            wanted = b"".join(pack((index, _sought(keys[index]), b"") for index in part))
            return connection.execute(_REPLIES, (wanted,)).fetchone()

        def query(connection: sqlite3.Connection) -> Mapping[str, StoredReply]:
            found: dict[str, StoredReply] = {}
            for numbers, rows in in_parts(connection, lambda part: ask(connection, part), range(len(keys))):
                pairs = _pairs.decode(numbers)
                try:
                    replies = decode_replies(len(pairs), rows or b"")
                except UnknownRow as error:
                    raise self._unreadable("reply", error) from None
                for (index, expires_ms), (fingerprint, result) in zip(pairs, replies, strict=True):
                    found[keys[index]] = StoredReply(Once(keys[index], fingerprint), result, expires_ms)
            return found

        return self._database.read(query)

    def prune(self, now_ms: int, log_position: int) -> Deferred[None]:
        """Delete answers that have expired, and log positions before this one, a few in a transaction."""
        return Deferred.fromCoroutine(self._prune(now_ms, log_position))

    async def _prune(self, now_ms: int, log_position: int) -> None:
        while await self._database.write(prune_replies, now_ms):
            pass
        # Looks at every row, so only if there is something new to find.
        after: str | None = "" if log_position > self._pruned_position else None
        while after is not None:
            after = await self._database.write(prune_positions, Slice(log_position, after))
        self._pruned_position = max(self._pruned_position, log_position)

    def _unreadable(self, what: str, error: UnknownRow, where: str = "") -> StartError:
        return StartError(
            f"{self._database.path} holds a {what} that cannot be read ({where}{error}): install the version of this "
            "server that wrote it, restore the file from a backup, or move it away to begin with an empty one"
            + (", or delete this row alone with sqlite3" if where else "")
        )


def _damaged(connection: sqlite3.Connection, rows: str, after: int, decode: Callable[[int, bytes], object]) -> str:
    """Which of the next rows cannot be read."""
    for number, row in connection.execute(rows, (after,)):
        try:
            decode(number, row if isinstance(row, bytes) else b"")
        except UnknownRow:
            table, column = ("cache_messages", "position") if rows is _HEADS else ("due", "message_id")
            return f"{table}, {column} {number}: "
    return ""


def _decode_head(position: int, row: bytes) -> object:
    return decode_messages([position], row)


def _decode_request(_: int, row: bytes) -> object:
    return decode_requests(1, row)


def _text(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode("ascii")


def _sought(text: str) -> bytes:
    # What cannot be stored is not found.
    return text.encode("utf-8", "surrogatepass")
