"""How a test's client speaks a wire protocol: what a conformance test needs to know of one, for those of this package.

Another protocol brings a class of its own with the same hooks.
"""

from collections.abc import Sequence
from typing import Protocol

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Request, TextMessage

from push.protocols.websocket.forms import Kind
from push.protocols.websocket.upgrade import SUBPROTOCOLS
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.json_frames import read_frame, write_frame

_MAX_BODY_BYTES = 1 << 24


class Dialect(Protocol):
    """The client's side of one connection; made anew for each."""

    @property
    def has_ended(self) -> bool:
        """Whether the server has said that it sends nothing more, otherwise than by ending the transport."""

    def begin(self) -> bytes:
        """What the client sends before its first frame; b"" for nothing."""

    def encode(self, frame: Frame) -> bytes:
        """A frame as the client sends it."""

    def decode(self, data: bytes) -> Sequence[Frame]:
        """The frames that are complete with these bytes of the server; bytes may be cut anywhere."""


class FramedDialect:
    """The framed protocol."""

    has_ended = False

    def __init__(self) -> None:
        self._decoder = FrameDecoder(_MAX_BODY_BYTES)

    def begin(self) -> bytes:
        """See Dialect."""
        return b""

    def encode(self, frame: Frame) -> bytes:
        """See Dialect."""
        return encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)

    def decode(self, data: bytes) -> Sequence[Frame]:
        """See Dialect."""
        frames = self._decoder.feed(data)
        if self._decoder.error is not None:
            raise AssertionError(f"the server sent what is no frame: {self._decoder.error.reason}")
        return frames


class WebSocketDialect:
    """WebSocket, with wsproto as the client.

    Args:
        kind: of its messages.
        asks: whether it asks for the subprotocol of that kind; else its first message shows it.

    Attributes:
        close_code: of the server's Close frame; None before that.
        subprotocol: that the server has chosen.
    """

    def __init__(self, kind: Kind, *, asks: bool = False) -> None:
        self.close_code: int | None = None
        self.subprotocol: str | None = None
        self._kind = kind
        self._offers = [name for name, each in SUBPROTOCOLS.items() if each is kind] if asks else []
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._framed = FramedDialect()
        self._text = ""
        self._bytes = b""

    @property
    def has_ended(self) -> bool:
        """See Dialect."""
        return self.close_code is not None

    def begin(self) -> bytes:
        """See Dialect."""
        return self._connection.send(Request(host="localhost", target="/", subprotocols=self._offers))

    def encode(self, frame: Frame) -> bytes:
        """See Dialect."""
        if self._kind is Kind.TEXT:
            return self._connection.send(TextMessage(write_frame(frame).decode()))
        return self._connection.send(BytesMessage(self._framed.encode(frame)))

    def decode(self, data: bytes) -> Sequence[Frame]:
        """See Dialect."""
        frames: list[Frame] = []
        if data:
            self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    frames.append(self._read())
            elif isinstance(event, BytesMessage):
                frames += self._framed.decode(bytes(event.data))
            elif isinstance(event, CloseConnection):
                self.close_code = event.code
            elif isinstance(event, AcceptConnection):
                self.subprotocol = event.subprotocol
        return frames

    def _read(self) -> Frame:
        text, self._text = self._text, ""
        frame = read_frame(text, _MAX_BODY_BYTES)
        if not isinstance(frame, Frame):
            raise AssertionError(f"the server sent what is no frame: {frame}")
        return frame
