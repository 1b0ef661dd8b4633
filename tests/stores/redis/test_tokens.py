"""Tests of push.stores.redis.tokens and floors: the contracts, and what only a store that is shared can get wrong."""

import random

from twisted.internet.defer import gatherResults

from push.ileases import IFloorStore
from push.isubscribe import ITokenStore
from push.model import TagQuery
from push.stores.redis import tokens as module
from push.stores.redis.floors import FloorStore
from push.stores.redis.tokens import TokenStore
from tests.fakes_store import matches
from tests.stores.contract import FloorStoreContract, TokenStoreContract, deferred
from tests.stores.redis.case import RedisCase


class RedisTokenStoreTests(TokenStoreContract, RedisCase):
    """The contract."""

    def make_store(self, max_tokens: int = 1_000_000) -> ITokenStore:
        """In an empty part of Redis."""
        return TokenStore(self.make_redis(), max_tokens=max_tokens)


class RedisFloorStoreTests(FloorStoreContract, RedisCase):
    """The contract."""

    def make_store(self) -> IFloorStore:
        """In an empty part of Redis."""
        return FloorStore(self.make_redis())

    async def test_floors_beyond_the_doubles_of_lua_are_exact(self) -> None:
        store = self.make_store()
        for value in (2**62, 2**62 + 1, 2**62 - 1, 9, 2**62 + 1):
            await store.raise_floor("ids", value)
        self.assertEqual(await store.floor("ids"), 2**62 + 1)


class SharedTests(RedisCase):
    """Two processes, one Redis."""

    def setUp(self) -> None:
        self.stores = [TokenStore(self.make_redis(), max_tokens=3) for _ in range(2)]

    async def test_one_finds_what_the_other_has_registered(self) -> None:
        here, there = self.stores
        info = await here.register("t1", "alice", "{}", ("a",), 5, owner_only=True)
        self.assertEqual(await there.get("t1"), info)
        self.assertEqual(await there.tokens_of(["alice"]), {"alice": ("t1",)})
        self.assertEqual(await there.tagged(TagQuery(any=("a",)), "", 9), ["t1"])
        self.assertEqual(there.count(), 0)
        await there.refresh()
        self.assertEqual(there.count(), 1)

    async def test_the_limit_is_that_of_all_together(self) -> None:
        here, there = self.stores
        for number in range(3):
            await (here, there)[number % 2].register(f"t{number}", None, None, None, 5, owner_only=False)
        failing = deferred(here.register("t4", None, None, None, 5, owner_only=False))
        error = await failing.addErrback(lambda failure: failure.value)
        self.assertIn("limit of 3 tokens", str(error))
        self.assertEqual(here.count(), 3)

    async def test_nothing_is_left_of_what_is_deleted(self) -> None:
        here, there = self.stores
        await here.register("t1", "alice", "{}", ("a", "b"), 5, owner_only=True)
        await there.register("t1", "bob", "{}", ("b", "c"), 5, owner_only=False)
        await there.delete("t1")
        self.assertEqual(await self.lasting_keys(), ["{tokens}:last"])


class TaggedTests(RedisCase):
    """Tag queries against their plain meaning, at random."""

    async def test_pages_have_what_matches_in_order(self) -> None:
        self.patch(module, "SCANNED", 7)
        chance = random.Random(20261123)
        store = TokenStore(self.make_redis())
        tags_of: dict[str, tuple[str, ...]] = {}
        names = [f"{chance.choice('aZ-_~.09')}{number:03}" for number in range(300)]
        for token in names + chance.sample(names, 60):
            tags_of[token] = tuple(tag for tag in "abcd" if chance.random() < 0.4)
        await gatherResults(
            [deferred(store.register(token, None, None, tags, 1, owner_only=False)) for token, tags in tags_of.items()]
        )
        for _ in range(60):
            query = TagQuery(*(tuple(tag for tag in "abcde" if chance.random() < odds) for odds in (0.3, 0.2, 0.2)))
            limit = chance.choice([1, 7, 50, 1_000])
            found: list[str] = []
            while page := await store.tagged(query, found[-1] if found else "", limit):
                self.assertLessEqual(len(page), limit)
                found += page
            self.assertEqual(found, sorted(token for token, tags in tags_of.items() if matches(query, tags)), query)
