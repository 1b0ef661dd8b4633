"""PushClient: messages as an asynchronous iteration over connections that come and go.

One background task holds the connection; it lives from `__aenter__` to `aclose` and leaves nothing behind.
"""

import asyncio
import inspect
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

from aio_sdk.asking import allocated
from aio_sdk.attempt import Attempt
from aio_sdk.chat import Chat
from aio_sdk.inbox import Inbox
from aio_sdk.iteration import Messages
from aio_sdk.saving import Saving
from aio_sdk.settings import Auth, Surroundings, Tuning
from aio_sdk.waiting import first
from push.protocols.wire.client import Opened
from push_client.backlog import Backlog, data_bytes
from push_client.chat import ChatNotice
from push_client.ending import Ending
from push_client.message import Message
from push_client.profile import make_profile
from push_client.pulse import Pulse
from push_client.standing import Standing, with_credential
from push_client.status import Connecting, Ended, Lost, Missed, Status, Unallocated, Waiting
from push_client.token_store import TokenStore

_CLOSED = "the client was closed"


class PushClient:
    """A client of one server, or of the cluster behind it.

    Use it once, as `async with PushClient(url) as client`, and iterate over it. Entering does not wait for the
    server: it may be away, and the client goes on trying.

    Args:
        url: push://host[:port], or ws://host[:port]/path over WebSocket; pushs:// or wss:// for TLS with a
            verified name.
        uid: the user that this device belongs to, 1-128 characters.
        auth: the credential, a JWT, where the server demands one; or a callable, which may be asynchronous, that
            gives one. It is called before each attempt. An OSError of it counts as a failed attempt; anything
            else that it raises ends the client.
        tags: at most 32 strings that this device can be addressed by; they replace earlier ones.
        device: a description that the server keeps, a dict of at most 1 KiB as JSON.
        token: the token to use; without it the one that is kept, or a new one. With both, this one is used and what is
            kept is not read; it is replaced once the session is open.
        token_file: where the token is kept between runs, and which messages were handled. No two clients may share
            a file: their sessions would replace one another.
        token_store: the same, kept by functions of yours: TokenCallbacks. They are called in a thread.
        allocation: an http:// or https:// URL to ask where to connect, as the API's /manager/redirect; while it does
            not answer, the last good node is tried, and then `url`.
        ack: whether the server is to keep each message until it is acknowledged, and to send it again if it is
            not. False: at most once.
        auto_ack: whether asking for the next message acknowledges the one before. False: call `message.ack()`.
        ssl_context: for pushs://, wss:// and https://, instead of the default one.
        on_status: called in the event loop with each new `Status`; it must not block.
        on_notice: the same, with each `ChatNotice`: what the chat says beside messages. With it, this client takes part
            in the chat.
        tuning: times and limits.
        surroundings: clock, randomness and connections, for tests.

    Raises:
        ValueError: one of these cannot be; the sentence names it.
    """

    def __init__(
        self,
        url: str,
        *,
        uid: str | None = None,
        auth: Auth | None = None,
        tags: Iterable[str] | None = None,
        device: Mapping[str, Any] | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        token_store: TokenStore | None = None,
        allocation: str | None = None,
        ack: bool = True,
        auto_ack: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        on_status: Callable[[Status], object] | None = None,
        on_notice: Callable[[ChatNotice], object] | None = None,
        tuning: Tuning | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._profile = make_profile(
            url, uid=uid, auth=auth, tags=tags, device=device, token=token, token_file=token_file,
            token_store=token_store, allocation=allocation, ack=ack, tuning=tuning, has_context=ssl_context is not None,
            wants_missed=on_status is not None,
        )  # fmt: skip
        self._tuning = self._profile.tuning
        self._surroundings = surroundings or Surroundings()
        self._clock = self._surroundings.clock
        self._auth = auth
        self._auto_ack = auto_ack
        self._ssl_context = ssl_context
        self._on_status = on_status
        self._standing = Standing(self._profile)
        self._saving = Saving(self._profile.store, self._standing, clock=self._clock, every_s=self._tuning.save_every_s)
        self._inbox = Inbox(Backlog(self._tuning.max_queued_messages, self._tuning.max_queued_bytes, data_bytes))
        self._current: Attempt | None = None
        self._chat = Chat(
            self._must_live, self._wake, max_waiting=self._tuning.max_queued_messages, on_notice=on_notice
        )
        self._takes_part = on_notice is not None
        self._restart = asyncio.Event()
        # Set while the session is open, and for good when the client has ended.
        self._open_or_ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._error: Exception | None = None

    @property
    def token(self) -> str | None:
        """The token that the server knows this device by; None before the first session without one."""
        return self._standing.token

    @property
    def pulse(self) -> Pulse | None:
        """How the heartbeat does: its interval, and how fast it is answered; None while no session is open."""
        return self._current.pulse if self._current is not None else None

    @property
    def chat(self) -> Chat:
        """Groups and chat: docs/aio_sdk.md. From the first time that this is asked for, this client takes part."""
        if not self._takes_part:
            self._takes_part = True
            if self._current is not None:
                self._current.hear(self._chat)
        return self._chat

    async def __aenter__(self) -> Self:
        """Read the token file and begin to connect.

        Raises:
            TokenFileError: it cannot be read, or holds something else than a token.
            RuntimeError: this client was used before.
        """
        if self._task is not None or self._closing:
            raise RuntimeError("a client is used once: make a new one")
        await self._saving.load()
        asks = self._profile.allocation
        if self._ssl_context is None and (self._profile.home.tls or (asks is not None and asks.tls)):
            self._ssl_context = await asyncio.to_thread(ssl.create_default_context)
        self._task = asyncio.create_task(self._run(), name="aio_sdk.PushClient")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Send the acknowledgements that are due, say goodbye, and wait until nothing runs any more.

        Takes at most `close_timeout_s`, and what the disk needs. Messages not yet taken are dropped, unacknowledged.
        May be called twice. Cancelled, it waits no longer for the server, nor for the disk.
        """
        self._closing = True
        try:
            if self._task is not None:
                await self._stopped(self._task)
                await self._saving.save()
        finally:
            self._chat.end(None, _CLOSED)
            self._inbox.close()
            self._open_or_ended.set()

    def __aiter__(self) -> AsyncIterator[Message]:
        """Iterate over messages until the client is closed.

        Raises:
            ClientError: from the iteration, when the client has given up and its messages are all taken.
            RuntimeError: the client was not entered; or, from the iteration, another one is waiting for a message.
        """
        if self._task is None:
            raise RuntimeError("enter the client first: async with PushClient(…) as client")
        return Messages(self._inbox, self._auto_ack)

    async def wait_open(self) -> str:
        """Wait until a session is open, for as long as that takes; to wait less, use asyncio.timeout.

        Returns:
            The token.

        Raises:
            ClientError: the client has given up.
            RuntimeError: it was closed, or not entered.
        """
        self._must_live()
        await self._open_or_ended.wait()
        self._must_live()
        if self._standing.token is None:
            raise RuntimeError(_CLOSED)
        return self._standing.token

    def network_changed(self, name: str | None = None) -> None:
        """Say that the device is on another network, or back on one: whatever waits is tried at once.

        An open session is asked for a sign of life; with another name than before, it is opened anew.

        Args:
            name: of the network, at most 64 characters; the heartbeat that it bears is remembered by it.

        Raises:
            ValueError: the name cannot be.
        """
        has_moved = self._standing.network(name)
        if not has_moved and self._current is not None and self._current.is_open:
            self._current.probe()
        else:
            self._restart.set()

    async def _stopped(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:  # what is polite is broken off too
            task.cancel()
            await asyncio.wait([task])
            raise

    async def _run(self) -> None:
        try:
            await first(self._stay_connected(), self._saving.run())
        except asyncio.CancelledError:
            self._inbox.close()
            self._tell(Ended(_CLOSED))
            raise
        except Exception as error:  # handed to the application, which is waiting for messages
            self._error = error
            self._tell(Ended(str(error) or type(error).__name__))
            self._inbox.fail(error)
            self._chat.end(error, _CLOSED)
        finally:
            self._open_or_ended.set()

    async def _stay_connected(self) -> NoReturn:
        while True:
            self._restart.clear()
            ending = await first(self._attempt(), self._restarted())
            if ending.status is not None:
                self._tell(ending.status)
            if ending.error is not None:
                raise ending.error
            redirected, delay_s = self._standing.next(ending, self._clock.time(), self._surroundings.random())
            if redirected is not None:
                self._tell(redirected)
            if delay_s > 0:
                self._tell(Waiting(delay_s))
                await first(self._clock.sleep(delay_s), self._told_to_restart())

    async def _restarted(self) -> Ending:
        await self._told_to_restart()
        return Ending(Lost(self._standing.route.current, "the network has changed"), is_ours=True)

    async def _told_to_restart(self) -> None:
        await self._restart.wait()

    async def _attempt(self) -> Ending:
        await self._allocate()
        address = self._standing.route.current
        self._tell(Connecting(address))
        try:
            auth = await self._credential()
        except OSError as error:
            return Ending(Lost(address, f"no credential: {error}"))
        self._standing.begin()
        self._current = Attempt(
            address,
            lambda now_s: self._standing.link(address, auth, now_s),
            inbox=self._inbox,
            handled=self._handled,
            opened=self._opened,
            missed=lambda event: self._tell(Missed(address, event.reason)),
            chat=self._chat if self._takes_part else None,
            tls=self._ssl_context if address.tls else None,
            tuning=self._tuning,
            surroundings=self._surroundings,
        )
        try:
            return await self._current.run()
        finally:
            self._current = None
            self._open_or_ended.clear()

    async def _allocate(self) -> None:
        if self._profile.allocation is None or not self._standing.route.wants_allocation:
            return
        try:
            nodes = await allocated(
                self._profile.allocation,
                tls=self._ssl_context,
                timeout_s=self._tuning.connect_timeout_s,
                surroundings=self._surroundings,
            )
        except (OSError, UnicodeError) as error:
            self._tell(Unallocated(str(error) or type(error).__name__))
            nodes = ()
        self._standing.route.allocated(nodes)

    async def _credential(self) -> str | None:
        """What a callable gives, checked; a string is in the request already."""
        if self._auth is None or isinstance(self._auth, str):
            return None
        credential = self._auth()
        if inspect.isawaitable(credential):
            credential = await credential
        with_credential(self._profile.request, credential)
        return credential

    async def _opened(self, opened: Opened) -> None:
        status = self._standing.opened(opened, self._clock.time())
        if not self._standing.is_kept:
            await self._saving.save(must=True)
        self._open_or_ended.set()
        self._tell(status)

    def _handled(self, message_id: int) -> None:
        if self._standing.handled(message_id):
            if self._current is not None:
                self._current.wake()
            self._saving.handled()

    def _must_live(self) -> None:
        """Raise why this client is not of use."""
        if self._task is None and not self._closing:
            raise RuntimeError("enter the client first: async with PushClient(…) as client")
        if self._error is not None:
            raise self._error
        if self._closing:
            raise RuntimeError(_CLOSED)

    def _wake(self) -> None:
        if self._current is not None:
            self._current.wake()

    def _tell(self, status: Status) -> None:
        if self._on_status is None:
            return
        try:
            self._on_status(status)
        except Exception as error:  # the application's mistake must not cost it its connection
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_status raised an exception", "exception": error}
            )
