"""Groups and chat over a client's connections: answers to wait for or to be told of, and messages that come in order.

What is said while there is no connection is asked for when there is one again, by its numbers. What is asked and what
becomes of the answers is in push_client. Guide: docs/nio_sdk.md; what everything means: docs/chat.md.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from nio_sdk.answer import Answer
from nio_sdk.inbox import Inbox
from nio_sdk.plan import Plan
from push_client import chat_plans as plans
from push_client.backlog import Backlog
from push_client.chat import ChatMessage, place
from push_client.requests import Doing
from push_client.requests import Plan as ChatPlan
from push_client.talk import Talk

T = TypeVar("T")
_CLOSED = "the client was closed"


class Chat:
    """One client's part in the chat: `client.chat`.

    Each method that asks the server returns an `Answer` at once: `chat.join("friends").result(10)` waits for it, in
    any thread but the loop's own; `chat.join("friends").add_done_callback(f)` has `f` called with it. It is asked as
    soon as there is a session. Its `result` raises ChatError where the server refuses, and what ended the client where
    it has ended. All methods may be called in any thread.

    Messages are what others say, and oneself on other devices, from where one has read: for `get`, `poll` and
    iteration, or for `on_chat`.

    Args:
        plan: what the application wants.
        post: has something done in the loop's thread.
        is_loop: whether this is the loop's own thread.
    """

    def __init__(self, plan: Plan, *, post: Callable[[Callable[[], None]], None], is_loop: Callable[[], bool]) -> None:
        tuning = plan.profile.tuning
        max_waiting = tuning.max_queued_messages
        self.talk = Talk(max_waiting, hears_notices=plan.on_notice is not None)
        self._plan = plan
        self._post = post
        self._is_loop = is_loop
        # A message of the chat is small: their number is limit enough.
        self._inbox: Inbox[ChatMessage] = Inbox(Backlog(max_waiting, tuning.max_queued_bytes, lambda _: 0))
        self._answers: dict[Doing[Any], Answer[Any]] = {}
        self._ending: Exception | None = None
        # For each thread, the message that it is busy with.
        self._busy = threading.local()

    # Saying

    def send_to_group(
        self,
        group: str,
        text: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        type: int = 0,
        mentions: Iterable[str] = (),
        client_id: str | None = None,
    ) -> Answer[ChatMessage]:
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
        return self._do(
            plans.say(self.talk.positions, where, text, data=data, type=type, mentions=mentions, client_id=client_id)
        )

    def send_to_user(
        self,
        uid: str,
        text: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        type: int = 0,
        mentions: Iterable[str] = (),
        client_id: str | None = None,
    ) -> Answer[ChatMessage]:
        """Say something to a user alone; as `send_to_group`."""
        where = place(to=uid)
        return self._do(
            plans.say(self.talk.positions, where, text, data=data, type=type, mentions=mentions, client_id=client_id)
        )

    def recall(self, message: ChatMessage) -> Answer[None]:
        """Take back what one said."""
        return self._do(plans.recall(self.talk.positions, message))

    # What was said

    def history(
        self,
        *,
        group: str | None = None,
        to: str | None = None,
        conversation: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Answer[list[ChatMessage]]:
        """The last messages before a number, or of all, the oldest first."""
        return self._do(plans.history(group=group, to=to, conversation=conversation, before=before, limit=limit))

    def conversations(self) -> Answer[list[dict[str, Any]]]:
        """All that one takes part in, as docs/chat.md describes them under MP."""
        return self._do(plans.conversations())

    def read(self, message: ChatMessage) -> Answer[None]:
        """Say that one has read up to here."""
        return self._do(plans.read(message))

    # Groups and people

    def create(
        self,
        group: str | None = None,
        *,
        title: str = "",
        uids: Iterable[str] = (),
        open: bool = True,
        receipts: bool = False,
    ) -> Answer[dict[str, Any]]:
        """Make a group, with oneself as its owner. Its answer is the group, as docs/chat.md describes it."""
        return self._do(plans.create(group, title=title, uids=uids, open=open, receipts=receipts))

    def join(self, group: str) -> Answer[bool]:
        """Become a member of an open group. False where one was it already."""
        return self._do(plans.join(group))

    def quit(self, group: str) -> Answer[bool]:
        """Leave a group. False for who was no member."""
        return self._do(plans.quit(group))

    def group(self, group: str) -> Answer[dict[str, Any]]:
        """How a group is."""
        return self._do(plans.group(group))

    def members(self, group: str) -> Answer[list[dict[str, Any]]]:
        """All members of a group."""
        return self._do(plans.members(group))

    def add(self, group: str, *uids: str) -> Answer[int]:
        """Make others members. Its answer is how many were not yet."""
        return self._do(plans.add(group, uids))

    def kick(self, group: str, *uids: str) -> Answer[int]:
        """Remove members. Its answer is how many there were."""
        return self._do(plans.kick(group, uids))

    def modify(self, group: str, **changes: Any) -> Answer[dict[str, Any]]:
        """Change title, open or receipts; or, with uid and role, what a member may do."""
        return self._do(plans.modify(group, changes))

    def dismiss(self, group: str) -> Answer[None]:
        """End a group."""
        return self._do(plans.dismiss(group))

    def presence(self, *uids: str, watch: bool = False) -> Answer[list[dict[str, Any]]]:
        """Whether users are there. With watch, `on_notice` is told from now on when they come and go."""
        return self._do(plans.presence(uids, watch=watch))

    def block(self, uid: str, is_blocked: bool = True) -> Answer[None]:
        """Have a user not write to one alone any more, or again."""
        return self._do(plans.block(uid, is_blocked))

    # Hearing

    def poll(self) -> ChatMessage | None:
        """The next message if there is one, without waiting. The one that this thread got before counts as read.

        Raises:
            ClientError: the client has given up, and its messages are all taken.
            RuntimeError: messages go to `on_chat`.
        """
        try:
            return self._take(0.0)
        except TimeoutError:
            return None

    def get(self, timeout_s: float | None = None) -> ChatMessage | None:
        """Wait for the next message; several threads may. The one that this thread got before counts as read.

        Args:
            timeout_s: how long to wait; None: as long as it takes.

        Returns:
            The message; None once the client is closed.

        Raises:
            TimeoutError: there was none in time.
            ClientError: the client has given up, and its messages are all taken.
            RuntimeError: messages go to `on_chat`, or this is the loop's own thread, which would wait for itself.
        """
        if self._ending is None and (timeout_s is None or timeout_s > 0) and self._is_loop():
            raise RuntimeError("this is the loop's own thread, which would wait for itself: use poll()")
        return self._take(timeout_s)

    def __iter__(self) -> Iterator[ChatMessage]:
        """Iterate over messages until the client is closed; as `get` does it."""
        while (message := self.get()) is not None:
            yield message

    @property
    def has_ended(self) -> bool:
        """Whether the client has given up or was closed: no more messages come."""
        return self._ending is not None

    # For the loop's thread

    def digest(self) -> None:
        """Hand out what has come."""
        while (doing := self.talk.take_over()) is not None:
            self._settle(doing)
        while self.talk.notices:
            self._plan.notify(self.talk.notices.popleft())
        if self._plan.on_chat is not None:
            while (message := self.talk.take()) is not None:
                if self._plan.give_chat(message):
                    self.talk.have_read(message)
            return
        while not self._inbox.is_full and (message := self.talk.take()) is not None:
            self._inbox.put(message)

    def end(self, error: Exception | None) -> None:
        """The client has given up for this reason, or was closed."""
        if self._ending is None:
            self._ending = error or RuntimeError(_CLOSED)
            self.talk.end(self._ending)
            self.digest()
            self._inbox.ended(error)
            self._refuse_all(self._ending)

    # Inside

    def _do(self, plan: ChatPlan[T]) -> Answer[T]:
        doing = Doing(plan)
        answer: Answer[T] = Answer(self._is_loop, self._cancelled)
        self._answers[doing] = answer
        try:
            self._post(functools.partial(self.talk.begin, doing))
        except RuntimeError:
            del self._answers[doing]
            raise
        # Whoever ends sees what is in there; who comes later sees that it has ended.
        if self._ending is not None:
            self._refuse_all(self._ending)
        return answer

    def _settle(self, doing: Doing[Any]) -> None:
        answer = self._answers.pop(doing, None)
        if answer is None:
            return
        with suppress(InvalidStateError):  # it was cancelled
            if doing.error is None:
                answer.set_result(doing.result)
            else:
                answer.set_exception(doing.error)

    def _cancelled(self, answer: Answer[Any]) -> None:
        doing = next((doing for doing, one in list(self._answers.items()) if one is answer), None)
        if doing is not None and self._answers.pop(doing, None) is not None:
            self._post(functools.partial(self.talk.stop, doing))

    def _refuse_all(self, error: Exception) -> None:
        while self._answers:
            with suppress(KeyError, InvalidStateError):  # another thread was quicker
                self._answers.popitem()[1].set_exception(error)

    def _take(self, timeout_s: float | None) -> ChatMessage | None:
        if self._plan.on_chat is not None:
            raise RuntimeError("messages of the chat go to on_chat")
        before: ChatMessage | None = getattr(self._busy, "message", None)
        self._busy.message = None
        if before is not None and self._ending is None:
            self._post(functools.partial(self.talk.have_read, before))
        message, made_room = self._inbox.take(timeout_s)
        self._busy.message = message
        if made_room and self._ending is None:
            self._post(_nothing)
        return message


def _nothing() -> None:
    """An order to have a turn: there is room again."""
