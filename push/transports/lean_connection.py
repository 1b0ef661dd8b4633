"""One accepted connection of the lean endpoint: a slotted ITransport that sends at once.

What makes it lean: no dictionary, no socket object (a bare descriptor), no write interest in the poll set
unless the kernel has refused some bytes. Promises what Twisted's own TCP transport does: order, no callback
from inside write() or loseConnection(), connectionLost exactly once. Knows no protocol in particular.
"""

import os
import select
import socket
from collections import deque
from collections.abc import Iterable
from errno import ECONNABORTED, ECONNRESET, EPIPE, ETIMEDOUT
from itertools import islice
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

from push.transports import descriptor as bare

# What a connection is polled for (epoll's own bits), beside it all else that is yes or no, above that the peer's port,
# and above that the descriptor: one number in one place, where three would be 48 bytes more a connection.
READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_POLLED = READ | WRITE
_PULLS = 0x02  # the producer wants to be asked for each piece
_ENDS_WRITING = 0x08  # loseWriteConnection has been called
_ENDED_WRITING = 0x80  # and done
_HEARD_END = 0x10  # the peer has ended its side, and the protocol knows
_DISCONNECTING = 0x20  # loseConnection has been called
_PEER_GONE = 0x40  # a send has found the connection broken
_DELAYS = 0x100  # Nagle's algorithm has been switched on
_CLOSED = 0x200  # give_up has been called
_PEER_PORT_SHIFT = 16
_DESCRIPTOR_SHIFT = 32
_MAX_PORT = 0xFFFF

_BROKEN = select.EPOLLERR | select.EPOLLHUP
# Reported, once, even for a descriptor that is polled for nothing else; without it, all the time.
_SILENT = select.EPOLLONESHOT

# Most of what arrives is a frame of some dozen bytes: read into an object of its own it costs 0.45 µs less than by way
# of the port's buffer (measured 2026-11-23). With its head this is less than what CPython allocates quickly, 512 bytes.
_SMALL_BYTES = 400
# How many buffers one writev takes: IOV_MAX of Linux.
_MAX_BUFFERS = 1024
# After these the kernel lets what had arrived be read, and then reports the end.
_PEER_LEFT = frozenset({ECONNABORTED, ECONNRESET, EPIPE, ETIMEDOUT})


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
        port: polls for it, for READ at first.
        descriptor: of a connected, non-blocking socket; owned from now on.
        peer_host: address of the other end.
        peer_port: its port.

    Attributes:
        protocol: what is served; None after connectionLost.
    """

    _log = Logger()

    __slots__ = ("_peer_host", "_pending", "_port", "_producer", "_state", "protocol")

    def __init__(self, port: Poll, descriptor: int, peer_host: str, peer_port: int) -> None:
        self._port = port
        self._peer_host = peer_host
        self._state: int = READ | peer_port << _PEER_PORT_SHIFT | descriptor << _DESCRIPTOR_SHIFT
        # What the kernel has not taken yet; None while it takes everything. A producer that is to be asked for
        # each piece has a queue all the time: that it is sent and empty is when the next piece is asked for.
        self._pending: deque[bytes | memoryview] | None = None
        self._producer: Any = None
        self.protocol: IProtocol | None = None

    @property
    def disconnecting(self) -> bool:
        """Whether loseConnection has been called."""
        return bool(self._state & _DISCONNECTING)

    # ITransport

    def write(self, data: bytes) -> None:
        """Send, at once if nothing waits; nothing after the end.

        Raises:
            TypeError: the data is not bytes.
        """
        pending = self._pending
        if pending is not None:
            if data:
                pending.append(_unchanging(data))
                self._watch(self._state | WRITE)
            return
        state = self._state
        if state & _CLOSED:
            return
        try:
            sent = os.write(state >> _DESCRIPTOR_SHIFT, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._refused(error)
            return
        if sent != len(data):
            self._pending = deque((memoryview(_unchanging(data))[sent:],))
            self._watch(self._state | WRITE)
            if self._producer is not None:
                self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when everything has been sent; read no more.

        A producer that is paused, or is asked for each piece, may finish first: until it is unregistered. One
        that is not paused is not waited for, just as Twisted's own transport does it.
        """
        if self._state & _DISCONNECTING:
            return
        if self._pending is None:
            self._state |= _DISCONNECTING
            self.give_up(ConnectionDone())
        else:
            self._watch(self._state & ~READ | _DISCONNECTING)

    def abortConnection(self) -> None:
        """Close at once; the other end sees a reset."""
        if self._descriptor >= 0:
            bare.reset_when_closed(self._port.family, self._descriptor)
            self.give_up(ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """End our side when everything has been sent, as for loseConnection; the other end may go on."""
        if not self._state & _ENDED_WRITING:
            self._state |= _ENDS_WRITING
            self._close_if_done()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The other end; known after the connection has gone, too."""
        return bare.address(self._port.family, self._peer_host, self._state >> _PEER_PORT_SHIFT & _MAX_PORT)

    def getHost(self) -> IPv4Address | IPv6Address:
        """This end; "" and 0 after the connection has gone."""
        family = self._port.family
        return bare.address(family, "", 0) if self._descriptor < 0 else bare.local_address(family, self._descriptor)

    # ITCPTransport

    def getTcpNoDelay(self) -> bool:
        """Whether small writes leave at once; on from the start."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Switch Nagle's algorithm off or on; to say once more that it is to be off costs nothing."""
        if bool(enabled) == bool(self._state & _DELAYS):
            self._state ^= _DELAYS
            self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes an idle connection."""
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Switch the kernel's probes on or off."""
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer paused while bytes wait and resumed when none do; or asked for each piece.

        Raises:
            RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._state & _CLOSED:
            producer.stopProducing()
            return
        self._producer = producer
        if not streaming:
            self._state |= _PULLS
            if self._pending is None:
                self._pending = deque()
            producer.resumeProducing()
        elif self._pending is not None:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer; a loseConnection or loseWriteConnection that waited for it goes on."""
        self._producer = None
        if self._state & _PULLS:
            self._state &= ~_PULLS
            self._pending = self._pending or None
        self._close_if_done()

    # IPushProducer: our input, for protocols that cannot take it as fast as it comes

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._watch(self._state & ~READ)

    def resumeProducing(self) -> None:
        """Read again, unless there is nothing to come."""
        if not self._state & (_HEARD_END | _DISCONNECTING):
            self._watch(self._state | READ)

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # For the port

    def ready(self, events: int) -> None:
        """Take what the poll found.

        Args:
            events: a mask of EPOLL* bits.

        Raises:
            BaseException: whatever the protocol or the producer raised; the port gives the connection up.
        """
        if events & WRITE:
            self._send()
        state = self._state
        if state & _CLOSED:
            return
        if state & READ:
            if events & (READ | _BROKEN):
                self._receive()
        elif events & _BROKEN:
            if events & select.EPOLLERR or state & _PEER_GONE:
                self.give_up(ConnectionLost())
            elif state & (_HEARD_END | _DISCONNECTING):
                self.give_up(ConnectionDone())
            # Else reading is paused, and both sides have ended: what has come is read when it is resumed.

    def ended(self, reason: Failure) -> None:
        """The descriptor has been closed: tell producer and protocol."""
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        # BaseException, here and in the port, because a CancelledError must not end others' connections.
        try:
            if producer is not None:
                producer.stopProducing()
        except BaseException:
            self._log.failure("a producer could not be stopped")
        try:
            if protocol is not None:
                protocol.connectionLost(reason)
        except BaseException:
            self._log.failure("a protocol could not take the end of its connection")

    def give_up(self, reason: BaseException) -> None:
        """Close, whatever waits; the protocol is told later. Nothing, if that has been done."""
        self._pending = None
        descriptor = self._descriptor
        if descriptor >= 0:
            self._state |= _CLOSED
            self._port.bury(self, descriptor, Failure(reason))

    # Inside

    @property
    def _descriptor(self) -> int:
        """-1 after the end."""
        return -1 if self._state & _CLOSED else self._state >> _DESCRIPTOR_SHIFT

    def _receive(self) -> None:
        try:
            data = os.read(self._state >> _DESCRIPTOR_SHIFT, _SMALL_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.give_up(ConnectionLost(error.strerror))
            return
        protocol = self.protocol
        if protocol is None:
            return
        if data:
            protocol.dataReceived(data if len(data) < _SMALL_BYTES else data + self._rest())
        elif self._state & _PEER_GONE:
            self.give_up(ConnectionLost())
        elif IHalfCloseableProtocol.providedBy(protocol):
            self._watch(self._state & ~READ | _HEARD_END)
            protocol.readConnectionLost()
        else:
            self.give_up(ConnectionDone())

    def _rest(self) -> bytes:
        """What has arrived besides; nothing where there is an error: the poll will report that."""
        into = self._port.read_into
        try:
            return bytes(into[0][: os.readv(self._state >> _DESCRIPTOR_SHIFT, into)])
        except OSError:
            return b""

    def _send(self) -> None:
        """Send what waits, then ask for more, or close."""
        pending = self._pending
        if pending:
            try:
                sent = os.writev(self._descriptor, tuple(islice(pending, _MAX_BUFFERS)))
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(error)
                return
            while pending and sent >= len(pending[0]):
                sent -= len(pending.popleft())
            if pending:
                if sent:
                    pending[0] = memoryview(pending[0])[sent:]
                return
        if pending is not None:
            if not self._state & _PULLS:
                self._pending = None
            if self._producer is not None:
                self._producer.resumeProducing()
                if self._pending or self._state & _CLOSED:
                    return
        self._watch(self._state & ~WRITE)
        if pending is not None and self._producer is not None:
            return
        if self._state & _DISCONNECTING:
            self.give_up(ConnectionDone())
        elif self._state & _ENDS_WRITING:
            self._end_writing()

    def _end_writing(self) -> None:
        self._state = self._state & ~_ENDS_WRITING | _ENDED_WRITING
        bare.end_writing(self._port.family, self._descriptor)
        protocol = self.protocol
        if protocol is not None and IHalfCloseableProtocol.providedBy(protocol):
            protocol.writeConnectionLost()

    def _close_if_done(self) -> None:
        """Close, or end our side, if that has been asked for and nothing has to be waited for."""
        if self._pending is not None or self._state & _CLOSED:
            return
        if self._state & _DISCONNECTING:
            self.give_up(ConnectionDone())
        elif self._state & _ENDS_WRITING:
            self._watch(self._state | WRITE)  # the protocol may be told from the poll, but not from here

    def _refused(self, error: OSError) -> None:
        """The kernel does not take what is sent."""
        self._pending = None
        if self._state & _ENDED_WRITING and error.errno == EPIPE:
            self._watch(self._state & ~WRITE)  # it was asked for
        elif self._state & READ and error.errno in _PEER_LEFT:
            # What the peer had sent before it left is read first: the poll leads to the end soon enough.
            self._watch(self._state & ~WRITE | _PEER_GONE)
        else:
            self.give_up(ConnectionLost(error.strerror))

    def _watch(self, state: int) -> None:
        changed, self._state = self._state ^ state, state
        if changed & _POLLED and not state & _CLOSED:
            self._port.watch(state >> _DESCRIPTOR_SHIFT, state & _POLLED or _SILENT)

    def _option(self, level: int, name: int) -> bool:
        return self._descriptor >= 0 and bare.option(self._port.family, self._descriptor, level, name)

    def _set_option(self, level: int, name: int, enabled: bool) -> None:
        if self._descriptor >= 0:
            bare.set_option(self._port.family, self._descriptor, level, name, enabled)


def _unchanging(data: bytes) -> bytes:
    """Bytes that may be kept; what is like bytes but may change is copied."""
    return data if isinstance(data, bytes) else bytes(memoryview(data))
