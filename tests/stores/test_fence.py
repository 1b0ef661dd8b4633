"""The fenced fakes of tests.fakes_fence keep the contracts, too."""

from typing import Any

from twisted.trial.unittest import TestCase

from push.icache import ICacheStore
from push.ireceipts import IReceiptStore
from push.model_cache import CacheChanges
from tests.fakes_fence import FencedCacheStore, FencedReceiptStore, Guard
from tests.fakes_store import MemoryCacheStore, MemoryReceiptStore
from tests.stores.contract_cache import CacheStoreContract, message
from tests.stores.contract_fence import FencedContract
from tests.stores.contract_receipts import ReceiptStoreContract, chunk


class FencedCacheStoreTests(CacheStoreContract, FencedContract, TestCase):
    """The cache's rows."""

    def setUp(self) -> None:
        self.rows, self.guard = MemoryCacheStore(), Guard()

    def make_store(self) -> ICacheStore:
        """A new one."""
        return FencedCacheStore(MemoryCacheStore(), Guard())

    def make_fenced(self) -> Any:
        """On the same rows."""
        return FencedCacheStore(self.rows, self.guard)

    async def write(self, store: Any, number: int) -> None:
        """One message."""
        await store.commit(CacheChanges(messages=[message(number, "t")]))

    async def written(self, store: Any) -> list[int]:
        """By position."""
        return [row.position for row in await store.messages(0, 100)]

    async def empty(self) -> None:
        """All at once."""
        await self.rows.commit(CacheChanges(finished=await self.written(self.rows)))
        self.guard.number = None


class FencedReceiptStoreTests(ReceiptStoreContract, FencedContract, TestCase):
    """Receipts."""

    def setUp(self) -> None:
        self.chunks, self.guard = MemoryReceiptStore(), Guard()

    def make_store(self) -> IReceiptStore:
        """A new one."""
        return FencedReceiptStore(MemoryReceiptStore(), Guard())

    def make_fenced(self) -> Any:
        """On the same chunks."""
        return FencedReceiptStore(self.chunks, self.guard)

    async def write(self, store: Any, number: int) -> None:
        """One chunk."""
        await store.append(chunk(number))

    async def written(self, store: Any) -> list[int]:
        """Those that are found."""
        return [number for number in range(5) if await store.newest(number, None) is not None]

    async def empty(self) -> None:
        """All at once."""
        self.chunks.chunks.clear()
        self.guard.number = None
