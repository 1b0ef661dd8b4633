"""A client on a plain socket, over the wire core alone: it reads when it is told to, and not before."""

import socket
import time
from collections import deque
from typing import Any, TypeVar

from push.protocols.wire.client import ClientSession, Closed, Event, Opened, Received
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, SubRequest
from tests.integration.server import HOST
from tests.integration.waiting import DEADLINE_S

Kind = TypeVar("Kind")


def connect(port: int, *, host: str = HOST, receive_buffer_bytes: int = 0) -> socket.socket:
    """A connected socket that gives up waiting after a while."""
    sock = socket.socket()
    if receive_buffer_bytes:  # before connecting, as the window is agreed upon then
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.settimeout(DEADLINE_S)
    sock.connect((host, port))
    return sock


class WireClient:
    """One connection.

    Args:
        port: of the server.
        host: likewise.
        receive_buffer_bytes: how much the kernel may hold for it, 0 for the usual.
    """

    def __init__(self, port: int, *, host: str = HOST, receive_buffer_bytes: int = 0) -> None:
        self.socket = connect(port, host=host, receive_buffer_bytes=receive_buffer_bytes)
        self.session = ClientSession()
        self._decoder = FrameDecoder(1 << 24)
        self._events: deque[Event] = deque()
        self._is_at_end = False

    def __enter__(self) -> "WireClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def token(self) -> str:
        """The token of its session."""
        assert self.session.token is not None
        return self.session.token

    def send(self, frame: Frame) -> None:
        """Send one frame."""
        data = encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)
        self.socket.sendall(data)

    def open(self, **request: Any) -> "WireClient":
        """Open a session, and wait until it is open."""
        self.ask_for_session(**request)
        self.expect(Opened)
        return self

    def ask_for_session(self, **request: Any) -> None:
        """Ask for a session, and wait for nothing."""
        self.send(self.session.sub(SubRequest(**request)))

    def next(self) -> Event | None:
        """The next event, None at the end of the connection."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not self._events:
            if self._is_at_end:
                return None
            if time.monotonic() > deadline_s:
                raise AssertionError("nothing that means something was received for too long")
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                data = b""
            self._is_at_end = not data
            for frame in self._decoder.feed(data):
                self._events += self.session.receive(frame)
            if self._decoder.error is not None:
                raise AssertionError(f"the server sent a bad frame: {self._decoder.error.reason}")
        return self._events.popleft()

    def expect(self, kind: type[Kind]) -> Kind:
        """The next event, which must be of this kind."""
        event = self.next()
        if not isinstance(event, kind):
            raise AssertionError(f"received {event!r} where {kind.__name__} was expected")
        return event

    def messages(self, number: int) -> list[bytes]:
        """The payloads of the next so many messages."""
        return [self.expect(Received).payload for _ in range(number)]

    def message(self) -> bytes:
        """The next payload."""
        return self.messages(1)[0]

    def until_closed(self) -> tuple[list[bytes], Disconnect | None]:
        """Read to the end of the connection.

        Returns:
            All payloads, and why the server closed, if it said so.
        """
        payloads: list[bytes] = []
        said: Disconnect | None = None
        while (event := self.next()) is not None:
            if isinstance(event, Received):
                payloads.append(event.payload)
            elif isinstance(event, Closed) and event.by_peer:
                said = event.disconnect
            elif isinstance(event, Closed):
                raise AssertionError(f"the server broke the protocol: {event.disconnect.reason}")
        return payloads, said

    def disconnected(self) -> Disconnect:
        """Why the server closed, which it must say before anything else, and then hang up."""
        payloads, said = self.until_closed()
        if payloads or said is None:
            raise AssertionError(f"{len(payloads)} messages came, and then: {said!r}")
        return said

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
