"""What a transport does with producers, and as the producer of its own input."""

import io
import time

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.protocols.basic import FileSender

from tests.transports.surroundings import HalfRecorder, Notes, Recorder, TransportCase, turn, until


class Puller:
    """A pull producer of so many pieces."""

    def __init__(self, protocol: Recorder, pieces: int) -> None:
        self.protocol = protocol
        self.left = pieces
        self.said: list[str] = []

    def resumeProducing(self) -> None:
        """Write one piece, and after the last one leave."""
        self.said.append("resume")
        self.protocol.transport.write(b"%03d," % self.left)
        self.left -= 1
        if not self.left:
            self.protocol.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Stop."""
        self.said.append("stop")


class LatePuller(Puller):
    """One that writes only some turns after it has been asked."""

    def resumeProducing(self) -> None:
        """Write, later."""
        reactor.callLater(0.05, super().resumeProducing)


class ProducersSuite(TransportCase):
    """Flow control, both ways."""

    async def test_a_push_producer_is_paused_while_bytes_wait_and_resumed_after(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        producer = Notes()
        protocol.transport.registerProducer(producer, True)
        protocol.transport.write(b"small")
        await turn()
        self.assertEqual(producer.said, [])
        data = await self.fill(protocol)
        self.assertEqual(set(producer.said), {"pause"})
        self.assertEqual(await peer.read(len(data) + 5), b"small" + data)
        await until(lambda: "resume" in producer.said, "resumeProducing")
        await turn()
        self.assertEqual(producer.said.count("resume"), 1)

    async def test_a_push_producer_that_goes_on_when_resumed_is_paused_again(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        producer = Notes()
        piece = b"y" * 8_000_000
        left = [piece, piece]

        def resume() -> None:
            producer.said.append("resume")
            protocol.transport.write(left.pop() if left else b"end")

        producer.resumeProducing = resume  # type: ignore[method-assign]
        protocol.transport.registerProducer(producer, True)
        protocol.transport.write(piece)
        self.assertEqual(len(await peer.read(3 * len(piece) + 3)), 3 * len(piece) + 3)
        self.assertEqual(producer.said, ["pause", "resume"] * 3)

    async def test_a_pull_producer_is_asked_until_it_leaves(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        producer = Puller(protocol, 50)
        protocol.transport.registerProducer(producer, False)
        self.assertEqual(await peer.read(200), b"".join(b"%03d," % left for left in range(50, 0, -1)))
        protocol.transport.write(b"after")
        self.assertEqual(await peer.read(5), b"after")
        self.assertEqual(producer.said, ["resume"] * 50)

    async def test_a_pull_producer_that_takes_its_time_costs_none(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        producer = LatePuller(protocol, 8)
        protocol.transport.registerProducer(producer, False)
        await self._is_idle()
        self.assertEqual(len(await peer.read(32)), 32)
        await until(lambda: producer.left == 0, "the last piece")

    async def test_a_file_of_many_pieces(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        data = bytes(range(256)) * 20_000
        sending = FileSender().beginFileTransfer(io.BytesIO(data), protocol.transport)
        sending.addCallback(lambda _: protocol.transport.loseConnection())
        self.assertEqual(await peer.read_to_end(), data)
        await sending

    async def test_only_one_producer_at_a_time(self) -> None:
        port = await self.listen()
        _, protocol = await self.connect(port)
        protocol.transport.registerProducer(Notes(), True)
        self.assertRaises(RuntimeError, protocol.transport.registerProducer, Notes(), True)
        protocol.transport.unregisterProducer()
        protocol.transport.registerProducer(Notes(), True)

    async def test_a_producer_on_a_closed_connection_is_stopped(self) -> None:
        port = await self.listen()
        _, protocol = await self.connect(port)
        protocol.transport.abortConnection()
        await self.ends(protocol)
        for streaming in (True, False):
            producer = Notes()
            protocol.transport.registerProducer(producer, streaming)
            self.assertEqual(producer.said, ["stop"])
            protocol.transport.unregisterProducer()

    async def test_a_producer_is_stopped_when_the_connection_ends(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        producer = Notes()
        protocol.transport.registerProducer(producer, True)
        peer.reset()
        await self.ends(protocol)
        self.assertEqual(producer.said, ["stop"])

    async def test_closing_waits_for_a_producer_that_is_asked_for_each_piece(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.registerProducer(Notes(), False)
        protocol.transport.loseConnection()
        protocol.transport.loseConnection()
        protocol.transport.write(b"still here")
        self.assertEqual(await peer.read(10), b"still here")
        self.assertEqual(protocol.reasons, [])
        protocol.quietly(protocol.transport.unregisterProducer)
        self.assertEqual(await peer.read_to_end(), b"")
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionDone)

    async def test_closing_does_not_wait_for_a_push_producer_that_is_not_paused(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        producer = Notes()
        protocol.transport.registerProducer(producer, True)
        protocol.transport.write(b"all")
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), b"all")
        await self.ends(protocol)
        self.assertEqual(producer.said, ["stop"])

    async def test_a_paused_producer_is_resumed_while_closing_so_that_it_can_finish(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        producer = Notes()

        def resume() -> None:
            protocol.transport.write(b"the rest")
            protocol.transport.unregisterProducer()

        producer.resumeProducing = resume  # type: ignore[method-assign]
        protocol.transport.registerProducer(producer, True)
        data = await self.fill(protocol)
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), data + b"the rest")
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionDone)

    async def test_a_producer_that_leaves_after_loseConnection_loses_nothing_that_waits(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        protocol.transport.registerProducer(Notes(), True)
        data = await self.fill(protocol)
        protocol.transport.loseConnection()
        protocol.transport.unregisterProducer()
        self.assertEqual(await peer.read_to_end(), data)
        await self.ends(protocol)

    async def test_a_producer_that_raises_loses_its_own_connection_only(self) -> None:
        port = await self.listen()
        other, bystander = await self.connect(port)
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        producer = Notes()
        producer.resumeProducing = lambda: 1 / 0  # type: ignore[method-assign,assignment]
        protocol.transport.registerProducer(producer, True)
        data = await self.fill(protocol)
        await peer.read(len(data))
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        bystander.transport.write(b"here")
        self.assertEqual(await other.read(4), b"here")

    # The transport as a producer

    async def test_while_reading_is_paused_nothing_comes_and_nothing_is_lost(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.pauseProducing()
        peer.send(b"early")
        for _ in range(10):
            await turn()
        self.assertEqual(protocol.received, b"")
        protocol.transport.resumeProducing()
        await until(lambda: protocol.received == b"early", "the data")

    async def test_a_protocol_may_pause_in_the_middle(self) -> None:
        port = await self.listen(lambda p: setattr(p, "on_data", lambda p, _: p.transport.pauseProducing()))
        peer, protocol = await self.connect(port)
        data = b"z" * 500_000
        sending = peer.send_all(data)
        await sending
        for _ in range(10):
            await turn()
        self.assertLess(len(protocol.received), len(data))
        while len(protocol.received) < len(data):
            before = len(protocol.received)
            protocol.transport.resumeProducing()
            await until(lambda before=before: len(protocol.received) > before, "more data")

    async def test_a_close_while_reading_is_paused_is_seen_after_the_data(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.pauseProducing()
        peer.send(b"last words")
        peer.close()
        await self._is_idle()
        protocol.transport.resumeProducing()
        await self.ends(protocol)
        self.assertEqual((protocol.received, protocol.reason), (b"last words", ConnectionDone))

    async def test_both_sides_ended_while_reading_is_paused_loses_no_data(self) -> None:
        port = await self.listen(build=HalfRecorder)
        peer, protocol = await self.connect(port)
        protocol.transport.pauseProducing()
        peer.send(b"last words")
        protocol.transport.loseWriteConnection()
        self.assertEqual(await peer.read_to_end(), b"")
        peer.close()
        await self._is_idle()
        protocol.transport.resumeProducing()
        await until(lambda: "read lost" in protocol.notes, "the end of the input")
        self.assertEqual(protocol.received, b"last words")

    async def test_a_reset_while_reading_is_paused_is_no_busy_loop(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.pauseProducing()
        await turn()
        peer.reset()
        await self._is_idle()
        if self.kind == "tcp":  # polls for nothing then, so that it learns of the end only now
            protocol.transport.resumeProducing()
        await self.ends(protocol)

    async def test_stopProducing_closes(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.write(b"bye")
        protocol.quietly(protocol.transport.stopProducing)
        self.assertEqual(await peer.read_to_end(), b"bye")
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionDone)

    async def test_resuming_what_has_ended_does_nothing(self) -> None:
        port = await self.listen()
        _, protocol = await self.connect(port)
        protocol.transport.abortConnection()
        await self.ends(protocol)
        protocol.transport.pauseProducing()
        protocol.transport.resumeProducing()
        await turn()
        self.assertEqual(len(protocol.reasons), 1)

    async def _is_idle(self) -> None:
        """Fail if the reactor is busy though there is nothing to do: the time of waiting is not spent computing."""
        before_s = time.process_time()
        await deferLater(reactor, 0.2)
        self.assertLess(time.process_time() - before_s, 0.1)
