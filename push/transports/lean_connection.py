"""One accepted connection of the lean endpoint: a slotted ITransport that sends at once.

What makes it lean: no dictionary, no socket object (a bare descriptor), no write interest in the poll set
unless the kernel has refused some bytes. Promises what Twisted's own TCP transport does: order, no callback
from inside write() or loseConnection(), connectionLost exactly once. Knows no protocol in particular.
"""

import os
import select
import socket
import struct
from collections.abc import Iterable
from errno import ECONNABORTED, ECONNRESET, EPIPE
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

READ = select.EPOLLIN | select.EPOLLRDHUP
WRITE = select.EPOLLOUT
_BROKEN = select.EPOLLERR | select.EPOLLHUP

# How many buffers one writev takes: IOV_MAX of Linux.
_MAX_BUFFERS = 1024
# SO_LINGER on, no seconds: close() sends RST and drops what is queued.
_NO_LINGER = struct.pack("ii", 1, 0)
_PEER_LEFT = frozenset({ECONNABORTED, ECONNRESET, EPIPE})


class Poll(Protocol):
    """What a connection needs of the port that accepted it."""

    family: int
    read_into: list[memoryview]

    def watch(self, descriptor: int, interest: int) -> None:
        """Change what a descriptor is polled for."""

    def bury(self, connection: "LeanConnection", descriptor: int, reason: Failure) -> None:
        """Close the descriptor and tell the protocol, soon but not now."""


@implementer(ITransport, ITCPTransport, IConsumer, IPushProducer)
class LeanConnection:
    """The server's end of one connection.

    Args:
        port: polls for it.
        descriptor: of a connected, non-blocking socket; owned from now on.
        peer_host: address of the other end.
        peer_port: its port.

    Attributes:
        protocol: what is served.
        disconnecting: whether loseConnection has been called.
    """

    _log = Logger()

    __slots__ = (
        "_descriptor",
        "_ends_writing",
        "_interest",
        "_peer_host",
        "_peer_port",
        "_pending",
        "_port",
        "_producer",
        "_streams",
        "disconnecting",
        "protocol",
    )

    def __init__(self, port: Poll, descriptor: int, peer_host: str, peer_port: int) -> None:
        self._port = port
        self._descriptor = descriptor
        self._peer_host = peer_host
        self._peer_port = peer_port
        self._interest = READ
        # What the kernel has not taken yet; None while it takes everything.
        self._pending: list[bytes | memoryview] | None = None
        self._producer: Any = None
        self._streams = False
        self._ends_writing = False
        self.disconnecting = False
        self.protocol: IProtocol | None = None

    # ITransport

    def write(self, data: bytes) -> None:
        """Send, at once if nothing waits."""
        pending = self._pending
        if pending is not None:
            if data:
                pending.append(data)
            return
        if self._descriptor < 0:
            return
        try:
            sent = os.write(self._descriptor, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error)
            return
        if sent != len(data):
            self._pending = [memoryview(data)[sent:]]
            self._watch(self._interest | WRITE)
            if self._producer is not None and self._streams:
                self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when everything has been sent, and a streaming producer has gone."""
        if self._descriptor < 0 or self.disconnecting:
            return
        self.disconnecting = True
        if self._pending is None and self._producer is None:
            self._bury(ConnectionDone())

    def abortConnection(self) -> None:
        """Close at once; the other end sees a reset."""
        if self._descriptor < 0:
            return
        with _Socket(self._port.family, self._descriptor) as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._pending = None
        self._bury(ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """End our side when everything has been sent; the other end may go on."""
        if self._descriptor >= 0:
            self._ends_writing = True
            if self._pending is None:
                self._end_writing()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The other end."""
        kind = IPv6Address if self._port.family == socket.AF_INET6 else IPv4Address
        return kind("TCP", self._peer_host, self._peer_port)

    def getHost(self) -> IPv4Address | IPv6Address:
        """This end."""
        kind = IPv6Address if self._port.family == socket.AF_INET6 else IPv4Address
        if self._descriptor < 0:
            return kind("TCP", "", 0)
        with _Socket(self._port.family, self._descriptor) as end:
            host, port = end.getsockname()[:2]
        return kind("TCP", host, port)

    # ITCPTransport

    def getTcpNoDelay(self) -> bool:
        """Whether small writes leave at once; on from the start."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY, None)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Switch Nagle's algorithm off or on."""
        self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes an idle connection."""
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, None)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Switch the kernel's probes on or off."""
        self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer paused while bytes wait, and resumed (or asked for more) when none do."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._descriptor < 0:
            producer.stopProducing()
            return
        self._producer = producer
        self._streams = bool(streaming)
        if not streaming:
            producer.resumeProducing()
        elif self._pending is not None:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer; a loseConnection that waited for it goes on."""
        self._producer = None
        if self.disconnecting and self._pending is None and self._descriptor >= 0:
            self._bury(ConnectionDone())

    # IPushProducer: our input, for protocols that cannot take it as fast as it comes

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._watch(self._interest & ~READ)

    def resumeProducing(self) -> None:
        """Read again."""
        self._watch(self._interest | READ)

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # For the port

    def ready(self, events: int) -> None:
        """Take what the poll found.

        Args:
            events: a mask of EPOLL* bits.
        """
        if events & WRITE:
            self._send_pending()
        if self._descriptor < 0:
            return
        if self._interest & READ and events & (READ | _BROKEN):
            self._receive()
        elif events & _BROKEN:  # cannot be masked: would be reported for ever
            self._bury(ConnectionLost())

    def ended(self, reason: Failure) -> None:
        """The descriptor has been closed: tell producer and protocol."""
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        self._pending = None
        try:
            if producer is not None:
                producer.stopProducing()
        except Exception:
            self._log.failure("a producer could not be stopped")
        try:
            if protocol is not None:
                protocol.connectionLost(reason)
        except Exception:
            self._log.failure("a protocol could not take the end of its connection")

    def give_up(self, reason: BaseException) -> None:
        """Close, whatever waits."""
        self._pending = None
        self._bury(reason)

    # Inside

    def _receive(self) -> None:
        port = self._port
        try:
            received = os.readv(self._descriptor, port.read_into)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        protocol = self.protocol
        if protocol is None:
            return
        try:
            if received:
                protocol.dataReceived(bytes(port.read_into[0][:received]))
            elif IHalfCloseableProtocol.providedBy(protocol):
                self._watch(self._interest & ~READ)
                protocol.readConnectionLost()
            else:
                self._bury(ConnectionDone())
        except Exception as error:
            self._log.failure("a protocol raised; its connection is closed")
            self._bury(error)

    def _send_pending(self) -> None:
        pending = self._pending
        if pending is None:
            return
        try:
            sent = os.writev(self._descriptor, pending[:_MAX_BUFFERS])
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        done = 0
        while done < len(pending) and sent >= len(pending[done]):
            sent -= len(pending[done])
            done += 1
        if done < len(pending):
            if sent:
                pending[done] = memoryview(pending[done])[sent:]
            del pending[:done]
            return
        self._pending = None
        self._watch(self._interest & ~WRITE)
        if self._producer is not None and not (self._streams and self.disconnecting):
            self._producer.resumeProducing()
        if self._pending is not None or self._descriptor < 0:
            return
        if self.disconnecting and self._producer is None:
            self._bury(ConnectionDone())
        elif self._ends_writing:
            self._end_writing()

    def _end_writing(self) -> None:
        with _Socket(self._port.family, self._descriptor) as end:
            try:
                end.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._fail(error)
                return
        protocol = self.protocol
        if protocol is not None and IHalfCloseableProtocol.providedBy(protocol):
            protocol.writeConnectionLost()

    def _watch(self, interest: int) -> None:
        if interest != self._interest and self._descriptor >= 0:
            self._interest = interest
            self._port.watch(self._descriptor, interest)

    def _fail(self, error: OSError) -> None:
        self._pending = None
        self._bury(ConnectionLost(error.errno) if error.errno in _PEER_LEFT else error)

    def _bury(self, reason: BaseException) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._port.bury(self, descriptor, Failure(reason))

    def _option(self, level: int, name: int, value: bool | None) -> bool:
        if self._descriptor < 0:
            return False
        with _Socket(self._port.family, self._descriptor) as end:
            if value is not None:
                end.setsockopt(level, name, int(value))
            return bool(end.getsockopt(level, name))


class _Socket:
    """A socket object for a moment, around a descriptor that stays open."""

    def __init__(self, family: int, descriptor: int) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM, 0, fileno=descriptor)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()
