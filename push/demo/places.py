"""Where something can be read in the demo: groups, people, and what was pushed. Pure, and bounded.

Imports only push_client.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from push_client.chat import ChatMessage

PUSHES = "pushes"
# Nobody scrolls back further than this in a demo.
MAX_LINES = 500
# More tabs than anybody finds a way through.
MAX_PLACES = 20


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was said or pushed.

    Attributes:
        at: the time of day.
        who: a uid, "" where there is none.
        text: as it came.
        is_mine: whether this user has said it.
    """

    at: str
    who: str
    text: str
    is_mine: bool = False


@dataclass(slots=True)
class Place:
    """One of them.

    Attributes:
        group: the group's name, where it is one.
        to: the user's uid, where it is one.
        unread: how many lines came since somebody looked.
        members: of a group, as far as is known.
    """

    group: str | None = None
    to: str | None = None
    unread: int = 0
    members: tuple[str, ...] = ()
    _lines: dict[int, Line] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """For the tab."""
        return f"#{self.group}" if self.group is not None else self.to if self.to is not None else PUSHES

    @property
    def next_seq(self) -> int:
        """A number behind all that there are."""
        return max(self._lines, default=0) + 1

    def __iter__(self) -> Iterator[Line]:
        return (self._lines[seq] for seq in sorted(self._lines))

    def add(self, seq: int, line: Line) -> bool:
        """Put a line where its number says, unless it is there.

        Returns:
            Whether it is new.
        """
        if seq in self._lines or (len(self._lines) >= MAX_LINES and seq < min(self._lines)):
            return False
        self._lines[seq] = line
        if len(self._lines) > MAX_LINES:
            del self._lines[min(self._lines)]
        return True


class Places:
    """All of them: what was pushed, then the others in the order in which they came up.

    Args:
        uid: of this user.
    """

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self.pushes = Place()
        self._found: dict[tuple[bool, str], Place] = {}
        # Conversation → where it is shown: what oneself says elsewhere does not say to whom.
        self._conversations: dict[str, Place] = {}

    def __iter__(self) -> Iterator[Place]:
        yield self.pushes
        yield from self._found.values()

    def group(self, name: str) -> Place:
        """That of a group.

        Raises:
            ValueError: there are too many.
        """
        return self._get((True, name), Place(group=name))

    def user(self, uid: str) -> Place:
        """That of a user; raises as `group` does."""
        return self._get((False, uid), Place(to=uid))

    def leave(self, place: Place) -> None:
        """Show it no more."""
        self._found = {key: each for key, each in self._found.items() if each is not place}
        self._conversations = {key: each for key, each in self._conversations.items() if each is not place}

    def said(self, message: ChatMessage) -> tuple[Place, Line] | None:
        """Something was said by somebody.

        Returns:
            Where it is, and what it looks like; None where it was there already, or cannot be shown.
        """
        place = self._conversations.get(message.conversation)
        if place is None:
            if message.group is None and message.sender in (None, self._uid):
                return None
            try:
                place = self.group(message.group) if message.group is not None else self.user(str(message.sender))
            except ValueError:
                return None
        return self._put(message, place, message.sender == self._uid)

    def own(self, message: ChatMessage, place: Place) -> tuple[Place, Line] | None:
        """This user has said something here; the same."""
        return self._put(message, place, True)

    def pushed(self, text: str, at_s: float) -> Line:
        """Something was pushed."""
        line = Line(_clock(at_s), "", text)
        self.pushes.add(self.pushes.next_seq, line)
        return line

    def _put(self, message: ChatMessage, place: Place, is_mine: bool) -> tuple[Place, Line] | None:
        self._conversations[message.conversation] = place
        who = self._uid if is_mine else _who(message)
        line = Line(_clock(message.time_ms / 1000), who, _what(message), is_mine)
        return (place, line) if place.add(message.seq, line) else None

    def _get(self, key: tuple[bool, str], new: Place) -> Place:
        if key not in self._found and len(self._found) >= MAX_PLACES:
            raise ValueError(f"there are {MAX_PLACES} conversations here: /leave one of them")
        return self._found.setdefault(key, new)


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s))


def _who(message: ChatMessage) -> str:
    return message.sender or (f"{message.sender_token[:8]}…" if message.sender_token else "the system")


def _what(message: ChatMessage) -> str:
    if message.is_recalled:
        return "(taken back)"
    if message.recalls is not None:
        return f"(took back message {message.recalls})"
    return message.text if message.text is not None else f"(data) {message.data}"
