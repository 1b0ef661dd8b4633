"""Tests of push.stores.redis.receipts: the contract, and what only a store elsewhere can get wrong."""

from typing import Any

from push.ireceipts import IReceiptStore
from push.stores.redis import receipts as module
from push.stores.redis.receipts import ReceiptStore
from tests.stores.contract import deferred
from tests.stores.contract_fence import FencedContract
from tests.stores.contract_receipts import ReceiptStoreContract, chunk
from tests.stores.redis.case import RedisCase
from tests.stores.redis.test_cache import swallow_next_answer
from tests.stores.redis.test_connection import TIMEOUT_S, ServerCase


class RedisReceiptStoreTests(ReceiptStoreContract, FencedContract, RedisCase):
    """The contracts."""

    def make_store(self) -> IReceiptStore:
        """In an empty part of Redis."""
        return ReceiptStore(self.make_redis(), name="n1")

    def make_fenced(self) -> Any:
        """As another node has it."""
        return ReceiptStore(self.make_redis(), name="shared")

    async def write(self, store: Any, number: int) -> None:
        """One chunk."""
        await store.append(chunk(number))

    async def written(self, store: Any) -> list[int]:
        """Those that are found."""
        return [number for number in range(5) if await store.newest(number, None) is not None]

    async def empty(self) -> None:
        """As FLUSHALL, but for the keys of this test."""
        await self.delete_all()

    async def test_looking_and_deleting_go_on_over_many_calls(self) -> None:
        self.patch(module, "LOOKED_AT", 3)
        self.patch(module, "PRUNED", 3)
        store = self.make_store()
        for number in range(1, 21):
            await store.append(chunk(number, 100 + number % 2))
        self.assertEqual(await self.found(store, 1), [b"(1, 101)"])
        self.assertEqual(await self.found(store, 99), [])
        self.assertEqual(len(await self.found(store, 101)), 10)
        await store.prune(10, 0)
        self.assertEqual(len(await self.found(store, 101)), 2)
        self.assertEqual(await self.found(store, 1), [])
        self.assertEqual(await self.found(store, 17), [b"(17, 101)"])

    async def test_nothing_is_left_of_what_is_deleted_and_numbers_are_not_given_again(self) -> None:
        store = self.make_store()
        await store.append(chunk(1, at_ms=1))
        first, _ = await store.newest(1, None)
        await store.prune(0, 2)
        self.assertEqual(await self.lasting_keys(), ["{receipts:n1}:log"])
        await store.append(chunk(1, at_ms=3))
        second, _ = await store.newest(1, None)
        self.assertGreater(second, first)

    async def test_bytes_across_two_ids_are_not_taken_for_one(self) -> None:
        store = self.make_store()
        await store.append(chunk(0x0102030405060708, 0x1112131415161718, lives=b"across"))
        self.assertEqual(await self.found(store, 0x0506070811121314), [])

    async def test_each_node_has_receipts_of_its_own(self) -> None:
        redis = self.make_redis()
        here, there = (ReceiptStore(redis, name=name) for name in ("n1", "n2"))
        await here.append(chunk(1))
        self.assertIsNone(await there.newest(1, None))


class LostTests(ServerCase):
    """Answers do not come."""

    async def test_chunk_whose_answer_was_lost_is_there_once(self) -> None:
        redis = self.connect(self.make_server().url)
        store = ReceiptStore(redis, name="n1")
        await store.append(chunk(1))
        swallow_next_answer(redis.writes)
        await store.append(chunk(2))
        number, _ = await store.newest(2, None)
        self.assertIsNone(await store.newest(2, number))

    async def test_everything_fails_in_time(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        store = ReceiptStore(redis, name="n1", patience_s=TIMEOUT_S)
        await store.append(chunk(1))
        server.freeze()
        await self.trouble(deferred(store.newest(1, None)))
        await self.trouble(deferred(store.prune(1, 1)))
        await self.trouble(deferred(store.append(chunk(2))), within_s=2 * TIMEOUT_S + 1.5)
