"""PUBLISH: what each chat subsignal asks for, and its answer. Must not import adapters, stores or web.

Source: docs/chat.md.
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from push.chat_json import (
    GroupEntry,
    MemberEntry,
    MessageEntry,
    PresenceEntry,
    StandingEntry,
    content,
    group_entry,
    member_entry,
    message_entry,
    presence_entry,
    standing_entry,
    time_ms,
)
from push.errors import InvalidRequest, NotImplementedHere
from push.igroup import IGroups, ITalk
from push.model import Registration
from push.model_chat import ChatMessage, Conversation, Presence, pair_id, party
from push.protocols.wire.signals import SubSignal
from push.services.group import bodies
from push.services.group.presence import Presences

# A page of messages is cut so that the answer fits into the smallest frame that clients are sure to take.
MAX_PAGE_BYTES = 49_152


class Sent(msgspec.Struct, frozen=True):
    """MS, MR."""

    conversation: str
    seq: int
    id: str
    time: int


class Messages(msgspec.Struct, frozen=True):
    """MP, LRM: `more` says whether there are further ones behind the last, or before the first."""

    conversation: str
    messages: list[MessageEntry]
    more: bool
    last_seq: int


class Conversations(msgspec.Struct, frozen=True):
    """MP: `after` is to be asked for next, "" at the end."""

    conversations: list[StandingEntry]
    after: str


class Read(msgspec.Struct, frozen=True):
    """MN."""

    conversation: str
    read: int


class MembersPage(msgspec.Struct, frozen=True):
    """GPGM: `after` is to be asked for next, "" at the end."""

    group: str
    members: list[MemberEntry]
    after: str


class Changed(msgspec.Struct, frozen=True):
    """GAM, GKM, GQ: how many it made a difference to."""

    group: str
    changed: int


class PresenceReply(msgspec.Struct, frozen=True):
    """US."""

    presence: list[PresenceEntry]


class Done(msgspec.Struct, frozen=True):
    """GD, MMI."""


_DONE = Done()


class Publishes:
    """What clients of the chat form ask.

    Args:
        groups: the groups.
        talk: the conversations.
        presences: who is there.
    """

    def __init__(self, *, groups: IGroups, talk: ITalk, presences: Presences) -> None:
        self._groups = groups
        self._talk = talk
        self._presences = presences
        self._asks: dict[int, Callable[[Registration, str, bytes], Awaitable[object]]] = {
            SubSignal.MS: self._send,
            SubSignal.MP: self._pull,
            SubSignal.LRM: self._earlier,
            SubSignal.MR: self._recall,
            SubSignal.MN: self._read,
            SubSignal.GC: self._create,
            SubSignal.GPGI: self._info,
            SubSignal.GPGM: self._members,
            SubSignal.GAM: self._add,
            SubSignal.GKM: self._kick,
            SubSignal.GQ: self._quit,
            SubSignal.GMI: self._modify,
            SubSignal.GD: self._dismiss,
            SubSignal.US: self._watch,
            SubSignal.MMI: self._block,
        }

    async def ask(self, registration: Registration, subsignal: int, body: bytes) -> bytes:
        """Do what is asked; the JSON of the answer.

        Raises:
            PushError: why it was not done.
        """
        ask = self._asks.get(subsignal)
        if ask is None:
            raise NotImplementedHere(f"subsignal {subsignal} has no meaning here")
        who = party(registration.uid, registration.token)
        return msgspec.json.encode(await ask(registration, who, body))

    async def _send(self, registration: Registration, who: str, body: bytes) -> Sent:
        wish = bodies.read(bodies.Send, body)
        where = bodies.conversation_of(wish)
        bodies.check_content(wish.text, wish.data, wish.mentions, wish.client_id)
        held = content(text=wish.text or None, data=bytes(wish.data), mentions=wish.mentions)
        message = ChatMessage(where or "", 0, 0, who, wish.type, held, wish.client_id)
        to = None if wish.to is None else bodies.checked_uid(wish.to)
        return _sent(await self._talk.say(message, to=to, sent_by=registration.token))

    async def _pull(self, registration: Registration, who: str, body: bytes) -> object:
        wish = bodies.read(bodies.Pull, body)
        if (wish.conversation, wish.group, wish.to) == (None, None, None):
            return await self._conversations(who, wish)
        if isinstance(wish.after, str):
            raise InvalidRequest("after must be a sequence number")
        head, found = await self._talk.history(
            _conversation(wish, who), who, after=wish.after, before=None, limit=wish.limit
        )
        messages, is_cut = _fitting(found)
        last = messages[-1].seq if messages else head.last_seq
        return Messages(head.id, messages, is_cut or last < _last(head, found), _last(head, found))

    async def _conversations(self, who: str, wish: bodies.Pull) -> Conversations:
        after = wish.after if isinstance(wish.after, str) else ""
        found = await self._talk.standings(who, after, wish.limit)
        entries = [standing_entry(standing) for standing in found]
        return Conversations(entries, entries[-1].conversation if len(entries) == wish.limit else "")

    async def _earlier(self, registration: Registration, who: str, body: bytes) -> Messages:
        wish = bodies.read(bodies.Earlier, body)
        before = (1 << 53) if wish.before is None else wish.before
        head, found = await self._talk.history(_conversation(wish, who), who, after=0, before=before, limit=wish.limit)
        messages, is_cut = _fitting(found[::-1])
        return Messages(head.id, messages[::-1], is_cut or len(found) == wish.limit, _last(head, found))

    async def _recall(self, registration: Registration, who: str, body: bytes) -> Sent:
        wish = bodies.read(bodies.AtMessage, body)
        return _sent(await self._talk.recall(_conversation(wish, who), who, wish.seq))

    async def _read(self, registration: Registration, who: str, body: bytes) -> Read:
        wish = bodies.read(bodies.AtMessage, body)
        conversation = _conversation(wish, who)
        return Read(conversation, await self._talk.read(conversation, who, wish.seq, sent_by=registration.token))

    async def _create(self, registration: Registration, who: str, body: bytes) -> GroupEntry:
        wish = bodies.read(bodies.Create, body)
        head = await self._groups.create(
            wish.group,
            title=wish.title,
            owner=who,
            members=[bodies.checked_uid(uid) for uid in wish.uids],
            is_open=wish.open,
            tells_reads=wish.receipts,
        )
        return group_entry(head)

    async def _info(self, registration: Registration, who: str, body: bytes) -> GroupEntry:
        return group_entry(await self._groups.get(bodies.read(bodies.OfGroup, body).group, who))

    async def _members(self, registration: Registration, who: str, body: bytes) -> MembersPage:
        wish = bodies.read(bodies.Members, body)
        found = await self._groups.members(wish.group, who, wish.after, wish.limit)
        after = found[-1].who if len(found) == wish.limit else ""
        return MembersPage(wish.group, [member_entry(member) for member in found], after)

    async def _add(self, registration: Registration, who: str, body: bytes) -> Changed:
        wish = bodies.read(bodies.People, body)
        whos = _people(wish)
        if whos in ([], [who]):
            return Changed(wish.group, int(await self._groups.join(wish.group, who)))
        return Changed(wish.group, len(await self._groups.add(wish.group, who, whos)))

    async def _kick(self, registration: Registration, who: str, body: bytes) -> Changed:
        wish = bodies.read(bodies.People, body)
        whos = _people(wish)
        if not whos:
            raise InvalidRequest("uids or tokens: say whom")
        return Changed(wish.group, len(await self._groups.kick(wish.group, who, whos)))

    async def _quit(self, registration: Registration, who: str, body: bytes) -> Changed:
        wish = bodies.read(bodies.OfGroup, body)
        return Changed(wish.group, int(await self._groups.quit(wish.group, who)))

    async def _modify(self, registration: Registration, who: str, body: bytes) -> GroupEntry:
        wish = bodies.read(bodies.Modify, body)
        if wish.uid is not None:
            if (wish.title, wish.open, wish.receipts) != (None, None, None) or wish.role is None:
                raise InvalidRequest("say uid and role alone, or title, open and receipts")
            who_else = bodies.checked_uid(wish.uid)
            await self._groups.set_role(wish.group, who, who_else, bodies.checked_role(wish.role))
            return group_entry(await self._groups.get(wish.group, who))
        head = await self._groups.modify(
            wish.group, who, title=wish.title, is_open=wish.open, tells_reads=wish.receipts
        )
        return group_entry(head)

    async def _dismiss(self, registration: Registration, who: str, body: bytes) -> Done:
        await self._groups.dismiss(bodies.read(bodies.OfGroup, body).group, who)
        return _DONE

    async def _watch(self, registration: Registration, who: str, body: bytes) -> PresenceReply:
        wish = bodies.read(bodies.Watch, body)
        whos = [bodies.checked_uid(uid) for uid in wish.uids]
        found: Sequence[Presence]
        if wish.watch:
            known = {"u" + uid: is_there for uid, is_there in wish.known.items()}
            found = await self._presences.watch(registration, whos, known)
        else:
            found = await self._presences.presence(whos)
        return PresenceReply([presence_entry(presence) for presence in found])

    async def _block(self, registration: Registration, who: str, body: bytes) -> Done:
        wish = bodies.read(bodies.Block, body)
        await self._talk.block(who, bodies.checked_uid(wish.uid), wish.block)
        return _DONE


def _conversation(where: bodies.Where, who: str) -> str:
    found = bodies.conversation_of(where)
    return pair_id(who, bodies.checked_uid(where.to or "")) if found is None else found


def _people(wish: bodies.People) -> list[str]:
    return [*map(bodies.checked_uid, wish.uids), *map(bodies.checked_token, wish.tokens)]


def _sent(message: ChatMessage) -> Sent:
    return Sent(message.conversation, message.seq, str(message.id), time_ms(message.id))


def _last(head: Conversation, found: Sequence[ChatMessage]) -> int:
    """Number of the newest message: more may have been said since the head was read."""
    return max(head.last_seq, found[-1].seq if found else 0)


def _fitting(found: Sequence[ChatMessage]) -> tuple[list[MessageEntry], bool]:
    """As many of the first ones as an answer has room for, at least one; and whether some are left."""
    entries: list[MessageEntry] = []
    size_bytes = 0
    for message in found:
        entry = message_entry(message)
        size_bytes += len(msgspec.json.encode(entry)) + 1
        if entries and size_bytes > MAX_PAGE_BYTES:
            return entries, True
        entries.append(entry)
    return entries, False
