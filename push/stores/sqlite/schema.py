"""The SQLite file: how it is opened, whose it is, and how its tables came to be what they are.

Blocks; is used before anything is served. Imports only push.errors and push.stores.sqlite's own.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from push.errors import StartError

# "PUSH" in ASCII, in the header of every file of ours: https://www.sqlite.org/pragma.html#pragma_application_id
APPLICATION_ID = 0x50555348
# How long a writer of another process, e.g. an administrator's shell, is waited for.
BUSY_TIMEOUT_S = 5.0

# Each entry brings a file from the version that is its index to the next. Entries are appended, never changed.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `id` is the order of registration. Tags are kept here in the client's order; token_tags is their index.
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY,
            token TEXT NOT NULL UNIQUE,
            uid TEXT,
            device TEXT,
            tags TEXT NOT NULL,
            created_ms INTEGER NOT NULL
        )""",
        "CREATE INDEX tokens_by_uid ON tokens (uid) WHERE uid IS NOT NULL",
        "CREATE TABLE token_tags (tag TEXT NOT NULL, token TEXT NOT NULL, PRIMARY KEY (tag, token)) WITHOUT ROWID",
        # Counting rows reads them all, and the limit on tokens is asked for with every commit.
        "CREATE TABLE totals (tokens INTEGER NOT NULL)",
        "INSERT INTO totals VALUES (0)",
        "CREATE TABLE floors (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    ),
    (
        # Grows at its end, and is looked at by position alone: everything else is in `head`, which cache_rows.py
        # reads. The payload is last, so that to read the heads of large messages does not read these.
        "CREATE TABLE cache_messages (position INTEGER PRIMARY KEY, head BLOB NOT NULL, payload BLOB NOT NULL)",
        """CREATE TABLE cache_done (
            position INTEGER NOT NULL, token TEXT NOT NULL, PRIMARY KEY (position, token)
        ) WITHOUT ROWID""",
        """CREATE TRIGGER cache_finished AFTER DELETE ON cache_messages BEGIN
            DELETE FROM cache_done WHERE position = old.position;
        END""",
        "CREATE TABLE log_positions (token TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID",
        # Keys are their UTF-8 bytes: text that an application chose may hold anything, NULs too. As they are random, a
        # reply costs some 100 µs where 300,000 are kept (measured 2026-11-23): fifty times a message.
        "CREATE TABLE replies (key BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL, reply BLOB NOT NULL) WITHOUT ROWID",
        "CREATE INDEX replies_by_expiry ON replies (expires_ms)",
        "CREATE TABLE due (message_id INTEGER PRIMARY KEY, due_ms INTEGER NOT NULL, request BLOB NOT NULL)",
    ),
    (
        # A chunk a row, appended. `ids`: eight bytes each, big-endian. `total` is the weight of this chunk and of all
        # that were ever before it, so that nobody has to add up.
        """CREATE TABLE receipts (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            first_id INTEGER NOT NULL,
            last_id INTEGER NOT NULL,
            total INTEGER NOT NULL,
            at_ms INTEGER NOT NULL,
            ids BLOB NOT NULL,
            lives BLOB NOT NULL
        )""",
    ),
    (
        # Conversations. `version` is of members and settings: what is said does not change it.
        """CREATE TABLE chats (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            kind INTEGER NOT NULL,
            version INTEGER NOT NULL,
            title TEXT NOT NULL,
            is_open INTEGER NOT NULL,
            tells_reads INTEGER NOT NULL,
            created_ms INTEGER NOT NULL,
            members INTEGER NOT NULL,
            last_seq INTEGER NOT NULL,
            last_id INTEGER NOT NULL,
            first_seq INTEGER NOT NULL,
            is_gone INTEGER NOT NULL
        )""",
        """CREATE TABLE chat_members (
            chat INTEGER NOT NULL,
            who TEXT NOT NULL,
            role INTEGER NOT NULL,
            joined_ms INTEGER NOT NULL,
            since_seq INTEGER NOT NULL,
            read_seq INTEGER NOT NULL,
            is_blocking INTEGER NOT NULL,
            PRIMARY KEY (chat, who)
        ) WITHOUT ROWID""",
        "CREATE INDEX chat_members_by_who ON chat_members (who, chat)",
        """CREATE TABLE chat_messages (
            chat INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            id INTEGER NOT NULL,
            sender TEXT NOT NULL,
            type INTEGER NOT NULL,
            client_id TEXT,
            is_recalled INTEGER NOT NULL,
            content BLOB NOT NULL,
            PRIMARY KEY (chat, seq)
        ) WITHOUT ROWID""",
        # Ids grow, so this index does at its end; it finds what is too old to be kept.
        "CREATE INDEX chat_messages_by_id ON chat_messages (id)",
        """CREATE UNIQUE INDEX chat_messages_by_client_id ON chat_messages (chat, sender, client_id)
            WHERE client_id IS NOT NULL""",
        "CREATE TABLE presence (who TEXT PRIMARY KEY, seen_ms INTEGER NOT NULL) WITHOUT ROWID",
    ),
)


def open_for_writing(path: Path, migrations: Sequence[Sequence[str]]) -> sqlite3.Connection:
    """Open the file, made and brought up to date where needed.

    Args:
        path: of the file; its directory exists.
        migrations: as MIGRATIONS.

    Returns:
        A connection in autocommit that any one thread may use, each commit of which is on disk when it returns.

    Raises:
        StartError: the file cannot be opened, is damaged, is another application's or a newer version's.
    """
    try:
        # SQLite would make it with the rights of the umask; its -wal and -shm files take after it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StartError(
            f"cannot open {path}: {error.strerror}; let this user read and write it, or choose another --data-dir"
        ) from None
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _claim(connection, path, len(migrations))
        _migrate(connection, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise StartError(_what_to_do(path, error)) from None
    except StartError:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a file that `open_for_writing` has opened, for a second thread, which sees what has been committed."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _claim(connection: sqlite3.Connection, path: Path, newest: int) -> None:
    owner = _number(connection, "application_id")
    version = _number(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (owner or version or tables):
        raise StartError(f"{path} is a database of another application: choose another --data-dir")
    if version > newest:
        raise StartError(
            f"{path} was written by a newer version of this server (its format is {version}, the newest known here "
            f"is {newest}): install that version, or choose another --data-dir"
        )
    # 0.6 s for a million tokens, 0.4 s for a million messages of 128 bytes, which take 217 MB (2026-11-23): cheaper
    # than finding out while serving.
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    _let_shrink(connection, is_new=not tables)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StartError(
            f"the file system of {path} cannot hold a write-ahead log (journal mode is {mode}): "
            "choose a --data-dir on a local disk"
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Tokens are random, so each touches a page of its own in the index: keep the pages, and write each back once for
    # many commits. 32 MiB each; a third more registrations a second with 100,000 tokens (measured 2026-11-23).
    connection.execute("PRAGMA cache_size = -32768")
    connection.execute("PRAGMA wal_autocheckpoint = 8192")
    # The log grows beyond that during a large transaction, or while somebody reads for long: not for ever.
    connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
    # Do not write what is deleted once more as zeros, as some builds do, where that is a write of its own.
    connection.execute("PRAGMA secure_delete = FAST")


def _let_shrink(connection: sqlite3.Connection, *, is_new: bool) -> None:
    """Have free pages known by their place, so that they can be given back: space.py."""
    if not is_new and _number(connection, "auto_vacuum"):
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if not is_new:
        # A file made before this was wanted has to be copied once. If there is no room, another start will do.
        try:
            connection.execute("VACUUM")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    for version in range(_number(connection, "user_version"), len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        for statement in migrations[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")


def _what_to_do(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{path} is damaged ({error}): restore it from a backup, or move it away to begin with an empty one"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path} is locked by another program, e.g. a sqlite3 shell: close that first"
    if code == sqlite3.SQLITE_FULL:
        return f"the disk of {path} is full: make room first"
    return f"cannot open {path}: {error}"
