"""What carries frames over a line: the line itself, or messages of WebSocket. Pure.

A carrier takes frames and gives bytes to send; it takes the bytes that have come and gives frames. It never raises:
after something that cannot be read, `error` says why, and nothing more is read.
"""

import os
from collections.abc import Callable
from typing import Protocol

from push.protocols.wire.frames import Frame, FrameDecoder, FrameError, encode
from push_client.address import Address
from push_client.websocket import WebSocketCarrier


class Carrier(Protocol):
    """One line's way of carrying frames.

    Attributes:
        output: bytes to be sent; whoever sends them clears it.
    """

    output: bytearray

    @property
    def error(self) -> FrameError | None:
        """Why nothing more is read; None while all is well."""

    @property
    def buffered_bytes(self) -> int:
        """How many bytes are held of what has not come whole."""

    def send(self, frame: Frame) -> None:
        """Put a frame into the output, now or as soon as may be."""

    def feed(self, data: bytes) -> list[Frame]:
        """Take what has come; the frames that are whole with it."""

    def end(self) -> None:
        """Nothing more will be sent: say so, where there is a way to."""


class FramedCarrier:
    """Frames on the bare line."""

    def __init__(self, max_body_bytes: int) -> None:
        self.output = bytearray()
        self._decoder = FrameDecoder(max_body_bytes)

    @property
    def error(self) -> FrameError | None:
        """See Carrier."""
        return self._decoder.error

    @property
    def buffered_bytes(self) -> int:
        """See Carrier."""
        return self._decoder.buffered_bytes

    def send(self, frame: Frame) -> None:
        """See Carrier."""
        self.output += encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)

    def feed(self, data: bytes) -> list[Frame]:
        """See Carrier."""
        return self._decoder.feed(data)

    def end(self) -> None:
        """See Carrier."""


def make_carrier(address: Address, max_body_bytes: int, random_bytes: Callable[[int], bytes] = os.urandom) -> Carrier:
    """What carries frames to and from an address.

    Args:
        address: where the line leads.
        max_body_bytes: the largest body of a frame to accept.
        random_bytes: for WebSocket's keys.
    """
    if address.path:
        return WebSocketCarrier(address, max_body_bytes, random_bytes)
    return FramedCarrier(max_body_bytes)
