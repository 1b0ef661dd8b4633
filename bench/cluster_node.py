"""A connector in a process of its own, for cluster.py: with many sessions whose clients take everything at once.

Started by cluster.py, which says the rest on standard input. Sessions are real ones on transports that swallow what is
written, so that what is measured are the nodes and not the network of the machine.
"""

import json
import sys
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IConsumer, ITransport
from zope.interface import implementer

from push.bus_roles import build_reception
from push.config import Config
from push.connecting import connection_limits
from push.protocols.framed import FramedFactory
from push.protocols.peer.asking import Asking
from push.protocols.peer.connector_door import ConnectorDoor
from push.protocols.peer.hearing import Hearing
from push.protocols.peer.joining import join
from push.protocols.peer.remote_cache import RemoteCache
from push.protocols.peer.remote_subscribe import RemoteSubscribe
from push.protocols.wire.frames import encode
from push.protocols.wire.signals import Signal
from push.services.connector import Connector
from push.services.probe import Probe
from push.stores.redis.address import parse_address
from push.stores.redis.bus import BroadcastBus
from push.stores.redis.client import Redis

reactor: Any = _reactor


@implementer(ITransport, IConsumer)
class Nowhere:
    """A transport that swallows everything, and counts the writes."""

    writes = 0
    disconnecting = False

    def write(self, data: bytes) -> None:
        Nowhere.writes += 1

    def writeSequence(self, data: Any) -> None:
        Nowhere.writes += 1

    def loseConnection(self) -> None:
        """Nobody closes here."""

    abortConnection = loseWriteConnection = loseConnection

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Nothing ever piles up here."""

    def unregisterProducer(self) -> None:
        """See registerProducer."""


class Measured:
    """What this process has used, for the parent."""

    def samples(self) -> Any:
        """CPU seconds and writes."""
        from push.model_health import Sample

        yield Sample("bench_cpu_seconds", "counter", "Of this process.", time.process_time())
        yield Sample("bench_writes", "counter", "To clients.", Nowhere.writes)


async def run(task: dict[str, Any]) -> None:
    """Join, listen to the bus, open sessions, say so, and serve until the end of standard input."""
    config = Config(max_connections_per_address=1_000_000, max_subs_per_s=1e9, max_outbox_messages=100_000)
    asking = Asking()
    cache = RemoteCache(asking)
    subscribe = RemoteSubscribe(task["name"], asking, opened=cache.opened)
    connector = Connector(
        address=task["name"],
        limits=connection_limits(config, 2_000_000),
        subscribe=subscribe,
        cache=cache,
        clock=reactor,
        now_ms=lambda: time.time_ns() // 1_000_000,
        version="bench",
    )
    probe = Probe(connector=connector, subscribe=subscribe, protocol=FramedFactory, clock=reactor)
    door = ConnectorDoor(
        name=task["name"],
        connector=connector,
        probe=probe,
        asking=asking,
        measured=[connector, Measured()],
        max_payload_bytes=config.max_body_bytes,
    )
    endpoint = UNIXClientEndpoint(reactor, task["path"])
    link = await join(endpoint, name=task["name"], secret=task["secret"], door=door, clock=reactor)
    asking.attach(link)
    hearing = Hearing()
    hearing.attach(link)
    redis = Redis(parse_address(task["redis"]), reactor=reactor)
    redis.start()
    build_reception(config, BroadcastBus(redis), connector=connector, hearing=hearing, reactor=reactor).startService()
    factory = FramedFactory(connector)
    for number in range(task["sessions"]):
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        protocol.makeConnection(Nowhere())
        protocol.dataReceived(encode(Signal.SUB, b'{"token":"%s-%d"}' % (task["prefix"].encode(), number)))
        if number % 200 == 199:
            await pause(0.01)
    while connector.connections.sessions < task["sessions"]:
        await pause(0.05)
    await link.call("ready")


def pause(seconds: float) -> "Deferred[None]":
    """Fires after some seconds."""
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


def main() -> None:
    """Do what standard input says, until it ends."""
    task = json.loads(sys.stdin.readline())
    running = Deferred.fromCoroutine(run(task))
    running.addErrback(lambda failure: (failure.printTraceback(), reactor.stop()))
    reactor.callInThread(lambda: (sys.stdin.read(), reactor.callFromThread(reactor.stop)))
    reactor.run()


if __name__ == "__main__":
    main()
