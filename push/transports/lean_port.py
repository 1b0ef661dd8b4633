"""The listening side of the lean endpoint: a poll set of its own, which the reactor sees as one descriptor.

The reactor, whichever it is, polls one epoll descriptor; behind it are the listening socket and all of its
connections. A descriptor is closed only after the events of its turn have been handled, so that no event
meant for it can reach a connection that has been given the same number.
"""

import os
import select
import socket
import sys
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocol, IProtocolFactory, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from push.transports import descriptor as bare
from push.transports.lean_connection import READ, LeanConnection

# How many connections are served, and how many accepted, before the reactor's other work has its turn.
MAX_EVENTS = 512
MAX_ACCEPTS = 64
READ_BYTES = 65_536
# How long no connection is accepted after the process, or the machine, has run out of something.
EXHAUSTED_PAUSE_S = 0.5
# ENOSPC: epoll's limit on watched descriptors (fs.epoll.max_user_watches).
_EXHAUSTED = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC})


@implementer(IListeningPort, IReadDescriptor)
class LeanPort:
    """Listens, and polls for the connections that it has accepted.

    Args:
        reactor: an IReactorFDSet and IReactorTime.
        port: TCP port, 0 for any that is free.
        factory: builds the protocols.
        interface: address to listen on, "" for all of IPv4; one with a colon is IPv6.
        backlog: how many connections may wait to be accepted.
        reuse_port: share the port with other processes (SO_REUSEPORT).
        send_buffer_bytes: what the kernel may hold of what is sent to one connection; 0 leaves it to the kernel.

    Attributes:
        family: of its sockets.
        read_into: what is read goes here first; shared by all connections.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        port: int,
        factory: IProtocolFactory,
        *,
        interface: str = "",
        backlog: int = 1024,
        reuse_port: bool = False,
        send_buffer_bytes: int = 0,
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._factory = factory
        self._interface = interface
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._send_buffer_bytes = send_buffer_bytes
        self.family: int = socket.AF_INET6 if ":" in interface else socket.AF_INET
        self.read_into: list[memoryview] = [memoryview(bytearray(READ_BYTES))]
        self._epoll: select.epoll | None = None
        self._socket: bare.ListeningSocket | None = None
        # By descriptor: these numbers are small and dense, so a list costs 8 bytes each.
        self._connections: list[LeanConnection | None] = []
        self._count = 0
        self._buried: list[tuple[LeanConnection, int, Failure]] = []
        self._will_close_buried = False
        self._is_exhausted = False
        self._retry: IDelayedCall | None = None

    # IListeningPort

    def startListening(self) -> None:
        """Begin to accept.

        Raises:
            CannotListenError: the address cannot be had.
        """
        listening = bare.ListeningSocket(self.family, socket.SOCK_STREAM)
        try:
            self._bind(listening)
            epoll = self._epoll or select.epoll()
            epoll.register(listening, select.EPOLLIN)
        except (OSError, OverflowError, ValueError) as error:
            listening.close()
            raise CannotListenError(self._interface, self._port, error) from None
        self._socket = listening
        if self._epoll is None:
            self._epoll = epoll
            self._reactor.addReader(self)
        self._factory.doStart()

    def stopListening(self) -> "Deferred[None]":
        """Accept no more; connections live on. Fires when the port is free, which is at once."""
        listening, self._socket = self._socket, None
        if listening is not None and self._epoll is not None:
            retry, self._retry = self._retry, None
            if retry is not None:
                retry.cancel()
            self._epoll.unregister(listening)
            listening.close()
            self._close_if_unused()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it listens."""
        if self._socket is None:
            return bare.address(self.family, self._interface, self._port)
        return bare.local_address(self.family, self._socket.fileno())

    # IReadDescriptor

    def fileno(self) -> int:
        """The poll set, which is itself readable when something in it is ready."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """How log lines are headed."""
        return "lean"

    def doRead(self) -> None:
        """Serve what is ready, each connection once; what is left is reported again next turn."""
        if self._epoll is None:
            return
        connections = self._connections
        listening = -1 if self._socket is None else self._socket.fileno()
        self._will_close_buried = True
        for descriptor, events in self._epoll.poll(0, MAX_EVENTS):
            if descriptor == listening:
                self._accept()
                continue
            connection = connections[descriptor]
            if connection is not None:
                try:
                    connection.ready(events)
                except BaseException as error:
                    self._log.failure("a protocol raised; its connection is closed")
                    connection.give_up(error)
        self._close_buried()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops: so does everything here."""
        self.stopListening()
        self._will_close_buried = True
        for connection in self._connections:
            if connection is not None:
                connection.give_up(reason.value or ConnectionLost())
        self._close_buried()

    # For connections

    def watch(self, descriptor: int, interest: int) -> None:
        """Change what a descriptor is polled for."""
        if self._epoll is not None:
            self._epoll.modify(descriptor, interest)

    def bury(self, connection: LeanConnection, descriptor: int, reason: Failure) -> None:
        """Close the descriptor and tell the protocol, soon but not now."""
        self._connections[descriptor] = None
        self._buried.append((connection, descriptor, reason))
        if not self._will_close_buried:
            self._will_close_buried = True
            self._reactor.callLater(0, self._close_buried)

    # Inside

    def _bind(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Inherited by what is accepted (Linux): one call less for each connection.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._send_buffer_bytes:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
        found = socket.getaddrinfo(self._interface or None, 0, self.family, flags=socket.AI_PASSIVE)
        host, _, *zone = found[0][4]
        listening.bind((host, self._port, *zone))
        listening.listen(self._backlog)

    def _accept(self) -> None:
        listening, epoll = self._socket, self._epoll
        for _ in range(MAX_ACCEPTS):
            if listening is None or epoll is None or self._socket is not listening or self._retry is not None:
                return
            try:
                descriptor, host, port = listening.accept_descriptor()
            except BlockingIOError:
                self._is_exhausted = False
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error)
                continue  # this one has gone again; the next may be there
            try:
                epoll.register(descriptor, READ)
            except OSError as error:
                os.close(descriptor)
                self._rest(error)
                continue
            self._serve(descriptor, host, port)

    def _serve(self, descriptor: int, host: str, port: int) -> None:
        self._count += 1  # from here on the poll set stays, even if the factory stops the listening
        host = sys.intern(host)  # thousands of connections come from few addresses: all who keep it share the text
        protocol = self._build(host, port)
        if protocol is None:
            self._count -= 1
            self._close(descriptor)
            return
        connection = LeanConnection(self, descriptor, host, port)
        connections = self._connections
        while len(connections) <= descriptor:
            connections.append(None)
        connections[descriptor] = connection
        connection.protocol = protocol
        try:
            protocol.makeConnection(connection)
        except BaseException as error:
            self._log.failure("a protocol could not take its connection")
            connection.give_up(error)

    def _build(self, host: str, port: int) -> IProtocol | None:
        try:
            return self._factory.buildProtocol(bare.address(self.family, host, port))
        except BaseException:
            self._log.failure("a factory could not build a protocol")
            return None

    def _rest(self, error: OSError) -> None:
        """Out of descriptors or memory: those who wait are accepted when there is room again."""
        if self._socket is None or self._epoll is None:
            return
        if not self._is_exhausted:
            self._log.error("cannot accept connections now: {reason}", reason=error.strerror)
            self._is_exhausted = True
        self._epoll.modify(self._socket, 0)
        self._retry = self._reactor.callLater(EXHAUSTED_PAUSE_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self._socket is not None and self._epoll is not None:
            self._epoll.modify(self._socket, select.EPOLLIN)

    def _close_buried(self) -> None:
        while self._buried:
            buried, self._buried = self._buried, []
            for connection, descriptor, reason in buried:
                self._close(descriptor)
                self._count -= 1
                connection.ended(reason)
        self._will_close_buried = False
        self._close_if_unused()

    def _close(self, descriptor: int) -> None:
        if self._epoll is not None:
            # Closing would do, were there no child process that holds a copy for a while.
            self._epoll.unregister(descriptor)
        os.close(descriptor)

    def _close_if_unused(self) -> None:
        epoll = self._epoll
        if epoll is not None and self._socket is None and self._count == 0:
            self._reactor.removeReader(self)
            self._epoll = None
            epoll.close()
