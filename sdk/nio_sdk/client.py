"""PushClient: messages from a queue or to a callback, in a thread of its own, a shared one, or the caller's loop.

What is called from any thread is here; what happens in the loop's thread is in `life`.
"""

import dataclasses
import functools
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from nio_sdk.callers_loop import CallersLoop
from nio_sdk.chat import Chat
from nio_sdk.handover import Handover
from nio_sdk.life import Life
from nio_sdk.loop_calls import LoopCalls
from nio_sdk.plan import Plan
from nio_sdk.settings import Auth, Surroundings
from nio_sdk.taking import Taking
from nio_sdk.thread import ClientThread
from nio_sdk.watch import Watch
from push_client.backlog import Backlog, data_bytes
from push_client.chat import ChatMessage, ChatNotice
from push_client.intervals import check_network
from push_client.message import Message
from push_client.profile import make_profile
from push_client.pulse import Pulse
from push_client.standing import Standing
from push_client.status import Status
from push_client.token_store import TokenStore
from push_client.tuning import Tuning


class PushClient(LoopCalls, Taking):
    """A client of one server, or of the cluster behind it.

    Use it once: as `with PushClient(url) as client` or with `start` and `close`, in a thread; or without either in a
    loop of yours, which watches `fileno()` and calls `on_readable`, `on_writable` and `on_timer`. Starting does not
    wait for the server: it may be away, and the client goes on trying.

    Args:
        url: push://host[:port], or ws://host[:port]/path over WebSocket; pushs:// or wss:// for TLS with a
            verified name.
        uid: the user that this device belongs to, 1-128 characters.
        auth: the credential, a JWT, where the server demands one; or a callable that gives one. It is called before
            each attempt, in a thread, as it may block. An OSError of it counts as a failed attempt; anything else
            that it raises ends the client.
        tags: at most 32 strings that this device can be addressed by; they replace earlier ones.
        device: a description that the server keeps, a dict of at most 1 KiB as JSON.
        token: the token to use; without it the one that is kept, or a new one. With both, this one is used and what is
            kept is not read; it is replaced once the session is open.
        token_file: where the token is kept between runs, and which messages were handled. No two clients may share
            a file: their sessions would replace one another.
        token_store: the same, kept by functions of yours: TokenCallbacks.
        allocation: an http:// or https:// URL to ask where to connect, as the API's /manager/redirect; while it does
            not answer, the last good node is tried, and then `url`.
        ack: whether the server is to keep each message until it is acknowledged, and to send it again if it is
            not. False: at most once.
        auto_ack: whether a message is acknowledged when `on_message` has returned, or when the thread that got it
            asks for the next. False: call `message.ack()`, in any thread.
        ssl_context: for pushs://, wss:// and https://, instead of the default one.
        on_message: called in the loop's thread with each message; without it, messages are queued for `get`, `poll`
            and iteration.
        on_status: called in the loop's thread with each new `Status`.
        on_chat: the same, with each message of a conversation, which counts as read when it has returned; without it,
            they are queued in `chat`.
        on_notice: the same, with each `ChatNotice`: what the chat says beside messages. With one of these two, this
            client takes part in the chat. None of all these may block; no lock is held meanwhile.
        tuning: times and limits.
        surroundings: clock and chance, for tests.

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
        on_message: Callable[[Message], object] | None = None,
        on_status: Callable[[Status], object] | None = None,
        on_chat: Callable[[ChatMessage], object] | None = None,
        on_notice: Callable[[ChatNotice], object] | None = None,
        tuning: Tuning | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        profile = make_profile(
            url, uid=uid, auth=auth, tags=tags, device=device, token=token, token_file=token_file,
            token_store=token_store, allocation=allocation, ack=ack, tuning=tuning, has_context=ssl_context is not None,
            wants_missed=on_status is not None,
        )  # fmt: skip
        surroundings = surroundings or Surroundings()
        super().__init__(
            Plan(profile, auth, auto_ack, ssl_context, on_message, on_status, on_chat, on_notice, surroundings),
            Handover(Backlog(profile.tuning.max_queued_messages, profile.tuning.max_queued_bytes, data_bytes)),
        )
        self._standing = Standing(profile)
        self._life: Life | None = None
        # One of them, once it has begun.
        self._thread: ClientThread | None = None
        self._owns_thread = False
        self._loop: CallersLoop | None = None
        self._was_used = False
        self._chat = Chat(self._plan, post=self._post, is_loop=lambda: self._is_loop)
        self._takes_part = on_chat is not None or on_notice is not None

    @property
    def token(self) -> str | None:
        """The token that the server knows this device by; None before the first session without one."""
        return self._standing.token

    @property
    def pulse(self) -> Pulse | None:
        """How the heartbeat does: its interval, and how fast it is answered; None while no session is open."""
        return self._life.pulse if self._life is not None else None

    @property
    def has_ended(self) -> bool:
        """Whether the client has given up or was closed: nothing happens any more."""
        return self._handover.has_ended

    @property
    def chat(self) -> Chat:
        """Groups and chat: docs/nio_sdk.md. From the first time that this is asked for, this client takes part."""
        if not self._takes_part:
            self._takes_part = True
            if self._life is not None:
                self._life.post(self._life.hear)
        return self._chat

    # In a thread.

    def start(self, thread: ClientThread | None = None) -> Self:
        """Read what is kept, and begin to connect, in a thread.

        Args:
            thread: one that several clients share; None: one of its own.

        Raises:
            TokenFileError: the token cannot be read, or something else is there.
            RuntimeError: this client was used before, or the thread is closed.
        """
        self._use()
        thread, self._owns_thread = thread or ClientThread(ends_when_empty=True), thread is None
        watch = thread.watch()
        try:
            life = self._begin(watch, lambda: thread.wake(life))
        except BaseException:
            if self._owns_thread:
                thread.close()
            raise
        self._thread = thread
        thread.add(life, watch)
        return self

    def __enter__(self) -> Self:
        """Start, unless that was done."""
        return self if self._was_used else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # From any thread.

    def close(self) -> None:
        """Send the acknowledgements that are due, say goodbye, and let go of everything. May be called twice.

        Takes at most `close_timeout_s` and what keeping the token needs; in a callback it returns at once, and the
        client ends behind it. In the thread of the caller's loop nothing is waited for: what the line does not take at
        once is lost, and `fileno()` is closed, so the loop must have forgotten it. Messages not yet taken are dropped,
        unacknowledged.
        """
        self._was_used = True
        life, thread = self._life, self._thread
        if life is None:
            self._handover.ended(None)
            self._chat.end(None)
        elif thread is not None:
            life.stop()
            if not thread.is_current:
                self._wait_ended()
                if self._owns_thread:
                    thread.close()
        elif self._loop is not None and self._loop.is_current:
            life.finish()
            if life.is_over:
                self._loop.close()
        else:
            life.stop()
            self._wait_ended()
        if life is None or life.is_over:
            self._handover.ended(None)

    def wait_open(self, timeout_s: float | None = None) -> str:
        """Wait until a session is open.

        Args:
            timeout_s: how long to wait; None: as long as it takes.

        Returns:
            The token.

        Raises:
            TimeoutError: it was not in time.
            ClientError: the client has given up.
            RuntimeError: it was closed or not started, or this is the loop's own thread.
        """
        self._must_wait_elsewhere(timeout_s)
        return self._handover.wait_open(timeout_s)

    def network_changed(self, name: str | None = None) -> None:
        """Say that the device is on another network, or back on one: whatever waits is tried at once.

        An open session is asked for a sign of life; with another name than before, it is opened anew.

        Args:
            name: of the network, at most 64 characters; the heartbeat that it bears is remembered by it.

        Raises:
            ValueError: the name cannot be.
        """
        if name is not None:
            check_network(name)
        if self._life is None:
            self._standing.network(name)
        else:
            self._life.post(functools.partial(self._life.network_changed, name))

    def _in_loop(self) -> tuple[CallersLoop, Life]:
        if self._loop is not None and self._life is not None:
            return self._loop, self._life
        if self._thread is not None:
            raise RuntimeError("this client has a thread: a loop has nothing to do for it")
        self._use()
        loop = CallersLoop()
        try:
            life = self._begin(loop.watch(), loop.wake)
        except BaseException:
            loop.close()
            raise
        self._loop = loop
        return loop, life

    def _begin(self, watch: Watch, wake: Callable[[], None]) -> Life:
        plan = self._plan
        asks = plan.profile.allocation
        if plan.tls is None and (plan.profile.home.tls or (asks is not None and asks.tls)):
            plan = dataclasses.replace(plan, tls=ssl.create_default_context())
        life = Life(
            plan, self._standing, self._handover, watch=watch, wake=wake, ack=self._acknowledge, chat=self._chat
        )
        life.load()
        if self._takes_part:
            life.hear()
        self._life = life
        return life

    def _use(self) -> None:
        if self._was_used:
            raise RuntimeError("a client is used once: make a new one")
        self._was_used = True

    def _acknowledge(self, message_id: int) -> None:
        if self._life is not None and not self._life.is_over:
            self._life.post(functools.partial(self._life.handled, message_id))

    def _must_wait_elsewhere(self, timeout_s: float | None) -> None:
        if not self._was_used:
            raise RuntimeError("start the client first")
        if timeout_s is not None and timeout_s <= 0:
            return
        if self._is_loop and not self.has_ended:
            raise RuntimeError("this is the loop's own thread, which would wait for itself: use poll()")

    @property
    def _is_loop(self) -> bool:
        """Whether this is the loop's own thread."""
        place = self._thread or self._loop
        return place is not None and place.is_current

    def _post(self, order: Callable[[], None]) -> None:
        """Have something done in the loop's thread."""
        if self._life is not None:
            self._life.post(order)
        elif not self._was_used:
            raise RuntimeError("start the client first")

    def _wait_ended(self) -> None:
        # A second beyond what it may take, for a loop that is busy with something else.
        self._handover.wait_ended(3 * self._plan.profile.tuning.close_timeout_s + 1.0)
