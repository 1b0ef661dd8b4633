"""The JSON of requests about groups and conversations, and of those answers that push.chat_json does not have.

What is decoded by these is what /openapi.json shows. Imports msgspec, push.chat_json and nothing else of the project.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from push.chat_json import MemberEntry, MessageEntry, StandingEntry

MAX_UIDS = 5_000

Uid = Annotated[str, Meta(min_length=1, max_length=128, description="A user.")]
Uids = Annotated[list[Uid], Meta(max_length=MAX_UIDS)]
Title = Annotated[str, Meta(max_length=128, description="What people call it.")]
Open = Annotated[bool, Meta(description="Whether anybody may join by oneself.")]
Receipts = Annotated[bool, Meta(description="Whether members are told how far others have read.")]


class CreateGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A new group."""

    group: (
        Annotated[str, Meta(description="Its name, 1 to 64 characters without / and :. Left out, it gets one.")]
        | UnsetType
    ) = UNSET
    title: Title = ""
    owner: Uid | UnsetType = UNSET
    uids: Annotated[Uids, Meta(description="Its members, besides the owner.")] = []
    open: Open = True
    receipts: Receipts = False


class ModifyGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change."""

    title: Title | UnsetType = UNSET
    open: Open | UnsetType = UNSET
    receipts: Receipts | UnsetType = UNSET


class AddMembers(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to be a member."""

    uids: Uids = []
    tokens: Annotated[
        list[str], Meta(max_length=MAX_UIDS, description="Tokens; those that belong to a user stand for the user.")
    ] = []


class PutMember(Struct, frozen=True, forbid_unknown_fields=True):
    """As what somebody is to be a member."""

    role: Annotated[str, Meta(extra_json_schema={"enum": ["member", "admin", "owner"]})] = "member"


class Say(Struct, frozen=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """Something to say: text, data or both."""

    sender: Annotated[Uid, Meta(description="Who says it; left out, it is the system.")] | UnsetType = UNSET
    type: Annotated[int, Meta(ge=0, le=2**31 - 1, description="What your clients make of it.")] = 0
    text: str | UnsetType = UNSET
    data: Annotated[Raw, Meta(description="Any object.")] | UnsetType = UNSET
    mentions: Annotated[list[Uid], Meta(max_length=100, description="Users that it is meant for above all.")] = []
    client_id: Annotated[
        str, Meta(max_length=64, description="Your own name for it: said again by the same, it is the same message.")
    ] = ""


class ReadUpTo(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to where somebody has read."""

    uid: Uid
    seq: Annotated[int, Meta(ge=0, le=2**53)]


class SaidReply(Struct, frozen=True):
    """A message was stored."""

    conversation: str
    seq: int
    id: str
    time: Annotated[int, Meta(description="Milliseconds since 1970.")]


class MembersReply(Struct, frozen=True):
    """A page of members."""

    group: str
    members: list[MemberEntry]
    after: Annotated[str, Meta(description='For the next page; "" at the end.')]


class ChangedReply(Struct, frozen=True):
    """Members came or went."""

    group: str
    changed: Annotated[int, Meta(description="How many: those who were so already do not count.")]


class DismissReply(Struct, frozen=True):
    """A group is no more."""

    group: str
    dismissed: bool


class MessagesReply(Struct, frozen=True):
    """A page of messages, the oldest first."""

    conversation: str
    messages: list[MessageEntry]
    last_seq: Annotated[int, Meta(description="Number of the newest message there is.")]


class ConversationsReply(Struct, frozen=True):
    """A page of somebody's conversations."""

    uid: str
    conversations: list[StandingEntry]
    after: Annotated[str, Meta(description='For the next page; "" at the end.')]


class ReadReply(Struct, frozen=True):
    """Up to where somebody has read."""

    conversation: str
    uid: str
    read: int


class BlockReply(Struct, frozen=True):
    """Whether somebody may write to somebody."""

    uid: str
    other: str
    blocked: bool
