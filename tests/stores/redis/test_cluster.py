"""Tests of push.stores.redis.sessions, leases and bus: the contracts, and what happens when Redis is away or empty."""

from twisted.internet.defer import Deferred, gatherResults

from push.errors import Unavailable
from push.icluster import IBroadcastBus, ISessionDirectory
from push.ileases import ILeases
from push.model import Registration
from push.model_cluster import BusPlace
from push.stores.redis.bus import LOG_BYTES, LOG_LENGTH, BroadcastBus
from push.stores.redis.errors import AnswerLost
from push.stores.redis.leases import MAX_DETAILS_BYTES, Leases
from push.stores.redis.sessions import SessionDirectory
from push.stores.redis.tokens import TokenStore
from tests.stores.contract_cluster import BroadcastBusContract, Heard, LeasesContract, SessionDirectoryContract
from tests.stores.redis.case import RedisCase
from tests.stores.redis.test_connection import TIMEOUT_S, ServerCase


class RedisSessionDirectoryTests(SessionDirectoryContract, RedisCase):
    """The contract."""

    def make_directory(self) -> ISessionDirectory:
        """In an empty part of Redis."""
        return SessionDirectory(self.make_redis())

    async def test_nothing_is_left_of_sessions_that_are_over(self) -> None:
        directory = self.make_directory()
        session = await self.open(directory, "t1", "c1")
        session = await self.open(directory, "t1", "c2")
        await directory.close([session])
        await self.open(directory, "t2", "c1")
        await directory.remove("t2")
        await directory.reopen([Registration("t3", None, "c3", 5)])
        await directory.leave("c3", 5, 10)
        self.assertEqual(await self.lasting_keys(), ["{sessions}:epoch"])


class RedisLeasesTests(LeasesContract, RedisCase):
    """The contract."""

    def make_leases(self) -> ILeases:
        """In an empty part of Redis."""
        return Leases(self.make_redis())

    def pass_time(self, seconds: float) -> Deferred[None]:
        """As Redis has a clock of its own."""
        return self.later(seconds)

    async def test_details_are_bounded(self) -> None:
        leases = self.make_leases()
        lease = await leases.acquire("c1", bytes(MAX_DETAILS_BYTES), 30.0)
        self.assertRaises(ValueError, leases.renew, lease, bytes(MAX_DETAILS_BYTES + 1), 30.0)

    async def test_names_that_nobody_holds_are_forgotten(self) -> None:
        leases = self.make_leases()
        await leases.acquire("c1", b"", 0.05)
        await self.later(0.1)
        await leases.held()
        self.assertEqual(await self.lasting_keys(), ["{leases}:number"])


class RedisBroadcastBusTests(RedisCase, BroadcastBusContract):
    """The contract."""

    def make_bus(self) -> IBroadcastBus:
        """Of one more process."""
        return BroadcastBus(self.make_redis())

    async def test_log_is_bounded_in_length_and_in_bytes(self) -> None:
        redis = self.make_redis()
        bus, listener = BroadcastBus(redis), Heard()
        bus.listen(listener)
        await self.until(lambda: bus.is_listening)
        await gatherResults([bus.publish(b"%d" % at) for at in range(LOG_LENGTH + 3)])
        place, found = await bus.since(BusPlace(0, 0))
        self.assertEqual((place.number, found), (LOG_LENGTH + 3, [b"%d" % at for at in range(3, LOG_LENGTH + 3)]))
        large = bytes(LOG_BYTES // 3)
        for _ in range(4):
            await bus.publish(large)
        self.assertEqual((await bus.since(place))[1], [large] * 3)
        await bus.publish(bytes(LOG_BYTES + 1))
        self.assertEqual((await bus.since(place))[1], [])
        self.assertEqual(await redis.writes.call("HGET", redis.keys("broadcasts") + "last", "bytes"), b"0")

    async def test_what_is_none_of_ours_is_not_taken_for_it(self) -> None:
        redis = self.make_redis()
        bus, listener = BroadcastBus(redis), Heard()
        bus.listen(listener)
        await self.until(lambda: bus.is_listening)
        for strange in (b"", b"hello", b"1", b"x 1\ny", b"99999999999999999999 1\ny"):
            await redis.writes.call("PUBLISH", redis.channel("broadcasts"), strange)
        await bus.publish(b"x")
        await self.until(lambda: b"x" in listener.told)
        self.assertEqual(listener.told, ["resumed", b"x"])


class LostTests(ServerCase):
    """A server that is frozen, killed, and comes back with nothing."""

    def setUp(self) -> None:
        self.server = self.make_server()
        self.redis = self.connect(self.server.url)

    async def test_numbers_grow_though_everything_was_lost(self) -> None:
        directory, leases = SessionDirectory(self.redis), Leases(self.redis)
        before = await directory.open("t1", None, "c1", acks=False)
        lease = await leases.acquire("c1", b"", 30.0)
        self.server.kill()
        await self.until(lambda: not self.redis.writes.is_up)
        self.server.start()
        await self.back(self.redis)
        self.assertIs(await leases.renew(lease, b"", 30.0), False)
        again = await leases.acquire("c1", b"", 30.0)
        self.assertGreater(again.number, lease.number)
        after = await directory.open("t1", None, "c2", acks=False)
        self.assertGreater(after.session.epoch, before.session.epoch)
        self.assertEqual(await directory.reopen([before.session]), [before.session])

    async def test_subscription_is_made_again_and_says_that_something_may_be_missing(self) -> None:
        bus, listener = BroadcastBus(self.redis), Heard()
        bus.listen(listener)
        await self.until(lambda: bus.is_listening)
        await bus.publish(b"1")
        await self.until(lambda: b"1" in listener.told)
        self.server.kill()
        await self.until(lambda: not bus.is_listening)
        await self.trouble(bus.publish(b"lost"))
        self.server.start()
        await self.until(lambda: bus.is_listening)
        await self.back(self.redis)
        epoch = listener.places[0].epoch
        await bus.publish(b"2")
        await self.until(lambda: b"2" in listener.told)
        self.assertGreater(listener.places[-1].epoch, epoch)
        self.assertEqual(await bus.since(listener.places[0]), (listener.places[-1], [b"2"]))
        self.assertEqual(listener.told, ["resumed", b"1", "interrupted", "resumed", b"2"])

    async def test_subscription_to_a_frozen_server_is_noticed_and_what_it_held_back_is_not_taken_for_new(self) -> None:
        bus, listener = BroadcastBus(self.redis), Heard()
        bus.listen(listener)
        await self.until(lambda: bus.is_listening)
        self.server.freeze()
        # The pulse, then the limit.
        await self.until(lambda: not bus.is_listening, within_s=2.0 + TIMEOUT_S + 1.5)
        self.server.thaw()
        await self.until(lambda: bus.is_listening)
        self.assertEqual(listener.told, ["resumed", "interrupted", "resumed"])

    async def test_everything_fails_in_time_while_it_is_frozen(self) -> None:
        directory, leases, bus = SessionDirectory(self.redis), Leases(self.redis), BroadcastBus(self.redis)
        opening = await directory.open("t1", None, "c1", acks=False)
        lease = await leases.acquire("c1", b"", 30.0)
        self.server.freeze()
        for call in (
            directory.open("t2", None, "c1", acks=False),
            directory.reopen([opening.session]),
            directory.close([opening.session]),
            directory.find(["t1"]),
            directory.remove("t1"),
            directory.last_epoch(),
            directory.leave("c1", 1, 1),
            directory.count(),
            leases.acquire("c2", b"", 1.0),
            leases.renew(lease, b"", 1.0),
            leases.release(lease),
            leases.held(),
            bus.publish(b""),
        ):
            self.assertIsInstance(await self.trouble(call), Unavailable)


class LateTests(RedisCase):
    """What was sent over a broken connection is read behind what was sent over the next one."""

    async def test_write_that_comes_late_does_nothing(self) -> None:
        redis = self.make_redis()
        directory, tokens = SessionDirectory(redis), TokenStore(redis)
        opening = await directory.open("t1", None, "c1", acks=False)
        await tokens.register("t1", None, None, None, 1, owner_only=False)
        for store in (directory, tokens):
            store._writer._number -= 1
        for late in (directory.remove("t1"), tokens.delete("t1")):
            with self.assertRaises(AnswerLost):
                await late
        self.assertEqual(await directory.find(["t1"]), {"t1": opening.session})
        self.assertEqual(await tokens.known(["t1"]), {"t1"})
