"""Tests of push.stores.sqlite.tokens and floors, and of the fakes that stand for them elsewhere."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from push.ileases import IFloorStore
from push.isubscribe import ITokenStore
from push.model import TagQuery
from push.stores.sqlite import tokens as module
from push.stores.sqlite.database import Database
from push.stores.sqlite.floors import FloorStore
from push.stores.sqlite.tokens import TokenStore
from tests.fakes_store import MemoryFloorStore, MemoryTokenStore
from tests.stores.contract import FloorStoreContract, TokenStoreContract, TokenStoreModel
from tests.stores.threads import ImmediateThreads, LaterThreads, call_now


def make_database(path: Path, threads: type[ImmediateThreads] = ImmediateThreads) -> Database:
    """A database whose answers come at once, unless the threads say otherwise."""
    return Database(path, thread_pool=lambda name: threads(), call_from_thread=call_now, clock=Clock())


class MemoryTokenStoreTests(TokenStoreModel, TokenStoreContract, TestCase):
    """The fake keeps the contract, or tests that use it prove nothing."""

    def make_store(self, max_tokens: int = 1_000_000) -> ITokenStore:
        """A new one."""
        return MemoryTokenStore(max_tokens=max_tokens)


class OnNewFile(TokenStoreContract):
    """The real one."""

    threads: type[ImmediateThreads] = ImmediateThreads

    def make_store(self, max_tokens: int = 1_000_000) -> ITokenStore:
        """On a new file."""
        database = make_database(Path(self.mktemp()) / "push.sqlite", self.threads)
        store = TokenStore(database, max_tokens=max_tokens)
        database.open()
        self.addCleanup(database.close)
        return store


class SqliteTokenStoreTests(TokenStoreModel, OnNewFile, TestCase):
    """Each write in a transaction of its own."""


class GroupedSqliteTokenStoreTests(OnNewFile, TestCase):
    """What is submitted together is done together."""

    threads = LaterThreads


class MemoryFloorStoreTests(FloorStoreContract, TestCase):
    """The fake."""

    def make_store(self) -> IFloorStore:
        """A new one."""
        return MemoryFloorStore()


class SqliteFloorStoreTests(FloorStoreContract, TestCase):
    """The real one."""

    def make_store(self) -> IFloorStore:
        """On a new file."""
        database = make_database(Path(self.mktemp()) / "push.sqlite")
        database.open()
        self.addCleanup(database.close)
        return FloorStore(database)


class OnDiskTests(SynchronousTestCase):
    """What only a store on disk can get wrong."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "push.sqlite"
        self.start()

    def start(self) -> None:
        """Begin a life of the server."""
        self.database = make_database(self.path)
        self.store = TokenStore(self.database, max_tokens=3)
        self.floors = FloorStore(self.database)
        self.database.open()
        self.addCleanup(self.database.close)

    def restart(self) -> None:
        """End it, and begin another."""
        self.successResultOf(self.database.close())
        self.start()

    def test_restart_forgets_nobody(self) -> None:
        info = self.successResultOf(self.store.register("t1", "alice", "{}", ("a",), 5, owner_only=True))
        self.successResultOf(self.store.register("t2", None, None, None, 6, owner_only=False))
        self.successResultOf(self.floors.raise_floor("ids", 77))
        self.restart()
        self.assertEqual(self.store.count(), 2)
        self.assertEqual(self.successResultOf(self.store.get("t1")), info)
        self.assertEqual(self.successResultOf(self.store.tokens_of(["alice"])), {"alice": ("t1",)})
        self.assertEqual(self.successResultOf(self.store.tagged(TagQuery(any=("a",)), "", 9)), ["t1"])
        self.assertEqual(self.successResultOf(self.floors.floor("ids")), 77)

    def test_limit_counts_the_tokens_of_earlier_lives(self) -> None:
        for token in ("t1", "t2", "t3"):
            self.successResultOf(self.store.register(token, None, None, None, 5, owner_only=False))
        self.restart()
        self.failureResultOf(self.store.register("t4", None, None, None, 5, owner_only=False))
        self.assertEqual(self.store.count(), 3)

    def test_reconnect_with_nothing_new_writes_nothing(self) -> None:
        for tags in (("a", "b"), None):
            self.successResultOf(self.store.register("t1", "alice", "{}", tags, 5, owner_only=False))
            log_bytes = self.path.with_name("push.sqlite-wal").stat().st_size
            self.successResultOf(self.store.register("t1", "alice", "{}", tags, 9, owner_only=False))
            self.assertEqual(self.path.with_name("push.sqlite-wal").stat().st_size, log_bytes)

    def plans(self, query: TagQuery) -> list[str]:
        """How SQLite finds what tagged() asks for."""
        plans: list[str] = []

        def look(connection):
            statements: list[str] = []
            connection.set_trace_callback(statements.append)
            module._tagged(connection, query, "t0", 10)
            connection.set_trace_callback(None)
            for statement in statements:
                plans.extend(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement))

        self.successResultOf(self.database.read(look))
        return plans

    def test_tag_queries_go_through_the_index_without_sorting(self) -> None:
        everything = TagQuery(any=("a", "b"), all=("c", "d"), none=("e",))
        for query in (TagQuery(), TagQuery(none=("e",)), TagQuery(any=("a", "b")), everything):
            plans = self.plans(query)
            self.assertFalse([plan for plan in plans if "TEMP B-TREE" in plan], plans)
            for plan in plans:
                if plan.startswith("SCAN"):
                    self.assertRegex(plan, "json_each|VIRTUAL TABLE|^SCAN \\(subquery|CONSTANT")
        self.assertIn("SEARCH x USING PRIMARY KEY (tag=? AND token=?)", plans)
        self.assertIn("SEARCH t USING PRIMARY KEY (tag=? AND token>?)", plans)

    def test_queries_by_uid_and_token_go_through_their_index(self) -> None:
        def look(connection):
            return [
                [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, ("[]",))]
                for statement in (module._BY_UID, module._KNOWN, module._SELECT, module._DELETE, module._UNTAG)
            ]

        by_uid, known, select, delete, untag = self.successResultOf(self.database.read(look))
        self.assertIn("SEARCH tokens USING INDEX tokens_by_uid (uid=?)", by_uid)
        self.assertTrue(any(plan.startswith("SEARCH tokens USING COVERING INDEX") for plan in known), known)
        self.assertTrue(any(plan.startswith("SEARCH t USING INDEX") for plan in select), select)
        self.assertTrue(any(plan.startswith("SEARCH tokens USING") for plan in delete), delete)
        self.assertTrue(any("USING PRIMARY KEY (tag=? AND token=?)" in plan for plan in untag), untag)
