"""Lists of (number, bytes, bytes) on their way into one statement, and long answers on their way out of it.

One blob carries all records, and the statement cuts it up: Python's lock is let go of once for all of them, which
database.py explains, and any bytes go through unchanged, NULs included. Into a table of numbers and blobs this costs
2.0 µs a row in SQLite and 1 in Python; json_each with a json_extract a column costs 8.2 and 0.5 (2026-11-23).
Knows no table.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# What one statement is given, or gives, at most, unless a single record or row is longer. SQLite's own limit is 10^9.
MAX_BYTES = 32 * 1024 * 1024

# A number below 2^63, and how long the two parts are that follow: fixed widths, as SQLite reads decimals only.
_HEADER = b"%019d%010d%010d"
_HEADER_BYTES = 39

_RECORDS = """
    WITH RECURSIVE walk (at) AS (
        SELECT 1
        UNION ALL
        SELECT at + 39 + CAST(substr(?1, at + 19, 10) AS INTEGER) + CAST(substr(?1, at + 29, 10) AS INTEGER)
        FROM walk WHERE at < length(?1)
    ), records (number, a, b) AS (
        SELECT
            CAST(substr(?1, at, 19) AS INTEGER),
            substr(?1, at + 39, CAST(substr(?1, at + 19, 10) AS INTEGER)),
            substr(?1, at + 39 + CAST(substr(?1, at + 19, 10) AS INTEGER), CAST(substr(?1, at + 29, 10) AS INTEGER))
        FROM walk WHERE at < length(?1)
    )
"""


def with_records(statement: str) -> str:
    """A statement in which `records` (number, a, b) is a table: what `pack` made, its first parameter."""
    return _RECORDS + statement


def pack(records: Iterable[tuple[int, bytes, bytes]]) -> Iterator[bytes]:
    """Make what a statement with records takes; several where it would be too long.

    Raises:
        OverflowError: a number is negative, or 2^63 or more; or a part is longer than SQLite can take.
    """
    parts: list[bytes] = []
    waiting_bytes = 0
    for number, a, b in records:
        header = _HEADER % (number, len(a), len(b))
        if number >> 63 or len(header) != _HEADER_BYTES:
            raise OverflowError("a number or a text is too large for the store")
        parts += (header, a, b)
        waiting_bytes += _HEADER_BYTES + len(a) + len(b)
        if waiting_bytes >= MAX_BYTES:
            yield b"".join(parts)
            parts.clear()
            waiting_bytes = 0
    if parts:
        yield b"".join(parts)


def in_parts(
    connection: sqlite3.Connection, ask: Callable[[Sequence[Item]], Result], items: Sequence[Item]
) -> list[Result]:
    """Ask for all items in one statement; where the answer would be too long, for halves, and so on down to one."""
    result = _limited(connection, lambda: ask(items), is_limited=len(items) > 1)
    if result is not None:
        return [result]
    half = len(items) // 2
    return in_parts(connection, ask, items[:half]) + in_parts(connection, ask, items[half:])


def first_part(connection: sqlite3.Connection, ask: Callable[[int], Result], count: int) -> Result:
    """Ask for so many rows in one statement; where the answer would be too long, for half as many, down to one."""
    while True:
        result = _limited(connection, lambda: ask(count), is_limited=count > 1)  # noqa: B023 - called at once
        if result is not None:
            return result
        count //= 2


def _limited(connection: sqlite3.Connection, ask: Callable[[], Result], *, is_limited: bool) -> Result | None:
    """Ask; None where the answer, or anything on the way to it, is longer than MAX_BYTES."""
    if not is_limited:
        return ask()
    usual = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
    try:
        return ask()
    except sqlite3.DataError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_TOOBIG:
            raise
        return None
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, usual)
