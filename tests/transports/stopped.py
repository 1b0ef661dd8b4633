"""Connects a few clients to a lean server, stops the reactor, and prints one line for each protocol that was told.

Argument: which reactor, as for on_reactor.py.
"""

import socket
import sys

from tests.transports.on_reactor import install


def main() -> None:
    """Connect, stop."""
    install(sys.argv[1])
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString
    from twisted.internet.protocol import Factory, Protocol
    from twisted.python.failure import Failure

    class Last(Protocol):
        """Prints its end."""

        connected_number = 0

        def connectionMade(self) -> None:
            """Stop when all are here."""
            Last.connected_number += 1
            if Last.connected_number == len(clients):
                reactor.callLater(0, reactor.stop)

        def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
            """Say so."""
            print("lost:", reason.type.__name__)

    clients: list[socket.socket] = []
    factory = Factory.forProtocol(Last)
    listening = serverFromString(reactor, "lean:0:interface=127.0.0.1").listen(factory)
    ports: list[object] = []
    listening.addCallback(ports.append)
    for _ in range(5):
        clients.append(socket.create_connection(("127.0.0.1", ports[0].getHost().port)))  # type: ignore[attr-defined]
    reactor.run()
    print("stopped")


if __name__ == "__main__":
    main()
