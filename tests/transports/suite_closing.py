"""How connections end: in order, by half, by force, from either side, and for whom."""

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.trial.unittest import SkipTest

from tests.transports.surroundings import HalfRecorder, Notes, Recorder, TransportCase, turn, until


class ClosingSuite(TransportCase):
    """Ends of connections."""

    async def test_loseConnection_sends_what_waits_then_closes(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        data = await self.fill(protocol)
        protocol.quietly(protocol.transport.loseConnection)
        self.assertTrue(protocol.transport.disconnecting)
        self.assertEqual(await peer.read_to_end(), data)
        await self.ends(protocol)
        self.assertEqual((protocol.reason, protocol.was_lost_while_busy), (ConnectionDone, False))

    async def test_loseConnection_stops_reading(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        await self.fill(protocol)
        protocol.transport.loseConnection()
        protocol.transport.resumeProducing()
        peer.send(b"too late")
        for _ in range(10):
            await turn()
        self.assertEqual((protocol.received, protocol.reasons), (b"", []))

    async def test_what_waits_is_sent_though_the_peer_has_ended_its_side(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        data = await self.fill(protocol)
        protocol.transport.loseConnection()
        peer.end_writing()
        self.assertEqual(await peer.read_to_end(), data)
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionDone)

    async def test_nothing_is_ended_from_inside_a_call(self) -> None:
        for end in ("loseConnection", "abortConnection"):
            port = await self.listen(
                lambda p, end=end: setattr(p, "on_data", lambda p, _, end=end: getattr(p.transport, end)())
            )
            peer, protocol = await self.connect(port)
            peer.send(b"go")
            await self.ends(protocol)
            self.assertFalse(protocol.was_lost_while_busy)
            self.assertEqual(protocol.notes, ["made", "lost"])

    async def test_abortConnection_resets(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        await self.fill(protocol)
        protocol.quietly(protocol.transport.abortConnection)
        protocol.quietly(protocol.transport.abortConnection)
        await self.ends(protocol)
        self.assertEqual((protocol.reason, protocol.was_lost_while_busy), (ConnectionAborted, False))
        with self.assertRaises(ConnectionResetError):
            await peer.read_to_end()

    async def test_abortConnection_in_the_middle_of_loseConnection(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        await self.fill(protocol)
        protocol.transport.loseConnection()
        protocol.transport.abortConnection()
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionAborted)
        with self.assertRaises(ConnectionResetError):
            await peer.read_to_end()

    async def test_loseWriteConnection_sends_all_then_ends_and_goes_on_reading(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        data = await self.fill(protocol)
        protocol.transport.loseWriteConnection()
        self.assertEqual(await peer.read_to_end(), data)
        protocol.transport.write(b"nobody can get this")
        protocol.transport.writeSequence([b"nor", b"this"])
        peer.send(b"still heard")
        await until(lambda: protocol.received == b"still heard", "the data")
        self.assertEqual(protocol.reasons, [])
        peer.close()
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionDone)

    async def test_loseWriteConnection_tells_a_protocol_that_wants_to_know_but_later(self) -> None:
        port = await self.listen(build=HalfRecorder)
        peer, protocol = await self.connect(port)
        protocol.transport.write(b"bye")
        protocol.quietly(protocol.transport.loseWriteConnection)
        self.assertEqual(protocol.notes, ["made"])
        self.assertEqual(await peer.read_to_end(), b"bye")
        await until(lambda: protocol.notes == ["made", "write lost"], "writeConnectionLost")
        peer.send(b"heard")
        peer.end_writing()
        await until(lambda: "read lost" in protocol.notes, "readConnectionLost")
        self.assertEqual(protocol.received, b"heard")
        protocol.transport.loseConnection()
        await self.ends(protocol)
        self.assertEqual((protocol.notes.count("read lost"), protocol.reason), (1, ConnectionDone))

    async def test_loseWriteConnection_twice_then_loseConnection(self) -> None:
        port = await self.listen(build=HalfRecorder)
        peer, protocol = await self.connect(port)
        protocol.transport.loseWriteConnection()
        protocol.transport.loseWriteConnection()
        await until(lambda: "write lost" in protocol.notes, "writeConnectionLost")
        protocol.transport.loseWriteConnection()
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), b"")
        await self.ends(protocol)
        self.assertEqual((protocol.notes.count("write lost"), len(protocol.reasons)), (1, 1))

    async def test_loseWriteConnection_waits_for_a_producer(self) -> None:
        if self.kind == "tcp":
            raise SkipTest("does not end its side when the producer has left")
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.registerProducer(Notes(), False)
        protocol.transport.loseWriteConnection()
        await turn()
        protocol.transport.write(b"more")
        protocol.transport.unregisterProducer()
        self.assertEqual(await peer.read_to_end(), b"more")

    async def test_the_peer_ends_its_side(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        peer.send(b"bye")
        peer.end_writing()
        await self.ends(protocol)
        self.assertEqual((protocol.received, protocol.reason), (b"bye", ConnectionDone))
        self.assertEqual(await peer.read_to_end(), b"")

    async def test_the_peer_ends_its_side_and_is_still_answered(self) -> None:
        port = await self.listen(build=HalfRecorder)
        peer, protocol = await self.connect(port)
        peer.send(b"question")
        peer.end_writing()
        await until(lambda: "read lost" in protocol.notes, "readConnectionLost")
        protocol.transport.write(b"answer")
        self.assertEqual(await peer.read(6), b"answer")
        protocol.transport.loseConnection()
        self.assertEqual(await peer.read_to_end(), b"")
        await self.ends(protocol)
        self.assertEqual(protocol.notes, ["made", "read lost", "lost"])
        self.assertEqual((protocol.received, protocol.reason), (b"question", ConnectionDone))

    async def test_a_reset_after_the_peer_has_ended_its_side_is_noticed(self) -> None:
        if self.kind == "tcp":
            raise SkipTest("polls for nothing then, and notices when it writes")
        port = await self.listen(build=HalfRecorder)
        peer, protocol = await self.connect(port)
        peer.end_writing()
        await until(lambda: "read lost" in protocol.notes, "readConnectionLost")
        peer.reset()
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionLost)

    async def test_when_both_sides_have_ended_the_connection_has(self) -> None:
        if self.kind == "tcp":
            raise SkipTest("keeps the socket until loseConnection")
        port = await self.listen(build=HalfRecorder)
        peer, protocol = await self.connect(port)
        peer.end_writing()
        await until(lambda: "read lost" in protocol.notes, "readConnectionLost")
        protocol.transport.resumeProducing()
        protocol.transport.loseWriteConnection()
        self.assertEqual(await peer.read_to_end(), b"")
        await self.ends(protocol)
        self.assertEqual((protocol.notes.count("read lost"), protocol.reason), (1, ConnectionDone))

    async def test_a_reset_in_the_middle_of_a_write(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        producer = Notes()
        protocol.transport.registerProducer(producer, True)
        await self.fill(protocol)
        peer.reset()
        await self.ends(protocol)
        self.assertEqual((protocol.reason, producer.said[-1]), (ConnectionLost, "stop"))

    async def test_a_reset_in_the_middle_of_closing(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port, receive_buffer_bytes=4096)
        await self.fill(protocol)
        protocol.transport.loseConnection()
        peer.reset()
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionLost)

    async def test_a_reset_while_a_producer_keeps_the_closing_open(self) -> None:
        if self.kind == "tcp":
            raise SkipTest("polls for nothing then, and notices when it writes")
        port = await self.listen()
        peer, protocol = await self.connect(port)
        protocol.transport.registerProducer(Notes(), False)
        protocol.transport.loseConnection()
        await turn()
        peer.reset()
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionLost)

    async def test_a_reset_in_the_middle_of_reading(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        peer.send(b"half a mess")
        await until(lambda: protocol.received, "the data")
        peer.reset()
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ConnectionLost)
        str(protocol.reasons[0].value)  # can be shown

    async def test_what_came_before_a_reset_is_read_though_writing_has_found_it_out(self) -> None:
        port = await self.listen()
        peer, protocol = await self.connect(port)
        peer.send(b"last words")
        peer.reset()
        for _ in range(3):
            protocol.quietly(protocol.transport.write, b"too late")
        await self.ends(protocol)
        self.assertEqual((protocol.received, protocol.reason), (b"last words", ConnectionLost))
        self.assertEqual(len(protocol.reasons), 1)
        self.assertFalse(protocol.was_lost_while_busy)

    async def test_writing_after_the_end_does_no_harm(self) -> None:
        port = await self.listen()
        for end in ("loseConnection", "abortConnection"):
            _, protocol = await self.connect(port)
            getattr(protocol.transport, end)()
            protocol.transport.write(b"now")
            await self.ends(protocol)
            protocol.transport.write(b"later")
            protocol.transport.writeSequence([b"much", b"later"])
            for late in ("loseConnection", "abortConnection", "stopProducing"):
                getattr(protocol.transport, late)()
            if self.kind == "lean":  # the stock transport raises here
                protocol.transport.loseWriteConnection()
            await turn()
            self.assertEqual(protocol.notes, ["made", "lost"])

    async def test_a_protocol_may_close_as_soon_as_it_is_connected(self) -> None:
        def close(protocol: Recorder) -> None:
            protocol.transport.write(b"go away")
            protocol.transport.loseConnection()

        port = await self.listen(lambda p: setattr(p, "on_made", close))
        peer, protocol = await self.connect(port)
        self.assertEqual(await peer.read_to_end(), b"go away")
        await self.ends(protocol)

    async def test_one_end_may_bring_others(self) -> None:
        port = await self.listen()
        first, victim = await self.connect(port)
        _, other = await self.connect(port)
        victim.on_lost = lambda _: other.transport.abortConnection()
        other.on_lost = lambda _: victim.transport.loseConnection()
        first.reset()
        await self.ends(victim, other)
        await turn()
        self.assertEqual((len(victim.reasons), len(other.reasons)), (1, 1))

    # Protocols that raise

    async def test_a_protocol_that_raises_on_data_loses_its_own_connection_only(self) -> None:
        port = await self.listen()
        other, bystander = await self.connect(port)
        peer, protocol = await self.connect(port)
        protocol.on_data = lambda *_: 1 / 0
        peer.send(b"boom")
        await self.ends(protocol)
        self.assertEqual(protocol.reason, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        bystander.transport.write(b"here")
        self.assertEqual(await other.read(4), b"here")

    async def test_a_cancellation_that_escapes_is_no_different(self) -> None:
        for error in (SystemExit, GeneratorExit):
            port = await self.listen()
            other, bystander = await self.connect(port)
            peer, protocol = await self.connect(port)

            def escape(*_: object, error: type[BaseException] = error) -> None:
                raise error

            protocol.on_data = escape
            peer.send(b"boom")
            await self.ends(protocol)
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)
            bystander.transport.write(b"here")
            self.assertEqual(await other.read(4), b"here")

    async def test_a_protocol_that_raises_at_its_start_is_closed(self) -> None:
        if self.kind == "tcp":
            raise SkipTest("logs it, and keeps a connection that nobody serves")
        port = await self.listen(lambda p: setattr(p, "on_made", lambda _: 1 / 0))
        peer = self.peer(port)
        self.assertEqual(await peer.read_to_end(), b"")
        await self.ends(*self.protocols)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.protocols[0].on_made = lambda _: None

    async def test_a_protocol_that_raises_at_its_end_disturbs_nobody(self) -> None:
        port = await self.listen(lambda p: setattr(p, "on_lost", lambda _: 1 / 0))
        connections = [await self.connect(port) for _ in range(5)]
        other, bystander = await self.connect(port)
        bystander.on_lost = lambda _: None
        for peer, _ in connections:
            peer.close()
        await self.ends(*(protocol for _, protocol in connections))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)
        bystander.transport.write(b"here")
        self.assertEqual(await other.read(4), b"here")

    async def test_a_half_close_notice_that_raises_closes_the_connection(self) -> None:
        for notice in ("readConnectionLost", "writeConnectionLost"):
            port = await self.listen(build=HalfRecorder)
            peer, protocol = await self.connect(port)
            setattr(protocol, notice, lambda: 1 / 0)
            if notice == "readConnectionLost":
                peer.end_writing()
            else:
                protocol.transport.loseWriteConnection()
            await self.ends(protocol)
            self.assertEqual(protocol.reason, ZeroDivisionError)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
