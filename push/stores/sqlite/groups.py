"""Who is in which conversation, and when parties were last there, in SQLite.

Changes of groups are few: they are made one by one. What is read is one row, as database.py explains.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.igroup import IGroupStore, IPresenceStore
from push.model_chat import Change, Conversation, Kind, Member, Role, Standing
from push.stores.sqlite.database import Database

_HEAD = """json_array(c.id, c.kind, c.version, c.title, c.is_open, c.tells_reads, c.created_ms, c.members, c.last_seq,
    c.last_id, c.first_seq, c.is_gone)"""
_LOAD = f"SELECT {_HEAD}, c.number FROM chats AS c WHERE c.id = ?"  # noqa: S608 - our own text
_MEMBER = "json_array(m.who, m.role, m.joined_ms, m.since_seq, m.is_blocking)"
_MEMBERS = f"""
    SELECT json_group_array(json(member)) FROM (
        SELECT {_MEMBER} AS member FROM chat_members AS m
        WHERE m.chat = (SELECT number FROM chats WHERE id = ?) AND m.who > ? ORDER BY m.who LIMIT ?
    )
"""  # noqa: S608 - our own text
_STANDINGS = f"""
    SELECT json_group_array(json(standing)) FROM (
        SELECT json_array({_HEAD}, {_MEMBER}, m.read_seq) AS standing
        FROM chat_members AS m JOIN chats AS c ON c.number = m.chat
        WHERE m.who = ? AND c.id > ? ORDER BY c.id LIMIT ?
    )
"""  # noqa: S608 - our own text
_GROUPS_OF = """
    SELECT count(*) FROM chat_members AS m JOIN chats AS c ON c.number = m.chat
    WHERE m.who = ? AND c.kind = ?
"""
_INSERT = """
    INSERT INTO chats (id, kind, version, title, is_open, tells_reads, created_ms, members, last_seq, last_id,
                       first_seq, is_gone)
    VALUES (?, ?, 0, '', 0, 0, ?, 0, 0, 0, 1, 0)
"""
_PUT = """
    INSERT INTO chat_members (chat, who, role, joined_ms, since_seq, read_seq, is_blocking)
    SELECT ?1, json_extract(value, '$[0]'), json_extract(value, '$[1]'), ?2, ?3, ?3, json_extract(value, '$[2]')
    FROM json_each(?4) WHERE true
    ON CONFLICT (chat, who) DO UPDATE SET role = excluded.role, is_blocking = excluded.is_blocking
"""
_REMOVE = "DELETE FROM chat_members WHERE chat = ? AND who IN (SELECT value FROM json_each(?))"
_UPDATE = """
    UPDATE chats SET version = version + 1, title = ?2, is_open = ?3, tells_reads = ?4, is_gone = ?5,
        created_ms = CASE WHEN is_gone THEN ?6 ELSE created_ms END,
        first_seq = CASE WHEN ?5 THEN last_seq + 1 ELSE first_seq END,
        members = (SELECT count(*) FROM chat_members WHERE chat = ?1)
    WHERE number = ?1
"""
_SAW = """
    INSERT INTO presence (who, seen_ms)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?) WHERE true
    ON CONFLICT (who) DO UPDATE SET seen_ms = max(seen_ms, excluded.seen_ms)
"""
_SEEN = """
    SELECT json_group_array(json_array(who, seen_ms)) FROM presence WHERE who IN (SELECT value FROM json_each(?))
"""


@implementer(IGroupStore)
class GroupStore:
    """The groups of one server.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, conversation_id: str) -> Deferred[Conversation | None]:
        """A conversation, also one that is gone."""
        return self._database.read(lambda connection: _found(connection, conversation_id)[0])

    def members(self, conversation_id: str, after: str, limit: int) -> Deferred[Sequence[Member]]:
        """The next members."""

        def query(connection: sqlite3.Connection) -> Sequence[Member]:
            (rows,) = connection.execute(_MEMBERS, (conversation_id, after, limit)).fetchone()
            return [_member(row) for row in json.loads(rows)]

        return self._database.read(query)

    def change(self, change: Change) -> Deferred[Conversation | None]:
        """Change a conversation, if it is as it was seen."""
        return self._database.write(_change, change)

    def standings(self, who: str, after: str, limit: int) -> Deferred[Sequence[Standing]]:
        """The next conversations of a party."""

        def query(connection: sqlite3.Connection) -> Sequence[Standing]:
            (rows,) = connection.execute(_STANDINGS, (who, after, limit)).fetchone()
            return [Standing(_head(head), _member(member), read_seq) for head, member, read_seq in json.loads(rows)]

        return self._database.read(query)

    def groups_of(self, who: str) -> Deferred[int]:
        """In how many groups a party is."""
        return self._database.read(
            lambda connection: int(connection.execute(_GROUPS_OF, (who, int(Kind.GROUP))).fetchone()[0])
        )


@implementer(IPresenceStore)
class PresenceStore:
    """When the parties of one server were last there.

    Args:
        database: where that is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def saw(self, seen: Mapping[str, int]) -> Deferred[None]:
        """Store when parties were last seen."""
        return self._database.write(_saw, json.dumps(sorted(seen.items())))

    def seen(self, whos: Sequence[str]) -> Deferred[Mapping[str, int]]:
        """When they were."""
        wanted = json.dumps(list(whos))

        def query(connection: sqlite3.Connection) -> Mapping[str, int]:
            return dict(json.loads(connection.execute(_SEEN, (wanted,)).fetchone()[0]))

        return self._database.read(query)


def _head(row: list[Any]) -> Conversation:
    name, kind, version, title, is_open, tells_reads, created_ms, members, last_seq, last_id, first_seq, is_gone = row
    return Conversation(
        name,
        Kind(kind),
        version,
        title,
        bool(is_open),
        bool(tells_reads),
        created_ms,
        members,
        last_seq,
        last_id,
        first_seq,
        bool(is_gone),
    )


def _member(row: list[Any]) -> Member:
    who, role, joined_ms, since_seq, is_blocking = row
    return Member(who, Role(role), joined_ms, since_seq, bool(is_blocking))


def _found(connection: sqlite3.Connection, conversation_id: str) -> tuple[Conversation | None, int]:
    row = connection.execute(_LOAD, (conversation_id,)).fetchone()
    return (None, 0) if row is None else (_head(json.loads(row[0])), row[1])


def _change(connection: sqlite3.Connection, changes: Sequence[Change]) -> Sequence[Conversation | None]:
    return [_change_one(connection, change) for change in changes]


def _change_one(connection: sqlite3.Connection, change: Change) -> Conversation | None:
    before = change.before
    stored, number = _found(connection, before.id)
    if (0 if stored is None else stored.version) != before.version:
        return None
    if stored is None:
        number = connection.execute(_INSERT, (before.id, int(before.kind), change.at_ms)).lastrowid or 0
    if change.is_gone:
        connection.execute("DELETE FROM chat_members WHERE chat = ?", (number,))
    elif change.removed:
        connection.execute(_REMOVE, (number, json.dumps(list(change.removed))))
    if change.put:
        rows = json.dumps([(member.who, int(member.role), int(member.is_blocking)) for member in change.put])
        connection.execute(_PUT, (number, change.at_ms, 0 if stored is None else stored.last_seq, rows))
    values = (number, change.title, change.is_open, change.tells_reads, change.is_gone, change.at_ms)
    connection.execute(_UPDATE, values)
    return _found(connection, before.id)[0]


def _saw(connection: sqlite3.Connection, batches: Sequence[str]) -> Sequence[None]:
    for batch in batches:
        connection.execute(_SAW, (batch,))
    return [None] * len(batches)
