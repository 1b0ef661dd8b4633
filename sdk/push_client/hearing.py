"""What is said, in the order of each conversation and with none missing: what does not come by itself is asked for.

Pure.
"""

from collections import deque
from typing import Any

from push.protocols.wire.signals import SubSignal
from push_client.chat import ChatError, ChatMessage, Positions, read_conversation, read_messages
from push_client.chat_plans import PAGE, conversations, number
from push_client.requests import Ask, Doing, Plan, Requests

# So many conversations may be new between two surveys, beside as many as the last one named.
_MANY_NEW = 1_000

# One has no part in the conversation any more, or there is none.
_NOT_OURS = (403, 404)


class Hearing:
    """Messages on their way to the application.

    A conversation that one has left is forgotten when a survey names it no more: one that begins with each session, and
    as soon as there are more than twice as many conversations as the last one named, and 1,000. What is said in one
    that there is no room for is not lost: that survey finds it.

    Args:
        requests: asks for what is lacking.
        max_waiting: how many messages may wait to be taken; what is more is asked for later.

    Attributes:
        positions: what has been handed out.
    """

    def __init__(self, requests: Requests, max_waiting: int) -> None:
        self.positions = Positions()
        self._requests = requests
        self._max_waiting = max_waiting
        self._waiting: deque[ChatMessage] = deque()
        # Conversations that lack something; None: it is not known which.
        self._lacking: set[str | None] = set()
        # What is being asked for, and of which of them.
        self._doing: Doing[None] | None = None
        self._asked: str | None = None
        self._is_there = False
        self._max_known = _MANY_NEW

    @property
    def has_messages(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._waiting)

    def opened(self) -> None:
        """A session is open: look what was missed."""
        self._is_there = True
        self.lack(None)

    def lost(self) -> None:
        """There is none: ask for nothing more until there is one again."""
        self._is_there = False
        doing, self._doing = self._doing, None
        if doing is not None:
            self._requests.stop(doing)
            self._lacking.add(self._asked)

    def heard(self, message: ChatMessage) -> None:
        """Somebody said something."""
        conversation = message.conversation
        if self.positions.is_known(conversation, message.seq):
            return
        if conversation not in self.positions.handed and len(self.positions) + len(self._lacking) >= self._max_known:
            self.lack(None)
            return
        has_room = len(self._waiting) < self._max_waiting and not {conversation, None} & self._lacking
        if has_room and self.positions.is_next(conversation, message.seq):
            self._waiting.append(message)
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
        if self._lacking and 2 * len(self._waiting) < self._max_waiting:
            self._go_on()
        return message

    def over(self, doing: Doing[Any]) -> bool:
        """Something came to its end; whether it was asked from here."""
        if doing is not self._doing:
            return False
        self._doing = None
        error = doing.error
        if error is None:
            self._go_on()
        elif isinstance(error, ChatError) and error.status in _NOT_OURS:
            if self._asked is not None:
                self.positions.forget((self._asked,))
            self._go_on()
        else:  # the next session begins with it anew
            self._lacking.add(self._asked)
        return True

    def _go_on(self) -> None:
        """Ask for what is lacking, as far as there is room for it."""
        if self._doing is None and self._is_there and self._lacking and len(self._waiting) < self._max_waiting:
            conversation = None if None in self._lacking else next(iter(self._lacking))
            # Before it is asked for: what is said meanwhile may be in the answer, or not.
            self._lacking.discard(conversation)
            self._asked = conversation
            self._doing = Doing(self._survey() if conversation is None else self._pull(conversation))
            self._requests.begin(self._doing)

    def _survey(self) -> Plan[None]:
        """Look how far conversations have got, and which there are."""
        left = self.positions.known()
        count = 0
        for standing in (yield from conversations(patiently=True)):
            conversation = read_conversation(standing)
            last, first, read = (number(standing, name) for name in ("last_seq", "first_seq", "read_seq"))
            if conversation is None:
                continue
            left.discard(conversation)
            count += 1
            self.positions.begin(conversation, max(self.positions.handed.get(conversation, read), first - 1))
            if self.positions.handed[conversation] < last:
                self._lacking.add(conversation)
        self.positions.forget(each for each in left if each not in self._lacking)
        self._max_known = 2 * count + _MANY_NEW

    def _pull(self, conversation: str) -> Plan[None]:
        """Ask for the next messages of a conversation."""
        after = self.positions.handed.get(conversation, 0)
        fields = {"conversation": conversation, "after": after, "limit": PAGE}
        answer = yield Ask(SubSignal.MP, fields, again=True, patiently=True)
        for message in read_messages(answer):
            if message.conversation == conversation and not self.positions.is_known(conversation, message.seq):
                # What lies between has been forgotten, or is not for us.
                self.positions.begin(conversation, message.seq)
                self._waiting.append(message)
        if answer.get("more") and self.positions.handed.get(conversation, 0) > after:
            self._lacking.add(conversation)
