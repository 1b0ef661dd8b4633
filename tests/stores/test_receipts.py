"""Tests of push.stores.sqlite.receipts, and of the fake that stands for it elsewhere."""

import struct
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from push.ireceipts import IReceiptStore
from push.stores.sqlite import receipts as module
from push.stores.sqlite.receipts import ReceiptStore
from tests.fakes_store import MemoryReceiptStore
from tests.stores.contract_receipts import ReceiptStoreContract, chunk
from tests.stores.test_tokens import make_database


class MemoryReceiptStoreTests(ReceiptStoreContract, TestCase):
    """The fake."""

    def make_store(self) -> IReceiptStore:
        """A new one."""
        return MemoryReceiptStore()


class SqliteReceiptStoreTests(ReceiptStoreContract, TestCase):
    """The real one."""

    def make_store(self) -> IReceiptStore:
        """On a new file."""
        database = make_database(Path(self.mktemp()) / "push.sqlite")
        database.open()
        self.addCleanup(database.close)
        return ReceiptStore(database)


class OnDisk(SynchronousTestCase):
    """What only a store on disk can get wrong."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "push.sqlite"
        self.start()

    def start(self) -> None:
        """Begin a life of the server."""
        self.database = make_database(self.path)
        self.store = ReceiptStore(self.database)
        self.database.open()
        self.addCleanup(self.database.close)

    def test_restart_keeps_chunks_their_order_and_their_weight(self) -> None:
        self.successResultOf(self.store.append(chunk(1, 2, weight=10, lives=b"old")))
        self.successResultOf(self.store.append(chunk(2, 3, weight=10, lives=b"new")))
        self.successResultOf(self.database.close())
        self.start()
        number, lives = self.successResultOf(self.store.newest(2, None))
        self.assertEqual(lives, b"new")
        self.assertEqual(self.successResultOf(self.store.newest(2, number))[1], b"old")
        self.successResultOf(self.store.append(chunk(4, weight=10)))
        self.successResultOf(self.store.prune(15, 0))
        self.assertIsNone(self.successResultOf(self.store.newest(1, None)))
        self.assertEqual(self.successResultOf(self.store.newest(3, None))[1], b"new")

    def test_numbers_are_not_given_again_when_everything_was_deleted(self) -> None:
        self.successResultOf(self.store.append(chunk(1, at_ms=1)))
        first, _ = self.successResultOf(self.store.newest(1, None))
        self.successResultOf(self.store.prune(0, 2))
        self.successResultOf(self.store.append(chunk(1, at_ms=3)))
        second, _ = self.successResultOf(self.store.newest(1, None))
        self.assertGreater(second, first)

    def test_bytes_across_two_ids_may_bring_a_chunk_in_vain_but_never_hide_one(self) -> None:
        first, last = 0x0102030405060708, 0x1112131415161718
        (across,) = struct.unpack(">q", struct.pack(">qq", first, last)[4:12])
        self.assertTrue(first < across < last)
        self.successResultOf(self.store.append(chunk(across, lives=b"in it")))
        self.successResultOf(self.store.append(chunk(first, last, lives=b"across")))
        number, lives = self.successResultOf(self.store.newest(across, None))
        if lives == b"across":
            lives = self.successResultOf(self.store.newest(across, number))[1]
        self.assertEqual(lives, b"in it")

    def test_looking_walks_from_the_newest_without_sorting_and_deleting_through_the_key(self) -> None:
        def look(connection):
            newest = connection.execute("EXPLAIN QUERY PLAN " + module._NEWEST, (9, 9, 9, b"9")).fetchall()
            limits = {"floor": 0, "before_ms": 0}
            return newest, connection.execute("EXPLAIN QUERY PLAN " + module._PRUNE, limits).fetchall()

        newest, prune = self.successResultOf(self.database.read(look))
        self.assertEqual([row[3] for row in newest], ["SEARCH receipts USING INTEGER PRIMARY KEY (rowid<?)"])
        self.assertIn("SEARCH receipts USING INTEGER PRIMARY KEY (rowid<?)", [row[3] for row in prune])
        self.assertFalse([row for row in newest + prune if "TEMP B-TREE" in row[3]])
