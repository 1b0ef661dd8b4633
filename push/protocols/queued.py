"""What waits to be written to one transport: joined in each turn, bounded, and told to the host.

Nothing piles up in the transport: while it has paused us, what is queued waits here, up to the limits. Knows
nothing of sessions. Must not import services, stores or web.
"""

from typing import Any

from push.ipush import IConnection, IConnectionHost
from push.protocols.wire.outbox import Backlog, Outbox

_READS_SLOWLY = "this client reads more slowly than messages come"


class QueuedWrites:
    """The writing half of a connection; an IPushProducer.

    Args:
        host: counts what waits, and calls `flush` before a turn ends.

    Attributes:
        transport: an ITransport that is an IConsumer as well, as those of TCP and TLS are; None before and after.
    """

    __slots__ = ("_backlog", "_closing", "_host", "_in_transport_bytes", "_paused", "_queued", "transport")

    def __init__(self, host: IConnectionHost) -> None:
        self._host = host
        # What waits to be written: nothing, one part, or an Outbox of several. Most writes are of one part, and most
        # connections have nothing to write, so neither pays for a queue.
        self._queued: bytes | Outbox | None = None
        # Messages that may not be queued yet; None nearly always.
        self._backlog: Backlog | None = None
        self._paused = False
        self._closing = False
        # Bytes of the write that made the transport pause us: counted as queued until it resumes us.
        self._in_transport_bytes = 0
        self.transport: Any = None

    def pauseProducing(self) -> None:
        """The transport is full: let the outbox fill. What is queued waits for it from now on, and counts."""
        if not self._paused:
            self._paused = True
            if self._queued is not None:
                self._host.outbox_grew(len(self._queued))

    def resumeProducing(self) -> None:
        """The transport has room."""
        if not self._paused:
            return
        self._paused = False
        if self._in_transport_bytes:
            self._host.outbox_grew(-self._in_transport_bytes)
            self._in_transport_bytes = 0
        queued = self._queued
        if queued is not None:
            self._host.outbox_grew(-len(queued))
            self.flush()
        if not self._paused and not self._closing and self._backlog is not None:
            self._go_on()

    def stopProducing(self) -> None:
        """The transport is gone: connectionLost follows and cleans up."""

    def flush(self) -> None:
        """See IConnection."""
        if self._paused or self.transport is None:
            return
        queued = self._queued
        if queued is not None:
            self._queued = None
            data = queued if type(queued) is bytes else queued.joined()  # type: ignore[union-attr]
            self.transport.write(data)
            if self._paused:
                self._in_transport_bytes += len(data)
                self._host.outbox_grew(len(data))

    def waiting_bytes(self) -> int:
        """See IConnection."""
        if not self._paused:
            return 0 if self._backlog is None else self._backlog.size_bytes
        queued, backlog = self._queued, self._backlog
        return (0 if queued is None else len(queued)) + (0 if backlog is None else backlog.size_bytes)

    def _go_on(self) -> None:
        """There is room for what waits in the backlog."""
        raise NotImplementedError

    def _shed(self, reason: str) -> None:
        """Drop what waits, and close as a slow consumer."""
        raise NotImplementedError

    def _queue(self, data: bytes, messages: int) -> bool:
        """Queue behind the rest; False where the peer reads too slowly and has been closed for it."""
        if self._queued is None and not self._paused and messages == 1:
            self._queued = data
            self._host.mark_dirty(self._connection())
            return True
        return self._queue_more(data, messages)

    def _connection(self) -> IConnection:
        """This, as the host knows it."""
        return self  # type: ignore[return-value]

    def _has_room(self, data_bytes: int, messages: int) -> bool:
        """Whether the limits allow that much to wait; what the transport has not sent yet waits as well."""
        limits = self._host.limits
        queued = self._queued
        backlog = self._backlog
        waiting_bytes = self._in_transport_bytes + (0 if queued is None else len(queued))
        waiting = 0 if queued is None else queued.messages if isinstance(queued, Outbox) else 1
        if backlog is not None:
            waiting_bytes += backlog.size_bytes
            waiting += len(backlog)
        if not waiting_bytes:
            return data_bytes <= limits.max_outbox_bytes or messages == 1
        return (
            waiting_bytes + data_bytes <= limits.max_outbox_bytes and waiting + messages <= limits.max_outbox_messages
        )

    def _queue_more(self, data: bytes, messages: int) -> bool:
        """Queue where something waits already, or the transport takes nothing: look at the limits."""
        if not self._has_room(len(data), messages):
            self.flush()  # many messages in one turn are no backlog while the transport takes them
            if self._closing:
                return False
            if not self._has_room(len(data), messages):
                self._shed(_READS_SLOWLY)
                return False
        queued = self._queued
        if queued is None and not self._paused:
            self._host.mark_dirty(self._connection())
        outbox = queued if isinstance(queued, Outbox) else Outbox(queued)
        outbox.append(data, messages)
        self._queued = outbox
        if self._paused:
            self._host.outbox_grew(len(data))
        return not self._closing

    def _take(self) -> bytes:
        queued, self._queued = self._queued, None
        if queued is None:
            return b""
        return queued.joined() if isinstance(queued, Outbox) else queued

    def _drop_queue(self) -> None:
        """Forget what is queued; what the transport holds still counts, until it is gone."""
        dropped_bytes = len(self._take())
        if self._paused and dropped_bytes:
            self._host.outbox_grew(-dropped_bytes)
        backlog, self._backlog = self._backlog, None
        if backlog is not None and backlog.size_bytes:
            self._host.outbox_grew(-backlog.size_bytes)

    def _forget_transport(self) -> None:
        """The transport is gone, and all that it held."""
        self._drop_queue()
        if self._in_transport_bytes:
            self._host.outbox_grew(-self._in_transport_bytes)
            self._in_transport_bytes = 0
        self.transport = None
