"""An echo of messages made of the server's WebSocket code: what Autobahn's test suite asks questions of.

`python -m tests.protocols.websocket.echo 9001` listens; how the suite is run is in docs/protocol.md.
"""

import sys
from typing import Any, NamedTuple

from twisted.internet.endpoints import serverFromString

from push.protocols.websocket import forms, protocol
from push.protocols.websocket.forms import Kind
from push.protocols.websocket.inbound import Event, Inbound
from push.protocols.websocket.plugin import WebSocketFactory
from push.protocols.websocket.protocol import WebSocketProtocol
from push.testing.connections import make_connector

# The suite's largest message has 16 MiB, and it sends a thousand at once.
ROOMY = {
    "max_body_bytes": 16 << 20,
    "max_body_before_open_bytes": 16 << 20,
    "max_outbox_bytes": 64 << 20,
    "max_outbox_messages": 10_000,
    "max_node_outbox_bytes": 256 << 20,
}


class Echo(NamedTuple):
    """A whole message."""

    kind: Kind
    payload: bytes


class EchoInbound(Inbound):
    """Gives messages as they are, in place of frames of the session."""

    __slots__ = ()

    def _text(self, text: str) -> Any:
        return Echo(Kind.TEXT, text.encode())

    def _binary(self, data: bytes) -> Any:
        return Echo(Kind.BINARY, data)


class EchoProtocol(WebSocketProtocol):
    """Sends messages back."""

    __slots__ = ()

    def _take_event(self, event: Event | Echo) -> None:
        if isinstance(event, Echo):
            self._queue(forms.message(event.kind, event.payload), 1)
        else:
            super()._take_event(event)


class EchoFactory(WebSocketFactory):
    """For whatever listens."""

    def buildProtocol(self, addr: Any) -> EchoProtocol:
        """Build one."""
        return EchoProtocol(self._host)


def main() -> None:
    """Listen until killed."""
    from twisted.internet import reactor

    clock: Any = reactor
    connector, _, _ = make_connector(clock, **ROOMY)
    protocol.Inbound = EchoInbound  # type: ignore[misc]
    serverFromString(clock, f"lean:{sys.argv[1]}:interface=127.0.0.1").listen(EchoFactory(connector))
    clock.run()


if __name__ == "__main__":
    main()
