"""What only the lean endpoint has: bare descriptors, a poll set of its own, a description that is read strictly."""

import gc
import os
import resource
import select
import tempfile
from errno import ENOSPC
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPushProducer,
    IReadDescriptor,
    IStreamServerEndpoint,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.transports import lean_port
from push.transports.lean import LeanParser, LeanServerEndpoint
from push.transports.lean_connection import LeanConnection
from tests.sdk.test_tls import certificate
from tests.transports.surroundings import HalfRecorder, Recorder, TransportCase, turn, until


def open_files() -> dict[str, str]:
    """Descriptor → what it is, of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the listing's own
            continue
    return found


def opened_since(before: dict[str, str]) -> dict[str, str]:
    """Those that are open and were not then; what earlier tests had left may go at any time."""
    return dict(open_files().items() - before.items())


class DescriptionTests(SynchronousTestCase):
    """Reading `lean:…`."""

    def test_a_good_description_is_read(self) -> None:
        for text in (
            "lean:0",
            "lean:65535:interface=127.0.0.1:backlog=5:reusePort=1:sendBuffer=0",
            r"lean:1:interface=\:\:1",
        ):
            verifyObject(IStreamServerEndpoint, serverFromString(reactor, text))

    def test_a_bad_description_is_a_clear_sentence(self) -> None:
        for text, said in (
            ("lean:abc", "the port must be a number from 0 to 65535, not abc"),
            ("lean:70000", "the port must be a number from 0 to 65535, not 70000"),
            ("lean:-1", "not -1"),
            ("lean:²", "not ²"),
            ("lean:", "not nothing"),
            ("lean", "not nothing"),
            ("lean:" + "9" * 5000, "the port must be"),
            ("lean:1:backlog=x", "backlog must be a number from 1 to 2147483647, not x"),
            ("lean:1:backlog=0", "not 0"),
            ("lean:1:reusePort=yes", "reusePort must be a number from 0 to 1, not yes"),
            ("lean:1:sendBuffer=64k", "sendBuffer must be a number from 0 to 1073741824, not 64k"),
        ):
            with self.assertRaises(ValueError) as caught:
                serverFromString(reactor, text)
            self.assertIn(said, str(caught.exception))

    def test_on_a_reactor_that_polls_nothing_it_is_twisteds_own(self) -> None:
        self.assertIsInstance(LeanParser().parseStreamServer(Clock(), "1"), TCP4ServerEndpoint)

    def test_what_cannot_be_listened_on_leaves_nothing_open(self) -> None:
        before = open_files()
        for port, interface in ((0, "192.0.2.1"), (70_000, ""), (0, "no such name.invalid")):
            listening = LeanServerEndpoint(reactor, port, interface=interface).listen(Factory())
            self.failureResultOf(listening, CannotListenError)
        self.assertEqual(opened_since(before), {})


class LeanPortTests(TransportCase):
    """The poll set and its connections."""

    async def test_it_is_what_it_says(self) -> None:
        port = await self.listen()
        verifyObject(IListeningPort, port)
        verifyObject(IReadDescriptor, port)
        _, protocol = await self.connect(port)
        for interface in (ITransport, ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, protocol.transport)

    async def test_small_writes_leave_at_once_from_the_start(self) -> None:
        port = await self.listen()
        _, protocol = await self.connect(port)
        self.assertTrue(protocol.transport.getTcpNoDelay())

    async def test_the_kernel_holds_little_of_what_a_client_does_not_read(self) -> None:
        held = {}
        for setting in ("", ":sendBuffer=16384", ":sendBuffer=0"):
            port = await self.listen(description=f"lean:0:interface=127.0.0.1{setting}")
            _, protocol = await self.connect(port, receive_buffer_bytes=4096)
            held[setting] = self._taken_by_kernel(protocol.transport)
        self.assertLess(held[":sendBuffer=16384"], 100_000)
        self.assertLess(held[""], 300_000)
        self.assertGreater(held[""], held[":sendBuffer=16384"])
        self.assertGreater(held[":sendBuffer=0"], 1_000_000)

    def _taken_by_kernel(self, transport: Any) -> int:
        """Write until the transport has to wait for the peer; how many bytes that took."""
        self.producer_paused = False
        producer = type("Paused", (), {"pauseProducing": lambda _: setattr(self, "producer_paused", True)})()
        producer.stopProducing = lambda: None
        transport.registerProducer(producer, True)
        taken = 0
        while not self.producer_paused:
            transport.write(bytes(4096))
            taken += 4096
            self.assertLess(taken, 100_000_000)
        return taken

    async def test_ports_can_be_shared(self) -> None:
        port = await self.listen(description="lean:0:interface=127.0.0.1:reusePort=1")
        await self.listen_with(Factory(), f"lean:{port.getHost().port}:interface=127.0.0.1:reusePort=1")

    async def test_no_event_reaches_a_connection_that_got_the_number_of_another(self) -> None:
        """One batch of events: A, whose protocol aborts B; a newcomer; and B's reset, which is not the newcomer's."""
        port = await self.listen(build=HalfRecorder)
        a_peer, a = await self.connect(port)
        b_peer, b = await self.connect(port)
        a.on_data = lambda *_: b.transport.abortConnection()

        def paused(protocol: Recorder) -> None:
            protocol.transport.pauseProducing()  # so that no event but an error would be taken

        a_peer.send(b"abort b")
        self.peer(port)
        b_peer.reset()
        self._leave_no_gaps()
        build = port._factory.buildProtocol

        def build_paused(address: object) -> Recorder:
            protocol: Recorder = build(address)
            protocol.on_made = paused
            return protocol

        port._factory.buildProtocol = build_paused
        await until(lambda: len(self.protocols) > 2, "the newcomer")
        await self.ends(b)
        for _ in range(5):
            await turn()
        newcomer = self.protocols[-1]
        self.assertEqual((newcomer.notes, newcomer.reasons), (["made"], []))

    def _leave_no_gaps(self) -> None:
        """Take all low numbers, so that the next descriptor to be closed is the next number to be given."""
        highest = max(int(name) for name in open_files())
        taken = -1
        while taken < highest:
            taken = os.open(os.devnull, os.O_RDONLY)
            self.addCleanup(os.close, taken)

    async def test_thousands_come_and_go_and_leave_nothing(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        number = min(2000, (limit - 200) // 2)
        port = await self.listen()
        await self.connect(port)
        lived, before = self._living(), open_files()
        for _ in range(10):
            for _ in range(number // 100):
                for _ in range(100):
                    self.peer(port)
                await until(lambda: len(self.protocols) == len(self.peers), "all connections")
            for index, peer in enumerate(self.peers[1:]):
                (peer.reset if index % 2 else peer.close)()
            await self.ends(*self.protocols[1:])
            del self.protocols[1:], self.peers[1:], peer
        self.assertEqual((self._living(), opened_since(before)), (lived, {}))

    def _living(self) -> int:
        gc.collect()
        return sum(isinstance(it, LeanConnection) for it in gc.get_objects())

    async def test_the_poll_set_is_closed_with_the_last_connection(self) -> None:
        await turn()
        before = open_files()
        port = await self.listen()
        peer, protocol = await self.connect(port)
        await port.stopListening()
        peer.close()
        await self.ends(protocol)
        self.assertEqual(opened_since(before), {})
        self.assertEqual(port.fileno(), -1)

    async def test_when_the_reactor_stops_every_protocol_is_told(self) -> None:
        port = await self.listen(build=HalfRecorder)
        connections = [await self.connect(port, receive_buffer_bytes=4096) for _ in range(5)]
        await self.fill(connections[0][1])
        connections[1][1].transport.pauseProducing()
        connections[2][1].transport.loseWriteConnection()
        connections[3][1].on_lost = lambda _: connections[4][1].transport.abortConnection()
        reactor.removeReader(port)
        port.connectionLost(Failure(ConnectionLost()))
        for _, protocol in connections:
            self.assertEqual((protocol.reason, len(protocol.reasons)), (ConnectionLost, 1))
        self.assertEqual(port.fileno(), -1)

    async def test_the_limit_on_watched_descriptors_is_no_end(self) -> None:
        class Full:
            """A poll set that the kernel lets watch one descriptor more only now and then."""

            def __init__(self) -> None:
                self.real = select.epoll()
                self.room = 1

            def register(self, *arguments: Any) -> None:
                if not self.room:
                    raise OSError(ENOSPC, "No space left on device")
                self.room -= 1
                self.real.register(*arguments)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

        sets: list[Full] = []
        self.patch(lean_port, "select", type("Select", (), {"epoll": lambda: sets.append(Full()) or sets[0]}))
        lean_port.select.EPOLLIN = select.EPOLLIN
        self.patch(lean_port, "EXHAUSTED_PAUSE_S", 0.01)
        port = await self.listen()
        refused = self.peer(port)
        self.assertEqual(await refused.read_to_end(), b"")
        self.assertEqual(self.protocols, [])
        sets[0].room = 1
        peer, protocol = await self.connect(port)
        protocol.transport.write(b"welcome")
        self.assertEqual(await peer.read(7), b"welcome")

    async def test_many_small_writes_that_wait_are_sent_in_linear_time(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        large = await self.fill(protocol)
        for _ in range(500_000):
            protocol.transport.write(b"0123456789")
        protocol.transport.loseConnection()
        self.assertEqual(len(await peer.read_to_end()), len(large) + 5_000_000)

    async def test_what_is_like_bytes_is_sent_as_it_was(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        changing = bytearray(b"a" * 16_000_000)
        protocol.transport.write(changing)
        protocol.transport.write(memoryview(changing)[:3])
        changing[:] = b"b"
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), b"a" * 16_000_003)

    async def test_a_child_process_that_holds_a_copy_makes_no_busy_loop(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        copies = [os.dup(int(name)) for name, what in open_files().items() if what.startswith("socket:")]
        before = len(os.listdir("/proc/self/fd"))
        try:
            peer.send(b"unread")
            protocol.transport.abortConnection()
            await self.ends(protocol)
            self.assertEqual(len(os.listdir("/proc/self/fd")), before - 1)
            with select.epoll() as outer:
                outer.register(port.fileno(), select.EPOLLIN)
                self.assertEqual(outer.poll(0), [])
        finally:
            for copy in copies:
                os.close(copy)

    async def test_tls_on_top(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        pem = certificate(Path(directory.name), "localhost").read_bytes()

        def build(_: object) -> Recorder:
            protocol = Recorder()
            protocol.on_data = lambda p, data: p.transport.write(data)
            self.protocols.append(protocol)
            return protocol

        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = build
        wrapped = TLSMemoryBIOFactory(PrivateCertificate.loadPEM(pem).options(), False, factory)
        wrapped.noisy = False
        port = await self.listen_with(wrapped)
        endpoint = wrapClientTLS(
            optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(pem)),
            TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port),
        )
        client = await connectProtocol(endpoint, Recorder())
        data = os.urandom(3_000_000)
        client.transport.write(data)
        await until(lambda: len(client.received) == len(data), "the echo")
        self.assertEqual(client.received, data)
        client.transport.loseConnection()
        await self.ends(client, *self.protocols)


class UnpollableTests(SynchronousTestCase):
    """Where there is no epoll."""

    def test_elsewhere_it_is_twisteds_own(self) -> None:
        self.patch(__import__("push.transports.lean", fromlist=["lean"]), "IS_AVAILABLE", False)
        self.assertIsInstance(LeanParser().parseStreamServer(reactor, "1", "127.0.0.1"), TCP4ServerEndpoint)
        self.assertIsInstance(LeanParser().parseStreamServer(reactor, "1", "::1"), TCP6ServerEndpoint)
        with self.assertRaises(ValueError) as caught:
            LeanParser().parseStreamServer(reactor, "1", reusePort="1")
        self.assertIn("needs Linux", str(caught.exception))
