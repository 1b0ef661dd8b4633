"""A connector in memory, and clients of it that speak the wire protocol over string transports."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from push.ipush import ICache
from push.model import ConnectionLimits
from push.protocols.framed import FramedFactory
from push.protocols.tcp import FramedProtocol
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.signals import Signal
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.subscribe import Subscribe
from tests.fakes_cache import MemoryCache
from tests.fakes_store import MemoryTokenStore

LIMITS = ConnectionLimits(
    max_connections=100,
    max_connections_per_address=50,
    max_subs_per_s=1000.0,
    max_body_bytes=65_536,
    max_body_before_open_bytes=4_096,
    handshake_timeout_s=20.0,
    default_interval_ms=300_000,
    idle_grace_s=60.0,
    max_outbox_bytes=10_000,
    max_outbox_messages=100,
    max_node_outbox_bytes=50_000,
    ack_window=4,
    close_timeout_s=5.0,
)
ADDRESS = "127.0.0.1:6789"


class Transport(StringTransport):
    """A string transport that can be full, and that can end its writing side alone."""

    half_closed = False
    reading = True
    aborted = False

    def loseWriteConnection(self) -> None:
        """End our side."""
        self.half_closed = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to delay."""

    def pauseProducing(self) -> None:
        """Read no more."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self.reading = True

    def abortConnection(self) -> None:
        """Drop everything."""
        self.aborted = True
        self.loseConnection()


class Client:
    """What one client sends and gets.

    Args:
        connector: whose client it is.
        host: where it connects from.
    """

    def __init__(self, connector: Connector, clock: Clock, host: str = "127.0.0.1") -> None:
        self._clock = clock
        self._decoder = FrameDecoder()
        self.transport = Transport(peerAddress=IPv4Address("TCP", host, 1))
        self.protocol: FramedProtocol = FramedFactory(connector).buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def send(self, signal: int, body: bytes = b"", **numbers: int) -> None:
        """Send one frame."""
        self.protocol.dataReceived(encode(signal, body, **numbers))

    def frames(self) -> list[Frame]:
        """What came since the last look, after the turn has ended."""
        self._clock.advance(0)
        data = self.transport.value()
        self.transport.clear()
        return self._decoder.feed(data)

    def pushes(self) -> list[bytes]:
        """The bodies of the pushes among them."""
        return [frame.body for frame in self.frames() if frame.signal == Signal.PUSH]

    def sub(self, **fields: Any) -> dict[str, Any]:
        """Ask for a session; the answer."""
        self.send(Signal.SUB, json.dumps(fields).encode() if fields else b"")
        answers = [frame for frame in self.frames() if frame.signal == Signal.SUB]
        answer: dict[str, Any] = json.loads(answers[-1].body)
        return answer

    def goodbye(self) -> dict[str, Any]:
        """The DISCONNECT that came, {} if none did."""
        bodies = [json.loads(frame.body) for frame in self.frames() if frame.signal == Signal.DISCONNECT]
        return bodies[-1] if bodies else {}

    @property
    def is_ended(self) -> bool:
        """Whether the server has ended its side."""
        return self.transport.half_closed or self.transport.disconnecting

    def hang_up(self) -> None:
        """The connection is gone."""
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.protocol.connectionLost(Failure(ConnectionDone()))

    def stop_reading(self) -> None:
        """The transport is full from now on."""
        self.protocol.pauseProducing()

    def read_on(self) -> None:
        """The transport has room again."""
        self.protocol.resumeProducing()


def make_connector(
    clock: Clock,
    cache: ICache | None = None,
    elsewhere: Callable[[], Sequence[NodeAddress]] = lambda: (),
    **limits: Any,
) -> tuple[Connector, Subscribe, MemoryTokenStore]:
    """A connector over a store in memory, and a cache of its own if none is given."""
    store = MemoryTokenStore()
    count = iter(range(1_000_000))
    subscribe = Subscribe(
        store=store,
        authenticator=OpenDoor(),
        now_ms=lambda: int(clock.seconds() * 1000),
        random_bytes=lambda size: next(count).to_bytes(size, "big"),
    )
    connector = Connector(
        address=ADDRESS,
        limits=replace(LIMITS, **limits),
        subscribe=subscribe,
        cache=cache or MemoryCache(),
        clock=clock,
        now_ms=lambda: int(clock.seconds() * 1000),
        version="test",
        elsewhere=elsewhere,
        fraction=Random(1).random,
    )
    return connector, subscribe, store
