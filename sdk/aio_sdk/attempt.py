"""One attempt: connect, open a session, live in it, and say why it ended and what is to be done about it.

Knows nothing of other attempts: when and where the next one goes is the client's affair.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from aio_sdk.address import Address
from aio_sdk.connection import Connection
from aio_sdk.errors import ClientError, Disconnected, Refused
from aio_sdk.heartbeat import Heartbeat
from aio_sdk.inbox import Inbox
from aio_sdk.message import Message
from aio_sdk.receipts import Receipts
from aio_sdk.settings import Surroundings, Tuning
from aio_sdk.status import Lost, Rejected
from aio_sdk.waiting import expire, first
from push.protocols.wire import client as wire
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.messages import RETRY_BACKOFF, RETRY_NO, Disconnect, SubRequest
from push.protocols.wire.signals import CloseCode

_GOODBYE = Disconnect(CloseCode.SHUTDOWN, "the client closes")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an attempt ended.

    Attributes:
        status: what to tell the application; None for a mere redirect.
        retry: "no", "now" or "backoff".
        retry_after_s: the least time to wait, in seconds.
        nodes: where to go instead, if not empty.
        error: with "no", what to raise.
    """

    status: Lost | Rejected | None
    retry: str = RETRY_BACKOFF
    retry_after_s: float = 0.0
    nodes: tuple[NodeAddress, ...] = ()
    error: ClientError | None = None


class Attempt:
    """One attempt at one address.

    Args:
        address: where to connect.
        request: what to ask for.
        inbox: where messages go.
        receipts: what was received and is to be acknowledged.
        opened: called and awaited when the session is open, before the first message.
        tls: for an address with TLS.
    """

    def __init__(
        self,
        address: Address,
        request: SubRequest,
        *,
        inbox: Inbox,
        receipts: Receipts,
        opened: Callable[[wire.Opened], Awaitable[None]],
        tls: ssl.SSLContext | None,
        tuning: Tuning,
        surroundings: Surroundings,
    ) -> None:
        self._address = address
        self._request = request
        self._inbox = inbox
        self._receipts = receipts
        self._opened = opened
        self._tls = tls
        self._tuning = tuning
        self._connect = surroundings.connect
        self._clock = surroundings.clock
        self._connection: Connection | None = None
        self._redirect: wire.Redirected | None = None
        self._told_to_move = asyncio.Event()

    async def run(self) -> Ending:
        """Connect and stay until something ends it.

        Raises:
            ClientError: `opened` raised it.
        """
        try:
            timeout_s = self._tuning.connect_timeout_s
            connection = await first(self._connected(), expire(self._clock, timeout_s, "no answer in time"))
            return await self._live(connection)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name in DNS
            reason = str(error) or type(error).__name__
            status = Lost(self._address, reason if self._connection else f"cannot connect: {reason}")
            return Ending(status, nodes=self._redirect.nodes if self._redirect else ())
        finally:
            if self._connection is not None:
                self._acknowledge_now(self._connection)
                await self._connection.close(_GOODBYE, self._tuning.close_timeout_s)

    async def _connected(self) -> Connection:
        streams = await self._connect(self._address.host, self._address.port, ssl=self._tls)
        # Held at once, as a cancellation in this turn would lose what is returned, and leave it open.
        self._connection = Connection(streams, clock=self._clock, max_body_bytes=self._tuning.max_body_bytes)
        return self._connection

    async def _live(self, connection: Connection) -> Ending:
        connection.send(connection.session.sub(self._request))
        event = await first(
            connection.next_event(),
            expire(self._clock, self._tuning.connect_timeout_s, "the server did not answer SUB"),
        )
        if not isinstance(event, wire.Opened):
            return self._not_opened(event)
        await self._opened(event)
        heartbeat = Heartbeat(connection, clock=self._clock, timeout_s=self._tuning.pong_timeout_s)
        return await first(
            self._read(connection, heartbeat), heartbeat.run(), self._acknowledge(connection), self._move()
        )

    def _not_opened(self, event: wire.Event) -> Ending:
        if isinstance(event, wire.Redirected):
            return Ending(None, retry_after_s=event.retry_after_s or 0.0, nodes=event.nodes)
        if isinstance(event, wire.Refused):
            return Ending(
                Rejected(self._address, event.status, event.reason),
                retry=event.retry,
                retry_after_s=event.retry_after_s or 0.0,
                error=Refused(event.status, event.reason) if event.retry == RETRY_NO else None,
            )
        if isinstance(event, wire.Closed):
            return self._closed(event)
        raise AssertionError(f"the session table lets nothing else come first, but {event!r} did")

    async def _read(self, connection: Connection, heartbeat: Heartbeat) -> Ending:
        while True:
            event = await connection.next_event()
            if isinstance(event, wire.Received):
                if self._inbox.is_full:
                    connection.paused = True
                    await self._inbox.room()
                    connection.resume()
                # Noted only now: a message noted and then lost with a cancelled wait would never come again.
                if event.message_id is None or self._receipts.received(event.message_id):
                    self._inbox.put(Message(event.payload, event.message_id, self._receipts.handled))
            elif isinstance(event, wire.PongReceived):
                heartbeat.answered()
            elif isinstance(event, wire.Redirected):
                self._redirect = event
                self._told_to_move.set()
            elif isinstance(event, wire.Closed):
                return self._closed(event)
            # What remains belongs to the chat, which this client does not take part in.

    async def _acknowledge(self, connection: Connection) -> NoReturn:
        while connection.session.state is wire.State.OPEN:
            await self._receipts.wanted()
            self._acknowledge_now(connection)
            await connection.drain()
        raise ConnectionResetError("the session is over")  # _read has ended in the same turn and says why

    def _acknowledge_now(self, connection: Connection) -> None:
        if connection.session.state is wire.State.OPEN:
            connection.send(*connection.session.acknowledge(self._receipts.take()))

    async def _move(self) -> Ending:
        """Leave when the server has said so and its time has passed; until then messages go on arriving."""
        await self._told_to_move.wait()
        redirect = self._redirect
        assert redirect is not None
        await self._clock.sleep(min(redirect.retry_after_s or 0.0, self._tuning.max_retry_after_s))
        return Ending(None, nodes=redirect.nodes)

    def _closed(self, event: wire.Closed) -> Ending:
        said = event.disconnect
        status = Lost(self._address, said.reason or f"closed with code {said.code}", said.code)
        nodes = self._redirect.nodes if self._redirect else ()
        if not event.by_peer:  # what a server did wrong once it may do right the next time
            return Ending(status, nodes=nodes)
        error = Disconnected(said.code, said.reason) if said.retry == RETRY_NO else None
        return Ending(status, said.retry, said.retry_after_s or 0.0, nodes, error)
