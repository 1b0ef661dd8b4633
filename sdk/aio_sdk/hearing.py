"""What is said, in the order of each conversation and with none missing: what does not come by itself is asked for.

Standard library only, and push_client.
"""

import asyncio
import contextlib
from collections import deque
from typing import Any

from aio_sdk.requests import Requests
from push.protocols.wire.signals import SubSignal
from push_client.chat import ChatError, ChatMessage, Positions, read_messages

_PAGE = 100
# One has no part in the conversation any more, or there is none.
_NOT_OURS = (403, 404)


class Hearing:
    """Messages on their way to the application.

    Args:
        requests: asks for what is lacking.
        max_waiting: how many messages may wait to be taken; what is more is asked for later.

    Attributes:
        positions: what has been handed out.
        changed: set when there is a message, or nothing more to come.
    """

    def __init__(self, requests: Requests, max_waiting: int) -> None:
        self.positions = Positions()
        self.changed = asyncio.Event()
        self._requests = requests
        self._max_waiting = max_waiting
        self._waiting: deque[ChatMessage] = deque()
        # Conversations that lack something; None: it is not known which.
        self._lacking: set[str | None] = set()
        self._asking: asyncio.Task[None] | None = None

    def heard(self, message: ChatMessage) -> None:
        """Somebody said something."""
        conversation = message.conversation
        if self.positions.is_known(conversation, message.seq):
            return
        has_room = len(self._waiting) < self._max_waiting and not {conversation, None} & self._lacking
        if has_room and self.positions.is_next(conversation, message.seq):
            self._put(message)
        else:
            self.lack(conversation)

    def lack(self, conversation: str | None) -> None:
        """Something is lacking: in this conversation, or None for wherever it may be."""
        self._lacking.add(conversation)
        self._go_on()

    def take(self) -> ChatMessage | None:
        """The next message, if there is one."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        if self._lacking and len(self._waiting) < self._max_waiting // 2:
            self._go_on()
        return message

    def stop(self) -> "asyncio.Task[None] | None":
        """Ask for nothing more until something is lacking again. Returns what is ending because of that."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        return asking

    async def conversations(self, *, patiently: bool = False) -> list[dict[str, Any]]:
        """All that one takes part in. `patiently`: as in Requests."""
        found: list[dict[str, Any]] = []
        after: object = None
        while after != "":
            fields = {"after": after, "limit": _PAGE}
            answer = await self._requests.ask(SubSignal.MP, fields, again=True, patiently=patiently)
            found += [each for each in answer.get("conversations", ()) if isinstance(each, dict)]
            after = answer.get("after", "")
        return found

    def _put(self, message: ChatMessage) -> None:
        self._waiting.append(message)
        self.changed.set()

    def _go_on(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="aio_sdk.Chat")

    async def _ask(self) -> None:
        """Ask for what is lacking, as far as there is room for it."""
        with contextlib.suppress(ChatError):  # the next session begins with it anew
            while self._lacking and len(self._waiting) < self._max_waiting:
                conversation = None if None in self._lacking else next(iter(self._lacking))
                # Before it is asked for: what is said meanwhile may be in the answer, or not.
                self._lacking.discard(conversation)
                try:
                    await (self._survey() if conversation is None else self._pull(conversation))
                except BaseException as error:
                    if not isinstance(error, ChatError) or error.status not in _NOT_OURS:
                        self._lacking.add(conversation)
                        raise

    async def _survey(self) -> None:
        """Look how far conversations have got."""
        for standing in await self.conversations(patiently=True):
            conversation = standing.get("conversation")
            last, first, read = (_number(standing, name) for name in ("last_seq", "first_seq", "read_seq"))
            if not isinstance(conversation, str):
                continue
            self.positions.begin(conversation, max(self.positions.handed.get(conversation, read), first - 1))
            if self.positions.handed[conversation] < last:
                self._lacking.add(conversation)

    async def _pull(self, conversation: str) -> None:
        """Ask for the next messages of a conversation."""
        after = self.positions.handed.get(conversation, 0)
        fields = {"conversation": conversation, "after": after, "limit": _PAGE}
        answer = await self._requests.ask(SubSignal.MP, fields, again=True, patiently=True)
        for message in read_messages(answer):
            if not self.positions.is_known(conversation, message.seq):
                # What lies between has been forgotten, or is not for us.
                self.positions.begin(conversation, message.seq)
                self._put(message)
        if answer.get("more"):
            self._lacking.add(conversation)


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int else 0
