"""What was said in conversations, in SQLite.

Messages that are stored together cost a handful of statements, whatever their number, as database.py explains.
Content is JSON text, so it goes through lists as it is; ids and names have no control characters.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.igroup import IConversationStore
from push.model_chat import ChatMessage, Said
from push.stores.sqlite.database import Database

# How many a transaction prunes: what a message may have to wait for is some 20 ms.
_PRUNED_ROWS = 1_000

_ROW = (
    "json_array(c.id, m.seq, m.id, m.sender, m.type, CAST(m.content AS TEXT), coalesce(m.client_id, ''), m.is_recalled)"
)
_HEADS = """
    SELECT json_group_array(json_array(c.id, c.number, c.version, c.last_seq, c.last_id, c.first_seq))
    FROM json_each(?) AS wanted CROSS JOIN chats AS c ON c.id = wanted.value
"""
_REPEATS = f"""
    SELECT json_group_array({_ROW})
    FROM json_each(?) AS wanted CROSS JOIN chats AS c ON c.id = json_extract(wanted.value, '$[0]')
    CROSS JOIN chat_messages AS m ON m.chat = c.number AND m.sender = json_extract(wanted.value, '$[1]')
        AND m.client_id = json_extract(wanted.value, '$[2]') AND m.seq >= c.first_seq
"""  # noqa: S608 - our own text
# A name may still be that of a message which is no longer kept, and not pruned yet: that one goes.
_INSERT = """
    INSERT OR REPLACE INTO chat_messages (chat, seq, id, sender, type, client_id, is_recalled, content)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'), 0,
           CAST(json_extract(value, '$[6]') AS BLOB)
    FROM json_each(?)
"""
_MOVE = """
    UPDATE chats SET last_seq = json_extract(new.value, '$[1]'), last_id = json_extract(new.value, '$[2]'),
        first_seq = json_extract(new.value, '$[3]')
    FROM json_each(?) AS new WHERE chats.number = json_extract(new.value, '$[0]')
"""
_READ = """
    UPDATE chat_members SET read_seq = max(read_seq, json_extract(new.value, '$[2]'))
    FROM json_each(?) AS new
    WHERE chat = json_extract(new.value, '$[0]') AND who = json_extract(new.value, '$[1]')
"""
_TRIM = """
    DELETE FROM chat_messages WHERE (chat, seq) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
    )
"""
_RECALL = """
    UPDATE chat_messages SET is_recalled = 1, content = CAST('{}' AS BLOB) WHERE (chat, seq) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
    )
"""
_HISTORY = """
    SELECT json_group_array(json(message)) FROM (
        SELECT {row} AS message FROM chats AS c CROSS JOIN chat_messages AS m ON m.chat = c.number
        WHERE c.id = ? AND m.seq >= max(?, c.first_seq) AND m.seq <= ? ORDER BY m.seq {order} LIMIT ?
    )
"""
_MOVE_READ = """
    UPDATE chat_members SET read_seq = min(?3, (SELECT last_seq FROM chats WHERE number = chat))
    WHERE chat = (SELECT number FROM chats WHERE id = ?1) AND who = ?2
        AND read_seq < min(?3, (SELECT last_seq FROM chats WHERE number = chat))
    RETURNING read_seq
"""
_POSITIONS = """
    SELECT json_group_array(json_array(m.who, m.read_seq))
    FROM json_each(?2) AS wanted CROSS JOIN chats AS c ON c.id = ?1
    CROSS JOIN chat_members AS m ON m.chat = c.number AND m.who = wanted.value
"""
_OLD = "SELECT json_group_array(json_array(chat, seq)) FROM (SELECT chat, seq FROM chat_messages WHERE id < ? LIMIT ?)"
# What was dismissed, or is over a limit that was lowered.
_LEFT_OVER = """
    SELECT json_group_array(json_array(chat, seq)) FROM (
        SELECT m.chat, m.seq FROM chats AS c CROSS JOIN chat_messages AS m ON m.chat = c.number AND m.seq < c.first_seq
        LIMIT ?
    )
"""
_RAISE = """
    UPDATE chats SET first_seq = max(first_seq, json_extract(new.value, '$[1]'))
    FROM json_each(?) AS new WHERE chats.number = json_extract(new.value, '$[0]')
"""


class _Saying(NamedTuple):
    message: ChatMessage
    version: int
    recalls: int
    max_messages: int


class _Head:
    """A conversation while messages are being added to it."""

    __slots__ = ("first_seq", "is_changed", "last_id", "last_seq", "number", "version")

    def __init__(self, number: int, version: int, last_seq: int, last_id: int, first_seq: int) -> None:
        self.number = number
        self.version = version
        self.last_seq = last_seq
        self.last_id = last_id
        self.first_seq = first_seq
        self.is_changed = False


@implementer(IConversationStore)
class ConversationStore:
    """The conversations of one server.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, message: ChatMessage, version: int, *, recalls: int = 0, max_messages: int, from_id: int
    ) -> Deferred[Said | None]:
        """Store a message, if the conversation is as it was seen. What is too old is left to `prune`."""
        return self._database.write(_append, _Saying(message, version, recalls, max_messages))

    def history(
        self, conversation_id: str, first_seq: int, last_seq: int, limit: int
    ) -> Deferred[Sequence[ChatMessage]]:
        """Messages between sequence numbers."""
        statement = _HISTORY.format(row=_ROW, order="ASC" if limit > 0 else "DESC")
        arguments = (conversation_id, first_seq, last_seq, abs(limit))

        def query(connection: sqlite3.Connection) -> Sequence[ChatMessage]:
            (rows,) = connection.execute(statement, arguments).fetchone()
            found = [_message(row) for row in json.loads(rows)]
            return found if limit > 0 else found[::-1]

        return self._database.read(query)

    def move_read(self, conversation_id: str, who: str, seq: int) -> Deferred[int | None]:
        """Say up to where a member has read."""
        return self._database.write(_move_read, (conversation_id, who, seq))

    def read_positions(self, conversation_id: str, whos: Sequence[str]) -> Deferred[Mapping[str, int]]:
        """Up to where members have read."""
        wanted = json.dumps(list(whos))

        def query(connection: sqlite3.Connection) -> Mapping[str, int]:
            return dict(json.loads(connection.execute(_POSITIONS, (conversation_id, wanted)).fetchone()[0]))

        return self._database.read(query)

    def prune(self, before_id: int) -> Deferred[None]:
        """Forget what is older, a few in a transaction."""
        return Deferred.fromCoroutine(self._prune(before_id))

    async def _prune(self, before_id: int) -> None:
        while await self._database.write(_prune_some, before_id):
            pass


def _message(row: list[Any]) -> ChatMessage:
    conversation, seq, message_id, sender, kind, content, client_id, is_recalled = row
    return ChatMessage(conversation, seq, message_id, sender, kind, content.encode(), client_id, bool(is_recalled))


def _list(connection: sqlite3.Connection, statement: str, *arguments: Any) -> list[Any]:
    rows: list[Any] = json.loads(connection.execute(statement, arguments).fetchone()[0])
    return rows


def _append(connection: sqlite3.Connection, sayings: Sequence[_Saying]) -> Sequence[Said | None]:
    wanted = json.dumps(list({saying.message.conversation for saying in sayings}))
    heads = {row[0]: _Head(*row[1:]) for row in _list(connection, _HEADS, wanted)}
    known = _repeats(connection, sayings)
    results: list[Said | None] = []
    added: list[ChatMessage] = []
    trimmed: list[tuple[int, int]] = []
    recalled: list[tuple[int, int]] = []
    for message, version, recalls, max_messages in sayings:
        head = heads.get(message.conversation)
        name = (message.conversation, message.sender, message.client_id)
        if message.client_id and name in known:
            results.append(Said(known[name], True))
            continue
        if head is None or head.version != version:
            results.append(None)
            continue
        head.last_seq += 1
        head.last_id = message.id
        head.is_changed = True
        if head.last_seq - head.first_seq >= max_messages:
            head.first_seq = head.last_seq - max_messages + 1
            trimmed.append((head.number, head.first_seq - 1))
        if recalls:
            recalled.append((head.number, recalls))
        stored = _numbered(message, head.last_seq)
        added.append(stored)
        known[name] = stored
        results.append(Said(stored, False))
    if added:
        _save(connection, heads, added)
    for statement, rows in ((_TRIM, trimmed), (_RECALL, recalled)):
        if rows:
            connection.execute(statement, (json.dumps(rows),))
    return results


def _numbered(message: ChatMessage, seq: int) -> ChatMessage:
    return ChatMessage(
        message.conversation, seq, message.id, message.sender, message.type, message.content, message.client_id
    )


def _repeats(connection: sqlite3.Connection, sayings: Sequence[_Saying]) -> dict[tuple[str, str, str], ChatMessage]:
    named = [(message.conversation, message.sender, message.client_id) for message, *_ in sayings if message.client_id]
    if not named:
        return {}
    found = map(_message, _list(connection, _REPEATS, json.dumps(named)))
    return {(message.conversation, message.sender, message.client_id): message for message in found}


def _save(connection: sqlite3.Connection, heads: Mapping[str, _Head], added: Sequence[ChatMessage]) -> None:
    rows = [
        (
            heads[each.conversation].number,
            each.seq,
            each.id,
            each.sender,
            each.type,
            each.client_id or None,
            each.content.decode(),
        )
        for each in added
    ]
    connection.execute(_INSERT, (json.dumps(rows),))
    moved = [(head.number, head.last_seq, head.last_id, head.first_seq) for head in heads.values() if head.is_changed]
    connection.execute(_MOVE, (json.dumps(moved),))
    # Of several of one sender the last counts, and each row may be updated from one alone.
    reads = {(heads[each.conversation].number, each.sender): each.seq for each in added}
    connection.execute(_READ, (json.dumps([(*key, seq) for key, seq in reads.items()]),))


def _move_read(connection: sqlite3.Connection, moves: Sequence[tuple[str, str, int]]) -> Sequence[int | None]:
    moved: list[int | None] = []
    for conversation_id, who, seq in moves:
        rows = connection.execute(_MOVE_READ, (conversation_id, who, seq)).fetchall()
        moved.append(rows[0][0] if rows else None)
    return moved


def _prune_some(connection: sqlite3.Connection, ids: Sequence[int]) -> Sequence[bool]:
    """Forget some. Returns whether there may be more."""
    results: list[bool] = []
    for before_id in ids:
        old = _list(connection, _OLD, before_id, _PRUNED_ROWS)
        if old:
            newest: dict[int, int] = {}
            for number, seq in old:
                newest[number] = max(seq, newest.get(number, 0))
            connection.execute(_RAISE, (json.dumps([(number, seq + 1) for number, seq in newest.items()]),))
        gone = old or _list(connection, _LEFT_OVER, _PRUNED_ROWS)
        if gone:
            connection.execute(_TRIM, (json.dumps(gone),))
        results.append(len(gone) == _PRUNED_ROWS or bool(old))
    return results
