"""Tests of push.stores.redis.connection and what it is made of, with real servers that freeze, die and come back."""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from push.errors import Unavailable
from push.stores.redis import connecting
from push.stores.redis.address import parse_address
from push.stores.redis.client import Redis
from push.stores.redis.connecting import Connecting
from push.stores.redis.connection import Connection
from push.stores.redis.errors import AnswerLost
from push.stores.redis.protocol import PlainProtocol
from push.stores.redis.scripts import Script
from tests.redis_server import RedisServer, free_port
from tests.stores.contract import deferred
from tests.stores.redis.case import RedisCase

TIMEOUT_S = 0.5
# Beside the limit: what a loaded machine may need to notice.
SLACK_S = 1.5


class ServerCase(RedisCase):
    """A test with servers of its own."""

    is_shared = False

    def make_server(self, *options: str, **more: Any) -> RedisServer:
        """A new one."""
        server = RedisServer(*options, **more)
        self.addCleanup(server.remove)
        return server

    def connect(self, url: str) -> Redis:
        """To it, with a short limit."""
        return self.make_redis(url, timeout_s=TIMEOUT_S)

    async def trouble(self, call: Deferred[Any], within_s: float = TIMEOUT_S + SLACK_S) -> Unavailable:
        """Wait for what must fail in time."""
        started_s = reactor.seconds()
        try:
            result = await call
        except Unavailable as error:
            self.assertLess(reactor.seconds() - started_s, within_s)
            return error
        raise AssertionError(f"it did not fail, but returned {result!r}")

    async def back(self, redis: Redis) -> None:
        """Wait until it works again, with both connections."""
        await self.until(lambda: redis.writes.is_up and redis.reads.is_up)

    def values(self, redis: Redis, connection: str = "writes") -> dict[str, Any]:
        """The metrics of one connection."""
        return {s.name: s.value for s in redis.samples() if ("connection", connection) in s.labels}


class CallTests(ServerCase):
    """As long as all is well."""

    async def test_bytes_stay_bytes_and_order_is_kept(self) -> None:
        redis = self.make_redis()
        key = redis.keys("x") + "k"
        values = [b"00123", b"1.50", b"", bytes(range(256)), "zo\u00eb"]
        calls: list[Deferred[Any]] = []
        for value in values:
            calls += [redis.writes.call("SET", key, value), redis.writes.call("GET", key)]
        replies = await gatherResults(calls)
        self.assertEqual(replies[1::2], [*values[:4], "zo\u00eb".encode()])
        self.assertEqual(await redis.writes.call("MGET", key, "nothing"), ["zo\u00eb".encode(), None])

    async def test_script_runs_though_the_server_does_not_have_it_or_forgot_it(self) -> None:
        redis = self.connect(self.make_server().url)
        script = Script("return {KEYS[1], ARGV[1], #ARGV}")
        for _ in range(2):
            for _ in range(2):
                self.assertEqual(await redis.writes.run(script, ["k"], ["a", b"b"]), [b"k", b"a", 2])
            await redis.writes.call("SCRIPT", "FLUSH")

    async def test_refusal_says_nothing_of_what_was_sent(self) -> None:
        redis = self.make_redis()
        for call in (
            redis.writes.call("NOSUCHCOMMAND", "secret"),
            redis.writes.call("SET", "secret"),
            redis.writes.run(Script("return redis.call('secret', ARGV[1])"), [], ["secret"]),
            redis.writes.run(Script("return redis.error_reply('secret')"), []),
        ):
            error = await self.trouble(call)
            self.assertNotIn("secret", str(error))
            self.assertNotIsInstance(error, AnswerLost)
        self.assertEqual(await redis.writes.call("PING"), b"PONG")

    async def test_calls_are_counted_and_timed(self) -> None:
        redis = self.make_redis()
        await redis.writes.call("PING")
        await self.trouble(redis.writes.call("NOSUCHCOMMAND"))
        values = self.values(redis)
        self.assertEqual(sum(values["push_redis_call_seconds"].counts), 1)
        self.assertEqual(values["push_redis_failures_total"], 1)
        self.assertEqual(values["push_redis_connects_total"], 1)
        self.assertEqual((values["push_redis_up"], values["push_redis_waiting"]), (1, 0))

    async def test_what_waits_is_bounded(self) -> None:
        from push.stores.redis import connection as module

        self.patch(module, "MAX_CALLS", 3)
        redis = self.make_redis()
        calls = [redis.writes.call("PING") for _ in range(4)]
        error = await self.trouble(calls[3])
        self.assertIn("too much waits", str(error))
        self.assertEqual(await gatherResults(calls[:3]), [b"PONG"] * 3)

    async def test_closed_connection_refuses_and_fails_what_waits(self) -> None:
        redis = self.make_redis()
        await redis.writes.call("PING")
        waiting = redis.writes.call("PING")
        stopping = redis.stop()
        await self.trouble(waiting)
        await stopping
        await redis.stop()
        self.assertIn("closed", str(await self.trouble(redis.writes.call("PING"))))


class AwayTests(ServerCase):
    """When it is not there."""

    async def test_never_there_fails_at_once_and_works_when_it_comes(self) -> None:
        port = free_port()
        redis = self.connect(f"redis://127.0.0.1:{port}")
        self.assertIn("away", str(await self.trouble(redis.writes.call("PING"))))
        await self.trouble(redis.writes.call("PING"), within_s=0.1)
        self.make_server(port=port)
        await self.until(lambda: redis.writes.is_up)
        self.assertEqual(await redis.writes.call("PING"), b"PONG")

    async def test_patient_call_waits_as_long_as_its_limit_and_no_longer(self) -> None:
        port = free_port()
        redis = self.connect(f"redis://127.0.0.1:{port}")
        await self.trouble(redis.writes.call("PING"))
        started_s = reactor.seconds()
        await self.trouble(redis.writes.call("PING", is_patient=True))
        self.assertGreaterEqual(reactor.seconds() - started_s, TIMEOUT_S - 0.01)

    async def test_frozen_server_fails_what_it_was_asked_then_everything_at_once_and_recovers(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        await redis.writes.call("SET", "k", "v")
        server.freeze()
        calls = [redis.writes.call("GET", "k") for _ in range(50)]
        errors = [await self.trouble(call) for call in calls]
        self.assertEqual({type(error) for error in errors}, {AnswerLost})
        await self.trouble(redis.writes.call("GET", "k"), within_s=0.1)
        # Longer than a connection is tried: the kernel accepts it, nobody answers.
        await self.later(3 * TIMEOUT_S)
        await self.trouble(redis.writes.call("GET", "k"), within_s=0.1)
        server.thaw()
        await self.until(lambda: redis.writes.is_up)
        self.assertEqual(await redis.writes.call("GET", "k"), b"v")

    async def test_idle_connection_to_a_frozen_server_is_noticed(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        await redis.reads.call("PING")
        server.freeze()
        await self.until(lambda: not redis.reads.is_up)
        self.assertIn("did not answer", redis.reads.trouble or "")

    async def test_stopping_does_not_wait_for_a_frozen_server(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        await redis.writes.call("PING")
        server.freeze()
        # More than fits into the buffers of the kernel.
        call = redis.writes.call("SET", "k", bytes(20_000_000))
        started_s = reactor.seconds()
        await gatherResults([redis.stop(), deferred(self.trouble(call))])
        self.assertLess(reactor.seconds() - started_s, 1.0)

    async def test_killed_server_fails_what_is_under_way_and_an_empty_one_takes_its_place(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        await redis.writes.call("SET", "k", "v")
        ups: list[bool] = []
        redis.writes.on_up = lambda: ups.append(True)
        redis.writes.on_down = lambda: ups.append(False)
        server.kill()
        await self.trouble(redis.writes.call("GET", "k"))
        server.start()
        await self.until(lambda: redis.writes.is_up)
        self.assertIsNone(await redis.writes.call("GET", "k"))
        self.assertEqual(ups, [False, True])
        self.assertEqual(self.values(redis)["push_redis_connects_total"], 2)

    async def test_connection_that_the_server_closes_is_made_again_before_anybody_notices(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        await redis.writes.call("PING")
        downs: list[bool] = []
        redis.writes.on_down = lambda: downs.append(True)
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await self.until(lambda: downs)
        self.assertEqual(await redis.writes.call("PING"), b"PONG")

    async def test_server_that_becomes_a_replica_is_left(self) -> None:
        server = self.make_server()
        redis = self.connect(server.url)
        await redis.writes.call("PING")
        server.command("REPLICAOF", "127.0.0.1", str(free_port()))
        self.assertIn("replica", str(await self.trouble(redis.writes.call("SET", "k", "v"))))
        await self.until(lambda: self.values(redis)["push_redis_connects_total"] > 1)

    async def test_full_server_refuses_and_keeps_the_connection(self) -> None:
        server = self.make_server()
        server.command("CONFIG", "SET", "maxmemory", "1")
        redis = self.connect(server.url)
        self.assertIn("maxmemory", str(await self.trouble(redis.writes.call("SET", "k", "v"))))
        self.assertTrue(redis.writes.is_up)


class TogetherTests(ServerCase):
    """What one connection finds out, the others of its process know."""

    async def test_connections_that_pause_try_at_once_when_another_comes_up(self) -> None:
        port = free_port()
        redis = self.connect(f"redis://127.0.0.1:{port}")
        await self.until(lambda: redis.writes.trouble and redis.reads.trouble)
        # From now on nothing would be tried again within this test.
        self.patch(connecting, "_RETRY_DELAY_S", lambda failures: 3_600.0)
        attempts = self.count_attempts(redis)
        await self.until(lambda: attempts == {"writes": 1, "reads": 1})
        await self.trouble(redis.reads.call("PING"), within_s=0.1)
        self.make_server(port=port)
        started_s = reactor.seconds()
        another = redis.subscription(lambda message: None, self.nothing)
        await self.until(lambda: another.is_up)
        # Not even those fail that are asked before the others are up.
        self.assertEqual(await gatherResults([redis.writes.call("PING"), redis.reads.call("PING")]), [b"PONG"] * 2)
        self.assertLess(reactor.seconds() - started_s, SLACK_S)
        self.assertEqual(attempts, {"writes": 2, "reads": 2})

    async def test_one_that_is_refused_is_tried_once_for_each_that_comes_up(self) -> None:
        redis = self.connect(self.make_server().url)
        self.patch(connecting, "_RETRY_DELAY_S", lambda failures: 3_600.0)
        attempts = [0]

        async def refused(protocol: PlainProtocol) -> None:
            attempts[0] += 1
            raise Unavailable("not for you")

        await self.back(redis)
        refuses = redis.subscription(lambda message: None, refused)
        await self.until(lambda: refuses.trouble)
        for times in (2, 3):
            connects = redis.writes.times_connected
            redis.writes.renew()
            await self.until(lambda connects=connects: redis.writes.times_connected > connects)
            await self.until(lambda times=times: attempts == [times])
            await self.later(0.1)
            self.assertEqual(attempts, [times])

    async def test_stopping_while_one_comes_up_leaves_nothing_behind(self) -> None:
        port = free_port()
        redis = self.connect(f"redis://127.0.0.1:{port}")
        await self.until(lambda: redis.writes.trouble and redis.reads.trouble)
        self.patch(connecting, "_RETRY_DELAY_S", lambda failures: 3_600.0)
        attempts = self.count_attempts(redis)
        await self.until(lambda: attempts == {"writes": 1, "reads": 1})
        self.make_server(port=port)
        another = redis.subscription(lambda message: None, self.nothing)
        stopping: list[Deferred[None]] = []
        another.on_up = lambda: stopping.append(redis.stop())
        await self.until(lambda: stopping)
        await stopping[0]
        await self.later(0.1)
        self.assertEqual((redis.writes.is_up, redis.reads.is_up), (False, False))

    def count_attempts(self, redis: Redis) -> dict[str, int]:
        """How often each of two connections has failed, or come up, from now on."""
        counts = {"writes": 0, "reads": 0}
        for name in counts:
            making = getattr(redis, name)._connecting
            for told in ("_usable", "_failed"):
                self.patch(making, told, partial(self._counted, counts, name, getattr(making, told)))
        return counts

    def _counted(self, counts: dict[str, int], name: str, tell: Callable[[Any], object], what: Any) -> None:
        counts[name] += 1
        tell(what)

    async def nothing(self, protocol: PlainProtocol) -> None:
        """Subscribe to nothing."""


@implementer(IStreamClientEndpoint)
class HandEndpoint:
    """Connects when, and fails as, a test wants it to.

    Attributes:
        attempts: those that were made.
    """

    def __init__(self) -> None:
        self.attempts: list[Deferred[IProtocol]] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        self.attempts.append(Deferred())
        return self.attempts[-1]


class HurriedTests(SynchronousTestCase):
    """Tests of Connecting.hurry, by hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = HandEndpoint()
        self.failed: list[str] = []
        self.connecting = Connecting(
            self.endpoint,
            self.greet,
            Factory(),
            clock=self.clock,
            timeout_s=100.0,
            usable=lambda protocol: self.fail("nothing connects here"),
            failed=self.failed.append,
        )
        self.connecting.start()
        self.clock.advance(0)

    async def greet(self, protocol: PlainProtocol) -> None:
        """Nothing."""

    def refuse(self) -> None:
        """Let the attempt that is under way fail."""
        self.endpoint.attempts[-1].errback(ConnectionRefusedError())

    def test_attempt_that_began_too_early_is_followed_by_one_at_once_and_no_more(self) -> None:
        self.connecting.hurry()
        self.connecting.hurry()
        self.refuse()
        self.assertTrue(self.connecting.is_hurried)
        self.clock.advance(0)
        self.assertEqual(len(self.endpoint.attempts), 2)
        self.refuse()
        self.assertFalse(self.connecting.is_hurried)
        self.clock.advance(0)
        self.assertEqual(len(self.endpoint.attempts), 2)
        self.assertEqual(len(self.failed), 2)

    def test_pauses_go_on_growing(self) -> None:
        for _ in range(3):
            self.refuse()
            self.clock.advance(10)
        self.refuse()
        self.connecting.hurry()
        self.clock.advance(0)
        self.assertEqual(len(self.endpoint.attempts), 5)
        self.refuse()
        self.clock.advance(0.5)
        self.assertEqual(len(self.endpoint.attempts), 5)
        self.clock.advance(1.5)
        self.assertEqual(len(self.endpoint.attempts), 6)

    def test_nothing_is_tried_after_the_end(self) -> None:
        for is_paused in (True, False):
            if is_paused:
                self.refuse()
            self.successResultOf(self.connecting.stop())
            self.connecting.hurry()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.connecting.start()
            self.clock.advance(0)
        self.successResultOf(self.connecting.stop())


class LoginTests(ServerCase):
    """Who may come in."""

    async def test_password_and_database(self) -> None:
        server = self.make_server("--requirepass", "p/w")
        redis = self.connect(f"redis://:p%2Fw@127.0.0.1:{server.port}/5")
        await redis.writes.call("SET", "k", "v")
        self.assertIn(b" db=5 ", await redis.writes.call("CLIENT", "LIST"))

    async def test_user_of_an_access_list(self) -> None:
        server = self.make_server()
        server.command("ACL", "SETUSER", "alice", "on", ">pw", "~push:*", "&push:*", "+@all", "-@dangerous")
        redis = self.connect(f"redis://alice:pw@127.0.0.1:{server.port}")
        await redis.writes.call("SET", "push:k", "v")
        self.assertIn("not allow", str(await self.trouble(redis.writes.call("SET", "other", "v"))))

    async def test_what_is_refused_is_said_tried_again_and_works_when_it_is_mended(self) -> None:
        server = self.make_server()
        server.command("ACL", "SETUSER", "alice", "on", ">other", "~*", "&*", "+@all")
        redis = self.connect(f"redis://alice:secret@127.0.0.1:{server.port}")
        error = await self.trouble(redis.writes.call("PING"))
        self.assertIn("password", str(error))
        self.assertNotIn("secret", str(error))
        server.command("ACL", "SETUSER", "alice", ">secret")
        await self.until(lambda: redis.writes.is_up)

    async def test_missing_password_and_impossible_database_are_said(self) -> None:
        server = self.make_server("--requirepass", "pw")
        error = await self.trouble(self.connect(server.url).writes.call("PING"))
        self.assertIn("wants a password", str(error))
        server = self.make_server()
        error = await self.trouble(self.connect(f"redis://127.0.0.1:{server.port}/99").writes.call("PING"))
        self.assertIn("ERR", str(error))

    async def test_unix_socket(self) -> None:
        server = self.make_server("--unixsocket", "redis.sock")
        redis = self.connect(f"redis+unix://{server.directory}/redis.sock?db=2")
        self.assertEqual(await redis.writes.call("PING"), b"PONG")

    async def test_what_is_no_redis_is_said_and_left(self) -> None:
        from twisted.internet.endpoints import TCP4ServerEndpoint
        from twisted.internet.protocol import Factory
        from twisted.protocols.wire import Echo

        factory = Factory.forProtocol(Echo)
        factory.noisy = False
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        redis = self.connect(f"redis://127.0.0.1:{port.getHost().port}")
        self.assertIn("no Redis", str(await self.trouble(redis.writes.call("GET", "k"))))


class UrlTests(ServerCase):
    """One connection by hand."""

    def test_names_of_keys_and_channels(self) -> None:
        redis = Redis(parse_address("redis://h/3"), reactor=reactor, prefix="p")
        self.assertEqual(redis.keys("cache", "n1"), "p:{cache:n1}:")
        self.assertEqual(redis.channel("all"), "p:3:all")
        self.assertIsInstance(redis.reads, Connection)
        for prefix in ("", "a b", "{a}", "x" * 65, "a*"):
            self.assertRaises(ValueError, Redis, parse_address("redis://h"), reactor=reactor, prefix=prefix)
