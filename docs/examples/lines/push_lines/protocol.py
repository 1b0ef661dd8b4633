"""One frame a line, as the JSON text that WebSocket clients use: for programs that can read lines, and for telnet."""

from typing import Any

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import Factory
from zope.interface import implementer

from push.ipush import IConnectionHost, IPushForm, IWireProtocol
from push.protocols.connection import SessionConnection
from push.protocols.wire.frames import Frame
from push.protocols.wire.json_frames import max_text_bytes, read_frame, write_frame, write_push
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode

# What comes at once is served in turns of so many lines, so that other clients are served in between.
MAX_LINES_A_TURN = 100


def line(text: bytes) -> bytes:
    """JSON text as one line: a bare line feed can stand only where a space can, between the parts of JSON."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


@implementer(IPushForm)
class LineForm:
    """How a push is written. There is one object of each form: what it encodes is shared by all connections."""

    def __init__(self, acks: bool) -> None:
        self._acks = acks

    def encode_push(self, message_id: int, payload: bytes) -> bytes:
        """See IPushForm."""
        return line(write_push(message_id if self._acks else None, payload))


FORMS = {acks: LineForm(acks) for acks in (False, True)}


@implementer(IProtocol, IPushProducer)
class LineProtocol(SessionConnection):
    """One client. SessionConnection knows the session and what waits; here is what is peculiar to lines."""

    speaks = "lines"  # the name of the plug-in: clients are sent elsewhere to where that is spoken

    def __init__(self, host: IConnectionHost) -> None:
        super().__init__(host, FORMS[False])
        self._max_body_bytes = host.limits.max_body_before_open_bytes
        self._data = b""
        self._is_waiting = False

    # IProtocol

    def dataReceived(self, data: bytes) -> None:
        """Act on the lines that are complete; after the end of the session, ignore."""
        if self._closing:
            return
        self._session.heard(self._host.now_s())
        self._data += data
        if not self._is_waiting:
            self._serve_lines()

    def connectionLost(self, reason: Any) -> None:
        """Free everything."""
        self._data = b""
        super().connectionLost(reason)

    # SessionConnection

    def _encode(self, frame: Frame) -> bytes:
        return line(write_frame(frame))

    def _form(self, *, acks: bool) -> IPushForm:
        return FORMS[acks]

    def _is_open(self) -> None:
        self._max_body_bytes = self._host.limits.max_body_bytes

    # Inside

    def _serve_lines(self) -> None:
        for _ in range(MAX_LINES_A_TURN):
            text, ending, rest = self._data.partition(b"\n")
            if len(text) > max_text_bytes(self._max_body_bytes):
                self._finish(Disconnect(CloseCode.TOO_LARGE, "the line is too long"), say_so=True)
            if self._closing or not ending:
                return
            self._data = rest
            self._take_line(text)
        self._is_waiting = True
        self.transport.pauseProducing()
        self._host.next_turn(self._serve_more_lines)

    def _serve_more_lines(self) -> None:
        self._is_waiting = False
        if not self._closing:
            self._serve_lines()
        if not self._is_waiting and not self._closing:
            self.transport.resumeProducing()

    def _take_line(self, text: bytes) -> None:
        try:
            frame = read_frame(text.decode(), self._max_body_bytes)
        except UnicodeDecodeError:
            self._finish(Disconnect(CloseCode.BAD_FRAME, "a line is not UTF-8"), say_so=True)
            return
        if isinstance(frame, Frame):
            self._act(self._session.receive(frame))
        elif frame is not None:  # None: no JSON object, just a sign of life
            self._finish(Disconnect(frame.code, frame.reason), say_so=True)


class LineFactory(Factory):
    """Builds one LineProtocol a connection."""

    noisy = False

    def __init__(self, host: IConnectionHost) -> None:
        self._host = host

    def buildProtocol(self, addr: Any) -> LineProtocol:
        """Build one; whether it is welcome is for the host to say, when it is connected."""
        return LineProtocol(self._host)


@implementer(IWireProtocol)
class LinesWireProtocol:
    """What `--listen lines=tcp:7000:interface=127.0.0.1` means."""

    name = "lines"

    def factory(self, host: IConnectionHost) -> LineFactory:
        """See IWireProtocol."""
        return LineFactory(host)
