"""One connection: a pair of asyncio streams with a frame decoder and a session table on it.

Every failure of the line comes out as an OSError with a sentence, every end of the session as a Closed event.
"""

from collections import deque

from aio_sdk.settings import Streams
from aio_sdk.waiting import Clock, expire, first
from push.protocols.wire.client import ClientSession, Closed, Event
from push.protocols.wire.frames import Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, write_disconnect
from push.protocols.wire.signals import Signal

# What asyncio itself reads at once.
READ_BYTES = 65_536


class Connection:
    """A connected line and the session on it.

    Attributes:
        session: the session table; it makes the frames that `send` takes.
        heard_s: when the server was last heard, on the clock.
        paused: set while nobody reads, as the application does not keep up.
    """

    def __init__(self, streams: Streams, *, clock: Clock, max_body_bytes: int) -> None:
        self.session = ClientSession()
        self.heard_s = clock.time()
        self.paused = False
        self._reader, self._writer = streams
        self._clock = clock
        self._decoder = FrameDecoder(max_body_bytes)
        # Frames wait here undigested, so that the session is never ahead of what has been handed out.
        self._frames: deque[Frame] = deque()

    async def next_event(self) -> Event:
        """Wait for what the server says next; a cancelled wait loses nothing.

        Returns:
            The event; nothing follows Closed.

        Raises:
            OSError: the line is down.
        """
        while True:
            while self._frames:
                for event in self.session.receive(self._frames.popleft()):  # never more than one
                    if isinstance(event, Closed) and not event.by_peer:
                        self._tell(event.disconnect)
                    return event
            error = self._decoder.error
            if error is not None:
                ended = Disconnect(error.code, error.reason)
                self.session.close(ended)
                if error.peer_speaks:
                    self._tell(ended)
                return Closed(ended, by_peer=False)
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self.heard_s = self._clock.time()
            self._frames.extend(self._decoder.feed(data))

    def send(self, *frames: Frame) -> None:
        """Send frames in one write; what a dead line does not take is dropped, as reading will tell."""
        if frames and not self._writer.is_closing():
            self._writer.write(
                b"".join(encode(f.signal, f.body, subsignal=f.subsignal, message_id=f.message_id) for f in frames)
            )

    async def drain(self) -> None:
        """Wait until the line has taken most of what was sent.

        Raises:
            OSError: the line is down.
        """
        await self._writer.drain()

    def resume(self) -> None:
        """Somebody reads again; the silence meanwhile was our own."""
        self.paused = False
        self.heard_s = self._clock.time()

    async def close(self, goodbye: Disconnect, timeout_s: float) -> None:
        """Say goodbye, unless the session is over, and close; abort if that takes too long or is cancelled."""
        frame = self.session.close(goodbye)
        if frame is not None:
            self.send(frame)
        self._writer.close()
        try:
            await first(self._writer.wait_closed(), expire(self._clock, timeout_s, "closing"))
        except OSError:  # the line was down already, or the time is over
            pass
        finally:
            self._writer.transport.abort()

    def _tell(self, disconnect: Disconnect) -> None:
        self.send(Frame(Signal.DISCONNECT, 0, 0, write_disconnect(disconnect)))
