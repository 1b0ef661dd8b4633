"""PushClient: messages as an asynchronous iteration over connections that come and go.

One background task holds the connection; it lives from `__aenter__` to `aclose` and leaves nothing behind.
"""

import asyncio
import inspect
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from aio_sdk import token_file
from aio_sdk.address import parse_url
from aio_sdk.attempt import Attempt, Ending
from aio_sdk.inbox import Inbox
from aio_sdk.message import Message
from aio_sdk.receipts import Receipts
from aio_sdk.route import Route
from aio_sdk.settings import Auth, Surroundings, Tuning
from aio_sdk.status import Connecting, Ended, Lost, Open, Redirected, Status, Waiting
from push.protocols.wire.backoff import Backoff
from push.protocols.wire.client import Opened
from push.protocols.wire.messages import RETRY_NOW, SubRequest, parse_sub, write_json, write_sub

_CLOSED = "the client was closed"


class PushClient:
    """A client of one server, or of the cluster behind it.

    Use it once, as `async with PushClient(url) as client`, and iterate over it. Entering does not wait for the
    server: it may be away, and the client goes on trying.

    Args:
        url: push://host[:port], or pushs://host[:port] for TLS with a verified name.
        uid: the user that this device belongs to, 1-128 characters.
        auth: the credential, a JWT, where the server demands one; or a callable, which may be asynchronous, that
            gives one. It is called before each attempt. An OSError of it counts as a failed attempt; anything
            else that it raises ends the client.
        tags: at most 32 strings that this device can be addressed by; they replace earlier ones.
        device: a description that the server keeps, a dict of at most 1 KiB as JSON.
        token: the token to use; without it the one in token_file, or a new one. With both, this one is used and the
            file is not read; it is written once the session is open.
        token_file: where the token is kept between runs. No two clients may share a file: their sessions would
            replace one another.
        ack: whether the server is to keep each message until it is acknowledged, and to send it again if it is
            not. False: at most once.
        auto_ack: whether asking for the next message acknowledges the one before. False: call `message.ack()`.
        ssl_context: for pushs://, instead of the default one.
        on_status: called in the event loop with each new `Status`; it must not block.
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
        ack: bool = True,
        auto_ack: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        on_status: Callable[[Status], object] | None = None,
        tuning: Tuning | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        if uid == "":
            raise ValueError("uid must have 1 to 128 characters; for a device without a user, leave it out")
        if isinstance(tags, str):
            raise ValueError("tags must be a list of strings, not one string")
        home = parse_url(url)
        if ssl_context is not None and not home.tls:
            raise ValueError("an ssl_context makes no sense with push://: use pushs://")
        self._tuning = tuning or Tuning()
        self._surroundings = surroundings or Surroundings()
        self._clock = self._surroundings.clock
        self._auth = auth
        self._request = _checked(
            SubRequest(
                token=token,
                uid=uid,
                auth=auth if isinstance(auth, str) else None,
                ack=ack,
                interval_ms=round(self._tuning.interval_s * 1000),
                device=None if device is None else _device(device),
                tags=None if tags is None else tuple(tags),
            )
        )
        self._token_path = None if token_file is None else Path(token_file)
        self._stored_token: str | None = None
        self._auto_ack = auto_ack
        self._is_tls = home.tls
        self._ssl_context = ssl_context
        self._on_status = on_status
        self._route = Route(home, self._tuning.max_redirects)
        self._backoff = Backoff(first_s=self._tuning.first_delay_s, limit_s=self._tuning.max_delay_s)
        self._inbox = Inbox(self._tuning.max_queued_messages, self._tuning.max_queued_bytes)
        self._receipts = Receipts()
        self._opened_s: float | None = None
        # Set while the session is open, and for good when the client has ended.
        self._open_or_ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._error: Exception | None = None

    @property
    def token(self) -> str | None:
        """The token that the server knows this device by; None before the first session without one."""
        return self._request.token

    async def __aenter__(self) -> Self:
        """Read the token file and begin to connect.

        Raises:
            TokenFileError: it cannot be read, or holds something else than a token.
            RuntimeError: this client was used before.
        """
        if self._task is not None or self._closing:
            raise RuntimeError("a client is used once: make a new one")
        if self._token_path is not None and self._request.token is None:
            self._stored_token = await asyncio.to_thread(token_file.load, self._token_path)
            self._request = self._request._replace(token=self._stored_token)
        if self._is_tls and self._ssl_context is None:
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

        Takes at most `close_timeout_s`. Messages not yet taken are dropped, unacknowledged. May be called twice.
        """
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
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
        return _Messages(self._inbox, self._auto_ack)

    async def wait_open(self) -> str:
        """Wait until a session is open, for as long as that takes; to wait less, use asyncio.timeout.

        Returns:
            The token.

        Raises:
            ClientError: the client has given up.
            RuntimeError: it was closed, or not entered.
        """
        if self._task is None:
            raise RuntimeError("enter the client first: async with PushClient(…) as client")
        await self._open_or_ended.wait()
        if self._error is not None:
            raise self._error
        if self._closing or self._request.token is None:
            raise RuntimeError(_CLOSED)
        return self._request.token

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        except asyncio.CancelledError:
            self._inbox.close()
            self._tell(Ended(_CLOSED))
            raise
        except Exception as error:  # handed to the application, which is waiting for messages
            self._error = error
            self._tell(Ended(str(error) or type(error).__name__))
            self._inbox.fail(error)
        finally:
            self._open_or_ended.set()

    async def _stay_connected(self) -> NoReturn:
        while True:
            self._tell(Connecting(self._route.current))
            ending = await self._attempt()
            if ending.status is not None:
                self._tell(ending.status)
            if ending.error is not None:
                raise ending.error
            delay_s = self._next(ending)
            if delay_s > 0:
                self._tell(Waiting(delay_s))
                await self._clock.sleep(delay_s)

    async def _attempt(self) -> Ending:
        address = self._route.current
        try:
            request = await self._authenticated()
        except OSError as error:
            return Ending(Lost(address, f"no credential: {error}"))
        self._opened_s = None
        try:
            return await Attempt(
                address,
                request,
                inbox=self._inbox,
                receipts=self._receipts,
                opened=self._keep,
                tls=self._ssl_context,
                tuning=self._tuning,
                surroundings=self._surroundings,
            ).run()
        finally:
            self._open_or_ended.clear()

    async def _authenticated(self) -> SubRequest:
        if self._auth is None or isinstance(self._auth, str):
            return self._request
        credential = self._auth()
        if inspect.isawaitable(credential):
            credential = await credential
        return _checked(self._request._replace(auth=credential))

    async def _keep(self, opened: Opened) -> None:
        self._request = self._request._replace(token=opened.token)
        if self._token_path is not None and self._stored_token != opened.token:
            await asyncio.to_thread(token_file.save, self._token_path, opened.token)
            self._stored_token = opened.token
        self._opened_s = self._clock.time()
        self._open_or_ended.set()
        self._tell(Open(self._route.current, opened.token, opened.interval_ms / 1000))

    def _next(self, ending: Ending) -> float:
        """Choose the next address, and say how long to wait for it, in seconds."""
        if self._opened_s is not None and self._clock.time() - self._opened_s >= self._tuning.max_delay_s:
            # Only now: a server that opens sessions and drops them at once is not doing well.
            self._backoff.succeeded()
            self._route.settled()
        retry_after_s = min(ending.retry_after_s, self._tuning.max_retry_after_s)
        left = self._route.current
        if ending.nodes and self._route.redirected(ending.nodes):
            self._tell(Redirected(left, self._route.current))
            return retry_after_s
        self._route.failed()
        at_once = ending.retry == RETRY_NOW and self._backoff.failures == 0
        return self._backoff.failed(0.0 if at_once else self._surroundings.random(), retry_after_s)

    def _tell(self, status: Status) -> None:
        if self._on_status is None:
            return
        try:
            self._on_status(status)
        except Exception as error:  # the application's mistake must not cost it its connection
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_status raised an exception", "exception": error}
            )


class _Messages:
    """One iteration; it knows the message that the application is busy with."""

    def __init__(self, inbox: Inbox, auto_ack: bool) -> None:
        self._inbox = inbox
        self._auto_ack = auto_ack
        self._current: Message | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._current is not None and self._auto_ack:
            self._current.ack()
        self._current = None
        message = await self._inbox.get()
        if message is None:
            raise StopAsyncIteration
        self._current = message
        return message


def _device(device: Mapping[str, Any]) -> str:
    if not isinstance(device, Mapping):
        raise ValueError(f"device must be a dict, not {type(device).__name__}")
    try:
        return write_json(dict(device)).decode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"device must be of what JSON has: {error}") from None


def _checked(request: SubRequest) -> SubRequest:
    """The request as a server will understand it, or a ValueError that names what is wrong."""
    return parse_sub(write_sub(request))
