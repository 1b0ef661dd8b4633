"""Groups and chat over a client's connections: requests with answers, and messages that come in order, none missing.

What is said while there is no connection is asked for when there is one again, by its numbers. What is asked and what
becomes of the answers is in push_client. Guide: docs/aio_sdk.md; what everything means: docs/chat.md.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeVar

from aio_sdk.iteration import ChatMessages, Reading
from push_client import chat_plans as plans
from push_client.chat import ChatMessage, ChatNotice, Positions, place
from push_client.requests import Doing, Plan
from push_client.talk import Talk

T = TypeVar("T")


class Chat:
    """One client's part in the chat: `client.chat`.

    Iterate over it for what others say, and oneself on other devices, from where one has read. What an iteration has
    handed out counts as read when it is asked for the next one; where it was left, when another one is. All methods
    wait until there is a session; they raise ChatError where the server refuses, and what ended the client where it has
    ended.

    Args:
        must_live: raises what has ended the client, if it has.
        wake: has the connection, if there is one, send what is to be sent.
        max_waiting: how many messages may wait to be taken; what is more is asked for later.
        on_notice: called in the event loop with what is said beside messages.
    """

    def __init__(
        self,
        must_live: Callable[[], None],
        wake: Callable[[], None],
        *,
        max_waiting: int,
        on_notice: Callable[[ChatNotice], object] | None,
    ) -> None:
        self.talk = Talk(max_waiting, hears_notices=on_notice is not None)
        self._must_live = must_live
        self._wake = wake
        self._on_notice = on_notice
        self._futures: dict[Doing[Any], asyncio.Future[None]] = {}
        # Set when there is a message, or nothing more to come.
        self._changed = asyncio.Event()
        self._is_awaited = False
        self._reading = Reading(self._read)
        self._error: Exception | None = None
        self._has_ended = False

    # Saying

    async def send_to_group(
        self,
        group: str,
        text: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        type: int = 0,
        mentions: Iterable[str] = (),
        client_id: str | None = None,
    ) -> ChatMessage:
        """Say something in a group: text, or data, or both.

        It is said once, though the connection may break before the answer has come.

        Args:
            group: its name.
            text: of the message.
            data: what is not text.
            type: what your clients make of it.
            mentions: up to 100 uids that it is meant for above all.
            client_id: a name of your own, up to 64 characters, to say the same message again after a restart.
        """
        where = place(group=group)
        return await self._do(
            plans.say(self._positions, where, text, data=data, type=type, mentions=mentions, client_id=client_id)
        )

    async def send_to_user(
        self,
        uid: str,
        text: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        type: int = 0,
        mentions: Iterable[str] = (),
        client_id: str | None = None,
    ) -> ChatMessage:
        """Say something to a user alone; as `send_to_group`."""
        where = place(to=uid)
        return await self._do(
            plans.say(self._positions, where, text, data=data, type=type, mentions=mentions, client_id=client_id)
        )

    async def recall(self, message: ChatMessage) -> None:
        """Take back what one said."""
        await self._do(plans.recall(self._positions, message))

    # What was said

    async def history(
        self,
        *,
        group: str | None = None,
        to: str | None = None,
        conversation: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[ChatMessage]:
        """The last messages before a number, or of all, the oldest first."""
        return await self._do(plans.history(group=group, to=to, conversation=conversation, before=before, limit=limit))

    async def conversations(self) -> list[dict[str, Any]]:
        """All that one takes part in, as docs/chat.md describes them under MP."""
        return await self._do(plans.conversations())

    async def read(self, message: ChatMessage) -> None:
        """Say that one has read up to here."""
        await self._do(plans.read(message))

    # Groups and people

    async def create(
        self,
        group: str | None = None,
        *,
        title: str = "",
        uids: Iterable[str] = (),
        open: bool = True,
        receipts: bool = False,
    ) -> dict[str, Any]:
        """Make a group, with oneself as its owner. Returns it, as docs/chat.md describes it."""
        return await self._do(plans.create(group, title=title, uids=uids, open=open, receipts=receipts))

    async def join(self, group: str) -> bool:
        """Become a member of an open group. Returns False where one was it already."""
        return await self._do(plans.join(group))

    async def quit(self, group: str) -> bool:
        """Leave a group. Returns False for who was no member."""
        return await self._do(plans.quit(group))

    async def group(self, group: str) -> dict[str, Any]:
        """How a group is."""
        return await self._do(plans.group(group))

    async def members(self, group: str) -> list[dict[str, Any]]:
        """All members of a group."""
        return await self._do(plans.members(group))

    async def add(self, group: str, *uids: str) -> int:
        """Make others members. Returns how many were not yet."""
        return await self._do(plans.add(group, uids))

    async def kick(self, group: str, *uids: str) -> int:
        """Remove members. Returns how many there were."""
        return await self._do(plans.kick(group, uids))

    async def modify(self, group: str, **changes: Any) -> dict[str, Any]:
        """Change title, open or receipts; or, with uid and role, what a member may do."""
        return await self._do(plans.modify(group, changes))

    async def dismiss(self, group: str) -> None:
        """End a group."""
        await self._do(plans.dismiss(group))

    async def presence(self, *uids: str, watch: bool = False) -> list[dict[str, Any]]:
        """Whether users are there. With watch, `on_notice` is told from now on when they come and go."""
        return await self._do(plans.presence(uids, watch=watch))

    async def block(self, uid: str, is_blocked: bool = True) -> None:
        """Have a user not write to one alone any more, or again."""
        await self._do(plans.block(uid, is_blocked))

    # Hearing

    def __aiter__(self) -> AsyncIterator[ChatMessage]:
        """What others say, in the order of each conversation, until the client is closed.

        Raises:
            RuntimeError: from the iteration: another one is waiting for a message.
        """
        return ChatMessages(self._next, self._reading)

    # For the connection

    def digest(self) -> None:
        """Hand out what has come."""
        while (doing := self.talk.take_over()) is not None:
            future = self._futures.get(doing)
            if future is not None and not future.done():
                future.set_result(None)
        while self.talk.notices:
            self._notify(self.talk.notices.popleft())
        if self.talk.has_messages:
            self._changed.set()
        if self.talk.is_ready:
            self._wake()

    def end(self, error: Exception | None, reason: str) -> None:
        """The client has ended, for this error or because it was closed, which `reason` says."""
        if self._has_ended:
            return
        self._has_ended = True
        self._error = error
        self.talk.end(error or RuntimeError(reason))
        self.digest()
        self._changed.set()

    # Inside

    @property
    def _positions(self) -> Positions:
        return self.talk.positions

    async def _do(self, plan: Plan[T]) -> T:
        self._must_live()
        doing = Doing(plan)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[doing] = future
        try:
            self.talk.begin(doing)
            self.digest()
            await future
        finally:
            del self._futures[doing]
            self.talk.stop(doing)
        return doing.result

    async def _next(self) -> ChatMessage | None:
        """Wait for the next message; None at the end."""
        if self._is_awaited:
            raise RuntimeError("somebody else is waiting for the next message: iterate in one task at a time")
        while (message := self._take()) is None:
            if self._has_ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            self._is_awaited = True
            try:
                await self._changed.wait()
            finally:
                self._is_awaited = False
        return message

    def _read(self, message: ChatMessage) -> None:
        if not self._has_ended:
            self.talk.have_read(message)
            self._wake()

    def _take(self) -> ChatMessage | None:
        message = self.talk.take()
        if self.talk.is_ready:
            self._wake()
        return message

    def _notify(self, notice: ChatNotice) -> None:
        assert self._on_notice is not None
        try:
            self._on_notice(notice)
        except Exception as error:  # the application's mistake must not cost it its connection
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_notice raised an exception", "exception": error}
            )
