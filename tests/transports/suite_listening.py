"""Listening: addresses, refusals, the end of it while connections live; and well-known protocols on top."""

import hashlib
import socket

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface.verify import verifyObject

from tests.transports.surroundings import TransportCase, turn, until

PAGE = bytes(range(256)) * 20_000


class Page(Resource):
    """A big page, and the digest of what is posted."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """5 MB."""
        return PAGE

    def render_POST(self, request: Request) -> bytes:
        """What came."""
        return hashlib.sha256(request.content.read()).hexdigest().encode()


class Shouting(LineReceiver):
    """Answers lines in capitals, pausing after each."""

    def lineReceived(self, line: bytes) -> None:
        """Answer."""
        self.sendLine(line.upper())
        if line == b"quit":
            self.transport.loseConnection()
            return
        self.pauseProducing()
        reactor.callLater(0, self.resumeProducing)


class ListeningSuite(TransportCase):
    """Ports."""

    async def test_a_port_is_chosen_and_known(self) -> None:
        port = await self.listen()
        verifyObject(IListeningPort, port)
        self.assertEqual(port.getHost().host, "127.0.0.1")
        self.assertGreater(port.getHost().port, 0)

    async def test_a_port_in_use_cannot_be_had(self) -> None:
        port = await self.listen()
        taken = self.describe(port.getHost().port)
        with self.assertRaises(CannotListenError) as caught:
            await self.listen_with(Factory(), taken)
        self.assertEqual(caught.exception.port, port.getHost().port)
        self.assertIn("in use", str(caught.exception))

    async def test_an_address_of_others_cannot_be_had(self) -> None:
        with self.assertRaises(CannotListenError):
            await self.listen_with(Factory(), self.describe(interface="192.0.2.1"))

    async def test_a_factory_may_refuse(self) -> None:
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: None
        port = await self.listen_with(factory)
        self.assertEqual(await self.peer(port).read_to_end(), b"")

    async def test_a_factory_that_raises_refuses(self) -> None:
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: 1 / 0
        port = await self.listen_with(factory)
        for times in (1, 2):
            peer = self.peer(port)
            if self.kind == "lean":  # the stock port leaves the socket to the garbage collector
                self.assertEqual(await peer.read_to_end(), b"")
            await until(lambda: self.flushLoggedErrors(ZeroDivisionError), f"error {times}")

    async def test_the_factory_is_told_of_the_start_and_the_end(self) -> None:
        said = []
        factory = Factory()
        factory.doStart = lambda: said.append("start")
        factory.doStop = lambda: said.append("stop")
        port = await self.listen_with(factory)
        await maybeDeferred(port.stopListening)
        await maybeDeferred(port.stopListening)
        self.assertEqual(said, ["start", "stop"])

    async def test_connections_outlive_the_port(self) -> None:
        before = await self._polled()
        port = await self.listen(lambda p: setattr(p, "on_data", lambda p, data: p.transport.write(data)))
        peer, protocol = await self.connect(port)
        await maybeDeferred(port.stopListening)
        await maybeDeferred(port.stopListening)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(peer.socket.getpeername())
        peer.send(b"still there?")
        self.assertEqual(await peer.read(12), b"still there?")
        peer.close()
        await self.ends(protocol)
        self.assertEqual(await self._polled(), before)

    async def test_it_can_listen_again(self) -> None:
        port = await self.listen()
        peer, _ = await self.connect(port)
        await maybeDeferred(port.stopListening)
        port.startListening()
        again, _ = await self.connect(port)
        for end in (peer, again):
            end.send(b"x")
        await until(lambda: all(protocol.received for protocol in self.protocols), "data on both")

    async def test_a_factory_may_stop_the_port_at_its_first_connection(self) -> None:
        ports: list[IListeningPort] = []
        port = await self.listen(lambda _: ports.append(ports[0].stopListening()))
        ports.append(port)
        peer, protocol = await self.connect(port)
        protocol.transport.write(b"only you")
        self.assertEqual(await peer.read(8), b"only you")

    async def test_the_last_connections_and_the_port_end_together(self) -> None:
        before = await self._polled()
        stopping: list[object] = []
        stop = lambda _: stopping or stopping.append(port.stopListening())  # noqa: E731
        port = await self.listen(lambda p: setattr(p, "on_lost", stop))
        connections = [await self.connect(port) for _ in range(10)]
        for peer, _ in connections:
            peer.close()
        await self.ends(*(protocol for _, protocol in connections))
        await turn()
        self.assertEqual(await self._polled(), before)

    # Protocols of Twisted

    async def test_a_big_page(self) -> None:
        site = Site(Page())
        site.noisy = False
        port = await self.listen_with(site)
        peer = self.peer(port, receive_buffer_bytes=4096)
        peer.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        peer.send(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        answers = await peer.read_to_end()
        self.assertEqual(answers.count(PAGE), 2)
        self.assertEqual(answers.count(b"HTTP/1.1 200 OK"), 2)

    async def test_a_posted_body(self) -> None:
        site = Site(Page())
        site.noisy = False
        port = await self.listen_with(site)
        peer = self.peer(port)
        await peer.send_all(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)
        answer = await peer.read_to_end()
        self.assertTrue(answer.endswith(hashlib.sha256(PAGE).hexdigest().encode()))

    async def test_lines(self) -> None:
        factory = Factory.forProtocol(Shouting)
        factory.noisy = False
        port = await self.listen_with(factory)
        peer = self.peer(port)
        for piece in (b"on", b"e\r\ntwo\r\nthr", b"ee\r\nquit\r\n"):
            peer.send(piece)
            await turn()
        self.assertEqual(await peer.read_to_end(), b"ONE\r\nTWO\r\nTHREE\r\nQUIT\r\n")

    async def _polled(self) -> set[object]:
        await turn()
        return set(reactor.getReaders()) | set(reactor.getWriters())
