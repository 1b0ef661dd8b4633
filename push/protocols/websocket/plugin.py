"""The plug-in of WebSocket: a factory for whatever listens, and the way in from HTTP.

Must not import services, stores or web.
"""

from collections.abc import Iterable

from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import implementer

from push.ipush import IConnectionHost, IWireProtocol
from push.iupgrade import IUpgrade
from push.protocols.websocket.inbound import Inbound
from push.protocols.websocket.protocol import WebSocketProtocol
from push.protocols.websocket.upgrade import accept


@implementer(IProtocolFactory)
class WebSocketFactory:
    """Builds WebSocketProtocols for one host."""

    noisy = False

    def __init__(self, host: IConnectionHost) -> None:
        self._host = host

    def buildProtocol(self, addr: IAddress) -> WebSocketProtocol:
        """Build one; whether it is welcome is decided when it is connected."""
        return WebSocketProtocol(self._host)

    def doStart(self) -> None:
        """Nothing to prepare."""

    def doStop(self) -> None:
        """Nothing to release."""


@implementer(IWireProtocol)
class WebSocketWireProtocol:
    """The plug-in that `--listen websocket=ENDPOINT` names."""

    name = "websocket"

    def factory(self, host: IConnectionHost) -> WebSocketFactory:
        """See IWireProtocol."""
        return WebSocketFactory(host)


@implementer(IUpgrade)
class WebSocketUpgrade:
    """The way from an HTTP connection to a session.

    Args:
        host: the connector.
    """

    def __init__(self, host: IConnectionHost) -> None:
        self._host = host

    def upgrade(
        self, method: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[bytes, WebSocketProtocol]:
        """See IUpgrade."""
        limits = self._host.limits
        accepted = accept(method, version, headers, origins=limits.allowed_origins)
        inbound = Inbound(limits.max_body_before_open_bytes, accepted.kind)
        return accepted.response, WebSocketProtocol(self._host, inbound)
