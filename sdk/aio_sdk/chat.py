"""Groups and chat over a client's connections: requests with answers, and messages that come in order, none missing.

What is said while there is no connection is asked for when there is one again, by its numbers. Guide: docs/aio_sdk.md;
what everything means: docs/chat.md.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from aio_sdk.hearing import Hearing
from aio_sdk.requests import Connection, Requests
from aio_sdk.waiting import Clock
from push.protocols.wire.client import Answered, Notified
from push.protocols.wire.signals import SubSignal
from push_client.chat import ChatError, ChatMessage, place, read_message, read_messages, read_notice

# How long the end of a client waits for the server to know what was read.
_CLOSE_TIMEOUT_S = 1.0


class Chat:
    """One client's part in the chat: `client.chat`.

    Iterate over it for what others say, and oneself on other devices, from where one has read. What was handed out
    counts as read when the next one is asked for. All methods raise ChatError where the server refuses, and
    what `wait_open` raises where the client has ended.

    Args:
        current: the connection that there is, if any.
        wait_open: waits until a session is open.
        clock: for the time limits.
        max_waiting: how many messages may wait to be taken; what is more is asked for later.
    """

    def __init__(
        self,
        current: Callable[[], Connection | None],
        wait_open: Callable[[], Awaitable[str]],
        *,
        clock: Clock,
        max_waiting: int,
    ) -> None:
        self._requests = Requests(current, wait_open, clock=clock)
        self._hearing = Hearing(self._requests, max_waiting)
        self._last: ChatMessage | None = None
        # Conversation → up to where one has read, for the server to know.
        self._read: dict[str, int] = {}
        self._telling: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._has_ended = False

    # Saying

    async def send_to_group(self, group: str, text: str | None = None, **more: Any) -> ChatMessage:
        """Say something in a group: text, or `data`, or both; `type` and `mentions` as docs/chat.md has them.

        It is said once, though the connection may break before the answer has come.
        """
        return await self._send(place(group=group), text, **more)

    async def send_to_user(self, uid: str, text: str | None = None, **more: Any) -> ChatMessage:
        """Say something to a user alone; as `send_to_group`."""
        return await self._send(place(to=uid), text, **more)

    async def recall(self, message: ChatMessage) -> None:
        """Take back what one said."""
        answer = await self._requests.ask(SubSignal.MR, {"conversation": message.conversation, "seq": message.seq})
        self._hearing.positions.said(message.conversation, int(answer["seq"]))

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
        where = place(group=group, to=to, conversation=conversation)
        answer = await self._requests.ask(SubSignal.LRM, {**where, "before": before, "limit": limit}, again=True)
        return read_messages(answer)

    async def conversations(self) -> list[dict[str, Any]]:
        """All that one takes part in, as docs/chat.md describes them under MP."""
        return await self._hearing.conversations()

    async def read(self, message: ChatMessage) -> None:
        """Say that one has read up to here."""
        await self._requests.ask(SubSignal.MN, {"conversation": message.conversation, "seq": message.seq}, again=True)

    # Groups and people

    async def create(self, group: str | None = None, *, title: str = "", uids: Iterable[str] = (), open: bool = True,
                     receipts: bool = False) -> dict[str, Any]:  # fmt: skip
        """Make a group, with oneself as its owner. Returns it, as docs/chat.md describes it."""
        fields = {"group": group, "title": title, "uids": list(uids), "open": open, "receipts": receipts}
        return await self._requests.ask(SubSignal.GC, fields)

    async def join(self, group: str) -> bool:
        """Become a member of an open group. Returns False where one was it already."""
        return bool((await self._requests.ask(SubSignal.GAM, {"group": group}, again=True))["changed"])

    async def quit(self, group: str) -> bool:
        """Leave a group. Returns False for who was no member."""
        return bool((await self._requests.ask(SubSignal.GQ, {"group": group}, again=True))["changed"])

    async def group(self, group: str) -> dict[str, Any]:
        """How a group is."""
        return await self._requests.ask(SubSignal.GPGI, {"group": group}, again=True)

    async def members(self, group: str) -> list[dict[str, Any]]:
        """All members of a group."""
        found: list[dict[str, Any]] = []
        after: object = None
        while after != "":
            answer = await self._requests.ask(SubSignal.GPGM, {"group": group, "after": after}, again=True)
            found += [each for each in answer.get("members", ()) if isinstance(each, dict)]
            after = answer.get("after", "")
        return found

    async def add(self, group: str, *uids: str) -> int:
        """Make others members. Returns how many were not yet."""
        return int(
            (await self._requests.ask(SubSignal.GAM, {"group": group, "uids": list(uids)}, again=True))["changed"]
        )

    async def kick(self, group: str, *uids: str) -> int:
        """Remove members. Returns how many there were."""
        return int(
            (await self._requests.ask(SubSignal.GKM, {"group": group, "uids": list(uids)}, again=True))["changed"]
        )

    async def modify(self, group: str, **changes: Any) -> dict[str, Any]:
        """Change title, open or receipts; or, with uid and role, what a member may do."""
        return await self._requests.ask(SubSignal.GMI, {"group": group, **changes}, again=True)

    async def dismiss(self, group: str) -> None:
        """End a group."""
        await self._requests.ask(SubSignal.GD, {"group": group})

    async def presence(self, *uids: str, watch: bool = False) -> list[dict[str, Any]]:
        """Whether users are there."""
        answer = await self._requests.ask(SubSignal.US, {"uids": list(uids), "watch": watch}, again=True)
        return list(answer.get("presence", ()))

    async def block(self, uid: str, is_blocked: bool = True) -> None:
        """Have a user not write to one alone any more, or again."""
        await self._requests.ask(SubSignal.MMI, {"uid": uid, "block": is_blocked}, again=True)

    # Hearing

    async def __aiter__(self) -> AsyncIterator[ChatMessage]:
        """What others say, in the order of each conversation, until the client is closed."""
        while True:
            last, self._last = self._last, None
            if last is not None:
                self._have_read(last)
            hearing = self._hearing
            while (message := hearing.take()) is None:
                if self._has_ended:
                    if self._error is not None:
                        raise self._error
                    return
                hearing.changed.clear()
                await hearing.changed.wait()
            self._last = message
            yield message

    # For the connection

    def opened(self) -> None:
        """A session is open: look what was missed."""
        self._hearing.lack(None)
        self._tell_read()

    def take(self, event: Answered | Notified) -> None:
        """Something came."""
        if isinstance(event, Notified):
            message = read_notice(event)
            if message is not None:
                self._hearing.heard(message)
        else:
            self._requests.answered(event)

    def lost(self) -> None:
        """The connection is gone, and the answers with it."""
        self._requests.lost()
        self._stop()

    async def close(self, error: Exception | None) -> None:
        """The client ends: while there is a connection, what was read is said first."""
        if error is None and self._telling is not None:
            await asyncio.wait([self._telling], timeout=_CLOSE_TIMEOUT_S)
        self._has_ended = True
        self._error = error
        self._hearing.changed.set()
        self._requests.lost()
        tasks = self._stop()
        if tasks:
            await asyncio.wait(tasks)

    # Inside

    async def _send(self, where: Mapping[str, object], text: str | None, **more: Any) -> ChatMessage:
        client_id = secrets.token_hex(8)
        answer = await self._requests.ask(
            SubSignal.MS, {**where, "text": text, "client_id": client_id, **more}, again=True
        )
        conversation, seq = str(answer["conversation"]), int(answer["seq"])
        self._hearing.positions.said(conversation, seq)
        said = read_message({**more, "text": text, **answer, "group": where.get("group")})
        assert said is not None, "an answer has a conversation and a number"
        return said

    def _stop(self) -> "list[asyncio.Task[None]]":
        telling, self._telling = self._telling, None
        if telling is not None:
            telling.cancel()
        return [task for task in (telling, self._hearing.stop()) if task is not None]

    def _have_read(self, message: ChatMessage) -> None:
        self._read[message.conversation] = message.seq
        self._tell_read()

    def _tell_read(self) -> None:
        if self._read and not self._has_ended and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(), name="aio_sdk.Chat.read")

    async def _tell(self) -> None:
        while self._read:
            conversation, seq = next(iter(self._read.items()))
            with contextlib.suppress(ChatError):  # it was left meanwhile, or the group is no more
                fields = {"conversation": conversation, "seq": seq}
                await self._requests.ask(SubSignal.MN, fields, again=True, patiently=True)
            if self._read.get(conversation) == seq:
                del self._read[conversation]
