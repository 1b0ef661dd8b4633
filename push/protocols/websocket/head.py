"""The HTTP request that a connection to a WebSocket port begins with, and the answers that are no WebSocket.

Must not import services, stores or web.
"""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

import h11

from push.errors import InvalidRequest, PushError, UpgradeRequired

# Browsers with many cookies send a few KiB.
MAX_HEAD_BYTES = 8_192


class Head(NamedTuple):
    """The head of a request, and what came behind it."""

    method: bytes
    version: bytes
    headers: Sequence[tuple[bytes, bytes]]
    rest: bytes


class HeadReader:
    """Reads the head of one request; to be thrown away then."""

    __slots__ = ("_connection",)

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    def feed(self, data: bytes) -> Head | None:
        """Take what the transport received.

        Returns:
            The head, once it is whole.

        Raises:
            InvalidRequest: it is no HTTP, or too long.
        """
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.RemoteProtocolError:
            raise InvalidRequest("This is not a valid HTTP request, or its head is too long.") from None
        if not isinstance(event, h11.Request):
            return None
        return Head(
            event.method,
            b"HTTP/" + event.http_version,
            list(event.headers),
            self._connection.trailing_data[0],
        )


def refusal(error: PushError) -> bytes:
    """The whole answer to a request that does not lead to a session."""
    body = f"{error}\n".encode()
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close" + (", Upgrade" if isinstance(error, UpgradeRequired) else ""),
    ]
    if isinstance(error, UpgradeRequired):
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    if error.retry_after_s is not None:
        lines.append(f"Retry-After: {max(1, math.ceil(error.retry_after_s))}")
    return "\r\n".join([*lines, "", ""]).encode() + body
