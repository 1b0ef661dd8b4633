"""How connections end, over real sockets: what a client has asked is answered, and why it ends is said."""

import json
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from push.protocols.framed import FramedFactory
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.signals import CloseCode, Signal
from tests.services.clients import make_connector


def converse(port: int, data: bytes, *, half_close: bool) -> list[Frame]:
    """Send, end our side if so wanted, and read until the server ends its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(data)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    return FrameDecoder(1_000_000).feed(answer)


class ClosingOverTcp(TestCase):
    """Over Twisted's own transport."""

    endpoint = "tcp:0:interface=127.0.0.1"

    async def serve(self) -> int:
        """Listen; the port."""
        from twisted.internet import reactor

        # Only the transports need the real reactor; the connector's time stands still, but turns at once.
        self.connector, self.subscribe, self.store = make_connector(TurningClock(reactor))
        port = await serverFromString(reactor, self.endpoint).listen(FramedFactory(self.connector))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def frames(self, data: bytes, *, half_close: bool = True) -> list[Frame]:
        """What the server answers."""
        port = await self.serve()
        answers = await deferToThread(converse, port, data, half_close=half_close)
        await self.until_empty()
        return answers

    async def test_a_client_that_asks_and_ends_its_side_gets_its_answers(self) -> None:
        first, second = await self.frames(encode(Signal.SUB, message_id=1) + encode(Signal.PING, message_id=2))
        self.assertEqual((first.signal, first.message_id, json.loads(first.body)["status"]), (Signal.SUB, 1, 200))
        self.assertEqual((second.signal, second.message_id), (Signal.PING, 2))

    async def test_a_client_that_ends_its_side_before_the_store_has_answered_gets_it_too(self) -> None:
        port = await self.serve()
        register = self.store.register

        async def later(*args: Any, **kwargs: Any) -> Any:
            from twisted.internet import reactor

            waited: Deferred[None] = Deferred()
            reactor.callLater(0.05, waited.callback, None)
            await waited
            return await register(*args, **kwargs)

        self.patch(self.store, "register", later)
        (answer,) = await deferToThread(converse, port, encode(Signal.SUB), half_close=True)
        await self.until_empty()
        self.assertEqual(json.loads(answer.body)["status"], 200)

    async def test_a_bad_frame_is_answered_though_the_client_has_ended_its_side(self) -> None:
        (_, goodbye) = await self.frames(encode(Signal.PING) + b"garbage")
        self.assertEqual(json.loads(goodbye.body)["code"], CloseCode.BAD_FRAME)

    async def test_unread_input_does_not_swallow_the_reason(self) -> None:
        """With unread input, close() would send RST, and the reason could be lost."""
        goodbye = (await self.frames(encode(Signal.PING) + bytes(1_000_000), half_close=False))[-1]
        self.assertEqual(json.loads(goodbye.body)["code"], CloseCode.BAD_FRAME)

    async def test_nothing_is_left_of_it(self) -> None:
        await self.frames(encode(Signal.SUB))
        self.assertEqual((len(self.connector.connections), self.connector.connections.sessions), (0, 0))

    async def until_empty(self) -> None:
        """Wait until the server has noticed that everybody has gone."""
        from twisted.internet import reactor

        for _ in range(500):
            if not len(self.connector.connections):
                return
            waited: Deferred[None] = Deferred()
            reactor.callLater(0.01, waited.callback, None)
            await waited


class ClosingOverLean(ClosingOverTcp):
    """The same over lean connections."""

    endpoint = "lean:0:interface=127.0.0.1"


class TurningClock(Clock):
    """Time that stands still, on the turns of a real reactor."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor

    def callLater(self, when: float, what: Any, *args: object, **kwargs: object) -> Any:
        """What is for this turn's end goes to the reactor."""
        if when == 0:
            return self._reactor.callLater(0, what, *args, **kwargs)
        return super().callLater(when, what, *args, **kwargs)
