"""The process of a PushServer: says on standard output where it listens, and ends when its standard input does.

So it never outlives the tests, however they end. Part of what is composed: runs push.tap as twistd would.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.application.service import IServiceCollection
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogBeginner
from twisted.python import usage

from push import logs, tap
from push.services.listening import Listener
from push.testing.server import KEEP


class _Leash:
    """An IProtocol on standard input: when that ends, so does the server."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.data = b""

    def makeConnection(self, transport: object) -> None:
        """It begins."""

    def dataReceived(self, data: bytes) -> None:
        """Something is said."""
        self.data = (self.data + data)[: len(KEEP)]

    def connectionLost(self, reason: object) -> None:
        """Leave."""
        if self._reactor.running:
            self._reactor.stop()


def listeners(service: Any) -> Iterator[Listener]:
    """All listeners of a service, in the order in which they were put together."""
    if isinstance(service, Listener):
        yield service
    if IServiceCollection.providedBy(service):
        for child in service:
            yield from listeners(child)


def _report(service: Any) -> None:
    ports = [address.port for address in (each.address for each in listeners(service)) if address is not None]
    os.write(1, msgspec.json.encode(ports) + b"\n")


def main(directory: str, *arguments: str) -> None:
    """Run a server until standard input ends.

    Args:
        directory: of the server, removed at the end unless the input says otherwise.
        arguments: for `twistd push`.
    """
    from twisted.internet import reactor

    running: Any = reactor
    options = tap.Options()
    try:
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        sys.exit(f"push: {error}")
    globalLogBeginner.beginLoggingTo([logs.observer(sys.stderr, "text", "info")], redirectStandardIO=False)
    service = tap.makeService(options)
    service.privilegedStartService()
    service.startService()
    running.addSystemEventTrigger("before", "shutdown", service.stopService)
    leash = _Leash(running)
    StandardIO(leash)
    running.callWhenRunning(_report, service)
    running.run()
    if leash.data != KEEP:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
