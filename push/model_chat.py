"""The values of groups and conversations: who is in them, what is said in them, who is told.

A party is somebody who may take part: a user, or a token that belongs to none, as older clients have it. It is written
as one string: "u" and the uid, or "t" and the token; "s" alone is the system. Imports nothing else of the project.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum

import msgspec

SYSTEM = "s"
GROUP_PREFIX = "g."
PAIR_PREFIX = "p."

# Types of messages below 0 are the server's own.
RECALL_TYPE = -1


class Role(IntEnum):
    """What a member may do."""

    MEMBER = 0
    ADMIN = 1  # adds and removes members, renames
    OWNER = 2  # everything; one at most


class Kind(IntEnum):
    """What a conversation is."""

    GROUP = 0
    PAIR = 1


def party(uid: str | None, token: str) -> str:
    """Whom a session speaks for."""
    return "t" + token if uid is None else "u" + uid


def uid_of(who: str) -> str | None:
    """The uid of a party that is a user."""
    return who[1:] if who[0] == "u" else None


def token_of(who: str) -> str | None:
    """The token of a party that is only that."""
    return who[1:] if who[0] == "t" else None


def group_id(name: str) -> str:
    """The conversation of a group."""
    return GROUP_PREFIX + name


def pair_id(one: str, other: str) -> str:
    """The conversation of two parties: the same whoever begins, and telling nothing of them."""
    digest = hashlib.sha256(msgspec.json.encode(sorted((one, other)))).hexdigest()
    return PAIR_PREFIX + digest[:32]


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """A group, or what two parties say to one another.

    Attributes:
        id: "g." and the group's name, or "p." and 32 hexadecimal digits.
        kind: which of the two.
        version: grows with every change of members or settings; 1 at first.
        title: what people call a group.
        is_open: whether anybody may join by oneself.
        tells_reads: whether members are told how far others have read.
        created_ms: milliseconds since 1970.
        members: how many there are.
        last_seq: sequence number of the newest message, 0 for none.
        last_id: its message id, 0 for none.
        first_seq: of the oldest message that is kept; last_seq + 1 for none.
        is_gone: it was dismissed. The name can be given again, and sequence numbers go on.
    """

    id: str
    kind: Kind
    version: int
    title: str = ""
    is_open: bool = True
    tells_reads: bool = False
    created_ms: int = 0
    members: int = 0
    last_seq: int = 0
    last_id: int = 0
    first_seq: int = 1
    is_gone: bool = False

    @property
    def group(self) -> str | None:
        """The group's name."""
        return self.id[len(GROUP_PREFIX) :] if self.kind is Kind.GROUP else None


class Member(msgspec.Struct, frozen=True, gc=False):
    """Somebody in a conversation.

    Attributes:
        who: the party.
        role: in a group.
        joined_ms: milliseconds since 1970.
        since_seq: what was said up to this sequence number is not for this member.
        is_blocking: of two parties, this one wants to hear nothing of the other.
    """

    who: str
    role: Role = Role.MEMBER
    joined_ms: int = 0
    since_seq: int = 0
    is_blocking: bool = False


class Change(msgspec.Struct, frozen=True, gc=False):
    """A new state of a conversation, for who has seen the version before it.

    Attributes:
        before: as it was seen; version 0 for one that was not there.
        title: as in Conversation; so are the next two.
        is_open: likewise.
        tells_reads: likewise.
        is_gone: dismiss it: all members leave, and nothing that was said is kept.
        put: who comes, or gets another role or block. Of who comes, since_seq and joined_ms are set by the store.
        removed: who leaves.
        at_ms: when, milliseconds since 1970.
    """

    before: Conversation
    title: str
    is_open: bool
    tells_reads: bool
    is_gone: bool = False
    put: Sequence[Member] = ()
    removed: Sequence[str] = ()
    at_ms: int = 0


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """Something that was said.

    Attributes:
        conversation: where.
        seq: grows by one with each message of the conversation; 0 until it is stored.
        id: its message id, which says when.
        sender: the party.
        type: what the application makes of it, 0 or more; below 0 it is the server's: RECALL_TYPE.
        content: a JSON object: text, data, mentions. b"{}" when it was recalled.
        client_id: the sender's own name for it, "" for none: said again, it is the same message.
        is_recalled: it was taken back.
    """

    conversation: str
    seq: int
    id: int
    sender: str
    type: int
    content: bytes
    client_id: str = ""
    is_recalled: bool = False


class Said(msgspec.Struct, frozen=True, gc=False):
    """What became of a message that was to be stored: as it is stored, and whether it was there before."""

    message: ChatMessage
    is_repeat: bool


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A conversation as one member has it: up to which sequence number it has been read."""

    conversation: Conversation
    member: Member
    read_seq: int

    @property
    def unread(self) -> int:
        """How many messages are unread, of those that are kept."""
        return max(0, self.conversation.last_seq - max(self.read_seq, self.conversation.first_seq - 1))


class Presence(msgspec.Struct, frozen=True, gc=False):
    """Whether somebody is there.

    Attributes:
        who: the party.
        sessions: how many are open.
        seen_ms: when they were last there, milliseconds since 1970: now, while one is open; None where nobody knows.
    """

    who: str
    sessions: int
    seen_ms: int | None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """Something for the clients of some tokens of one connector; written once, for each form of client.

    Attributes:
        tokens: whose.
        subsignal: of the PUBLISH that clients of the chat form get.
        chat: its body; b"" where they get nothing.
        contact: body of the CONTACT that clients of the old form get; b"" where they get nothing.
        but: not this one of the tokens, as it has said it; "" for none. So what is said in a group has one list.
    """

    tokens: Sequence[str]
    subsignal: int
    chat: bytes = b""
    contact: bytes = b""
    but: str = ""


def without_but(notice: Notice) -> Notice:
    """The same, with nobody in `tokens` who is not to be told."""
    if not notice.but:
        return notice
    tokens = tuple([token for token in notice.tokens if token != notice.but])
    return msgspec.structs.replace(notice, tokens=tokens, but="")


def runs(notices: Iterable[Notice], max_notices: int, max_bytes: int) -> Iterator[Sequence[Notice]]:
    """Notices in their order, those for the same tokens together: so many at most, of so many bytes or one alone."""
    run: list[Notice] = []
    size_bytes = 0
    for notice in notices:
        notice_bytes = max(len(notice.chat), len(notice.contact))
        if run and (
            len(run) >= max_notices
            or size_bytes + notice_bytes > max_bytes
            or (notice.tokens is not run[0].tokens and notice.tokens != run[0].tokens)
        ):
            yield run
            run, size_bytes = [], 0
        run.append(notice)
        size_bytes += notice_bytes
    if run:
        yield run
