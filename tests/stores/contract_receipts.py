"""What every backing of IReceiptStore must do; mixed into a TestCase as those of contract.py are."""

from typing import Any

from zope.interface.verify import verifyObject

from push.ireceipts import IReceiptStore
from push.model_receipts import StoredLives


def chunk(*ids: int, at_ms: int = 1_000, weight: int | None = None, lives: bytes = b"") -> StoredLives:
    """What changed in the lives of these."""
    return StoredLives(ids, len(ids) if weight is None else weight, at_ms, lives or repr(ids).encode())


class ReceiptStoreContract:
    """IReceiptStore."""

    def make_store(self) -> IReceiptStore:
        """An empty store, cleaned up after the test."""
        raise NotImplementedError

    async def found(self, store: Any, message_id: int) -> list[bytes]:
        """All chunks that a message is in, newest first."""
        lives = []
        before = None
        while True:
            newest = await store.newest(message_id, before)
            if newest is None:
                return lives
            before, more = newest
            lives.append(more)

    async def test_provides_the_interface(self) -> None:
        verifyObject(IReceiptStore, self.make_store())

    async def test_nothing_is_found_where_nothing_is(self) -> None:
        self.assertIsNone(await self.make_store().newest(1, None))

    async def test_a_message_is_found_in_every_chunk_that_it_is_in_newest_first(self) -> None:
        store = self.make_store()
        for each in (chunk(5, 9, 7, lives=b"first"), chunk(8, lives=b"second"), chunk(9, 2, 8, lives=b"third\0")):
            await store.append(each)
        self.assertEqual(await self.found(store, 9), [b"third\0", b"first"])
        self.assertEqual(await self.found(store, 8), [b"third\0", b"second"])
        self.assertEqual(await self.found(store, 2), [b"third\0"])
        self.assertEqual(await self.found(store, 7), [b"first"])
        self.assertEqual(await self.found(store, 1), [])
        self.assertEqual(await self.found(store, 10), [])

    async def test_an_id_may_be_as_large_as_ids_get(self) -> None:
        store = self.make_store()
        await store.append(chunk(1, 2**62, 2**63 - 1, lives=b"large"))
        for message_id in (1, 2**62, 2**63 - 1):
            self.assertEqual(await self.found(store, message_id), [b"large"])

    async def test_what_is_old_is_deleted(self) -> None:
        store = self.make_store()
        for message_id in range(1, 6):
            await store.append(chunk(message_id, at_ms=message_id * 100))
        await store.prune(1_000, 300)
        found = [message_id for message_id in range(1, 6) if await self.found(store, message_id)]
        self.assertEqual(found, [3, 4, 5])

    async def test_everything_may_be_old(self) -> None:
        store = self.make_store()
        await store.append(chunk(1, at_ms=100))
        await store.prune(1_000, 300)
        self.assertEqual(await self.found(store, 1), [])
        await store.append(chunk(2, at_ms=400))
        await store.prune(1_000, 300)
        self.assertEqual(await self.found(store, 2), [b"(2,)"])

    async def test_what_is_over_the_weight_is_deleted_oldest_first_by_whole_chunks(self) -> None:
        store = self.make_store()
        for message_id in range(1, 6):
            await store.append(chunk(message_id, weight=10))
        await store.prune(25, 0)
        found = [message_id for message_id in range(1, 6) if await self.found(store, message_id)]
        self.assertEqual(found, [3, 4, 5])
        await store.prune(20, 0)
        self.assertEqual(await self.found(store, 3), [])
        self.assertEqual(await self.found(store, 4), [b"(4,)"])
        await store.append(chunk(6, weight=20))
        await store.prune(25, 0)
        found = [message_id for message_id in range(1, 7) if await self.found(store, message_id)]
        self.assertEqual(found, [5, 6])

    async def test_less_than_the_weight_stays(self) -> None:
        store = self.make_store()
        for message_id in range(1, 6):
            await store.append(chunk(message_id))
        await store.prune(5, 0)
        self.assertEqual(await self.found(store, 1), [b"(1,)"])
