"""That the protocol keeps the rules of the session: trial push_lines, or pytest, or unittest."""

from unittest import TestCase

from push.protocols.wire.frames import Frame
from push.protocols.wire.json_frames import read_frame, write_frame
from push.testing.limit_rules import LimitRules
from push.testing.session_rules import SessionRules
from push_lines.protocol import LinesWireProtocol


class LineDialect:
    """The client's side of a connection."""

    has_ended = False

    def __init__(self):
        self._data = b""

    def begin(self):
        return b""

    def encode(self, frame):
        return write_frame(frame) + b"\n"

    def decode(self, data):
        *lines, self._data = (self._data + data).split(b"\n")
        frames = [read_frame(line.decode(), 1 << 20) for line in lines]
        assert all(isinstance(frame, Frame) for frame in frames)
        return frames


class LineRules(SessionRules, LimitRules, TestCase):
    def make_wire(self):
        return LinesWireProtocol()

    def make_dialect(self):
        return LineDialect()
