"""An open line and the link on it: bytes in and out as far as they go without waiting."""

import selectors
from collections.abc import Callable

from nio_sdk.line import Line
from nio_sdk.watch import Watch
from push.protocols.wire.client import Missed, Opened, Received
from push_client.link import Link

# After so many reads the other clients of the thread have their turn.
_READS_PER_TURN = 16


class Traffic:
    """What flows over one connection.

    Args:
        line: connected.
        link: made for it.
        watch: told what is being waited for.
        accepts: whether there is room for a message.
        take: called with the opening of the session, and then with each message.
        clock: the time.

    Attributes:
        is_hasty: there is more to do at once.
    """

    def __init__(
        self,
        line: Line,
        link: Link,
        *,
        watch: Watch,
        accepts: Callable[[], bool],
        take: Callable[[Opened | Received | Missed], None],
        clock: Callable[[], float],
    ) -> None:
        self.link = link
        self.is_hasty = False
        self._line = line
        self._watch = watch
        self._accepts = accepts
        self._take = take
        self._clock = clock
        self._output = bytearray()
        self._is_paused = False

    @property
    def wants_write(self) -> bool:
        """Whether there are bytes that the line has not taken."""
        return bool(self._output)

    def turn(self) -> None:
        """Do what can be done now; look at the link's `ending` afterwards."""
        self.is_hasty = False
        try:
            self._flush()
            self._read()
            self.link.tick(self._clock())
            self._flush()
        except OSError as error:
            self.link.lost(str(error) or type(error).__name__)
        self._look_out()

    def send(self) -> None:
        """There is something to send: do that now, as far as it goes."""
        try:
            self._flush()
        except OSError as error:
            self.link.lost(str(error) or type(error).__name__)
            self.is_hasty = True
        self._look_out()

    def say_goodbye(self) -> None:
        """Put the last bytes into the queue; they are sent by `leave`."""
        self._output += self.link.close(self._clock())

    def leave(self) -> bool:
        """Send what is left.

        Returns:
            Whether all is sent, or can no longer be.
        """
        try:
            while self._output:
                sent = self._line.write(self._output)
                if not sent:
                    self._watch.set(self._line.fileno(), selectors.EVENT_WRITE)
                    return False
                del self._output[:sent]
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Let go of the line."""
        self._watch.forget()
        self._line.close()

    def _flush(self) -> None:
        while True:
            # Only now, so that what a line does not take waits in the link, which bounds it.
            if not self._output:
                self._output += self.link.take_output(self._clock())
            if not self._output:
                return
            sent = self._line.write(self._output)
            if not sent:
                return
            del self._output[:sent]

    def _read(self) -> None:
        for _ in range(_READS_PER_TURN):
            if not self._digest():
                return
            data = self._line.read()
            if data is None:
                return
            if not data:
                self.link.lost("the server closed the connection", self._clock())
                return
            self.link.receive(data, self._clock())
        self.is_hasty = True

    def _digest(self) -> bool:
        """Hand out what has come; whether to read on."""
        while True:
            self._is_paused = self.link.is_open and not self._accepts()
            if self._is_paused:
                self.link.pause()
                return False
            self.link.resume(self._clock())
            event = self.link.next_event(self._clock())
            if event is None:
                return self.link.ending is None
            self._take(event)

    def _look_out(self) -> None:
        events = 0
        if not self._is_paused or self._line.writing_wants_read:
            events |= selectors.EVENT_READ
        if self._output:
            events |= selectors.EVENT_WRITE
        self._watch.set(self._line.fileno(), events)
