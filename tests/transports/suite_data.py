"""What a transport does with data: order, completeness, and memory that comes back."""

import random
import socket
from threading import Event

from tests.transports.surroundings import Recorder, TransportCase, turn, until


class Weighed(bytes):
    """Bytes whose end can be seen: `freed` is set then."""

    freed: Event

    def __del__(self) -> None:
        self.freed.set()


class DataSuite(TransportCase):
    """Writing and reading."""

    async def test_what_is_sent_comes_back_in_order(self) -> None:
        port = await self.listen(lambda p: setattr(p, "on_data", lambda p, data: p.transport.write(data)))
        peer, _ = await self.connect(port)
        for size_bytes in (1, 100, 1, 30_000):
            data = random.Random(size_bytes).randbytes(size_bytes)
            peer.send(data)
            self.assertEqual(await peer.read(size_bytes), data)

    async def test_many_small_writes_arrive_in_order(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        pieces = [b"%d," % number for number in range(20_000)]
        for piece in pieces:
            protocol.transport.write(piece)
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), b"".join(pieces))

    async def test_small_writes_that_wait_arrive_in_order(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        large = await self.fill(protocol)
        pieces = [b"%d," % number for number in range(20_000)]
        for piece in pieces:
            protocol.transport.write(piece)
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), large + b"".join(pieces))

    async def test_more_than_the_buffers_hold_arrives_when_the_peer_reads_at_last(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        data = random.Random(1).randbytes(20_000_000)
        kept = Weighed(data)
        freed = kept.freed = Event()
        protocol.transport.write(kept)
        protocol.transport.write(b"and more")
        del kept
        await turn()
        self.assertEqual(await peer.read(len(data) + 8), data + b"and more")
        await until(freed.is_set, "the release of what has been sent")
        protocol.transport.write(b"end")
        self.assertEqual(await peer.read(3), b"end")

    async def test_bytes_that_wait_are_freed_when_the_connection_is_aborted(self) -> None:
        port = await self.listen()
        _, protocol = await self.connect(port, receive_buffer_bytes=4096)
        await self.fill(protocol)
        kept = Weighed(b"x" * 1_000_000)
        freed = kept.freed = Event()
        protocol.transport.write(kept)
        del kept
        protocol.transport.abortConnection()
        await self.ends(protocol)
        transport, protocol.transport = protocol.transport, None
        del transport
        await until(freed.is_set, "the release of what will never be sent")

    async def test_a_sequence_and_empty_writes(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        transport = protocol.transport
        transport.write(b"")
        transport.writeSequence([])
        transport.writeSequence([b"one", b"", b"two"])
        transport.writeSequence((b"three",))
        transport.write(b"")
        transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), b"onetwothree")
        await self.ends(protocol)

    async def test_what_is_not_bytes_is_refused_and_does_no_harm(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        self.assertRaises(TypeError, protocol.transport.write, "text")
        data = await self.fill(protocol)
        self.assertRaises(TypeError, protocol.transport.write, "text")
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), data)

    async def test_a_large_upload_arrives_whole(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        data = random.Random(2).randbytes(3_000_000)
        await peer.send_all(data)
        await until(lambda: len(protocol.received) == len(data), "all data")
        self.assertEqual(protocol.received, data)

    async def test_both_ends_know_their_addresses(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        remote, local = protocol.transport.getPeer(), protocol.transport.getHost()
        self.assertEqual((remote.type, remote.host, remote.port), ("TCP", "127.0.0.1", peer.port))
        self.assertEqual(local, port.getHost())
        self.assertEqual((local.host, local.port), peer.socket.getpeername())

    async def test_the_peer_is_known_after_the_end(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        before = protocol.transport.getPeer()
        peer.reset()
        await self.ends(protocol)
        self.assertEqual(protocol.transport.getPeer(), before)

    async def test_options_of_the_socket_can_be_switched(self) -> None:
        port = await self.listen()
        _, protocol = await self.connect(port)
        transport = protocol.transport
        for value in (True, False, True):
            transport.setTcpNoDelay(value)
            transport.setTcpKeepAlive(value)
            self.assertEqual((transport.getTcpNoDelay(), transport.getTcpKeepAlive()), (value, value))

    async def test_ipv6(self) -> None:
        port = await self.listen(description=self.describe(interface=r"\:\:1"))
        peer, protocol = await self.connect(port)
        protocol.transport.write(b"six")
        self.assertEqual(await peer.read(3), b"six")
        remote, local = protocol.transport.getPeer(), protocol.transport.getHost()
        self.assertEqual((remote.host, remote.port), ("::1", peer.port))
        self.assertEqual((local.host, local.port), ("::1", port.getHost().port))
        self.assertEqual(type(remote).__name__, "IPv6Address")

    async def test_all_of_ipv6_takes_ipv4_too(self) -> None:
        port = await self.listen(description=self.describe(interface=r"\:\:"))
        protocol: Recorder
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        await until(lambda: self.protocols, "a connection")
        protocol = self.protocols[0]
        self.assertEqual(protocol.transport.getPeer().host, "::ffff:127.0.0.1")
