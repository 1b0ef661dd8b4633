"""The rules of the session, kept by every wire protocol that there is, and missed where one breaks them."""

from twisted.trial.unittest import SynchronousTestCase

from push.ipush import IWireProtocol
from push.protocols.framed import FramedWireProtocol
from push.protocols.websocket.forms import Kind
from push.protocols.websocket.plugin import WebSocketWireProtocol
from push.testing.dialects import Dialect, FramedDialect, WebSocketDialect
from push.testing.limit_rules import LimitRules
from push.testing.session_rules import SessionRules


class FramedRules(SessionRules, LimitRules, SynchronousTestCase):
    """The framed protocol."""

    def make_wire(self) -> IWireProtocol:
        """The plug-in."""
        return FramedWireProtocol()

    def make_dialect(self) -> Dialect:
        """Its client."""
        return FramedDialect()


class WebSocketTextRules(SessionRules, LimitRules, SynchronousTestCase):
    """JSON text over WebSocket."""

    def make_wire(self) -> IWireProtocol:
        """The plug-in."""
        return WebSocketWireProtocol()

    def make_dialect(self) -> Dialect:
        """Its client."""
        return WebSocketDialect(Kind.TEXT)


class WebSocketBinaryRules(WebSocketTextRules):
    """Frames over WebSocket."""

    def make_dialect(self) -> Dialect:
        """Its client, which asks for the subprotocol: nothing it sends before its SUB says what it speaks."""
        return WebSocketDialect(Kind.BINARY, asks=True)
