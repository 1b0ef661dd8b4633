"""Tests of push.stores.sqlite.cache and what it is made of, and of the fake that stands for it elsewhere."""

import os
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import msgspec
from twisted.trial.unittest import SynchronousTestCase, TestCase

from push.errors import StartError, Unavailable
from push.icache import ICacheStore
from push.model import PushRequest, PushResult, ToAll, ToConnector, ToTags, ToTokens, ToUids
from push.model_cache import CacheChanges, Everybody
from push.stores import cache_rows
from push.stores.sqlite import cache, cache_changes, records, schema, space
from push.stores.sqlite.cache import CacheStore
from push.stores.sqlite.schema import MIGRATIONS
from push.stores.sqlite.tokens import TokenStore
from tests.fakes_store import MemoryCacheStore
from tests.stores.contract_cache import (
    EXPIRES_MS,
    FULL_OPTIONS,
    QUERY,
    CacheStoreContract,
    due,
    full_message,
    message,
    reply,
)
from tests.stores.test_tokens import make_database
from tests.stores.threads import ImmediateThreads, LaterThreads


class MemoryCacheStoreTests(CacheStoreContract, TestCase):
    """The fake keeps the contract, or tests that use it prove nothing."""

    def make_store(self) -> ICacheStore:
        """A new one."""
        return MemoryCacheStore()


class OnNewFile(CacheStoreContract):
    """The real one."""

    threads: type[ImmediateThreads] = ImmediateThreads

    def make_store(self) -> ICacheStore:
        """On a new file."""
        database = make_database(Path(self.mktemp()) / "push.sqlite", self.threads)
        database.open()
        self.addCleanup(database.close)
        return CacheStore(database)


class SqliteCacheStoreTests(OnNewFile, TestCase):
    """Each commit in a transaction of its own."""


class GroupedSqliteCacheStoreTests(OnNewFile, TestCase):
    """What is submitted together is done together."""

    threads = LaterThreads


class InPartsSqliteCacheStoreTests(OnNewFile, TestCase):
    """Whatever is read or written takes several statements."""

    def make_store(self) -> ICacheStore:
        """With a limit that all but the smallest lists are beyond."""
        self.patch(records, "MAX_BYTES", 2_000)
        self.patch(cache_changes, "MAX_NUMBERS", 50)
        self.patch(cache, "DUE_PAGE", 100)
        return super().make_store()


class OnDiskCase(SynchronousTestCase):
    """With a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "push.sqlite"
        self.start()

    def start(self) -> None:
        """Begin a life of the server."""
        self.database = make_database(self.path)
        self.store = CacheStore(self.database)
        self.database.open()
        self.addCleanup(self.database.close)

    def commit(self, **changes) -> None:
        """Commit, and wait for it."""
        self.successResultOf(self.store.commit(CacheChanges(**changes)))

    def execute(self, statement: str, *values: object):
        """Have something done that the store itself never does."""
        return self.successResultOf(
            self.database.write(lambda connection, _: [connection.execute(statement, values).fetchall()], None)
        )

    def positions(self) -> list[int]:
        """What is stored."""
        return [one.position for one in self.successResultOf(self.store.messages(0, 10_000))]


class OnDiskTests(OnDiskCase):
    """What only a store on disk can get wrong."""

    def test_restart_forgets_nothing(self) -> None:
        stored = [message(1, "t1", "t2"), full_message()]
        self.commit(
            messages=stored, done=[(1, "t1")], log_positions={"t1": 5}, replies=[reply("k")], due=[due(4, 5), due(3, 6)]
        )
        self.successResultOf(self.database.close())
        self.start()
        self.assertEqual(
            self.successResultOf(self.store.messages(0, 9)),
            [msgspec.structs.replace(one, payload=None) for one in stored],
        )
        self.assertEqual(self.successResultOf(self.store.payloads([1])), {1: b"payload of 1"})
        self.assertEqual(self.successResultOf(self.store.done((0, ""), 9)), [(1, "t1")])
        self.assertEqual(self.successResultOf(self.store.log_positions(["t1"])), {"t1": 5})
        self.assertEqual(self.successResultOf(self.store.replies(["k"])), {"k": reply("k")})
        self.assertEqual(self.successResultOf(self.store.due()), [due(4, 5), due(3, 6)])

    def test_file_from_before_the_cache_keeps_its_tokens_and_learns_to_shrink(self) -> None:
        path = Path(self.mktemp()) / "push.sqlite"
        path.parent.mkdir()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA application_id = 0x50555348")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO tokens (token, tags, created_ms) VALUES ('t1', '[]', 5)")
        self.assertEqual(connection.execute("PRAGMA auto_vacuum").fetchone(), (0,))
        connection.close()
        for _ in range(2):
            database = make_database(path)
            tokens = TokenStore(database)
            database.open()
            self.assertEqual(self.successResultOf(tokens.known(["t1"])), {"t1"})
            self.successResultOf(CacheStore(database).commit(CacheChanges(finished=[1])))
            self.successResultOf(database.close())
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("PRAGMA auto_vacuum").fetchone(), (2,))

    def test_file_from_before_the_cache_that_finds_no_room_to_be_copied_is_used_as_it_is(self) -> None:
        connection = sqlite3.connect(self.path.with_name("old.sqlite"), isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("CREATE TABLE numbers (number)")
        connection.execute("PRAGMA max_page_count = 1")
        schema._let_shrink(connection, is_new=False)
        self.assertEqual(connection.execute("PRAGMA auto_vacuum").fetchone(), (0,))
        tidy = space.Space(connection).tidy
        for _ in range(space.LOOK_EVERY):
            tidy()
        connection.execute("PRAGMA max_page_count = 1000")
        schema._let_shrink(connection, is_new=False)
        self.assertEqual(connection.execute("PRAGMA auto_vacuum").fetchone(), (2,))

    def test_row_of_an_unknown_format_or_damaged_is_said_clearly_and_names_the_file(self) -> None:
        self.commit(messages=[message(1, "t1"), message(2, "t1")], replies=[reply("k")], due=[due(3), due(4)])
        for table, column, where, place, read in (
            (
                "cache_messages",
                "head",
                "position = 2",
                "cache_messages, position 2: ",
                lambda: self.store.messages(0, 9),
            ),
            ("replies", "reply", "true", "", lambda: self.store.replies(["k"])),
            ("due", "request", "message_id = 4", "due, message_id 4", lambda: self.store.due()),
        ):
            for row, words in (
                (msgspec.msgpack.encode([2, "what", "comes", "next"]), "its format is 2, the newest known here is 1"),
                (msgspec.msgpack.encode([1, "not", "what", "it", "should", "be"]), "Expected"),
                (b"", "truncated"),
                (b"\x95\x01\xa1\xff", ""),
                (os.urandom(3) + b"\xc1", ""),
            ):
                self.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", row)
                error = self.failureResultOf(read(), StartError)
                self.assertIn(str(self.path), str(error.value))
                self.assertIn(f"cannot be read ({place}", str(error.value))
                self.assertIn(words, str(error.value))

    def test_disk_without_room_refuses_all_of_a_commit_and_takes_it_again_when_there_is(self) -> None:
        self.commit(messages=[message(1, "t1", "t2")], done=[(1, "t1")], due=[due(1)])
        self.execute("PRAGMA max_page_count = 1")
        changes = {
            "messages": [message(at, "t1", payload=bytes(5_000)) for at in range(2, 50)],
            "finished": [1],
            "log_positions": {"t1": 5},
            "undue": [1],
        }
        for _ in range(2):
            failure = self.failureResultOf(self.store.commit(CacheChanges(**changes)), Unavailable)
            self.assertIn("SQLITE_FULL", str(failure.value))
            self.assertEqual(failure.value.retry, "backoff")
        self.assertEqual(self.positions(), [1])
        self.assertEqual(self.successResultOf(self.store.done((0, ""), 9)), [(1, "t1")])
        self.assertEqual(self.successResultOf(self.store.log_positions(["t1"])), {})
        self.assertEqual(len(self.successResultOf(self.store.due())), 1)
        self.execute("PRAGMA max_page_count = 1000000")
        self.commit(**changes)
        self.assertEqual(self.positions(), list(range(2, 50)))

    def test_closed_store_is_unavailable(self) -> None:
        self.successResultOf(self.database.close())
        for call in (
            self.store.commit(CacheChanges()),
            self.store.messages(0, 9),
            self.store.done((0, ""), 9),
            self.store.due(),
            self.store.payloads([1]),
            self.store.log_positions(["t1"]),
            self.store.replies(["k"]),
            self.store.prune(1, 1),
        ):
            self.failureResultOf(call, Unavailable)

    def test_number_that_has_no_room_is_refused(self) -> None:
        for number in (2**63, 10**19, 10**20, -1):
            self.failureResultOf(self.store.commit(CacheChanges(messages=[message(number, "t1")])), OverflowError)
        self.assertEqual(self.positions(), [])

    def test_damaged_cache_keeps_the_server_from_starting(self) -> None:
        self.commit(messages=[message(at, "t1") for at in range(1, 2_000)])
        self.successResultOf(self.database.close())
        whole = self.path.read_bytes()
        middle = len(whole) // 2 // 4096 * 4096
        self.path.write_bytes(whole[:middle] + os.urandom(4096) + whole[middle + 4096 :])
        error = self.assertRaises(StartError, self.start)
        self.assertIn(str(self.path), str(error))
        self.assertIn("damaged", str(error))

    def test_hundreds_of_changes_take_a_handful_of_statements(self) -> None:
        self.commit(messages=[message(at, "t1") for at in range(1, 301)])
        statements: list[str] = []
        self.successResultOf(
            self.database.write(lambda connection, _: [connection.set_trace_callback(statements.append)], None)
        )
        statements.clear()
        self.commit(messages=[message(at, "t1") for at in range(500, 800)], finished=list(range(1, 301)))
        # One that a trigger has a part in is told of once a row.
        self.assertEqual([one.split()[0] for one in dict.fromkeys(statements)], ["BEGIN", "WITH", "DELETE", "COMMIT"])

    def test_rows_are_found_through_their_keys_without_sorting(self) -> None:
        def look(connection):
            plans = []
            for statement, values in (
                (cache._MESSAGES, (1, 9)),
                (cache._PAYLOADS, ("[]",)),
                (cache._DONE_PAGE, (1, "t", 9)),
                (cache._DUE, (1, 9)),
                (cache._POSITIONS, (b"",)),
                (cache._REPLIES, (b"",)),
                (cache_changes._FINISH, ("[]",)),
                (cache_changes._UNSCHEDULE, ("[]",)),
                (cache_changes._PRUNE_REPLIES, (1, 9)),
                (cache_changes._LAST_OF_SLICE, ("t", 9)),
                (cache_changes._PRUNE_POSITIONS, ("t", "u", 1)),
            ):
                rows = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, values)]
                plans.append(rows)
            return plans

        for plan in self.successResultOf(self.database.read(look)):
            self.assertFalse([row for row in plan if "TEMP B-TREE" in row], plan)
            scans = [row for row in plan if row.startswith("SCAN")]
            self.assertFalse(
                [
                    row
                    for row in scans
                    if not any(name in row for name in ("json_each", "walk", "CONSTANT", "subquery"))
                ],
                plan,
            )
            self.assertTrue([row for row in plan if row.startswith("SEARCH")], plan)


class FormatTests(SynchronousTestCase):
    """Rows of format 1, as files hold them: what servers have written must be read by those that come after.

    A failure here calls for a new format, beside the old one.
    """

    TAGS = ("tags", ["a", "b"], ["ç\0"], ["d"])
    OPTIONS: ClassVar = {
        "store": 2,
        "is_high": True,
        "collapse_key": "key\0",
        "on_full": 1,
        "deliver_at_ms": 7,
        "wait_s": 0.5,
        "once": {"key": "k/\0", "fingerprint": bytes(range(256)) * 2},
    }
    RESULT: ClassVar = {
        "message_id": 1,
        "targets": 2,
        "sent": 3,
        "cached": 4,
        "unknown": ["t1"],
        "rejected": 5,
        "is_logged": True,
        "due_ms": 6,
        "delivered": 7,
    }

    def test_message(self) -> None:
        for stored, row in (
            (message(5, "t1"), [1, 5, EXPIRES_MS, 12, "t1", False, "", None, None]),
            (full_message(), [1, 2**63 - 2, 7, 30, ["t1", "t2"], True, "k\0", self.TAGS, "al\0ice"]),
            (message(5, audience=Everybody()), [1, 5, EXPIRES_MS, 12, [], False, "", ["all"], None]),
        ):
            encoded = msgspec.msgpack.encode(row)
            self.assertEqual(cache_rows.encode_message(stored), encoded)
            self.assertEqual(
                cache_rows.decode_messages([stored.position], encoded), [msgspec.structs.replace(stored, payload=None)]
            )

    def test_message_that_an_earlier_version_wrote_without_the_last_fields(self) -> None:
        encoded = msgspec.msgpack.encode([1, 5, EXPIRES_MS, 12, "t1"])
        self.assertEqual(
            cache_rows.decode_messages([5], encoded), [msgspec.structs.replace(message(5, "t1"), payload=None)]
        )

    def test_reply(self) -> None:
        result = PushResult(1, 2, 3, 4, ("t1",), 5, is_logged=True, due_ms=6, delivered=7)
        encoded = msgspec.msgpack.encode([1, b"\0\xff", self.RESULT])
        self.assertEqual(cache_rows.encode_reply(b"\0\xff", result), encoded)
        self.assertEqual(cache_rows.decode_replies(1, encoded), [(b"\0\xff", result)])

    def test_request(self) -> None:
        for target, stored in (
            (ToTokens(("t1",), single=True), ["tokens", ["t1"], True]),
            (ToUids(("a", "b")), ["uids", ["a", "b"], False]),
            (ToTags(QUERY), self.TAGS),
            (ToConnector("10.0.0.1"), ["connector", "10.0.0.1"]),
            (ToAll(), ["all"]),
        ):
            request = PushRequest(target, b"\xff\0", 60, validate_only=True, options=FULL_OPTIONS)
            encoded = msgspec.msgpack.encode([1, stored, b"\xff\0", 60, True, self.OPTIONS])
            self.assertEqual(cache_rows.encode_request(request), encoded)
            self.assertEqual(cache_rows.decode_requests(1, encoded), [request])


class SpaceTests(OnDiskCase):
    """The file gives back what it needs no more, and its log stays small."""

    def fill_and_empty(self) -> int:
        """Store 8 MB, forget it again, and return how large the file has become, in pages."""
        self.patch(space, "KEPT_PAGES", 100)
        positions = range(1, 1_001)
        self.commit(messages=[message(at, "t1", payload=bytes(8_000)) for at in positions])
        self.commit(messages=[message(2_000, "t1")], finished=list(positions))
        return self.pages()

    def pages(self) -> int:
        """How large it is."""
        return self.execute("PRAGMA page_count")[0][0]

    def test_what_was_large_once_becomes_small_in_small_steps(self) -> None:
        sizes = [self.fill_and_empty()]
        for _ in range(2 * space.LOOK_EVERY):
            self.commit(log_positions={"t1": len(sizes)})
            sizes.append(self.pages())
        self.assertGreater(sizes[0], 2_000)
        self.assertLess(sizes[-1], 400)
        self.assertLessEqual(max(before - after for before, after in pairwise(sizes)), 2 * space.SLICE_PAGES + 10)
        self.assertEqual(self.positions(), [2_000])
        self.successResultOf(self.database.close())
        self.assertLess(self.path.stat().st_size, 400 * 4_096)
        self.start()
        self.assertEqual(self.positions(), [2_000])

    def test_some_free_pages_are_kept_for_what_comes_next(self) -> None:
        self.fill_and_empty()
        self.patch(space, "KEPT_PAGES", 5_000)
        before = self.pages()
        for at in range(2 * space.LOOK_EVERY):
            self.commit(log_positions={"t1": at})
        self.assertEqual(self.pages(), before)

    def test_disk_that_fails_while_pages_are_given_back_spoils_no_commit(self) -> None:
        self.fill_and_empty()
        self.patch(space, "SLICE_PAGES", "no number, so that")
        for at in range(2 * space.LOOK_EVERY):
            self.commit(log_positions={"t1": at})
        self.assertEqual(self.successResultOf(self.store.log_positions(["t1"])), {"t1": 2 * space.LOOK_EVERY - 1})

    def test_log_is_emptied_into_the_file_again_and_again(self) -> None:
        sizes = []
        for number in range(30):
            self.commit(
                messages=[message(100 * number + at, "t1", payload=bytes(40_000)) for at in range(1, 101)],
                finished=[100 * number - 100 + at for at in range(1, 101)],
            )
            sizes.append(self.path.with_name("push.sqlite-wal").stat().st_size)
        self.assertLess(max(sizes), 48 * 1024 * 1024)
        self.assertLess(self.path.stat().st_size, 24 * 1024 * 1024)
