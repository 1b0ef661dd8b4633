"""How the cache's file is changed: the statements of a transaction, each with its list, and what is pruned.

They are made ready in the reactor's thread, so that the writer's has nothing to do in Python between statements, and a
transaction that is tried again costs nothing twice. Imports only values and push.stores.sqlite's own.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from push.model_cache import CacheChanges, StoredMessage
from push.stores.cache_rows import encode_message, encode_reply, encode_request
from push.stores.sqlite.records import pack, with_records

# So many numbers are given to one statement, as text.
MAX_NUMBERS = 10_000
# Of a transaction that prunes: a commit may have to wait for it. Answers lie anywhere in their table, so a thousand
# take 32 ms; ten thousand log positions, which are looked at one after the other, 12 (measured 2026-11-23).
_PRUNED_ROWS = 1_000
_LOOKED_AT_ROWS = 10_000

_KEEP = with_records("INSERT INTO cache_messages (position, head, payload) SELECT number, a, b FROM records")
_DONE = with_records("INSERT OR IGNORE INTO cache_done (position, token) SELECT number, CAST(a AS TEXT) FROM records")
# A trigger takes the rows of cache_done with it, for nothing.
_FINISH = "DELETE FROM cache_messages WHERE position IN (SELECT value FROM json_each(?1))"
_MOVE = with_records("""
    INSERT INTO log_positions (token, position) SELECT CAST(a AS TEXT), number FROM records WHERE true
    ON CONFLICT (token) DO UPDATE SET position = excluded.position
""")
_REPLY = with_records("""
    INSERT INTO replies (key, expires_ms, reply) SELECT a, number, b FROM records WHERE true
    ON CONFLICT (key) DO UPDATE SET expires_ms = excluded.expires_ms, reply = excluded.reply
""")
_SCHEDULE = with_records("""
    INSERT INTO due (message_id, due_ms, request) SELECT number, CAST(CAST(a AS TEXT) AS INTEGER), b FROM records
""")
_UNSCHEDULE = "DELETE FROM due WHERE message_id IN (SELECT value FROM json_each(?1))"

_PRUNE_REPLIES = """
    DELETE FROM replies WHERE key IN (SELECT key FROM replies WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)
"""
_LAST_OF_SLICE = "SELECT max(token) FROM (SELECT token FROM log_positions WHERE token > ? ORDER BY token LIMIT ?)"
_PRUNE_POSITIONS = "DELETE FROM log_positions WHERE token > ? AND token <= ? AND position < ?"

# What one transaction does: statements, each with its list.
Script = list[tuple[str, str | bytes]]


class Slice(NamedTuple):
    """Of the log positions: which to prune, and after which token to begin."""

    log_position: int
    after: str


def script(changes: CacheChanges) -> Script:
    """What is to be done, in its order.

    Raises:
        ValueError: a text has lone surrogates, or a message no payload.
        OverflowError: a number is 2^63 or more.
    """
    return list(_statements(changes))


def run(connection: sqlite3.Connection, scripts: Sequence[Script]) -> Sequence[None]:
    """Do it, inside a transaction."""
    for one in scripts:
        for statement, values in one:
            connection.execute(statement, (values,))
    return [None] * len(scripts)


def prune_replies(connection: sqlite3.Connection, times_ms: Sequence[int]) -> Sequence[bool]:
    """Delete some answers that expired before a time. Returns whether there may be more."""
    return [
        connection.execute(_PRUNE_REPLIES, (time_ms, _PRUNED_ROWS)).rowcount >= _PRUNED_ROWS for time_ms in times_ms
    ]


def prune_positions(connection: sqlite3.Connection, slices: Sequence[Slice]) -> Sequence[str | None]:
    """Look at some log positions, and delete those before one. Returns after which token to go on, None at the end."""
    lasts: list[str | None] = []
    for log_position, after in slices:
        (last,) = connection.execute(_LAST_OF_SLICE, (after, _LOOKED_AT_ROWS)).fetchone()
        if last is not None:
            connection.execute(_PRUNE_POSITIONS, (after, last, log_position))
        lasts.append(last)
    return lasts


def _statements(changes: CacheChanges) -> Iterator[tuple[str, str | bytes]]:
    for statement, records in (
        (_KEEP, ((message.position, encode_message(message), _payload(message)) for message in changes.messages)),
        (_DONE, ((position, token.encode(), b"") for position, token in changes.done)),
    ):
        for packed in pack(records):
            yield statement, packed
    for numbers in _number_lists(changes.finished):
        yield _FINISH, numbers
    for statement, records in (
        (_MOVE, ((position, token.encode(), b"") for token, position in changes.log_positions.items())),
        (
            _REPLY,
            (
                (reply.expires_ms, reply.once.key.encode(), encode_reply(reply.once.fingerprint, reply.result))
                for reply in changes.replies
            ),
        ),
        (_SCHEDULE, ((due.message_id, b"%d" % due.due_ms, encode_request(due.request)) for due in changes.due)),
    ):
        for packed in pack(records):
            yield statement, packed
    for numbers in _number_lists(changes.undue):
        yield _UNSCHEDULE, numbers


def _payload(message: StoredMessage) -> bytes:
    if message.payload is None:
        raise ValueError("a message without payload cannot be stored")
    return message.payload


def _number_lists(numbers: Sequence[int]) -> Iterable[str]:
    return (json.dumps(numbers[at : at + MAX_NUMBERS]) for at in range(0, len(numbers), MAX_NUMBERS))
