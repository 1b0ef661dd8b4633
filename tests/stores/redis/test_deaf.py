"""Connectors on a real Redis whose subscriptions go deaf: reception, broadcasting and the bus together."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from push.services.broadcasting import OverBus
from push.services.reception import Reception, write_broadcast
from push.stores.redis.bus import BroadcastBus
from tests.redis_server import RedisServer
from tests.services.clients import Client, make_connector
from tests.services.test_broadcasting import Linked
from tests.stores.redis.test_connection import ServerCase


class Real:
    """The reactor's time, for clients that would rather have a clock that they can set."""

    def __init__(self) -> None:
        self._soon: list[Any] = []

    def seconds(self) -> float:
        """What time it is."""
        return float(reactor.seconds())

    def callLater(self, delay_s: float, call: Any, *arguments: Any) -> Any:
        """As the reactor does."""
        later = reactor.callLater(delay_s, call, *arguments)
        if not delay_s:
            self._soon.append(later)
        return later

    def advance(self, seconds: float) -> None:
        """What is to be done in the next turn is done now."""
        soon, self._soon = self._soon, []
        for later in soon:
            if later.active():
                call, arguments = later.func, later.args
                later.cancel()
                call(*arguments)


class Half(Protocol):
    """One end of a connection through the proxy."""

    other: "Half | None" = None

    def __init__(self, proxy: "Proxy", *, is_server: bool) -> None:
        self._proxy = proxy
        self._is_server = is_server
        self._early: list[bytes] = []

    def join(self, other: "Half") -> None:
        """This is the other end."""
        self.other = other
        for data in self._early:
            other.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on; but nothing that was published, while the proxy swallows that."""
        if self._is_server and self._proxy.swallows and b"$7\r\nmessage\r\n" in data:
            self._proxy.swallowed += 1
        elif self.other is None:
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure) -> None:
        """Close both."""
        if self.other is not None:
            self.other.transport.loseConnection()


class Proxy(Factory):
    """Between a node and Redis.

    Attributes:
        swallows: whether what is published does not come through, though all else does.
        swallowed: how often that happened.
    """

    noisy = False

    def __init__(self, server: RedisServer) -> None:
        self._endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)
        self.swallows = False
        self.swallowed = 0
        self.connections = 0

    def buildProtocol(self, address: Any) -> Half:
        """For a connection of the node."""
        self.connections += 1
        client = Half(self, is_server=False)
        factory = Factory.forProtocol(lambda: Half(self, is_server=True))
        factory.noisy = False
        joined = self._endpoint.connect(factory)
        joined.addCallbacks(lambda server: (server.join(client), client.join(server)), lambda _: None)
        return client


class DeafTests(ServerCase):
    """Three connectors, one of them behind a proxy."""

    def setUp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self) -> None:
        self.server = self.make_server()
        self.proxy = Proxy(self.server)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.proxy)
        self.addCleanup(port.stopListening)
        through = f"redis://127.0.0.1:{port.getHost().port}/0"
        self.ears = [self.ear(url) for url in (through, self.server.url, self.server.url)]
        self.router = BroadcastBus(self.connect(self.server.url))
        self.broadcasting = OverBus(self.router, clock=reactor)
        self.message_id = 0
        await self.until(lambda: all(reception.hears for reception, _, _ in self.ears) and self.router.is_listening)

    def ear(self, url: str) -> tuple[Reception, Linked, Client]:
        """A connector with a client, that listens there."""
        clock: Any = Real()
        connector, _, _ = make_connector(clock)
        link = Linked(connector)
        reception = Reception(
            BroadcastBus(self.connect(url)),
            heard=connector.hear(1_000_000),
            resynchronise=connector.resynchronise,
            max_payload_bytes=1_000,
            clock=clock,
            changed=lambda hears: setattr(link, "hears", hears),
        )
        reception.startService()
        self.addCleanup(reception.stopService)
        client = Client(connector, clock)
        client.sub()
        return reception, link, client

    async def broadcast(self) -> bytes:
        """Send one to all; what was sent, when all have said how many have got it."""
        self.message_id += 1
        payload = b"%d" % self.message_id
        links = [link for _, link, _ in self.ears]
        sent = [
            Deferred.fromCoroutine(_awaited(each))
            for each in self.broadcasting.broadcast(self.message_id, payload, False, links)
        ]
        self.assertEqual([await each for each in sent], [1, 1, 1])
        return payload

    async def got(self) -> list[list[bytes]]:
        """What each client has got, when the turn has ended."""
        await self.later(0.01)
        return [client.pushes() for _, _, client in self.ears]

    async def test_who_is_deaf_gets_everything_and_hears_again_within_five_seconds(self) -> None:
        self.assertEqual(await self.broadcast(), b"1")
        self.proxy.swallows = True
        began_s = reactor.seconds()
        await self.broadcast()  # counted by all: the deaf one has it from the log of the bus
        reception, link, _ = self.ears[0]
        await self.until(lambda: reception.renewed_total == 1, within_s=5.0)
        self.assertGreater(self.proxy.swallowed, 1)
        self.assertFalse(reception.checks()[0].ok)
        self.assertFalse(link.hears)
        await self.broadcast()
        self.assertEqual(link.payloads, [b"3"])  # known to be deaf: over its link, at once
        self.proxy.swallows = False
        await self.until(lambda: reception.hears, within_s=6.0)
        self.assertLess(reactor.seconds() - began_s, 10.0)
        await self.broadcast()
        self.assertEqual(await self.got(), [[b"1", b"2", b"3", b"4"]] * 3)
        self.assertEqual([each.renewed_total for each, _, _ in self.ears[1:]], [0, 0])

    async def test_broadcasts_go_on_while_redis_is_away_and_when_it_is_back_with_nothing(self) -> None:
        await self.broadcast()
        self.server.kill()
        await self.broadcast()
        await self.until(lambda: not self.router.is_listening)
        await self.broadcast()
        self.server.start()
        await self.until(lambda: all(reception.hears for reception, _, _ in self.ears) and self.router.is_listening)
        await self.until(lambda: reactor.seconds() >= self.broadcasting._mistrusted_until_s)
        before = [list(link.payloads) for _, link, _ in self.ears]
        await self.broadcast()
        self.assertEqual([link.payloads for _, link, _ in self.ears], before)
        self.assertEqual(await self.got(), [[b"1", b"2", b"3", b"4"]] * 3)
        self.assertEqual([reception.missed_total for reception, _, _ in self.ears], [0, 0, 0])

    async def test_something_else_that_is_published_there_disturbs_nobody(self) -> None:
        self.server.command("PUBLISH", "test:0:broadcasts", "garbage")
        await self.router.publish(b"no frame")
        await self.router.publish(write_broadcast(99, bytes(2_000)))
        await self.broadcast()
        self.assertEqual(await self.got(), [[b"1"]] * 3)


async def _awaited(work: Any) -> Any:
    return await work
