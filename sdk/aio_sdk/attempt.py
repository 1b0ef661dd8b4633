"""One attempt: connect, and move bytes and time between a line and the link that makes sense of them.

Knows nothing of other attempts: when and where the next one goes is the client's affair.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import NoReturn

from aio_sdk.chat import Chat
from aio_sdk.inbox import Inbox
from aio_sdk.line import Line
from aio_sdk.settings import Surroundings
from aio_sdk.waiting import expire, first
from push.protocols.wire.client import Missed, Opened
from push_client.address import Address
from push_client.ending import Ending
from push_client.link import Link
from push_client.message import Message
from push_client.pulse import Pulse
from push_client.status import Lost
from push_client.tuning import Tuning


class Attempt:
    """One attempt at one address.

    Args:
        address: where to connect.
        make_link: given the time, makes the link of a line that was just connected.
        inbox: where messages go.
        handled: what a message's `ack` calls.
        opened: called and awaited when the session is open, before the first message.
        missed: called when messages were lost.
        chat: takes part in the chat; None: nobody does.
        tls: for an address with TLS.
    """

    def __init__(
        self,
        address: Address,
        make_link: Callable[[float], Link],
        *,
        inbox: Inbox,
        handled: Callable[[int], None],
        opened: Callable[[Opened], Awaitable[None]],
        missed: Callable[[Missed], None],
        chat: Chat | None,
        tls: ssl.SSLContext | None,
        tuning: Tuning,
        surroundings: Surroundings,
    ) -> None:
        self._address = address
        self._make_link = make_link
        self._inbox = inbox
        self._handled = handled
        self._opened = opened
        self._missed = missed
        self._chat = chat
        self._tls = tls
        self._tuning = tuning
        self._connect = surroundings.connect
        self._clock = surroundings.clock
        self._line: Line | None = None
        self._link: Link | None = None
        self._wanted = asyncio.Event()
        self._retimed = asyncio.Event()
        self._due_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether its session is open."""
        return self._link is not None and self._link.is_open

    @property
    def pulse(self) -> Pulse | None:
        """How the heartbeat of its session does."""
        return self._link.pulse if self._link is not None else None

    async def run(self) -> Ending:
        """Connect and stay until something ends it.

        Raises:
            ClientError: `opened` raised it.
        """
        try:
            timeout_s = self._tuning.connect_timeout_s
            line = await first(self._connected(), expire(self._clock, timeout_s, "no answer in time"))
            return await self._live(line, self._make_link(self._clock.time()))
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name in DNS
            return Ending(Lost(self._address, f"cannot connect: {str(error) or type(error).__name__}"))
        finally:
            if self._line is not None:
                if self._link is not None:
                    self._line.write(self._link.close(self._clock.time()))
                    self._digest()
                await self._line.close(self._tuning.close_timeout_s)

    def wake(self) -> None:
        """There is something to send."""
        self._wanted.set()

    def hear(self, chat: Chat) -> None:
        """Somebody takes part in the chat from now on."""
        self._chat = chat
        if self._link is not None:
            self._link.attend(chat.talk)
            self._wanted.set()

    def probe(self) -> None:
        """Find out now whether the line is alive."""
        if self._link is not None:
            self._link.probe(self._clock.time())
            self._wanted.set()
            self._retimed.set()

    async def _connected(self) -> Line:
        streams = await self._connect(self._address.host, self._address.port, ssl=self._tls)
        # Held at once, as a cancellation in this turn would lose what is returned, and leave it open.
        self._line = Line(streams, self._clock)
        return self._line

    async def _live(self, line: Line, link: Link) -> Ending:
        self._link = link
        if self._chat is not None:
            link.attend(self._chat.talk)
        self._wanted.set()
        try:
            await first(self._read(line, link), self._keep_time(link), self._write(line, link))
        except OSError as error:
            link.lost(str(error) or type(error).__name__)
        assert link.ending is not None
        return link.ending

    async def _read(self, line: Line, link: Link) -> None:
        while link.ending is None:
            if link.is_open and self._inbox.is_full:
                link.pause()
                await self._inbox.room()
                link.resume(self._clock.time())
            event = link.next_event(self._clock.time())
            self._digest()
            # Nothing is awaited between here and `put`: what the link has given out would not come again.
            if isinstance(event, Opened):
                self._retimed.set()
                await self._opened(event)
                self._wanted.set()  # what was handled while there was no connection
            elif isinstance(event, Missed):
                self._missed(event)
            elif event is not None:
                self._inbox.put(Message(event.payload, event.message_id, self._handled))
            elif link.ending is None:
                if link.next_s(self._clock.time()) < self._due_s:  # a redirect, with a time to follow it
                    self._retimed.set()
                if data := await line.read():
                    link.receive(data, self._clock.time())
                    if link.has_output:
                        self._wanted.set()
                else:
                    link.lost("the server closed the connection", self._clock.time())

    async def _keep_time(self, link: Link) -> None:
        while link.ending is None:
            self._retimed.clear()
            now_s = self._clock.time()
            link.tick(now_s)
            self._digest()
            self._wanted.set()
            if link.ending is None:
                self._due_s = link.next_s(now_s)
                await first(self._clock.sleep(self._due_s - now_s), self._retime())

    async def _retime(self) -> None:
        await self._retimed.wait()

    async def _write(self, line: Line, link: Link) -> NoReturn:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            now_s = self._clock.time()
            line.write(link.take_output(now_s))
            if link.next_s(now_s) < self._due_s:  # the time for an answer runs
                self._retimed.set()
            await line.drain()

    def _digest(self) -> None:
        if self._chat is not None:
            self._chat.digest()
