"""Numbers that may only grow, in SQLite."""

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.ileases import IFloorStore
from push.stores.sqlite.database import Database

_RAISE = """
    INSERT INTO floors (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value > floors.value
"""


@implementer(IFloorStore)
class FloorStore:
    """The floors of one server.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def floor(self, name: str) -> Deferred[int]:
        """The number stored, 0 at first."""

        def query(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT value FROM floors WHERE name = ?", (name,)).fetchone()
            return 0 if row is None else int(row[0])

        return self._database.read(query)

    def raise_floor(self, name: str, value: int) -> Deferred[None]:
        """Store a number (below 2^63), unless a greater one is stored."""
        return self._database.write(_raise, (name, value))


def _raise(connection: sqlite3.Connection, floors: Sequence[tuple[str, int]]) -> Sequence[None]:
    # A floor is raised seldom and few at a time: one statement each will do.
    for name, value in floors:
        connection.execute(_RAISE, (name, value))
    return [None] * len(floors)
