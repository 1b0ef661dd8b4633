"""txredisapi's protocol without its ways: no conversion, no reconnecting of its own, commands packed and read in C.

Its factories are left out. They take their clock from the global reactor, stop for ever when a connection is lost
during AUTH, and hold calls without limit; connection.py does what they would. Knows no command but those of a greeting.
"""

from collections.abc import Callable
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure

Lost = Callable[["PlainProtocol"], object]


class PlainProtocol(txredisapi.RedisProtocol):  # type: ignore[misc]
    """One connection: packed commands out, replies in, in the same order.

    Args:
        lost: told when the connection is gone, before anybody whose reply is lost.

    Attributes:
        why_lost: why, once it is.
    """

    transport: ITCPTransport

    def __init__(self, lost: Lost) -> None:
        # Never a number out of b"00123", never text out of bytes.
        super().__init__(charset=None, convertNumbers=False)
        self._tell_lost = lost
        self.why_lost: Failure | None = None
        self._closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Log in nowhere: greeting.py does, and can fail without ending everything."""
        self.connected = 1

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Take replies. Without a walk over each that would convert what is not to be converted."""
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                self.replyReceived(reply)
        except txredisapi.InvalidData:
            self.transport.abortConnection()

    def send(self, packed: bytes) -> "Deferred[Any]":
        """Send a packed command.

        Returns:
            Its reply: bytes, an int, None or a list of such. Fails with RedisError.
        """
        self.transport.write(packed)
        return self.replyQueue.get().addCallback(self.handle_reply)  # type: ignore[no-any-return]

    def closed(self) -> "Deferred[None]":
        """Fires when the connection is gone. To be asked once."""
        return self._closed

    def connectionLost(self, why: Failure) -> None:
        """Tell; first the owner, so that who asks again at once asks another connection."""
        self.why_lost = why
        self._tell_lost(self)
        super().connectionLost(why)
        self._closed.callback(None)


class SubscribedProtocol(PlainProtocol, txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """A connection that subscribes, and gets what is published.

    Args:
        lost: as above.
        received: told each message.
    """

    def __init__(self, lost: Lost, received: Callable[[bytes], None]) -> None:
        super().__init__(lost)
        self._tell_received = received

    def messageReceived(self, pattern: bytes | None, channel: bytes, message: bytes) -> None:
        """Hand it on."""
        self._tell_received(message)
