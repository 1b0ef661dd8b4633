"""Groups and chat, as a client has them: what is asked, what is answered, and which messages come next. Pure.

Values, and the reading of what a server sends, which is not trusted. What is done with them: `talk`.
Source: docs/chat.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from push.protocols.wire.client import Notified
from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import BodyError, parse_object, write_json
from push.protocols.wire.signals import Signal, SubSignal

# As much of a reason as is kept.
_MAX_REASON_CHARS = 200
# A server closes the connection at a larger frame (3502), and no setting of it allows a chat message half as large.
_MAX_REQUEST_BYTES = 65_536
# Twice as long as any: docs/chat.md, "How it works".
_MAX_CONVERSATION_CHARS = 128
_KINDS: dict[int, str] = {
    SubSignal.MN: "read",
    SubSignal.GAM: "added",
    SubSignal.GKM: "removed",
    SubSignal.GMI: "changed",
    SubSignal.GD: "dismissed",
    SubSignal.US: "presence",
}


class ChatError(Exception):
    """The server refused something.

    Attributes:
        status: as HTTP has it: 400, 403, 404, 409, 413, 429, 501 or 503.
        reason: a sentence.
        retry_after_s: the least time to wait before trying again, if the server said so.
    """

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason} ({status})")
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message of a conversation.

    Attributes:
        conversation: its id: "g." and the group's name, or "p." and 32 digits.
        group: the group's name; None where two talk to one another.
        seq: its number in the conversation, from 1 on.
        id: unique, and growing with time.
        time_ms: when it was sent, milliseconds since 1970.
        sender: the uid of who sent it; None for a token that is no user's, or the system.
        sender_token: that token.
        type: what the application makes of it; -1: it takes back the message `recalls`.
        text: its text, or None.
        data: its data, or None.
        mentions: uids that it is meant for above all.
        is_recalled: it was taken back: nothing is left of it.
        recalls: number of the message that it takes back, or None.
    """

    conversation: str
    group: str | None
    seq: int
    id: str
    time_ms: int
    sender: str | None = None
    sender_token: str | None = None
    type: int = 0
    text: str | None = None
    data: Mapping[str, Any] | None = None
    mentions: tuple[str, ...] = ()
    is_recalled: bool = False
    recalls: int | None = None


@dataclass(frozen=True, slots=True)
class ChatNotice:
    """Something that the server says unasked, beside messages.

    Attributes:
        kind: "read": somebody has read; "added", "removed": one was made a member, or is none any more; "changed": the
            group is another, perhaps as others have `joined` or `left`; "dismissed": it is no more; "presence":
            somebody who is watched has come or gone.
        group: the group's name, or None.
        fields: what it says, as docs/chat.md describes it.
    """

    kind: str
    group: str | None
    fields: Mapping[str, Any]


@dataclass(slots=True)
class Positions:
    """Up to which number each conversation has been handed out; numbers that were said here count as handed out.

    It does not forget by itself: `Hearing` bounds it by what one takes part in.

    Attributes:
        handed: conversation → number.
        own: conversation → numbers that were said here and lie beyond that.
    """

    handed: dict[str, int] = field(default_factory=dict)
    own: dict[str, set[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.handed) + len(self.own)

    def known(self) -> set[str]:
        """The conversations of which something is known."""
        return {*self.handed, *self.own}

    def forget(self, conversations: Iterable[str]) -> None:
        """One has no part in these any more."""
        for conversation in conversations:
            self.handed.pop(conversation, None)
            self.own.pop(conversation, None)

    def begin(self, conversation: str, seq: int) -> None:
        """All up to here is known, unless something later is."""
        self.handed[conversation] = max(seq, self.handed.get(conversation, 0))
        self._close_up(conversation)

    def said(self, conversation: str, seq: int) -> None:
        """This was said here: the server does not tell us of it."""
        if seq > self.handed.get(conversation, 0):
            self.own.setdefault(conversation, set()).add(seq)
            self._close_up(conversation)

    def is_next(self, conversation: str, seq: int) -> bool:
        """Whether this is the one to be handed out now; then it counts as that."""
        if seq != self.handed.get(conversation, 0) + 1:
            return False
        self.begin(conversation, seq)
        return True

    def is_known(self, conversation: str, seq: int) -> bool:
        """Whether it was handed out, or said here."""
        return seq <= self.handed.get(conversation, 0) or seq in self.own.get(conversation, ())

    def _close_up(self, conversation: str) -> None:
        own = self.own.get(conversation)
        if own is None:
            return
        handed = seq = self.handed.get(conversation, 0)
        while seq + 1 in own:
            seq += 1
        if seq > handed:  # else nothing is known of what lies before: it begins where one has read
            self.handed[conversation] = seq
        own -= {each for each in own if each <= seq}
        if not own:
            del self.own[conversation]


def place(*, group: str | None = None, to: str | None = None, conversation: str | None = None) -> dict[str, object]:
    """A conversation, said in one of its ways.

    Raises:
        ValueError: not exactly one was said.
    """
    said = {"group": group, "to": to, "conversation": conversation}
    found: dict[str, object] = {name: value for name, value in said.items() if value is not None}
    if len(found) != 1:
        raise ValueError("say one of group, to and conversation")
    return found


def request(fields: Mapping[str, object]) -> bytes:
    """The body of a PUBLISH: only what was said.

    Raises:
        ChatError: it is too large for any server.
    """
    body = write_json({name: value for name, value in fields.items() if value is not None})
    if len(body) > _MAX_REQUEST_BYTES:
        raise ChatError(413, f"a request has at most {_MAX_REQUEST_BYTES} bytes, and this one {len(body)}")
    return body


def read_answer(frame: Frame) -> dict[str, Any]:
    """The answer to a PUBLISH.

    Raises:
        ChatError: the server refused it, or what it says cannot be read.
    """
    try:
        fields = parse_object(frame.body[1:])
    except BodyError as error:
        raise ChatError(503, f"an answer cannot be read: {error}") from None
    if frame.body[:1] == b"\0":
        return fields
    status, reason, after = fields.get("status"), fields.get("reason"), fields.get("retry_after")
    raise ChatError(
        status if isinstance(status, int) else 503,
        str(reason)[:_MAX_REASON_CHARS],
        float(after) if isinstance(after, int | float) and 0 <= after < 1e9 else None,
    )


def read_notice(event: Notified) -> ChatMessage | ChatNotice | None:
    """What somebody else said or did; None where it is nothing of the chat, or cannot be read."""
    frame = event.frame
    if frame.signal != Signal.PUBLISH:
        return None
    try:
        fields = parse_object(frame.body)
    except BodyError:
        return None
    if frame.subsignal in (SubSignal.MN, SubSignal.RMN):
        message = read_message(fields)
        if message is not None or type(fields.get("read")) is not int:
            return message
    kind = _KINDS.get(frame.subsignal)
    return None if kind is None else ChatNotice(kind, _text(fields, "group"), fields)


def read_message(fields: Mapping[str, Any]) -> ChatMessage | None:
    """A message; None where it is none."""
    conversation, seq = read_conversation(fields), fields.get("seq")
    if conversation is None or type(seq) is not int or seq < 1:
        return None
    data, mentions, recalls = fields.get("data"), fields.get("mentions"), fields.get("recalls")
    time_ms, kind = fields.get("time"), fields.get("type")
    return ChatMessage(
        conversation,
        _text(fields, "group"),
        seq,
        _text(fields, "id") or "",
        time_ms if type(time_ms) is int else 0,
        _text(fields, "from"),
        _text(fields, "from_token"),
        kind if type(kind) is int else 0,
        _text(fields, "text"),
        data if isinstance(data, dict) else None,
        tuple(each for each in mentions if isinstance(each, str)) if isinstance(mentions, list) else (),
        fields.get("recalled") is True,
        recalls if type(recalls) is int else None,
    )


def read_messages(answer: Mapping[str, Any]) -> list[ChatMessage]:
    """The messages of a page."""
    found = (read_message(each) for each in answer.get("messages", ()) if isinstance(each, dict))
    return [message for message in found if message is not None]


def read_conversation(fields: Mapping[str, Any]) -> str | None:
    """The id of a conversation; None where there is none, or none that could be said to a server again."""
    found = fields.get("conversation")
    if not isinstance(found, str) or len(found) > _MAX_CONVERSATION_CHARS:
        return None
    try:
        found.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        return None
    return found


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None
