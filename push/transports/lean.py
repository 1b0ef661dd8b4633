"""The lean endpoint: `lean:6789` in place of `tcp:6789`, on Linux, for servers of very many connections.

The same bytes, the same ITransport, about half the cost of a send and a fraction of the memory; see
docs/performance.md. Connections come from lean_connection.py, the poll set from lean_port.py.
"""

import select
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorFDSet,
    IReactorTime,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

# Without epoll (macOS, BSD) the stock transport has to do.
IS_AVAILABLE = hasattr(select, "epoll")
# What Linux holds for a client that reads nothing grows beyond 2 MB, which no outbox counts: a thousand of them held
# 1.6 GB and tripled the others' p99. With 64 KB they hold 0.2 GB and nobody notices; nothing got slower (2026-11-23).
SEND_BUFFER_BYTES = 65_536


@implementer(IStreamServerEndpoint)
class LeanServerEndpoint:
    """Listens with lean connections.

    Args:
        reactor: an IReactorFDSet and IReactorTime; any of Twisted's will do.
        port: TCP port, 0 for any that is free.
        interface: address to listen on, "" for all of IPv4; one with a colon is IPv6.
        backlog: how many connections may wait to be accepted.
        reuse_port: share the port with other processes.
        send_buffer_bytes: what the kernel may hold of what is sent to one connection; 0 leaves it to the kernel.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        *,
        interface: str = "",
        backlog: int = 1024,
        reuse_port: bool = False,
        send_buffer_bytes: int = SEND_BUFFER_BYTES,
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._interface = interface
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._send_buffer_bytes = send_buffer_bytes

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """Begin to listen.

        Returns:
            Fires at once with the port, or fails with CannotListenError.
        """
        from push.transports.lean_port import LeanPort

        port = LeanPort(
            self._reactor,
            self._port,
            protocolFactory,
            interface=self._interface,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
            send_buffer_bytes=self._send_buffer_bytes,
        )
        try:
            port.startListening()
        except Exception:
            return fail()
        return succeed(port)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class LeanParser:
    """Reads `lean:PORT[:interface=ADDRESS][:backlog=N][:reusePort=1][:sendBuffer=BYTES]`."""

    prefix = "lean"

    def parseStreamServer(  # type: ignore[override]  # each parser has arguments of its own
        self,
        reactor: Any,
        port: str = "",
        interface: str = "",
        backlog: str = "1024",
        reusePort: str = "0",
        sendBuffer: str = str(SEND_BUFFER_BYTES),
    ) -> IStreamServerEndpoint:
        """Build the endpoint that a description means.

        Returns:
            A lean one; where the system has no epoll, or the reactor polls no descriptors, Twisted's own for TCP.

        Raises:
            ValueError: a part of the description is wrong.
        """
        number = _number(port, "the port", 0, 65535)
        waiting = _number(backlog, "backlog", 1, 2**31 - 1)
        reuse_port = bool(_number(reusePort, "reusePort", 0, 1))
        send_buffer_bytes = _number(sendBuffer, "sendBuffer", 0, 2**30)
        if IS_AVAILABLE and IReactorFDSet.providedBy(reactor) and IReactorTime.providedBy(reactor):
            return LeanServerEndpoint(
                reactor,
                number,
                interface=interface,
                backlog=waiting,
                reuse_port=reuse_port,
                send_buffer_bytes=send_buffer_bytes,
            )
        if reuse_port:
            raise ValueError("lean: reusePort needs Linux")
        # Imported here: twistd reads this module at every start, whatever it runs.
        from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint

        kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
        return kind(reactor, number, waiting, interface)


def _number(text: str, what: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    raise ValueError(f"lean: {what} must be a number from {least} to {most}, not {text or 'nothing'}")
