"""Receipts in SQLite: a log of chunks, each a row with the ids of the messages in it.

To find a message is one statement, so that it is one row for Python whatever SQLite has to look at: a million
messages are 8 MB of ids.
"""

import sqlite3
import struct
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.ireceipts import IReceiptStore
from push.model_receipts import StoredLives
from push.stores.sqlite.database import Database

_APPEND = """
    INSERT INTO receipts (first_id, last_id, total, at_ms, ids, lives)
    VALUES (?, ?, ? + coalesce((SELECT total FROM receipts ORDER BY number DESC LIMIT 1), 0), ?, ?, ?)
"""
# `instr` may also find the eight bytes across two ids; the row is then read in vain, as the reader of lives sees.
_NEWEST = """
    SELECT number, lives FROM receipts
    WHERE number < ? AND first_id <= ? AND last_id >= ? AND instr(ids, ?)
    ORDER BY number DESC LIMIT 1
"""
# Looks at what goes and at one row more. Where nothing stays, coalesce says so.
_PRUNE = """
    DELETE FROM receipts WHERE number < (
        SELECT coalesce(
            (SELECT number FROM receipts WHERE total > :floor AND at_ms >= :before_ms ORDER BY number LIMIT 1),
            9223372036854775807
        )
    )
"""
_TOTAL = "SELECT coalesce((SELECT total FROM receipts ORDER BY number DESC LIMIT 1), 0)"
_LAST = (1 << 63) - 1


@implementer(IReceiptStore)
class ReceiptStore:
    """The receipts of one server.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, chunk: StoredLives) -> Deferred[None]:
        """Write a chunk behind all earlier ones."""
        return self._database.write(_append, chunk)

    def newest(self, message_id: int, before: int | None) -> Deferred[tuple[int, bytes] | None]:
        """The newest chunk in which a message is, perhaps one in which it is not."""
        wanted = (_LAST if before is None else before, message_id, message_id, struct.pack(">q", message_id))

        def query(connection: sqlite3.Connection) -> tuple[int, bytes] | None:
            row: tuple[int, bytes] | None = connection.execute(_NEWEST, wanted).fetchone()
            return row

        return self._database.read(query)

    def prune(self, max_weight: int, before_ms: int) -> Deferred[None]:
        """Delete the oldest chunks."""
        return self._database.write(_prune, (max_weight, before_ms))


def _append(connection: sqlite3.Connection, chunks: Sequence[StoredLives]) -> Sequence[None]:
    # A few a second, with thousands of messages each: one statement each will do.
    for chunk in chunks:
        ids = struct.pack(f">{len(chunk.ids)}q", *chunk.ids)
        row = (min(chunk.ids), max(chunk.ids), chunk.weight, chunk.at_ms, ids, chunk.lives)
        connection.execute(_APPEND, row)
    return [None] * len(chunks)


def _prune(connection: sqlite3.Connection, limits: Sequence[tuple[int, int]]) -> Sequence[None]:
    for max_weight, before_ms in limits:
        (total,) = connection.execute(_TOTAL).fetchone()
        connection.execute(_PRUNE, {"floor": total - max_weight, "before_ms": before_ms})
    return [None] * len(limits)
