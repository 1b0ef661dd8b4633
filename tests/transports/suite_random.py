"""Random lives of connections against a model: what arrives is a prefix of what was written, or all of it."""

import random
from contextlib import suppress

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from tests.transports.surroundings import HalfRecorder, Notes, Peer, Recorder, TransportCase, turn, until

LIVES = 100


class Life:
    """One connection, what has been written from both sides, and how the ends were asked for."""

    def __init__(self, seed: int, peer: Peer, protocol: Recorder) -> None:
        self.random = random.Random(seed)
        self.peer = peer
        self.protocol = protocol
        self.written = bytearray()
        self.sent = bytearray()
        self.arrived = bytearray()
        self.is_closing = False
        self.was_ended_by_force = False
        self.has_peer_ended = False
        self.is_peer_there = True
        self.has_arrived_all = False

    def step(self) -> None:
        """Do something, on one side."""
        transport = self.protocol.transport
        step = self.random.choices(
            ["write", "flood", "read", "send", "pause", "resume", "half", "close", "abort", "peer half", "peer reset"],
            [20, 3, 12, 15, 4, 4, 1.5, 1, 0.5, 1, 0.5],
        )[0]
        if step in ("write", "flood"):
            size_bytes = self.random.randrange(0, 3_000_000 if step == "flood" else 5_000)
            data = self.random.randbytes(size_bytes)
            if not self.is_closing:
                self.written += data
                transport.write(data)
        elif step == "read":
            self.read(self.random.randrange(1, 500_000))
        elif step == "send" and self.is_peer_there and not self.has_peer_ended:
            self.send(self.random.randbytes(self.random.randrange(1, 20_000)))
        elif step == "pause":
            transport.pauseProducing()
        elif step == "resume":
            transport.resumeProducing()
        elif step == "half" and not self.protocol.reasons:
            self.is_closing = True
            transport.loseWriteConnection()
        elif step == "close":
            self.is_closing = self.was_ended_by_force = True  # input that nobody reads makes the kernel send RST
            transport.loseConnection()
        elif step == "abort":
            self.is_closing = self.was_ended_by_force = True
            transport.abortConnection()
        elif step == "peer half" and self.is_peer_there and not self.has_peer_ended:
            self.has_peer_ended = True
            with suppress(OSError):  # it has been reset
                self.peer.end_writing()
        elif step == "peer reset" and self.is_peer_there:
            self.was_ended_by_force = True
            self.is_peer_there = False
            self.peer.reset()

    def send(self, data: bytes) -> None:
        """From the peer, as much as goes."""
        try:
            self.sent += data[: self.peer.socket.send(data)]
        except BlockingIOError:
            return
        except OSError:
            self.is_peer_there = False

    def read(self, size_bytes: int) -> None:
        """At the peer, as much as there is."""
        while size_bytes > 0 and self.is_peer_there:
            try:
                piece = self.peer.socket.recv(min(65_536, size_bytes))
            except BlockingIOError:
                return
            except OSError:
                self.is_peer_there = False
                return
            if not piece:
                self.has_arrived_all = True
                return
            self.arrived += piece
            size_bytes -= len(piece)


class RandomSuite(TransportCase):
    """Lives."""

    async def test_what_arrives_is_what_was_written(self) -> None:
        port = await self.listen(build=HalfRecorder)
        for seed in range(LIVES):
            peer, protocol = await self.connect(port, receive_buffer_bytes=4096 if seed % 2 else 0)
            life = Life(seed, peer, protocol)
            if seed % 3 == 0:
                protocol.transport.registerProducer(Notes(), True)
            try:
                await self._live(life)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error

    async def _live(self, life: Life) -> None:
        protocol, transport = life.protocol, life.protocol.transport
        for _ in range(life.random.randrange(1, 60)):
            life.step()
            if life.random.random() < 0.4:
                await turn()
        transport.unregisterProducer()
        transport.resumeProducing()
        if not protocol.reasons:
            transport.loseWriteConnection()

        def is_over() -> bool:
            life.read(1 << 40)
            return life.has_arrived_all or not life.is_peer_there

        await until(is_over, "the end, at the peer")
        if not life.was_ended_by_force:
            self.assertEqual(len(life.arrived), len(life.written))
            with suppress(OSError):  # ended already, or gone with the server's end
                life.peer.end_writing()
            await until(lambda: "read lost" in protocol.notes or protocol.reasons, "the end, at the server")
            if self.kind == "lean":  # the stock transport drops what is unread if both end while it is paused
                self.assertEqual(protocol.received, life.sent)
            transport.loseConnection()
        elif life.is_peer_there:
            life.peer.close()
            transport.loseConnection()
        if self.kind == "tcp":  # polls for nothing after both halves have ended
            transport.loseConnection()
        await self.ends(protocol)
        self.assertTrue(life.written.startswith(life.arrived), "what arrived is no prefix of what was written")
        self.assertTrue(life.sent.startswith(protocol.received), "what was read is no prefix of what was sent")
        self.assertEqual(protocol.notes.count("lost"), 1)
        if self.kind == "lean":  # the stock transport says it again when reading is resumed
            self.assertLessEqual(protocol.notes.count("read lost"), 1)
        self.assertLessEqual(protocol.notes.count("write lost"), 1)
        self.assertIn(protocol.reason, (ConnectionDone, ConnectionLost, ConnectionAborted))
