"""The JSON of groups and conversations: the same in the frames of the chat form and over HTTP.

What is a party is written as two fields, of which one is there: a uid, or a token that belongs to no user. Imports
push.model_chat and nothing else of the project.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from push.model_chat import ChatMessage, Conversation, Kind, Member, Presence, Role, Standing, token_of, uid_of

# 2026-01-01T00:00:00Z, and where in a message id the milliseconds since then begin: docs/protocol.md, "PUSH".
_EPOCH_MS = 1_767_225_600_000
_TIME_SHIFT = 22

Milliseconds = Annotated[int, Meta(description="Milliseconds since 1970.")]
ROLES = {Role.MEMBER: "member", Role.ADMIN: "admin", Role.OWNER: "owner"}


class MessageEntry(Struct, frozen=True, omit_defaults=True):
    """A message of a conversation."""

    conversation: str
    seq: Annotated[int, Meta(description="Its number in the conversation, from 1 on, without gaps.")]
    id: str
    time: Milliseconds
    type: Annotated[int, Meta(description="What the application makes of it; -1: it takes another one back.")]
    from_uid: Annotated[str, Meta(description="Who sent it.")] | UnsetType = msgspec.field(name="from", default=UNSET)
    from_token: Annotated[str, Meta(description="Who sent it, if that is no user.")] | UnsetType = UNSET
    group: str | UnsetType = UNSET
    client_id: Annotated[str, Meta(description="The sender's own name for it.")] | UnsetType = UNSET
    recalled: Annotated[bool, Meta(description="It was taken back: nothing is left of it.")] = False
    recalls: Annotated[int, Meta(description="The number of the message that it takes back.")] | UnsetType = UNSET
    text: str | UnsetType = UNSET
    data: Annotated[Raw, Meta(description="Any object.")] | UnsetType = UNSET
    mentions: Annotated[list[str], Meta(description="Users that it is meant for above all.")] | UnsetType = UNSET


class Content(Struct, frozen=True, omit_defaults=True):
    """What a message holds, as it is stored."""

    text: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    mentions: list[str] | UnsetType = UNSET
    recalls: int | UnsetType = UNSET


class GroupEntry(Struct, frozen=True, omit_defaults=True):
    """A group."""

    group: Annotated[str, Meta(description="Its name, which never changes.")]
    conversation: str
    title: str
    open: Annotated[bool, Meta(description="Whether anybody may join by oneself.")]
    receipts: Annotated[bool, Meta(description="Whether members are told how far others have read.")]
    members: Annotated[int, Meta(description="How many there are.")]
    created: Milliseconds
    last_seq: Annotated[int, Meta(description="Number of the newest message, 0 for none.")]


class MemberEntry(Struct, frozen=True, omit_defaults=True):
    """A member of a group."""

    role: Annotated[str, Meta(description='"member", "admin" or "owner".')]
    joined: Milliseconds
    uid: str | UnsetType = UNSET
    token: Annotated[str, Meta(description="Of a member that is no user.")] | UnsetType = UNSET


class StandingEntry(Struct, frozen=True, omit_defaults=True):
    """A conversation as one of its members has it."""

    conversation: str
    last_seq: Annotated[int, Meta(description="Number of the newest message, 0 for none.")]
    first_seq: Annotated[int, Meta(description="Number of the oldest message that there is for this member.")]
    read_seq: Annotated[int, Meta(description="Up to where it has been read.")]
    unread: int
    last_id: Annotated[str, Meta(description='Id of the newest message, "0" for none.')]
    group: Annotated[str, Meta(description="Of a conversation that is one.")] | UnsetType = UNSET
    title: str | UnsetType = UNSET
    role: str | UnsetType = UNSET


class PresenceEntry(Struct, frozen=True, omit_defaults=True):
    """Whether somebody is there."""

    online: bool
    sessions: Annotated[int, Meta(description="How many are open.")]
    last_seen: Annotated[
        Milliseconds | None, Meta(description="When they were last there: now, while they are; null: not known.")
    ]
    uid: str | UnsetType = UNSET
    token: str | UnsetType = UNSET


_CONTENT = msgspec.json.Decoder(Content)
_ENCODER = msgspec.json.Encoder()


def time_ms(message_id: int) -> int:
    """When a message was sent, milliseconds since 1970: its id says so."""
    return _EPOCH_MS + (message_id >> _TIME_SHIFT)


def or_unset(value: str | None) -> str | UnsetType:
    """What is left out where there is nothing."""
    return UNSET if value is None else value


def message_entry(message: ChatMessage) -> MessageEntry:
    """A message."""
    content = _CONTENT.decode(message.content)
    group = message.conversation[2:] if message.conversation.startswith("g.") else None
    return MessageEntry(
        message.conversation,
        message.seq,
        str(message.id),
        time_ms(message.id),
        message.type,
        or_unset(uid_of(message.sender)),
        or_unset(token_of(message.sender)),
        or_unset(group),
        message.client_id or UNSET,
        message.is_recalled,
        content.recalls,
        content.text,
        content.data,
        content.mentions,
    )


def content(*, text: str | None = None, data: bytes = b"", mentions: Sequence[str] = (), recalls: int = 0) -> bytes:
    """What a message holds, as it is stored."""
    return _ENCODER.encode(
        Content(or_unset(text), Raw(data) if data else UNSET, list(mentions) if mentions else UNSET, recalls or UNSET)
    )


def text_of(message: ChatMessage) -> str:
    """What older clients show of a message: its text, or its data as JSON."""
    held = _CONTENT.decode(message.content)
    if held.text is not UNSET:
        return str(held.text)
    return "" if isinstance(held.data, UnsetType) else bytes(held.data).decode()


def group_entry(conversation: Conversation) -> GroupEntry:
    """A group."""
    return GroupEntry(
        conversation.group or "",
        conversation.id,
        conversation.title,
        conversation.is_open,
        conversation.tells_reads,
        conversation.members,
        conversation.created_ms,
        conversation.last_seq,
    )


def member_entry(member: Member) -> MemberEntry:
    """A member."""
    return MemberEntry(
        ROLES[member.role], member.joined_ms, or_unset(uid_of(member.who)), or_unset(token_of(member.who))
    )


def standing_entry(standing: Standing) -> StandingEntry:
    """A conversation, as a member has it."""
    head, member = standing.conversation, standing.member
    is_group = head.kind is Kind.GROUP
    return StandingEntry(
        head.id,
        head.last_seq,
        max(head.first_seq, member.since_seq + 1),
        standing.read_seq,
        standing.unread,
        str(head.last_id),
        or_unset(head.group),
        head.title if is_group else UNSET,
        ROLES[member.role] if is_group else UNSET,
    )


def presence_entry(presence: Presence) -> PresenceEntry:
    """Whether somebody is there."""
    return PresenceEntry(
        presence.sessions > 0,
        presence.sessions,
        presence.seen_ms,
        or_unset(uid_of(presence.who)),
        or_unset(token_of(presence.who)),
    )
