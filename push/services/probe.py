"""A node's client of itself, on an in-memory transport: only the socket is missing from the way of a real message.

It is lent a token that is never stored, and belongs to no broadcast. Must not import adapters, stores or web: the
protocol comes in as a factory.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory, IReactorTime, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IProbe
from push.ipush import IConnection, IConnectionHost
from push.isubscribe import ISubscribe
from push.model import ConnectionLimits, Registration
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.chat import write_refusal
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, SubRequest
from push.protocols.wire.signals import Signal
from push.services.connector import Connector

ARRIVAL_TIMEOUT_S = 2.0
_ADDRESS = UNIXAddress(b"probe")


@implementer(ITransport, IConsumer)
class _Wire:
    """The server's end of an in-memory connection: what is written is decoded at once."""

    disconnecting = False

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self._decoder = FrameDecoder()
        self.protocol: IProtocol | None = None

    def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            if frame.signal == Signal.PUSH:
                self._received(frame.body)

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        self.loseConnection()

    def getPeer(self) -> UNIXAddress:
        return _ADDRESS

    def getHost(self) -> UNIXAddress:
        return _ADDRESS

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Nothing ever piles up here."""

    def unregisterProducer(self) -> None:
        """See registerProducer."""


@implementer(IConnectionHost)
class _Host:
    """The connector as the probe's connection sees it: not counted, not limited, with a token that is lent."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.limits: ConnectionLimits = connector.limits
        self.ids_say_order = connector.ids_say_order
        self.lent: Registration | None = None

    def now_s(self) -> float:
        return self._connector.now_s()

    def connected(self, connection: IConnection) -> Disconnect | None:
        return None

    def open(self, connection: IConnection, request: SubRequest) -> None:
        if self.lent is None:
            connection.refused(503, "no token was lent", None)
        else:
            self._connector.attach(connection, self.lent, self.limits.default_interval_ms)

    def instead(self, connection: IConnection, refusal: Disconnect) -> Sequence[NodeAddress]:
        return ()

    def acknowledged(self, connection: IConnection, message_ids: Sequence[int], awaited: int) -> None:
        """It does not acknowledge."""

    def asked(self, connection: IConnection, frame: Frame) -> None:
        """See IConnectionHost. A probe asks for nothing."""
        connection.answered(frame, write_refusal(frame.signal, 501, "a probe has no part in groups"))

    def wants_more(self, connection: IConnection) -> None:
        self._connector.wants_more(connection)

    def next_turn(self, call: Callable[[], None]) -> None:
        self._connector.next_turn(call)

    def mark_dirty(self, connection: IConnection) -> None:
        self._connector.mark_dirty(connection)

    def outbox_grew(self, size_bytes: int) -> None:
        self._connector.outbox_grew(size_bytes)

    def closing(self, connection: IConnection, reason: Disconnect, by_peer: bool) -> None:
        """`lost` follows at once."""

    def lost(self, connection: IConnection) -> None:
        self._connector.lost(connection)


@implementer(IProbe)
class Probe:
    """A client of the connector beside it.

    Args:
        connector: where it connects.
        subscribe: lends it a token.
        protocol: builds the factory of the protocol that it speaks, framed.
        clock: for the time limit.
    """

    def __init__(
        self,
        *,
        connector: Connector,
        subscribe: ISubscribe,
        protocol: Callable[[IConnectionHost], IProtocolFactory],
        clock: IReactorTime,
    ) -> None:
        self._host = _Host(connector)
        self._factory = protocol(self._host)
        self._connector = connector
        self._subscribe = subscribe
        self._clock = clock
        self._wire: _Wire | None = None
        self._awaited: dict[bytes, Deferred[None]] = {}

    async def open(self) -> str:
        """See IProbe."""
        if self._wire is None:
            await self._connect()
        registration = self._host.lent
        if registration is None:
            raise PushError("no token was lent")
        return registration.token

    async def arrived(self, payload: bytes) -> None:
        """See IProbe."""
        arrived: Deferred[None] = Deferred()
        arrived.addTimeout(ARRIVAL_TIMEOUT_S, self._clock)
        self._awaited[payload] = arrived
        try:
            await arrived
        except TimeoutError:
            raise PushError(f"a message to itself did not arrive within {ARRIVAL_TIMEOUT_S:g} s") from None
        finally:
            self._awaited.pop(payload, None)

    async def hang_up(self) -> None:
        """See IProbe."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.loseConnection()

    async def _connect(self) -> None:
        lent = await self._subscribe.lend(self._connector.address)
        if self._wire is not None:  # another check was faster
            await self._subscribe.closed([lent])
            return
        self._host.lent = lent
        self._wire = _Wire(self._received)
        protocol = self._wire.protocol = self._factory.buildProtocol(_ADDRESS)
        if protocol is None:
            raise PushError("the protocol takes no connections")
        protocol.makeConnection(self._wire)
        protocol.dataReceived(encode(Signal.SUB))

    def _received(self, payload: bytes) -> None:
        awaited = self._awaited.get(payload)
        if awaited is not None and not awaited.called:
            awaited.callback(None)
