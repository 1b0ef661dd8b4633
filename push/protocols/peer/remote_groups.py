"""The group role over links: for an API on a node without it. Must not import services or stores.

Each question goes to the node that is chosen for what it is about, so that those about one group, or one conversation,
go to one node while that is there. With Unanswered, what was asked may have been done.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from zope.interface import implementer

from push.igroup import GroupSide, IGroups, IParties, IPresence, ITalk
from push.model_chat import ChatMessage, Conversation, Member, Presence, Role, Standing, group_id
from push.protocols.peer import wishes_groups as w
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import Reader
from push.protocols.peer.errors import LinkLost, undecided

T = TypeVar("T")

_CONVERSATION: Reader[Conversation] = Reader(Conversation)
_MESSAGE: Reader[ChatMessage] = Reader(ChatMessage)
_HISTORY: Reader[tuple[Conversation, tuple[ChatMessage, ...]]] = Reader(tuple[Conversation, tuple[ChatMessage, ...]])
_MEMBERS: Reader[tuple[Member, ...]] = Reader(tuple[Member, ...])
_STANDINGS: Reader[tuple[Standing, ...]] = Reader(tuple[Standing, ...])
_PRESENCES: Reader[tuple[Presence, ...]] = Reader(tuple[Presence, ...])
_TEXTS: Reader[tuple[str, ...]] = Reader(tuple[str, ...])
_TEXT: Reader[str] = Reader(str)
_YES: Reader[bool] = Reader(bool)
_NUMBER: Reader[int] = Reader(int)
_NOTHING: Reader[None] = Reader(None)

# What a question is about → the questions of the node that is to be asked; raises Unavailable where there is none.
Choose = Callable[[str], Asking]


def remote_side(choose: Choose) -> GroupSide:
    """The group role elsewhere, for who manages groups and speaks in them."""
    return GroupSide(RemoteGroups(choose), RemoteTalk(choose), RemotePresence(choose), RemoteParties(choose))


class _Remote:
    def __init__(self, choose: Choose) -> None:
        self._choose = choose

    async def _ask(self, about: str, wish: w.GroupWish, answer: Reader[T]) -> T:
        return await self._choose(about).ask(wish, answer)

    async def _change(self, about: str, wish: w.GroupWish, answer: Reader[T]) -> T:
        try:
            return await self._ask(about, wish, answer)
        except LinkLost as error:
            raise undecided(error) from None


@implementer(IGroups)
class RemoteGroups(_Remote):
    """See IGroups."""

    async def create(
        self,
        name: str | None,
        *,
        title: str,
        owner: str | None,
        members: Sequence[str],
        is_open: bool,
        tells_reads: bool,
    ) -> Conversation:
        """See IGroups."""
        wish = w.CreateGroup(name, title, owner, tuple(members), is_open, tells_reads)
        return await self._change(group_id(name or ""), wish, _CONVERSATION)

    async def get(self, name: str, actor: str | None) -> Conversation:
        """See IGroups."""
        return await self._ask(group_id(name), w.GetGroup(name, actor), _CONVERSATION)

    async def modify(
        self, name: str, actor: str | None, *, title: str | None, is_open: bool | None, tells_reads: bool | None
    ) -> Conversation:
        """See IGroups."""
        return await self._change(
            group_id(name), w.ModifyGroup(name, actor, title, is_open, tells_reads), _CONVERSATION
        )

    async def set_role(self, name: str, actor: str | None, who: str, role: Role) -> None:
        """See IGroups."""
        await self._change(group_id(name), w.SetRole(name, actor, who, role), _NOTHING)

    async def dismiss(self, name: str, actor: str | None) -> None:
        """See IGroups."""
        await self._change(group_id(name), w.DismissGroup(name, actor), _NOTHING)

    async def join(self, name: str, who: str, *, is_invited: bool = False) -> bool:
        """See IGroups."""
        return await self._change(group_id(name), w.JoinGroup(name, who, is_invited), _YES)

    async def quit(self, name: str, who: str) -> bool:
        """See IGroups."""
        return await self._change(group_id(name), w.QuitGroup(name, who), _YES)

    async def add(self, name: str, actor: str | None, whos: Sequence[str]) -> Sequence[str]:
        """See IGroups."""
        return await self._change(group_id(name), w.AddMembers(name, actor, tuple(whos)), _TEXTS)

    async def kick(self, name: str, actor: str | None, whos: Sequence[str]) -> Sequence[str]:
        """See IGroups."""
        return await self._change(group_id(name), w.KickMembers(name, actor, tuple(whos)), _TEXTS)

    async def members(self, name: str, actor: str | None, after: str, limit: int) -> Sequence[Member]:
        """See IGroups."""
        return await self._ask(group_id(name), w.MembersOf(name, actor, after, limit), _MEMBERS)

    async def everybody(self, name: str) -> Sequence[str]:
        """See IGroups."""
        return await self._ask(group_id(name), w.EverybodyOf(name), _TEXTS)


@implementer(ITalk)
class RemoteTalk(_Remote):
    """See ITalk."""

    async def say(
        self, message: ChatMessage, *, to: str | None, contact: bytes = b"", sent_by: str = ""
    ) -> ChatMessage:
        """See ITalk."""
        about = message.conversation or min(message.sender, to or "")
        return await self._change(about, w.Say(message, to, contact, sent_by), _MESSAGE)

    async def recall(self, conversation_id: str, who: str | None, seq: int) -> ChatMessage:
        """See ITalk."""
        return await self._change(conversation_id, w.RecallSaid(conversation_id, who, seq), _MESSAGE)

    async def history(
        self, conversation_id: str, who: str | None, *, after: int, before: int | None, limit: int
    ) -> tuple[Conversation, Sequence[ChatMessage]]:
        """See ITalk."""
        wish = w.HistoryOf(conversation_id, who, after, before, limit)
        return await self._ask(conversation_id, wish, _HISTORY)

    async def read(self, conversation_id: str, who: str, seq: int, *, sent_by: str = "") -> int:
        """See ITalk."""
        return await self._change(conversation_id, w.ReadUpTo(conversation_id, who, seq, sent_by), _NUMBER)

    async def standings(self, who: str, after: str, limit: int) -> Sequence[Standing]:
        """See ITalk."""
        return await self._ask(who, w.StandingsOf(who, after, limit), _STANDINGS)

    async def block(self, who: str, other: str, is_blocked: bool) -> None:
        """See ITalk."""
        await self._change(min(who, other), w.BlockOther(who, other, is_blocked), _NOTHING)


@implementer(IPresence)
class RemotePresence(_Remote):
    """See IPresence."""

    async def presence(self, whos: Sequence[str]) -> Sequence[Presence]:
        """See IPresence."""
        return await self._ask("".join(whos[:1]), w.PresenceOf(tuple(whos)), _PRESENCES)


@implementer(IParties)
class RemoteParties(_Remote):
    """See IParties."""

    async def of_token(self, token: str) -> str:
        """See IParties."""
        return await self._ask(token, w.PartyOf(token), _TEXT)

    async def check(self, who: str) -> None:
        """See IParties."""
        await self._ask(who, w.CheckParty(who), _NOTHING)


def answers_of(side: GroupSide) -> dict[type, Callable[..., Awaitable[object]]]:
    """What a node with the group role does for each of these wishes."""
    groups, talk = side.groups, side.talk
    return {
        w.CreateGroup: lambda wish: groups.create(
            wish.name,
            title=wish.title,
            owner=wish.owner,
            members=wish.members,
            is_open=wish.is_open,
            tells_reads=wish.tells_reads,
        ),
        w.GetGroup: lambda wish: groups.get(wish.name, wish.actor),
        w.ModifyGroup: lambda wish: groups.modify(
            wish.name, wish.actor, title=wish.title, is_open=wish.is_open, tells_reads=wish.tells_reads
        ),
        w.SetRole: lambda wish: groups.set_role(wish.name, wish.actor, wish.who, wish.role),
        w.DismissGroup: lambda wish: groups.dismiss(wish.name, wish.actor),
        w.JoinGroup: lambda wish: groups.join(wish.name, wish.who, is_invited=wish.is_invited),
        w.QuitGroup: lambda wish: groups.quit(wish.name, wish.who),
        w.AddMembers: lambda wish: groups.add(wish.name, wish.actor, wish.whos),
        w.KickMembers: lambda wish: groups.kick(wish.name, wish.actor, wish.whos),
        w.MembersOf: lambda wish: groups.members(wish.name, wish.actor, wish.after, wish.limit),
        w.EverybodyOf: lambda wish: groups.everybody(wish.name),
        w.Say: lambda wish: talk.say(wish.message, to=wish.to, contact=wish.contact, sent_by=wish.sent_by),
        w.RecallSaid: lambda wish: talk.recall(wish.conversation, wish.who, wish.seq),
        w.HistoryOf: lambda wish: talk.history(
            wish.conversation, wish.who, after=wish.after, before=wish.before, limit=wish.limit
        ),
        w.ReadUpTo: lambda wish: talk.read(wish.conversation, wish.who, wish.seq, sent_by=wish.sent_by),
        w.StandingsOf: lambda wish: talk.standings(wish.who, wish.after, wish.limit),
        w.BlockOther: lambda wish: talk.block(wish.who, wish.other, wish.is_blocked),
        w.PresenceOf: lambda wish: side.presence.presence(wish.whos),
        w.PartyOf: lambda wish: side.parties.of_token(wish.token),
        w.CheckParty: lambda wish: side.parties.check(wish.who),
    }
