"""A server of its own process with few descriptors: echoes over the lean endpoint, and prints what it logs as errors.

Arguments: how many descriptors it may have. Prints its port first. Ends when its standard input does.
"""

import resource
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import LogLevel, formatEvent, globalLogBeginner


class Echo(Protocol):
    """Sends back what comes."""

    def dataReceived(self, data: bytes) -> None:
        """Echo."""
        self.transport.write(data)


class Leash(Protocol):
    """Stops the reactor when standard input ends."""

    def connectionLost(self, reason: object = None) -> None:
        """Stop."""
        if reactor.running:
            reactor.stop()


def show(event: Any) -> None:
    """Print an error."""
    if event["log_level"] >= LogLevel.error:
        print("error:", formatEvent(event), flush=True)


def main() -> None:
    """Serve."""
    globalLogBeginner.beginLoggingTo([show], redirectStandardIO=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
    StandardIO(Leash())
    listening = serverFromString(reactor, "lean:0:interface=127.0.0.1").listen(Factory.forProtocol(Echo))
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))
    reactor.run()


if __name__ == "__main__":
    main()
