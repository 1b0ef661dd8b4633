"""Tokens in SQLite: who they are, whose they are, what they are tagged with.

Every statement takes a list as JSON and gives one row back, also JSON; database.py says why. It also makes the
length of a list no concern of SQLite's limit on parameters.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.errors import PermissionDenied, PushError, Unavailable
from push.isubscribe import ITokenStore
from push.model import TagQuery
from push.model_subscribe import TokenInfo
from push.stores.sqlite.database import Database

MAX_TOKENS = 10_000_000
# To find the rarest of several tags it is enough to count so far.
_COUNTED_ROWS = 10_000
# How most rows have them.
_NO_TAGS = "[]"

_SELECT = """
    SELECT json_group_array(json_array(t.token, t.uid, t.device, t.tags, t.created_ms))
    FROM json_each(?) AS wanted CROSS JOIN tokens AS t ON t.token = wanted.value
"""
_UPSERT = """
    INSERT INTO tokens (token, uid, device, tags, created_ms)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]')
    FROM json_each(?) WHERE true ORDER BY key
    ON CONFLICT (token) DO UPDATE SET uid = excluded.uid, device = excluded.device, tags = excluded.tags
"""
_DELETE = "DELETE FROM tokens WHERE token IN (SELECT value FROM json_each(?))"
_TAG = """
    INSERT INTO token_tags (tag, token)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
"""
_UNTAG = """
    DELETE FROM token_tags WHERE (tag, token) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
    )
"""
_KNOWN = """
    SELECT json_group_array(token) FROM tokens WHERE token IN (SELECT value FROM json_each(?))
"""
_BY_UID = """
    SELECT json_group_array(json_array(id, uid, token)) FROM tokens
    WHERE uid IN (SELECT value FROM json_each(?))
"""
_TAGGED = """
    SELECT json_group_array(token) FROM (
        SELECT t.token FROM {source} WHERE {conditions} ORDER BY t.token LIMIT :limit
    )
"""
_HAS_TAGS = """
    (SELECT count(*) FROM token_tags AS x
     WHERE x.token = t.token AND x.tag IN (SELECT value FROM json_each(:{name}))) {comparison}
"""


class _Registering(NamedTuple):
    token: str
    uid: str | None
    device: str | None
    tags: tuple[str, ...] | None
    now_ms: int
    owner_only: bool


@implementer(ITokenStore)
class TokenStore:
    """The tokens of one server.

    Args:
        database: where they are; not open yet.
        max_tokens: how many there may be.
    """

    def __init__(self, database: Database, *, max_tokens: int = MAX_TOKENS) -> None:
        self._database = database
        self._max_tokens = max_tokens
        self._count = 0
        database.on_open(self._load)

    def register(
        self,
        token: str,
        uid: str | None,
        device: str | None,
        tags: tuple[str, ...] | None,
        now_ms: int,
        *,
        owner_only: bool,
    ) -> Deferred[TokenInfo]:
        """Create a token or update it; what is stored already is not written again."""
        item = _Registering(token, uid, device, tags, now_ms, owner_only)
        return self._database.write(self._apply_registrations, item).addCallback(self._counted)

    def known(self, tokens: Sequence[str]) -> Deferred[frozenset[str]]:
        """Which of these are registered."""
        wanted = _storable(tokens)
        return self._database.read(lambda connection: frozenset(_rows(connection, _KNOWN, wanted)))

    def get(self, token: str) -> Deferred[TokenInfo | None]:
        """One token, without its session."""
        return self._database.read(lambda connection: _stored(connection, [token]).get(token))

    def tokens_of(self, uids: Sequence[str]) -> Deferred[Mapping[str, tuple[str, ...]]]:
        """The tokens of users, oldest first; users without any are left out."""
        wanted = _storable(uids)

        def query(connection: sqlite3.Connection) -> Mapping[str, tuple[str, ...]]:
            found: dict[str, list[str]] = {}
            for _, uid, token in sorted(_rows(connection, _BY_UID, wanted)):
                found.setdefault(uid, []).append(token)
            return {uid: tuple(tokens) for uid, tokens in found.items()}

        return self._database.read(query)

    def tagged(self, query: TagQuery, after: str, limit: int) -> Deferred[Sequence[str]]:
        """The next tokens that match, in the order of tokens.

        Costs a look at each token that has the rarest of `all`, or each of `any`, up to the last one returned.
        """
        return self._database.read(lambda connection: _tagged(connection, query, after, limit))

    def delete(self, token: str) -> Deferred[bool]:
        """Forget a token. Returns whether it was there."""
        return self._database.write(self._apply_deletions, token).addCallback(self._counted)

    def count(self) -> int:
        """How many tokens are registered."""
        return self._count

    def _load(self, connection: sqlite3.Connection) -> None:
        self._count = _total(connection)

    def _counted(self, result: tuple[Any, int]) -> Any:
        # Only here, in the reactor's thread and after the commit: a transaction may be rolled back and tried again.
        value, self._count = result
        return value

    def _apply_registrations(
        self, connection: sqlite3.Connection, items: Sequence[_Registering]
    ) -> Sequence[tuple[TokenInfo, int] | PushError]:
        before = _stored(connection, {item.token for item in items})
        after = dict(before)
        total = known = _total(connection)
        results: list[tuple[TokenInfo, int] | PushError] = []
        for item in items:
            old = after.get(item.token)
            if old is None and total >= self._max_tokens:
                results.append(Unavailable(f"this server's limit of {self._max_tokens} tokens is reached"))
                continue
            if old is not None and item.owner_only and old.uid != item.uid:
                results.append(
                    PermissionDenied("this token belongs to another user: open without a token to get a new one")
                )
                continue
            total += old is None
            info = after[item.token] = _merge(old, item)
            results.append((info, total))
        changed = [info for info in after.values() if before.get(info.token) != info]
        if changed:
            _save(connection, before, changed)
        if total != known:
            connection.execute("UPDATE totals SET tokens = ?", (total,))
        return results

    def _apply_deletions(self, connection: sqlite3.Connection, tokens: Sequence[str]) -> Sequence[tuple[bool, int]]:
        stored = _stored(connection, set(tokens))
        gone = list(stored.values())
        total = _total(connection)
        results: list[tuple[bool, int]] = []
        for token in tokens:
            found = stored.pop(token, None) is not None
            total -= found
            results.append((found, total))
        if gone:
            connection.execute(_UNTAG, (_pairs(gone),))
            connection.execute(_DELETE, (json.dumps([info.token for info in gone]),))
            connection.execute("UPDATE totals SET tokens = ?", (total,))
        return results


def _rows(connection: sqlite3.Connection, statement: str, wanted: str) -> list[Any]:
    rows: list[Any] = json.loads(connection.execute(statement, (wanted,)).fetchone()[0])
    return rows


def _storable(texts: Iterable[str]) -> str:
    # SQLite reads text up to a NUL: "alice\0…" must not find what is alice's.
    return json.dumps([text for text in texts if "\0" not in text])


def _total(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT tokens FROM totals").fetchone()[0])


def _stored(connection: sqlite3.Connection, tokens: Iterable[str]) -> dict[str, TokenInfo]:
    return {
        token: TokenInfo(token, uid, device, () if tags == _NO_TAGS else tuple(json.loads(tags)), created_ms)
        for token, uid, device, tags, created_ms in _rows(connection, _SELECT, _storable(tokens))
    }


def _merge(old: TokenInfo | None, item: _Registering) -> TokenInfo:
    if old is None:
        return TokenInfo(item.token, item.uid, item.device, item.tags or (), item.now_ms)
    return TokenInfo(
        item.token,
        old.uid if item.uid is None else item.uid,
        old.device if item.device is None else item.device,
        old.tags if item.tags is None else item.tags,
        old.created_ms,
    )


def _pairs(infos: Iterable[TokenInfo]) -> str:
    # Sorted, so that rows of one page are touched one after the other.
    return json.dumps(sorted({(tag, info.token) for info in infos for tag in info.tags}))


def _save(connection: sqlite3.Connection, before: Mapping[str, TokenInfo], changed: Sequence[TokenInfo]) -> None:
    rows = [
        (info.token, info.uid, info.device, json.dumps(info.tags) if info.tags else _NO_TAGS, info.created_ms)
        for info in changed
    ]
    connection.execute(_UPSERT, (json.dumps(rows),))
    untagged = [
        old for info in changed if (old := before.get(info.token)) is not None and old.tags and old.tags != info.tags
    ]
    tagged = [
        info for info in changed if info.tags and ((old := before.get(info.token)) is None or old.tags != info.tags)
    ]
    if untagged:
        connection.execute(_UNTAG, (_pairs(untagged),))
    if tagged:
        connection.execute(_TAG, (_pairs(tagged),))


def _tagged(connection: sqlite3.Connection, query: TagQuery, after: str, limit: int) -> Sequence[str]:
    wanted_all, wanted_any, unwanted = set(query.all), set(query.any), set(query.none)
    conditions = ["t.token > :after"]
    if unwanted:
        conditions.append(_HAS_TAGS.format(name="none", comparison="= 0"))
    if wanted_all:
        conditions.append(_HAS_TAGS.format(name="all", comparison="= :all_count"))
        if wanted_any:
            conditions.append(_HAS_TAGS.format(name="any", comparison="> 0"))
    arguments = {
        "after": after,
        "limit": limit,
        "all": _storable(wanted_all),
        "all_count": len(wanted_all),
        "any": _storable(wanted_any),
        "none": _storable(unwanted),
    }
    if not wanted_all and not wanted_any:
        return _page(connection, "tokens AS t", conditions, arguments)
    conditions.append("t.tag = json_extract(:driver, '$')")
    found: set[str] = set()
    # The first tokens that have any of the tags are among the first that have each.
    for tag in [_rarest(connection, wanted_all, after)] if wanted_all else wanted_any:
        if "\0" in tag:
            continue
        found.update(_page(connection, "token_tags AS t", conditions, {**arguments, "driver": json.dumps(tag)}))
    return sorted(found)[:limit]


def _page(
    connection: sqlite3.Connection, source: str, conditions: Sequence[str], arguments: Mapping[str, object]
) -> list[str]:
    statement = _TAGGED.format(source=source, conditions=" AND ".join(conditions))
    page: list[str] = json.loads(connection.execute(statement, arguments).fetchone()[0])
    return page


def _rarest(connection: sqlite3.Connection, tags: Iterable[str], after: str) -> str:
    def rows(tag: str) -> int:
        statement = """
            SELECT count(*) FROM (
                SELECT 1 FROM token_tags WHERE tag = json_extract(?, '$') AND token > ? LIMIT ?
            )
        """
        return int(connection.execute(statement, (json.dumps(tag), after, _COUNTED_ROWS)).fetchone()[0])

    return min(tags, key=rows)
