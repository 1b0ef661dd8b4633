"""The server's side of WebSocket for scripts: they write and read bytes as on a bare line. wsproto does the framing."""

import asyncio
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request
from wsproto.utilities import RemoteProtocolError

SUBPROTOCOL = "push.framed"


class Unwrapped:
    """An asyncio.StreamReader, as far as scripts use it: the payloads of the client's messages.

    Args:
        connection: takes the frames of WebSocket apart.
        reader: brings them.
        writer: takes what is answered.
    """

    def __init__(self, connection: WSConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer
        self._payloads = b""
        self._has_ended = False

    async def read(self, size: int = -1) -> bytes:
        """Some bytes; none at the end."""
        while not self._payloads and not self._has_ended:
            data = await self._reader.read(65_536)
            if not data:
                return b""
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, BytesMessage):
                    self._payloads += bytes(event.data)
                elif isinstance(event, CloseConnection):
                    self._has_ended = True
                elif isinstance(event, Ping):
                    self._writer.write(self._connection.send(event.response()))
        size = len(self._payloads) if size < 0 else size
        data, self._payloads = self._payloads[:size], self._payloads[size:]
        return data

    async def readexactly(self, size: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < size:
            more = await self.read(size - len(data))
            if not more:
                raise asyncio.IncompleteReadError(data, size)
            data += more
        return data


class Wrapping:
    """An asyncio.StreamWriter whose every `write` is one binary message."""

    def __init__(self, connection: WSConnection, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._writer = writer

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(self._connection.send(BytesMessage(data)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


async def upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Any, Any]:
    """Answer the client's request for WebSocket.

    Raises:
        EOFError: the client has gone, or makes no such request.
    """
    connection = WSConnection(ConnectionType.SERVER)
    while True:
        data = await reader.read(65_536)
        if not data:
            raise EOFError
        try:
            connection.receive_data(data)
        except RemoteProtocolError:
            raise EOFError from None
        for event in connection.events():
            if isinstance(event, Request):
                assert event.target == "/push", event
                assert event.subprotocols == [SUBPROTOCOL], event
                assert not event.extensions, event
                writer.write(connection.send(AcceptConnection(subprotocol=SUBPROTOCOL)))
                return Unwrapped(connection, reader, writer), Wrapping(connection, writer)
