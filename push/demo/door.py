"""A door: where clients come first, and are sent on to a server (302), as by a connector that is full or being emptied.

So that a redirect can be seen where there is one server only. Knows the wire core, and nothing of what is behind it.
"""

import asyncio
import contextlib

from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import FrameDecoder, encode
from push.protocols.wire.server import Closed, Event, OpenRequested, Reply, ServerSession

# A client that says nothing sensible for so long is none.
_TIMEOUT_S = 20.0
_MAX_BODY_BYTES = 4_096


class Door:
    """It listens while the block lasts.

    Args:
        to: where clients are sent.
        host: where it listens.
        port: where it listens; 0: at any.

    Attributes:
        port: the real one.
    """

    def __init__(self, to: NodeAddress, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._to = to
        self._host = host
        self._server: asyncio.Server | None = None
        self.port = port

    async def __aenter__(self) -> "Door":
        self._server = await asyncio.start_server(self._enter, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._send_on(reader, writer)
        except (TimeoutError, OSError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session, decoder = ServerSession(0.0), FrameDecoder(_MAX_BODY_BYTES)
        while data := await reader.read(_MAX_BODY_BYTES):
            for frame in decoder.feed(data):
                for event in session.receive(frame):
                    if not self._answer(session, event, writer):
                        return
            await writer.drain()
            if decoder.error is not None:
                return

    def _answer(self, session: ServerSession, event: Event, writer: asyncio.StreamWriter) -> bool:
        """Answer one event; whether the session goes on."""
        if isinstance(event, Closed):
            return False
        events = session.redirect([self._to], 0.0) if isinstance(event, OpenRequested) else (event,)
        for each in events:
            if isinstance(each, Reply):
                frame = each.frame
                writer.write(encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id))
        return True
