"""One client's part in the chat, over all of its connections: what is asked, what was heard, what was read. Pure.

A link feeds it, and sends what it asks; a driver begins what the application wants, takes out what has come of it, and
hands out messages and notices. Source: docs/chat.md.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from push.protocols.wire.client import Answered, Notified
from push.protocols.wire.signals import SubSignal
from push_client.chat import ChatMessage, ChatNotice, Positions, read_notice, request
from push_client.chat_plans import have_read
from push_client.hearing import Hearing
from push_client.requests import Doing, Requests


class Talk:
    """One client's part.

    Args:
        max_waiting: how many messages may wait to be taken; what is more is asked for later. As many notices wait.
        hears_notices: whether somebody takes them.

    Attributes:
        notices: what is said beside messages, for the driver to take; of too many, the oldest are dropped.
    """

    def __init__(self, max_waiting: int, *, hears_notices: bool) -> None:
        self.notices: deque[ChatNotice] = deque(maxlen=max_waiting if hears_notices else 0)
        self._requests = Requests()
        self._hearing = Hearing(self._requests, max_waiting)
        self._over: deque[Doing[Any]] = deque()
        # Conversation → up to where one has read, for the server to know.
        self._read: dict[str, int] = {}
        self._telling: Doing[None] | None = None
        self._told: tuple[str, int] = ("", 0)
        self._is_there = False

    # For the driver

    @property
    def is_ready(self) -> bool:
        """Whether there is something to be sent: make the link give its output."""
        return self._is_there and self._requests.is_ready

    @property
    def positions(self) -> Positions:
        """What has been handed out."""
        return self._hearing.positions

    @property
    def has_messages(self) -> bool:
        """Whether `take` has something to give."""
        return self._hearing.has_messages

    def begin(self, doing: Doing[Any]) -> None:
        """Do what the application wants, as soon as there is a session."""
        self._requests.begin(doing)
        self._sort()

    def stop(self, doing: Doing[Any]) -> None:
        """The application does not want it any more."""
        self._requests.stop(doing)

    def take_over(self) -> Doing[Any] | None:
        """The next of what was begun that has come to its end."""
        return self._over.popleft() if self._over else None

    def take(self) -> ChatMessage | None:
        """The next message, if there is one."""
        return self._hearing.take()

    def have_read(self, message: ChatMessage) -> None:
        """The application is done with a message: the server is to know."""
        conversation = message.conversation
        self._read[conversation] = max(message.seq, self._read.get(conversation, 0))
        self._tell()

    def end(self, error: Exception) -> None:
        """The client has ended, for this reason: nothing is asked any more."""
        self.lost()
        self._read.clear()
        self._requests.end(error)
        self._sort()

    # For the link

    def opened(self) -> None:
        """A session is open."""
        self._is_there = True
        self._hearing.opened()
        self._tell()

    def heard(self, event: Answered | Notified, now_s: float) -> None:
        """Something came."""
        if isinstance(event, Answered):
            self._requests.answered(event, now_s)
            self._sort()
            return
        found = read_notice(event)
        if isinstance(found, ChatMessage):
            self._hearing.heard(found)
        elif found is not None:
            self.notices.append(found)

    def send(self, ask: Callable[[int, bytes], int], now_s: float) -> None:
        """Ask what is due; see `Requests.send`."""
        self._requests.send(ask, now_s)

    def next_s(self) -> float:
        """When to call `tick` and `send`, if nothing happens before."""
        return self._requests.next_s()

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self._requests.tick(now_s)
        self._sort()

    def say_last(self, ask: Callable[[int, bytes], int]) -> None:
        """The session is about to end: say what was read; nobody will hear the answer."""
        for conversation, seq in self._read.items():
            with contextlib.suppress(RuntimeError):  # too much is unanswered: it is read again another time
                ask(SubSignal.MN, request({"conversation": conversation, "seq": seq}))

    def lost(self) -> None:
        """The session is over."""
        self._is_there = False
        telling, self._telling = self._telling, None
        if telling is not None:
            self._requests.stop(telling)
        self._hearing.lost()
        self._requests.lost()
        self._sort()

    # Inside

    def _sort(self) -> None:
        """Keep to oneself what is one's own."""
        while self._requests.over:
            doing = self._requests.over.popleft()
            if doing is self._telling:
                self._telling = None
                conversation, seq = self._told
                # Also where it was refused: it was left meanwhile, or the group is no more.
                if self._read.get(conversation) == seq:
                    del self._read[conversation]
                self._tell()
            elif not self._hearing.over(doing):
                self._over.append(doing)

    def _tell(self) -> None:
        if self._telling is None and self._read and self._is_there:
            self._told = next(iter(self._read.items()))
            self._telling = Doing(have_read(*self._told))
            self._requests.begin(self._telling)
