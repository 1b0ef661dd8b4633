"""Tests of push.stores.redis.groups and chats: the contract, and what only a store elsewhere can get wrong."""

from twisted.internet.defer import gatherResults

from push.model_chat import Member
from push.stores.redis import chat_scripts
from push.stores.redis.chats import ConversationStore
from push.stores.redis.errors import Refused
from push.stores.redis.groups import GroupStore, PresenceStore
from tests.stores.contract import deferred
from tests.stores.contract_chat import ROOM, ChatStoreContract, Stores, change, message
from tests.stores.redis.case import RedisCase


class RedisChatStoreTests(ChatStoreContract, RedisCase):
    """The contract."""

    def make_stores(self) -> Stores:
        """In an empty part of Redis."""
        redis = self.make_redis()
        return Stores(GroupStore(redis), ConversationStore(redis), PresenceStore(redis))

    async def test_of_two_processes_that_change_a_group_one_does(self) -> None:
        first, second = self.make_stores(), self.make_stores()
        seen = await self.room(first, "ualice", "ubob")
        results = await gatherResults(
            [
                deferred(first.groups.change(change(seen, put=[Member("ucarol")]))),
                deferred(second.groups.change(change(seen, removed=["ubob"]))),
            ]
        )
        self.assertEqual(sorted(result is None for result in results), [False, True])
        self.assertEqual((await first.groups.load(ROOM)).version, 2)

    async def test_numbers_of_two_processes_have_no_gaps(self) -> None:
        first, second = self.make_stores(), self.make_stores()
        await self.room(first, "ualice", "ubob")
        said = await gatherResults(
            [
                deferred(self.say(stores, message(number, sender=sender)))
                for number in range(1, 30)
                for stores, sender in ((first, "ualice"), (second, "ubob"))
            ]
        )
        self.assertEqual(sorted(each.message.seq for each in said if each is not None), list(range(1, 59)))
        self.assertEqual(await self.seqs(first), list(range(1, 59)))

    async def test_a_lowered_limit_is_reached_little_by_little(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        for number in range(1, 61):
            await self.say(stores, message(number, name=f"n-{number}"))
        for number in range(61, 66):
            await self.say(stores, message(number), max_messages=5)
        self.assertEqual(await self.seqs(stores), [61, 62, 63, 64, 65])
        self.assertGreater(5 * chat_scripts.TRIMMED_BY_APPEND, 60)

    async def test_what_is_too_old_goes_with_the_next_message_too(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        for number in range(1, 6):
            await self.say(stores, message(number))
        await self.say(stores, message(6), from_id=4)
        self.assertEqual(await self.seqs(stores), [4, 5, 6])

    async def test_nothing_is_left_of_what_was_forgotten(self) -> None:
        stores = self.make_stores()
        seen = await self.room(stores, "ualice", "ubob")
        for number in range(1, 4):
            await self.say(stores, message(number << 22, name=f"n-{number}"))
        await stores.said.prune(9 << 22)
        await stores.groups.change(change(await stores.groups.load(ROOM), is_gone=True))
        self.assertIsNotNone(seen)
        self.assertEqual(await self.lasting_keys(), ["{chats}:head:" + ROOM])

    async def test_what_redis_refuses_of_many_calls_is_said_as_of_one(self) -> None:
        redis = self.make_redis()
        stores = Stores(GroupStore(redis), ConversationStore(redis), PresenceStore(redis))
        await self.room(stores, "ualice")
        keys = redis.keys("chats")
        await redis.writes.call("DEL", f"{keys}head:{ROOM}", f"{keys}seen")
        for key in ("head:" + ROOM, "seen"):
            await redis.writes.call("SET", keys + key, "something else")
        await self.assertFailure(deferred(stores.presence.saw({"ualice": 1})), Refused)
        await self.assertFailure(deferred(stores.groups.standings("ualice", "", 10)), Refused)
