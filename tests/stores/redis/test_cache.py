"""Tests of push.stores.redis.cache: the contract, and commits whose answer is lost."""

from collections.abc import Callable
from typing import Any

from push.errors import StartError, Unavailable
from push.icache import ICacheStore
from push.model import PushResult
from push.model_cache import CacheChanges
from push.stores.redis import cache as module
from push.stores.redis.cache import CacheStore
from push.stores.redis.errors import AnswerLost
from tests.redis_server import RedisServer
from tests.stores.contract import deferred
from tests.stores.contract_cache import CacheStoreContract, due, message, reply
from tests.stores.contract_fence import FencedContract
from tests.stores.redis.case import RedisCase
from tests.stores.redis.test_connection import TIMEOUT_S, ServerCase


class RedisCacheStoreTests(CacheStoreContract, FencedContract, RedisCase):
    """The contracts."""

    def make_store(self) -> ICacheStore:
        """In an empty part of Redis."""
        return CacheStore(self.make_redis(), name="n1")

    def make_fenced(self) -> Any:
        """As another node has it."""
        return CacheStore(self.make_redis(), name="shared")

    async def write(self, store: Any, number: int) -> None:
        """One message."""
        await store.commit(CacheChanges(messages=[message(number, "t")]))

    async def written(self, store: Any) -> list[int]:
        """By position."""
        return [row.position for row in await store.messages(0, 100)]

    async def empty(self) -> None:
        """As FLUSHALL, but for the keys of this test."""
        await self.delete_all()

    async def test_each_node_has_a_cache_of_its_own(self) -> None:
        redis = self.make_redis()
        here, there = (CacheStore(redis, name=name) for name in ("n1", "n2"))
        await here.commit(CacheChanges(messages=[message(1, "t1")], log_positions={"t1": 1}))
        await self.assert_empty(there)
        await there.commit(CacheChanges(messages=[message(1, "t1")]))

    async def test_nothing_is_left_of_what_is_finished(self) -> None:
        redis = self.make_redis()
        store = CacheStore(redis, name="n1")
        await store.commit(
            CacheChanges(
                messages=[message(1, "a", "b")],
                done=[(1, "a")],
                due=[due(1)],
                replies=[reply("k", 5)],
                log_positions={"a": 1},
            )
        )
        await store.commit(CacheChanges(finished=[1], undue=[1]))
        await store.prune(5, 2)
        self.assertEqual(await self.lasting_keys(), [])

    async def test_pages_are_bounded_in_bytes(self) -> None:
        self.patch(module, "PAGE_BYTES", 1_000)
        store = self.make_store()
        stored = [message(at, *(f"token-{number}" for number in range(30)), payload=bytes(700)) for at in range(1, 20)]
        await store.commit(CacheChanges(messages=stored))
        self.assertLess(len(await store.messages(0, 100)), 19)
        self.assertEqual([one.position for one in await self.all_messages(store)], list(range(1, 20)))
        self.assertEqual(await store.payloads(range(1, 20)), {at: bytes(700) for at in range(1, 20)})

    async def test_row_that_cannot_be_read_is_said(self) -> None:
        redis = self.make_redis()
        store = CacheStore(redis, name="n1")
        await store.commit(CacheChanges(messages=[message(1, "a")], replies=[reply("k")], due=[due(1)]))
        prefix = redis.keys("cache", "n1")
        for key, field in (("heads", bytes(7) + b"\1"), ("replies", b"k"), ("due", bytes(7) + b"\1")):
            await redis.writes.call("HSET", prefix + key, field, bytes(8) + b"\x92\x63\xc0")
        for read in (lambda: store.messages(0, 9), lambda: store.replies(["k"]), store.due):
            with self.assertRaises(StartError):
                await read()

    async def test_text_that_is_not_unicode_is_refused(self) -> None:
        store = self.make_store()
        for changes in (
            CacheChanges(done=[(1, "\ud800")]),
            CacheChanges(log_positions={"\ud800": 1}),
            CacheChanges(replies=[reply("\ud800")]),
            CacheChanges(finished=[-1]),
            CacheChanges(undue=[2**63]),
        ):
            with self.assertRaises((ValueError, OverflowError)):
                await store.commit(changes)


class FrozenTests(ServerCase):
    """A commit is on its way when the server freezes, or dies."""

    def setUp(self) -> None:
        self.server = self.make_server()
        self.redis = self.connect(self.server.url)

    def make_store(self, patience_s: float) -> CacheStore:
        """With so much patience."""
        return CacheStore(self.redis, name="n1", patience_s=patience_s)

    async def positions(self, store: CacheStore) -> list[int]:
        """What is stored."""
        return [one.position for one in await store.messages(0, 100)]

    async def test_commit_is_repeated_until_it_is_done_and_done_once(self) -> None:
        store = self.make_store(30.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        self.server.freeze()
        calls = [
            deferred(store.commit(CacheChanges(messages=[message(2, "a")]))),
            deferred(store.commit(CacheChanges(messages=[message(3, "a")], finished=[2]))),
        ]
        await self.later(3 * TIMEOUT_S)
        self.server.thaw()
        for call in calls:
            await call
        # What the frozen server was sent on broken connections is read by now, and did nothing.
        await self.later(0.2)
        await self.back(self.redis)
        self.assertEqual(await self.positions(store), [1, 3])

    async def test_server_that_comes_back_in_time_is_given_what_it_missed(self) -> None:
        store = self.make_store(30.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        self.server.freeze()
        call = deferred(store.commit(CacheChanges(messages=[message(2, "a")])))
        await self.later(0.1)
        self.server.kill()
        await self.later(0.1)
        self.server.start()
        await call
        await self.back(self.redis)
        self.assertEqual(await self.positions(store), [2])

    async def lost_commit(self, store: CacheStore) -> Unavailable:
        """A commit that is said to have failed, while the server is frozen."""
        changes = CacheChanges(messages=[message(2, "a", "b")], due=[due(2)], replies=[reply("k")], done=[(2, "a")])
        return await self.trouble(deferred(store.commit(changes)), within_s=5.0)

    async def test_commit_that_was_said_to_have_failed_is_undone_though_it_was_done(self) -> None:
        for settled_by in ("old connection", "new connection"):
            store = CacheStore(self.redis, name=settled_by, patience_s=0.0)
            await store.commit(CacheChanges(messages=[message(1, "a")]))
            self.server.freeze()
            self.assertIsInstance(await self.lost_commit(store), AnswerLost)
            if settled_by == "old connection":
                self.server.thaw()
                await self.back(self.redis)
                await self.later(0.2)
            else:
                later = store.commit(CacheChanges())
                await self.trouble(deferred(later))
                self.server.thaw()
                await self.back(self.redis)
            await store.commit(CacheChanges(messages=[message(3, "a")]))
            await self.later(0.2)
            self.assertEqual(await self.positions(store), [1, 3])
            self.assertEqual(await store.due(), [])
            self.assertEqual(await store.replies(["k"]), {})
            self.assertEqual(await store.done((0, ""), 9), [])

    async def test_commit_whose_answer_alone_was_lost_is_undone(self) -> None:
        store = self.make_store(0.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        swallow_next_answer(self.redis.writes)
        self.assertIsInstance(await self.lost_commit(store), AnswerLost)
        self.assertEqual(await self.positions(store), [1, 2])
        await self.back(self.redis)
        await store.commit(CacheChanges(messages=[message(3, "a")]))
        self.assertEqual(await self.positions(store), [1, 3])

    async def test_commit_whose_answer_alone_was_lost_is_known_to_be_done_when_asked_again(self) -> None:
        store = self.make_store(30.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        swallow_next_answer(self.redis.writes)
        await store.commit(CacheChanges(messages=[message(2, "a")], replies=[reply("k", result=PushResult(2, 1, 1))]))
        self.assertEqual(await self.positions(store), [1, 2])

    async def test_undoing_is_tried_again_where_it_fails(self) -> None:
        store = self.make_store(0.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        swallow_next_answer(self.redis.writes)
        await self.lost_commit(store)
        await self.back(self.redis)
        # Of settling the answer comes, of undoing it does not.
        swallow_next_answer(self.redis.writes, after=1)
        await self.trouble(deferred(store.commit(CacheChanges(messages=[message(3, "a")]))))
        await self.back(self.redis)
        await store.commit(CacheChanges(messages=[message(4, "a")]))
        self.assertEqual(await self.positions(store), [1, 4])

    async def test_undoing_is_tried_again_where_it_is_refused(self) -> None:
        store = self.make_store(0.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        swallow_next_answer(self.redis.writes)
        await self.lost_commit(store)
        await self.back(self.redis)
        self.server.command("CONFIG", "SET", "maxmemory", "1")
        await self.trouble(deferred(store.commit(CacheChanges(messages=[message(3, "a")]))))
        self.assertEqual(await self.positions(store), [1, 2])
        self.server.command("CONFIG", "SET", "maxmemory", "0")
        await store.commit(CacheChanges(messages=[message(4, "a")]))
        self.assertEqual(await self.positions(store), [1, 4])

    async def test_refused_commit_is_not_repeated_and_spoils_nothing(self) -> None:
        store = self.make_store(30.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        self.server.command("CONFIG", "SET", "maxmemory", "1")
        error = await self.trouble(deferred(store.commit(CacheChanges(messages=[message(2, "a")]))), within_s=1.0)
        self.assertIn("memory", str(error))
        self.server.command("CONFIG", "SET", "maxmemory", "0")
        await store.commit(CacheChanges(messages=[message(3, "a")]))
        self.assertEqual(await self.positions(store), [1, 3])

    async def test_everything_fails_in_time(self) -> None:
        store = self.make_store(0.0)
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        self.server.freeze()
        calls: list[Callable[[], Any]] = [
            lambda: store.messages(0, 9),
            lambda: store.done((0, ""), 9),
            store.due,
            lambda: store.payloads([1]),
            lambda: store.log_positions(["a"]),
            lambda: store.replies(["k"]),
            lambda: store.prune(1, 1),
        ]
        for call in calls:
            await self.trouble(deferred(call()))


def swallow_next_answer(connection: Any, after: int = 0) -> None:
    """Have Redis do what it is asked next but lose the connection before it answers.

    Args:
        connection: a Connection that is up.
        after: how many answers come before.
    """
    protocol = connection._protocol
    received = protocol.dataReceived
    left = [after]

    def lose(data: bytes) -> None:
        if left[0]:
            left[0] -= 1
            received(data)
        else:
            protocol.transport.abortConnection()

    protocol.transport.protocol.dataReceived = protocol.dataReceived = lose


class ReplicatedTests(ServerCase):
    """A commit that has to be in a replica is done when it is."""

    async def replicated(self) -> tuple[RedisServer, RedisServer, CacheStore]:
        """A server, its replica, and the store."""
        server = self.make_server("--repl-diskless-sync-delay", "0")
        replica = self.make_server("--replicaof", f"127.0.0.1 {server.port}")
        await self.until(lambda: b"state=online" in server.command("INFO", "replication"), 30.0)
        redis = self.make_redis(f"{server.url}?replicas=1")
        await CacheStore(redis, name="first", patience_s=30.0).commit(CacheChanges(messages=[message(1, "a")]))
        return server, replica, CacheStore(redis, name="n1", patience_s=0.0)

    async def positions_at(self, server: RedisServer) -> list[int]:
        """What a server has."""
        store = CacheStore(self.connect(server.url), name="n1")
        return [one.position for one in await store.messages(0, 100)]

    async def test_what_is_accepted_is_in_the_replica_and_what_is_not_there_is_not_accepted(self) -> None:
        server, replica, store = await self.replicated()
        await store.commit(CacheChanges(messages=[message(1, "a")]))
        replica.freeze()
        lost = await self.trouble(deferred(store.commit(CacheChanges(messages=[message(2, "a")]))), within_s=10.0)
        self.assertIsInstance(lost, AnswerLost)
        replica.thaw()
        await store.commit(CacheChanges(messages=[message(3, "a")]))
        server.kill()
        self.assertEqual(await self.positions_at(replica), [1, 3])

    async def test_replica_that_comes_back_in_time_is_waited_for(self) -> None:
        _, replica, store = await self.replicated()
        patient = CacheStore(store._redis, name="n1", patience_s=30.0)
        replica.freeze()
        call = deferred(patient.commit(CacheChanges(messages=[message(1, "a")])))
        await self.later(1.5)
        self.assertFalse(call.called)
        replica.thaw()
        await call
        self.assertEqual(await self.positions_at(replica), [1])

    async def test_another_connection_than_that_which_wrote_proves_nothing_by_itself(self) -> None:
        _, replica, store = await self.replicated()
        patient = CacheStore(store._redis, name="n1", patience_s=1.5)
        replica.freeze()
        call = deferred(patient.commit(CacheChanges(messages=[message(2, "a")])))
        await self.later(0.1)
        store._redis.commits.renew()  # the write was done; the next connection is told so, and has written nothing
        self.assertIsInstance(await self.trouble(call, within_s=10.0), AnswerLost)

    async def test_other_writes_do_not_wait_for_replicas(self) -> None:
        _, replica, store = await self.replicated()
        replica.freeze()
        call = deferred(store.commit(CacheChanges(messages=[message(1, "a")])))
        await store._redis.writes.call("SET", f"{self.prefix}:k", "v")
        self.assertFalse(call.called)
        await self.trouble(call, within_s=10.0)
