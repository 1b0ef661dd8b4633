"""A connector in memory, and clients of it that speak any wire protocol over transports that are strings."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from push.icache import IPulling
from push.ipush import IWireProtocol
from push.isubscribe import IAuthenticator
from push.model import ConnectionLimits, Registration
from push.model_cache import Cursor, Page
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import Frame
from push.protocols.wire.signals import Signal
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.subscribe import Subscribe
from push.testing.dialects import Dialect
from push.testing.tokens import MemoryTokenStore

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


@implementer(IPulling)
class NothingKept:
    """The cache of a server that keeps nothing."""

    is_shared = False

    async def pull(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See IPulling."""
        return Page((), cursor, False)

    def has(self, token: str) -> bool:
        """See IPulling."""
        return False

    async def waiting(self, tokens: Sequence[str]) -> Sequence[str]:
        """See IPulling."""
        return ()

    async def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See IPulling."""

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See IPulling."""

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See IPulling."""


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
        clock: the connector's.
        wire: the protocol that it speaks.
        dialect: how it does.
        host: where it connects from.

    Attributes:
        protocol: the server's side of the connection: an IProtocol that is an IConnection.
        transport: what is between them.
    """

    def __init__(
        self, connector: Connector, clock: Clock, *, wire: IWireProtocol, dialect: Dialect, host: str = "127.0.0.1"
    ) -> None:
        self._clock = clock
        self.dialect = dialect
        self._waiting: list[Frame] = []
        self.transport = Transport(peerAddress=IPv4Address("TCP", host, 1))
        built: IProtocol | None = wire.factory(connector).buildProtocol(self.transport.getPeer())
        if built is None:
            raise AssertionError("the factory builds no protocol: whether a client is welcome is the host's to say")
        self.protocol: Any = built
        self.protocol.makeConnection(self.transport)
        begin = dialect.begin()
        if begin:
            self.protocol.dataReceived(begin)
            self._waiting += dialect.decode(self._written())

    def send(self, signal: int, body: bytes = b"", *, subsignal: int = 0, message_id: int = 0) -> None:
        """Send one frame."""
        self.protocol.dataReceived(self.encoded(signal, body, subsignal=subsignal, message_id=message_id))

    def encoded(self, signal: int, body: bytes = b"", *, subsignal: int = 0, message_id: int = 0) -> bytes:
        """A frame as this client sends it."""
        return self.dialect.encode(Frame(signal, subsignal, message_id, body))

    def frames(self) -> list[Frame]:
        """What came since the last look, after the turn has ended."""
        self._clock.advance(0)
        waiting, self._waiting = self._waiting, []
        return [*waiting, *self.dialect.decode(self._written())]

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
        return self.transport.half_closed or self.transport.disconnecting or self.dialect.has_ended

    def _written(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def hang_up(self) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def stop_reading(self) -> None:
        """The transport is full from now on."""
        self.protocol.pauseProducing()

    def read_on(self) -> None:
        """The transport has room again."""
        self.protocol.resumeProducing()


def make_connector(
    clock: Clock,
    cache: IPulling | None = None,
    elsewhere: Callable[[str | None], Sequence[NodeAddress]] = lambda protocol: (),
    authenticator: IAuthenticator | None = None,
    **limits: Any,
) -> tuple[Connector, Subscribe, MemoryTokenStore]:
    """A connector over a store in memory.

    Args:
        clock: moves when a test lets it.
        cache: what it pulls from; nothing is kept without one.
        elsewhere: where clients can go that are sent away.
        authenticator: says who clients are; without one, none needs a credential.
        limits: other than LIMITS.
    """
    store = MemoryTokenStore()
    count = iter(range(1_000_000))
    subscribe = Subscribe(
        store=store,
        authenticator=authenticator or OpenDoor(),
        now_ms=lambda: int(clock.seconds() * 1000),
        random_bytes=lambda size: next(count).to_bytes(size, "big"),
    )
    connector = Connector(
        address=ADDRESS,
        limits=replace(LIMITS, **limits),
        subscribe=subscribe,
        cache=cache or NothingKept(),
        clock=clock,
        now_ms=lambda: int(clock.seconds() * 1000),
        version="test",
        elsewhere=elsewhere,
        fraction=Random(1).random,  # noqa: S311
    )
    return connector, subscribe, store
