"""What the tests of transports are made of: a peer that is a bare socket, protocols that note what happens to them."""

import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

PATIENCE_S = 20.0


async def turn() -> None:
    """Let the reactor do what there is to do."""
    await deferLater(reactor, 0)


async def until(condition: Callable[[], object], what: str) -> None:
    """Turn the reactor until a condition holds; fail, saying what did not come, if it never does."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError(f"this never came: {what}")
        await deferLater(reactor, 0.001)


class Peer:
    """The other end: a bare socket, which reads only when it is told to."""

    def __init__(self, address: Any, *, receive_buffer_bytes: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect((address.host, address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    def send(self, data: bytes) -> None:
        """Send what fits into the buffers, which it must."""
        assert self.socket.send(data) == len(data)

    async def send_all(self, data: bytes) -> None:
        """Send any amount."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.socket.send(left) :]
            except BlockingIOError:
                await turn()

    async def read(self, size_bytes: int) -> bytes:
        """Exactly so many bytes, or fewer at the end of the stream."""
        data = bytearray()
        end_s = time.monotonic() + PATIENCE_S
        while len(data) < size_bytes:
            try:
                piece = self.socket.recv(min(65_536, size_bytes - len(data)))
            except BlockingIOError:
                assert time.monotonic() < end_s, f"only {len(data)} bytes came"
                await deferLater(reactor, 0.0005)
                continue
            if not piece:
                break
            data += piece
        return bytes(data)

    async def read_to_end(self) -> bytes:
        """Everything until FIN.

        Raises:
            ConnectionResetError: it ended with RST.
        """
        return await self.read(1 << 40)

    def end_writing(self) -> None:
        """Send FIN and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close in order."""
        self.socket.close()


class Recorder(Protocol):
    """Notes what it gets, and that it never is called back from inside a call of its own.

    Attributes:
        received: all data.
        reasons: one for each call of connectionLost.
        on_made: called in connectionMade.
        on_data: called in dataReceived.
        on_lost: called in connectionLost.
        is_busy: set while code runs in which connectionLost must not be called.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.reasons: list[Failure] = []
        self.notes: list[str] = []
        self.on_made: Callable[[Recorder], object] = lambda _: None
        self.on_data: Callable[[Recorder, bytes], object] = lambda *_: None
        self.on_lost: Callable[[Recorder], object] = lambda _: None
        self.is_busy = False
        self.was_lost_while_busy = False

    def connectionMade(self) -> None:
        self.notes.append("made")
        self.on_made(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.is_busy = True
        try:
            self.on_data(self, data)
        finally:
            self.is_busy = False

    def connectionLost(self, reason: Failure) -> None:
        self.notes.append("lost")
        self.reasons.append(reason)
        self.was_lost_while_busy |= self.is_busy
        self.on_lost(self)

    def quietly(self, call: Callable[..., object], *arguments: object) -> None:
        """Call something from inside which connectionLost must not be called."""
        self.is_busy = True
        call(*arguments)
        self.is_busy = False

    @property
    def reason(self) -> type[BaseException] | None:
        """Why the connection ended, once it has."""
        return self.reasons[0].type if self.reasons else None


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """Is told of the end of each direction."""

    def readConnectionLost(self) -> None:
        self.notes.append("read lost")

    def writeConnectionLost(self) -> None:
        assert not self.is_busy
        self.notes.append("write lost")


@implementer(IPushProducer)
class Notes:
    """A push producer that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def stopProducing(self) -> None:
        self.said.append("stop")


class TransportCase(TestCase):
    """A listening endpoint and its peers, all gone at the end.

    Attributes:
        kind: of the endpoint, "tcp" or "lean".
        protocols: built by the factory of `listen`, in the order of their connections.
    """

    kind = "lean"

    def setUp(self) -> None:
        self.protocols: list[Recorder] = []
        self.peers: list[Peer] = []

    def describe(self, port: int = 0, interface: str = "127.0.0.1") -> str:
        """The description of an endpoint."""
        return f"{self.kind}:{port}:interface={interface}"

    async def listen_with(self, factory: IProtocolFactory, description: str = "") -> IListeningPort:
        """Listen, until the end of the test at the latest."""
        port: IListeningPort = await serverFromString(reactor, description or self.describe()).listen(factory)
        # The stock port cannot be stopped once more while it is stopping.
        self.addCleanup(lambda: None if getattr(port, "disconnecting", False) else port.stopListening())
        return port

    async def listen(
        self,
        prepare: Callable[[Recorder], object] = lambda _: None,
        *,
        build: Callable[[], Recorder] = Recorder,
        description: str = "",
    ) -> IListeningPort:
        """Listen with protocols that note everything."""

        def built(_: object) -> Recorder:
            protocol = build()
            prepare(protocol)
            self.protocols.append(protocol)
            return protocol

        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = built
        self.addCleanup(lambda: Deferred.fromCoroutine(self._end()))
        try:
            return await self.listen_with(factory, description)
        except CannotListenError:
            if "::1" in description.replace("\\", ""):
                raise SkipTest("this machine has no IPv6") from None
            raise

    async def connect(self, port: IListeningPort, *, receive_buffer_bytes: int = 0) -> tuple[Peer, Recorder]:
        """A peer, and the protocol that serves it."""
        before = len(self.protocols)
        peer = self.peer(port, receive_buffer_bytes=receive_buffer_bytes)
        await until(lambda: len(self.protocols) > before and "made" in self.protocols[-1].notes, "a connection")
        return peer, self.protocols[-1]

    def peer(self, port: IListeningPort, *, receive_buffer_bytes: int = 0) -> Peer:
        """A peer that has been connected by the kernel, and may not have been accepted yet."""
        peer = Peer(port.getHost(), receive_buffer_bytes=receive_buffer_bytes)
        self.peers.append(peer)
        return peer

    async def ends(self, *protocols: Recorder) -> None:
        """Wait until these have lost their connections."""
        await until(lambda: all(protocol.reasons for protocol in protocols), "connectionLost")

    async def fill(self, protocol: Recorder) -> bytes:
        """Write until bytes have to wait, and wait in the transport.

        Returns:
            What has been written.
        """
        data = bytes(range(256)) * 32_768  # 8 MB: more than Linux lets the buffers of a connection grow to
        protocol.transport.write(data)
        for _ in range(5):
            await turn()
        return data

    async def _end(self) -> None:
        for peer in self.peers:
            peer.close()
        for protocol in self.protocols:
            if not protocol.reasons and protocol.transport is not None:
                protocol.transport.unregisterProducer()
                protocol.transport.abortConnection()
        await until(lambda: all(p.reasons or p.transport is None for p in self.protocols), "the end of the test")


def only(items: Iterable[Any]) -> Any:
    """The one item that there is."""
    (item,) = items
    return item
