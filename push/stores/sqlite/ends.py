"""The two ends of the file: one commits lists of writes, one answers lists of queries, each in a thread of its own.

Here it is decided what an error of SQLite means. Knows no reactor and no table.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from twisted.python.failure import Failure

from push.errors import PushError, Unavailable
from push.stores.sqlite.lanes import RETRY_AFTER_S
from push.stores.sqlite.space import Space

Item = TypeVar("Item")
Result = TypeVar("Result")

Apply = Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result | PushError]]
Query = Callable[[sqlite3.Connection], Result]

# Primary result codes that say that the disk, or its file, and not the statement is at fault.
# https://www.sqlite.org/rescode.html
_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


class Write(NamedTuple):
    """Something to be written, and how: see Database.write."""

    apply: Apply[Any, Any]
    item: Any


def _trouble(error: BaseException) -> str | None:
    """The name of a disk's trouble, None for any other error."""
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _TROUBLE:
        return error.sqlite_errorname
    return None


def _unavailable(trouble: str) -> Failure:
    return Failure(
        Unavailable(f"the store does not work now ({trouble}): try again later", retry_after_s=RETRY_AFTER_S)
    )


class Writer:
    """The writing end.

    Args:
        connection: used by its thread alone.
        report: told of a trouble of the disk when it begins, and None when it is over.

    Attributes:
        commits: how many transactions there have been.
    """

    def __init__(self, connection: sqlite3.Connection, report: Callable[[str | None], object]) -> None:
        self._connection = connection
        self._space = Space(connection)
        self._report = report
        self._trouble: str | None = None
        self.commits = 0

    def run(self, writes: Sequence[Write]) -> list[Any]:
        """Apply writes and commit them; where one is impossible, all the others."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes: list[Any] = []
            for apply, group in groupby(writes, key=lambda write: write.apply):
                items = [write.item for write in group]
                results = apply(connection, items)
                if len(results) != len(items):
                    raise RuntimeError(f"{len(items)} writes had {len(results)} results")
                outcomes += [Failure(result) if isinstance(result, PushError) else result for result in results]
            connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            trouble = _trouble(error)
            if trouble is not None:
                self._note(trouble)
                return [_unavailable(trouble) for _ in writes]
            if len(writes) == 1:
                return [Failure()]
            # Savepoints would cost every write for the sake of the one that nobody has thought of.
            half = len(writes) // 2
            return self.run(writes[:half]) + self.run(writes[half:])
        self.commits += 1
        self._note(None)
        # Whatever becomes of that, what was written is written; and if the disk fails, the next write will say so.
        with suppress(sqlite3.Error):
            self._space.tidy()
        return outcomes

    def close(self) -> None:
        """Move what is in the write-ahead log into the file, and close it."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors; and if this fails too, the next BEGIN will say so.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                self._note(error.sqlite_errorname)

    def _note(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._report(trouble)


class Reader:
    """The reading end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, queries: Sequence[Query[Any]]) -> list[Any]:
        """Ask each, one after the other."""
        return [self._ask(query) for query in queries]

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def _ask(self, query: Query[Any]) -> Any:
        try:
            return query(self._connection)
        except Exception as error:
            trouble = _trouble(error)
            return Failure() if trouble is None else _unavailable(trouble)
