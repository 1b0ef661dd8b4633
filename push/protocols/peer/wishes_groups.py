"""What an API asks of the group role elsewhere, each for the method of the same name in push.igroup.

As in envelopes.py: typed, checked, fields only ever appended with defaults. Imports no Twisted.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from push.model_chat import ChatMessage, Role
from push.protocols.peer.envelopes import Number

# The limits here are those of what can be: what may be, the group role says.
MAX_PARTIES = 1_000_000
Name = Annotated[str, Meta(max_length=256)]
Title = Annotated[str, Meta(max_length=1_024)]
Who = Annotated[str, Meta(min_length=1, max_length=129, pattern="^[uts]")]
Whos = Annotated[tuple[Who, ...], Meta(max_length=MAX_PARTIES)]
After = Annotated[str, Meta(max_length=256)]
Limit = Annotated[int, Meta(ge=1, le=MAX_PARTIES)]
# A token, or none.
SentBy = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{0,128}\Z")]


class CreateGroup(msgspec.Struct, frozen=True, array_like=True, tag="g.create"):
    """See IGroups."""

    name: Name | None
    title: Title
    owner: Who | None
    members: Whos
    is_open: bool
    tells_reads: bool


class GetGroup(msgspec.Struct, frozen=True, array_like=True, tag="g.get"):
    """See IGroups."""

    name: Name
    actor: Who | None


class ModifyGroup(msgspec.Struct, frozen=True, array_like=True, tag="g.modify"):
    """See IGroups."""

    name: Name
    actor: Who | None
    title: Title | None
    is_open: bool | None
    tells_reads: bool | None


class SetRole(msgspec.Struct, frozen=True, array_like=True, tag="g.role"):
    """See IGroups."""

    name: Name
    actor: Who | None
    who: Who
    role: Role


class DismissGroup(msgspec.Struct, frozen=True, array_like=True, tag="g.dismiss"):
    """See IGroups."""

    name: Name
    actor: Who | None


class JoinGroup(msgspec.Struct, frozen=True, array_like=True, tag="g.join"):
    """See IGroups."""

    name: Name
    who: Who
    is_invited: bool


class QuitGroup(msgspec.Struct, frozen=True, array_like=True, tag="g.quit"):
    """See IGroups."""

    name: Name
    who: Who


class AddMembers(msgspec.Struct, frozen=True, array_like=True, tag="g.add"):
    """See IGroups."""

    name: Name
    actor: Who | None
    whos: Whos


class KickMembers(msgspec.Struct, frozen=True, array_like=True, tag="g.kick"):
    """See IGroups."""

    name: Name
    actor: Who | None
    whos: Whos


class MembersOf(msgspec.Struct, frozen=True, array_like=True, tag="g.members"):
    """See IGroups."""

    name: Name
    actor: Who | None
    after: After
    limit: Limit


class EverybodyOf(msgspec.Struct, frozen=True, array_like=True, tag="g.everybody"):
    """See IGroups."""

    name: Name


class Say(msgspec.Struct, frozen=True, array_like=True, tag="t.say"):
    """See ITalk."""

    message: ChatMessage
    to: Who | None
    contact: bytes
    sent_by: SentBy


class RecallSaid(msgspec.Struct, frozen=True, array_like=True, tag="t.recall"):
    """See ITalk."""

    conversation: Name
    who: Who | None
    seq: Number


class HistoryOf(msgspec.Struct, frozen=True, array_like=True, tag="t.history"):
    """See ITalk."""

    conversation: Name
    who: Who | None
    after: Number
    before: Number | None
    limit: Limit


class ReadUpTo(msgspec.Struct, frozen=True, array_like=True, tag="t.read"):
    """See ITalk."""

    conversation: Name
    who: Who
    seq: Number
    sent_by: SentBy


class StandingsOf(msgspec.Struct, frozen=True, array_like=True, tag="t.standings"):
    """See ITalk."""

    who: Who
    after: After
    limit: Limit


class BlockOther(msgspec.Struct, frozen=True, array_like=True, tag="t.block"):
    """See ITalk."""

    who: Who
    other: Who
    is_blocked: bool


class PresenceOf(msgspec.Struct, frozen=True, array_like=True, tag="p.presence"):
    """See IPresence."""

    whos: Whos


class PartyOf(msgspec.Struct, frozen=True, array_like=True, tag="p.of_token"):
    """See IParties."""

    token: Annotated[str, Meta(max_length=256)]


class CheckParty(msgspec.Struct, frozen=True, array_like=True, tag="p.check"):
    """See IParties."""

    who: Who


GroupWish = (
    CreateGroup
    | GetGroup
    | ModifyGroup
    | SetRole
    | DismissGroup
    | JoinGroup
    | QuitGroup
    | AddMembers
    | KickMembers
    | MembersOf
    | EverybodyOf
    | Say
    | RecallSaid
    | HistoryOf
    | ReadUpTo
    | StandingsOf
    | BlockOther
    | PresenceOf
    | PartyOf
    | CheckParty
)
