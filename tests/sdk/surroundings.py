"""What the SDK's tests stand on: a clock that is turned by hand, and a server that does what a script says.

The server is real as far as the client can tell: it listens on a loopback socket and its good behaviour is the
server's own session table.
"""

import asyncio
import functools
import inspect
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from unittest import IsolatedAsyncioTestCase, skipIf

import aio_sdk
from aio_sdk import Status
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, SubRequest, write_disconnect, write_json
from push.protocols.wire.server import OpenRequested, Reply, ServerSession
from push.protocols.wire.signals import Signal, SubSignal
from tests.sdk.hand_clock import GUARD_S, HandClock
from tests.sdk.looped import LoopedClient
from tests.sdk.over_websocket import upgraded

try:
    import uvloop
except ImportError:  # it is not for every system
    uvloop = None

TOKEN = "0123456789abcdef0123456789abcdef"


class Peer:
    """One client's connection, on the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.session = ServerSession(0.0)
        self.request: SubRequest | None = None
        self.sub: Frame | None = None
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []

    async def frame(self) -> Frame:
        """The next frame, as the client sent it."""
        while not self._frames:
            data = await self.reader.read(65_536)
            if not data:
                raise EOFError
            self._frames += self._decoder.feed(data)
            assert self._decoder.error is None, self._decoder.error
        return self._frames.pop(0)

    async def take(self, signal: Signal) -> Frame:
        """The next frame, which must be of this signal."""
        frame = await self.frame()
        assert frame.signal == signal, frame
        return frame

    async def eof(self) -> None:
        """Wait until the client has gone, whatever it says before."""
        try:
            while True:
                await self.frame()
        except (EOFError, ConnectionError):
            pass

    def send(self, signal: int, body: bytes = b"", *, subsignal: int = 0, message_id: int = 0) -> None:
        """Send one frame."""
        self.writer.write(encode(signal, body, subsignal=subsignal, message_id=message_id))

    def push(self, message_id: int, payload: bytes) -> None:
        """Send one message with an id."""
        self.send(Signal.PUSH, struct.pack(">Q", message_id) + payload, subsignal=SubSignal.MN)

    def disconnect(self, code: int, reason: str = "", retry: str = "no", retry_after_s: float | None = None) -> None:
        """Send DISCONNECT and close."""
        self.send(Signal.DISCONNECT, write_disconnect(Disconnect(code, reason, retry, retry_after_s)))
        self.writer.close()

    async def asked(self) -> SubRequest:
        """Take the SUB."""
        self.sub = await self.take(Signal.SUB)
        (event,) = self.session.receive(self.sub)
        assert isinstance(event, OpenRequested), event
        self.request = event.request
        return event.request

    async def open(self, interval_ms: int = 60_000) -> SubRequest:
        """Take the SUB and open the session that it asks for."""
        request = await self.asked()
        for event in self.session.accept(token=request.token or TOKEN, interval_ms=interval_ms, server_time_ms=1):
            assert isinstance(event, Reply)
            self.send(event.frame.signal, event.frame.body, message_id=event.frame.message_id)
        return request

    async def refuse(self, **fields: object) -> SubRequest:
        """Take the SUB and answer it with something else than 200."""
        request = await self.asked()
        assert self.sub is not None
        self.send(Signal.SUB, write_json(fields), message_id=self.sub.message_id)
        return request

    async def pong(self) -> None:
        """Take a PING and answer it."""
        (event,) = self.session.receive(await self.take(Signal.PING))
        assert isinstance(event, Reply)
        self.send(event.frame.signal, event.frame.body, message_id=event.frame.message_id)

    async def acknowledged(self) -> list[int]:
        """Take a PUB_ACK."""
        return [number for (number,) in struct.iter_unpack(">Q", (await self.take(Signal.PUB_ACK)).body)]


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """A server on a loopback port; its n-th connection is played by the n-th script, later ones by the last.

    Attributes:
        over_websocket: whether the scripts' bytes travel in messages of WebSocket.
    """

    over_websocket = False

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.accepted = 0
        self.failures: list[BaseException] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ssl: Any = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws://127.0.0.1:{self.port}/push" if self.over_websocket else f"push://127.0.0.1:{self.port}"

    async def start(self, ssl_context: Any = None) -> "ScriptedServer":
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=ssl_context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def stop_listening(self) -> None:
        """Refuse further connections."""
        assert self._server is not None
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self.scripts[min(self.accepted, len(self.scripts) - 1)]
        self.accepted += 1
        try:
            if self.over_websocket:
                await script(Peer(*await upgraded(reader, writer)))
            else:
                await script(Peer(reader, writer))
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as error:
            # uvloop's word for writing to a connection that the client has reset.
            if not (isinstance(error, RuntimeError) and writer.is_closing()):
                self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()


def guarded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """A test that fails instead of waiting for ever."""

    @functools.wraps(test)
    async def run(self: Any) -> None:
        async with asyncio.timeout(3 * GUARD_S):
            await test(self)

    return run


class Sdk(Protocol):
    """One of the SDKs, behind the face of aio_sdk's client."""

    def __call__(self, url: str, *, clock: HandClock, chance: Callable[[], float], **arguments: Any) -> Any:
        """Make a client."""
        ...


def aio(url: str, *, clock: HandClock, chance: Callable[[], float], **arguments: Any) -> aio_sdk.PushClient:
    """aio_sdk."""
    return aio_sdk.PushClient(url, surroundings=aio_sdk.Surroundings(clock=clock, random=chance), **arguments)


def on_every_sdk(suite: type["SdkCase"]) -> type["SdkCase"]:
    """Run a suite with aio_sdk, under uvloop, too, with nio_sdk in a loop of its caller's, and over WebSocket."""
    module = sys.modules[suite.__module__]
    for name, sdk, bases, over_websocket in (
        ("Aio", aio, (suite, IsolatedAsyncioTestCase), False),
        ("Uvloop", aio, (suite, UvloopCase), False),
        ("Nio", LoopedClient, (suite, IsolatedAsyncioTestCase), False),
        ("AioWebSocket", aio, (suite, IsolatedAsyncioTestCase), True),
        ("NioWebSocket", LoopedClient, (suite, IsolatedAsyncioTestCase), True),
    ):
        members = {"sdk": staticmethod(sdk), "over_websocket": over_websocket, "__module__": suite.__module__}
        made = type(f"{name}{suite.__name__}", bases, members)
        if bases[1] is UvloopCase:
            made = skipIf(uvloop is None, "uvloop is not installed here")(made)
        setattr(module, made.__name__, made)
    return suite


class UvloopCase(IsolatedAsyncioTestCase):
    """A test in uvloop's event loop."""

    def run(self, result: Any = None) -> Any:
        """Run it there, where uvloop is installed."""
        if uvloop is None:
            return super().run(result)
        before = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        try:
            return super().run(result)
        finally:
            asyncio.set_event_loop_policy(before)


class SdkCase:
    """What every test of an SDK has; mixed into IsolatedAsyncioTestCase.

    Attributes:
        sdk: the one that is tested.
        over_websocket: whether by WebSocket.
    """

    sdk: Sdk = staticmethod(aio)
    over_websocket = False

    def __init_subclass__(cls) -> None:
        """Guard every test."""
        super().__init_subclass__()
        for name, value in list(vars(cls).items()):
            if name.startswith("test") and inspect.iscoroutinefunction(value):
                setattr(cls, name, guarded(value))

    async def asyncSetUp(self) -> None:
        """Begin with a clock and without statuses."""
        self.clock = HandClock()
        self.statuses: list[Status] = []
        self._servers: list[ScriptedServer] = []

    async def asyncTearDown(self) -> None:
        """Show what went wrong at the server, and that the client left nothing behind."""
        for server in self._servers:
            await server.stop()
        for server in self._servers:
            if server.failures:
                raise AssertionError("the script failed") from server.failures[0]
        running = asyncio.all_tasks() - {asyncio.current_task()}
        left = [task for task in running if "aio_sdk" in repr(task)]
        assert not left, left
        assert self.clock.sleepers == 0

    async def serve(self, *scripts: Script, is_http: bool = False) -> ScriptedServer:
        """Start a server; one for HTTP has nothing to do with what the client speaks."""
        server = ScriptedServer(*scripts)
        server.over_websocket = self.over_websocket and not is_http
        await server.start()
        self._servers.append(server)
        return server

    def client(self, server: ScriptedServer | str, **arguments: Any) -> Any:
        """A client of that server, on the clock of the test, whose random number is always one half."""
        url = server if isinstance(server, str) else server.url
        arguments = {"on_status": self.statuses.append, **arguments}
        return self.sdk(url, clock=self.clock, chance=lambda: 0.5, **arguments)

    def said(self, kind: type) -> list[Any]:
        """The statuses of one kind, in order."""
        return [status for status in self.statuses if isinstance(status, kind)]
