"""Long NDJSON streams over real sockets: memory, pressure both ways, and clients that go away."""

import json
import socket
import struct
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import PushError
from push.ipush import IRouter
from push.model import PushRequest, PushResult
from tests.web.fakes import World, replies, request_bytes
from tests.web.test_stream import CHUNKED, END, HEAD, chunk

reactor: Any = _reactor
T = TypeVar("T")

# In small what 8 MiB and 200 MB are: the stream is eighty times as long as a body may be.
MAX_BODY_BYTES = 64 * 1024
STREAM_BYTES = 5 * 1024 * 1024
FILLING = "x" * 900
PART_LINES = 50


@implementer(IRouter)
class CountingRouter:
    """Accepts everything, keeps nothing, and notices what comes out of its order.

    Args:
        takes_long: answer after a turn of the reactor only.
    """

    def __init__(self, *, takes_long: bool) -> None:
        self.takes_long = takes_long
        self.number = 0
        self.in_order = True
        self.in_flight = 0
        self.most_in_flight = 0

    def push(self, requests: Sequence[PushRequest]) -> Awaitable[Sequence[PushResult | PushError]]:
        """Accept."""
        results: list[PushResult | PushError] = []
        for request in requests:
            self.in_order &= request.payload.startswith(b"%d " % self.number)
            self.number += 1
            results.append(PushResult(self.number, 1, 1))
        if not self.takes_long:
            return succeed(results)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return deferLater(reactor, 0.002, self._done, results)

    def _done(self, results: list[PushResult | PushError]) -> list[PushResult | PushError]:
        self.in_flight -= 1
        return results


def entry(number: int) -> bytes:
    """A numbered line of about 1 kB."""
    return json.dumps({"target": {"token": "a"}, "message": {"data": f"{number} {FILLING}"}}).encode() + b"\n"


def parts(count: int) -> Iterator[bytes]:
    """So many lines, some at a time, made when they are asked for."""
    for first in range(0, count, PART_LINES):
        yield b"".join(entry(number) for number in range(first, min(count, first + PART_LINES)))


class Reading(threading.Thread):
    """Reads an answer to its end, counting instead of keeping."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.results = 0
        self.last = b""
        self.start()

    def run(self) -> None:
        """Read until the last chunk, or the end."""
        while not self.last.endswith(b"\r\n" + END):
            data = self.connection.recv(65_536)
            if not data:
                return
            # A result may be cut before its newline.
            self.results += data.count(b"}\n") + (self.last.endswith(b"}") and data.startswith(b"\n"))
            self.last = (self.last + data)[-16:]


class StreamSocketTests(TestCase):
    """Against a site that listens."""

    timeout = 60

    def setUp(self) -> None:
        self.world = World(
            clock=reactor, settings={"max_body_bytes": MAX_BODY_BYTES, "max_batch": 100, "request_timeout_s": 20.0}
        )
        self.port = reactor.listenTCP(0, self.world.site, interface="127.0.0.1")
        self.addCleanup(self.world.site.stop, 1.0)
        self.addCleanup(self.port.stopListening)

    def route(self, *, takes_long: bool) -> CountingRouter:
        """Put a counting router behind the API."""
        router = CountingRouter(takes_long=takes_long)
        verifyObject(IRouter, router)
        self.world.router.push = router.push  # type: ignore[method-assign]
        return router

    def talk(self, client: Callable[[socket.socket], T]) -> "Deferred[T]":
        def run() -> T:
            with socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=30) as connection:
                return client(connection)

        return deferToThread(run)

    async def when(self, condition: Callable[[], bool]) -> None:
        """Wait for something that must come true."""
        while not condition():
            await deferLater(reactor, 0.01)

    async def peak_of_a_long_stream(self, router: CountingRouter) -> int:
        """Send and read a long stream; all must be right. Returns the most memory that was allocated, in bytes."""
        count = STREAM_BYTES // len(entry(0))

        def client(connection: socket.socket) -> int:
            connection.sendall(CHUNKED)
            reading = Reading(connection)
            for part in parts(count):
                connection.sendall(chunk(part))
            connection.sendall(END)
            reading.join()
            return reading.results

        tracemalloc.start()
        try:
            results = await self.talk(client)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual((results, router.number, router.in_order), (count, count, True))
        self.assertLessEqual(router.most_in_flight, 1)
        return peak_bytes

    async def test_a_long_stream_takes_little_memory(self) -> None:
        peak_bytes = await self.peak_of_a_long_stream(self.route(takes_long=False))
        self.assertLess(peak_bytes, STREAM_BYTES // 4)

    async def test_a_long_stream_to_a_slow_router_takes_little_memory(self) -> None:
        peak_bytes = await self.peak_of_a_long_stream(self.route(takes_long=True))
        self.assertLess(peak_bytes, STREAM_BYTES // 4)

    async def test_a_client_that_does_not_read_stops_the_server_and_then_gets_everything(self) -> None:
        may_read = threading.Event()
        count = 40_000

        def client(connection: socket.socket) -> int:
            connection.sendall(CHUNKED + chunk(b"{}\n" * count) + END)
            may_read.wait()
            reading = Reading(connection)
            reading.join()
            return reading.results

        tracemalloc.start()
        try:
            talking = self.talk(client)
            await self.when(lambda: any(request.stream.waits_for_room for request in self.requests()))
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            may_read.set()
        # The whole answer has 11 MB.
        self.assertLess(peak_bytes, 4_000_000)
        self.assertEqual(await talking, count)

    async def test_each_result_comes_before_the_next_line_is_sent_and_the_connection_is_kept(self) -> None:
        router = self.route(takes_long=True)

        def client(connection: socket.socket) -> tuple[int, bytes]:
            file = connection.makefile("rb")
            connection.sendall(CHUNKED)
            for number in range(20):
                for part in (entry(number)[:500], entry(number)[500:]):
                    connection.sendall(chunk(part))
                if number == 0:
                    while file.readline() != b"\r\n":
                        pass
                size = int(file.readline(), 16)
                self.assertTrue(file.read(size).startswith(b'{"id":"%d"' % (number + 1)))
                file.readline()
            connection.sendall(END)
            ending = file.read(len(END))
            connection.sendall(request_bytes("GET", "/healthz", None, {"Connection": "close"}))
            return len(ending), file.read()

        ending, rest = await self.talk(client)
        self.assertEqual((ending, [reply.status for reply in replies(rest)]), (len(END), [200]))
        self.assertEqual((router.number, router.in_order), (20, True))

    async def test_a_client_that_resets_the_connection_in_the_middle_leaves_no_trace(self) -> None:
        router = self.route(takes_long=True)

        def client(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(CHUNKED)
            for part in parts(1_000):
                connection.sendall(chunk(part))
            connection.recv(1_000)

        await self.gone_after(client, router)

    async def test_a_client_that_ends_in_mid_line_leaves_no_trace(self) -> None:
        router = self.route(takes_long=False)

        def client(connection: socket.socket) -> None:
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + entry(0) + entry(1)[:-5])
            connection.recv(1_000)

        await self.gone_after(client, router)
        self.assertEqual(router.number, 1)

    async def gone_after(self, client: Callable[[socket.socket], None], router: CountingRouter) -> None:
        """Let a client go away: what was routed was in order, and nothing follows."""
        await self.talk(client)
        await self.when(lambda: not self.world.site._channels and not router.in_flight)
        routed = router.number
        self.assertGreater(routed, 0)
        (reply,) = replies(await self.talk(_healthz))
        self.assertEqual((reply.status, router.number, router.in_order), (200, routed, True))
        self.assertEqual(self.flushLoggedErrors(), [])

    def requests(self) -> list[Any]:
        """Those that are being answered now and have streams."""
        found = [request for channel in self.world.site._channels for request in channel.requests]
        return [request for request in found if request.stream is not None]


def _healthz(connection: socket.socket) -> bytes:
    connection.sendall(request_bytes("GET", "/healthz", None, {"Connection": "close"}))
    return connection.makefile("rb").read()
