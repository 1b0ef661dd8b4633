"""What a router of a cluster costs: unicasts in batches to a connector elsewhere, broadcasts to three connectors.

    .venv/bin/python bench/cluster.py [--sessions 3000] [--seconds 3] [--json FILE]

The router, with its look-ups in Redis, in this process; three connectors in processes of their own, linked by
Perspective Broker; a real redis-server. Messages carry 128 bytes and are for clients that do not acknowledge, so
nothing is kept; receipts are told as to another node. CPU time is that of this process, and says more than the time on
a machine with few cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from push.model import PushRequest, PushResult, Registration, ToAll, ToTokens
from push.model_cache import CacheLimits
from push.protocols.peer.asking import Asking
from push.protocols.peer.asks import Ask
from push.protocols.peer.avatar import Arrival, NodeAvatar
from push.protocols.peer.envelopes import encode
from push.protocols.peer.login import OneTimeSecrets, PeerServerFactory, Realm
from push.protocols.peer.place import MeetingPlace
from push.protocols.peer.remote_receipts import RemoteReceipts
from push.protocols.peer.sessions import Sessions
from push.protocols.wire.frames import encode as frame
from push.protocols.wire.signals import Signal
from push.services.broadcasting import EachByItself, OverBus
from push.services.cache.cache import Cache
from push.services.client_auth import OpenDoor
from push.services.cluster_subscribe import ClusterSubscribe
from push.services.ids import MessageIds
from push.services.router import Router
from push.stores.redis.address import parse_address
from push.stores.redis.bus import BroadcastBus
from push.stores.redis.client import Redis
from push.stores.redis.sessions import SessionDirectory
from push.stores.redis.tokens import TokenStore
from push.tap import tune_collector
from tests.fakes_cache import MemoryReceipts
from tests.fakes_store import MemoryCacheStore
from tests.redis_server import RedisServer

reactor: Any = _reactor
CONNECTORS = 3
PAYLOAD_BYTES = 128
# Messages under way in all, however they are divided into calls.
UNDER_WAY = 4_096
BATCHES = (1, 16, 256)
BROADCAST_BYTES = (128, 16_384)
_NODE = Path(__file__).with_name("cluster_node.py")


class Nodes:
    """INodes: the connectors that have joined."""

    def __init__(self) -> None:
        self.up: dict[str, Any] = {}

    def connectors(self) -> dict[str, Any]:
        """See INodes."""
        return self.up


class Elsewhere(Asking):
    """The questions to a node with the cache: they are written as they would be, and the network is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_bytes = 0

    async def ask(self, wish: Any, answer: Any) -> Any:
        """See Asking."""
        self.asked_bytes += len(frame(Signal.SUB, encode(Ask(1, wish))))


class Bench:
    """The router, and what it needs."""

    def __init__(self, sessions: int, directory: Path) -> None:
        self.sessions = sessions
        self.server = RedisServer()
        self.redis = Redis(parse_address(self.server.url), reactor=reactor)
        self.redis.start()
        self.nodes = Nodes()
        self.ready: set[str] = set()
        self.children: list[subprocess.Popen[bytes]] = []
        self.subscribe = ClusterSubscribe(
            store=TokenStore(self.redis),
            directory=SessionDirectory(self.redis),
            authenticator=OpenDoor(),
            now_ms=now_ms,
            clock=reactor,
            is_alive=lambda name: name in self.nodes.up,
            replaced=self.replaced,
        )
        self.cache = Cache(
            store=MemoryCacheStore(),
            receipts=MemoryReceipts(),
            subscribe=self.subscribe,
            clock=reactor,
            now_ms=now_ms,
            limits=CacheLimits(),
            is_shared=True,
        )
        self.cache.startService()
        self.secrets = OneTimeSecrets()
        factory = PeerServerFactory(Realm(self.avatar), self.secrets, clock=reactor)
        self.place = MeetingPlace(directory / "run", factory, reactor=reactor)
        self.place.open()
        self.bus = BroadcastBus(self.redis)

    def replaced(self, registration: Registration) -> None:
        """Nobody moves here."""

    def avatar(self, name: str, mind: Any) -> NodeAvatar:
        """What a connector may call."""
        return NodeAvatar(
            name,
            mind,
            answers=Sessions(name, self.subscribe, self.cache),
            clock=reactor,
            max_waiting_bytes=1 << 28,
            arrived=self.arrived,
            ready=self.ready.add,
        )

    def arrived(self, arrival: Arrival) -> None:
        """A connector has joined."""
        self.nodes.up[arrival.link.name] = arrival.connector

    def start(self, number: int) -> None:
        """Start a connector."""
        name = f"127.0.0.{number + 1}:6789"
        child = subprocess.Popen([sys.executable, str(_NODE)], stdin=subprocess.PIPE)
        self.children.append(child)
        task = {
            "name": name,
            "secret": self.secrets.issue(name),
            "path": str(self.place.path),
            "redis": self.server.url,
            "sessions": self.sessions // CONNECTORS,
            "prefix": f"t{number}",
        }
        assert child.stdin is not None
        child.stdin.write(json.dumps(task).encode() + b"\n")
        child.stdin.flush()

    def router(self, broadcasting: Any) -> Router:
        """A router."""
        ids = MessageIds(node=1, now_ms=now_ms)
        ids.is_ready = True
        return Router(
            subscribe=self.subscribe,
            nodes=self.nodes,
            cache=self.cache,
            receipts=RemoteReceipts(Elsewhere(), clock=reactor),
            ids=ids,
            broadcasting=broadcasting,
        )

    async def stop(self) -> None:
        """End everything."""
        for child in self.children:
            assert child.stdin is not None
            child.stdin.close()  # which is how it is told to end
            child.wait()
        await self.place.close()
        await self.redis.stop()
        self.server.remove()


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def pause(seconds: float) -> "Deferred[None]":
    """Fires after some seconds."""
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


async def drive(router: Router, batch: Callable[[], list[PushRequest]], window: int, seconds: float) -> dict[str, Any]:
    """Push batches for a while, so many calls at a time; what a message cost."""
    slots = DeferredSemaphore(window)
    messages = sent = 0
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    calls: list[Deferred[None]] = []

    async def one(requests: list[PushRequest]) -> None:
        nonlocal messages, sent
        results = await router.push(requests)
        messages += len(requests)
        for result in results:
            if not isinstance(result, PushResult):
                raise result
            sent += result.sent

    while time.monotonic() - began_s < seconds:
        await slots.acquire()
        call = Deferred.fromCoroutine(one(batch()))
        call.addBoth(lambda result: (slots.release(), result)[1])
        calls.append(call)
        if not len(calls) % 16:
            await pause(0)
    await gatherResults(calls, consumeErrors=True)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return {
        "messages_per_s": round(messages / took_s),
        "deliveries_per_s": round(sent / took_s),
        "router_us_a_message": round(cpu_s / messages * 1e6, 2),
        "messages_per_core_s": round(messages / cpu_s),
        "sent_of": [sent, messages],
    }


async def measure(bench: Bench, seconds: float) -> dict[str, Any]:
    """All of it."""
    for number in range(CONNECTORS):
        bench.start(number)
    tune_collector()  # as every node does
    while len(bench.ready) < CONNECTORS or not all(each.hears for each in bench.nodes.up.values()):
        await pause(0.05)
    tokens = [f"t{number % CONNECTORS}-{number // CONNECTORS}" for number in range(bench.sessions)]
    payload = bytes(PAYLOAD_BYTES)
    requests = [PushRequest(ToTokens((token,), True), payload) for token in tokens]
    found: dict[str, Any] = {"sessions": bench.sessions}
    router = bench.router(None)
    for size in BATCHES:
        at = 0

        def batch(size: int = size) -> list[PushRequest]:
            nonlocal at
            at = (at + size) % (len(requests) - size)
            return requests[at : at + size]

        await drive(router, batch, UNDER_WAY // size, seconds / 3)  # warm
        found[f"unicast, batches of {size}"] = await drive(router, batch, UNDER_WAY // size, seconds)
    for size in BROADCAST_BYTES:
        for name, way in (("links", EachByItself()), ("bus", OverBus(bench.bus, clock=reactor))):
            router = bench.router(way)
            everybody = [PushRequest(ToAll(), bytes(size))]
            before = [await cpu_s(each) for each in bench.nodes.up.values()]
            result = await drive(router, lambda everybody=everybody: everybody, 16, seconds)  # type: ignore[misc]
            after = [await cpu_s(each) for each in bench.nodes.up.values()]
            spent_s = sum(after) - sum(before)
            result["connector_us_a_delivery"] = round(spent_s / result["sent_of"][0] * 1e6, 3)
            found[f"broadcast of {size} bytes over {name}"] = result
    return found


async def cpu_s(connector: Any) -> float:
    """What a connector's process has used."""
    return next(float(each.value) for each in await connector.samples() if each.name == "bench_cpu_seconds")


async def run(arguments: argparse.Namespace, directory: Path) -> None:
    """Measure, and say what was found."""
    bench = Bench(arguments.sessions, directory)
    try:
        found = await measure(bench, arguments.seconds)
        for name, value in found.items():
            print(f"{name}: {value}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1))
    finally:
        await bench.stop()


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=3_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="push-bench-") as directory:
        running = Deferred.fromCoroutine(run(arguments, Path(directory)))
        failed: list[Any] = []
        running.addErrback(failed.append)
        running.addBoth(lambda _: reactor.stop())
        reactor.run()
    if failed:
        failed[0].printTraceback()
        sys.exit(1)


if __name__ == "__main__":
    main()
