"""What is said in conversations: stored once, numbered, told to who is there, found by who was away.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Sequence

import msgspec
from zope.interface import implementer

from push.chat_json import content, time_ms
from push.errors import Conflict, GroupConflict, NotFound, PermissionDenied, TooLarge, Unavailable
from push.igroup import IConversationStore, IGroupStore, ITalk
from push.model_chat import (
    RECALL_TYPE,
    SYSTEM,
    Change,
    ChatMessage,
    Conversation,
    Kind,
    Member,
    Role,
    Standing,
    pair_id,
)
from push.services.group.acquaintances import Acquaintances
from push.services.group.limits import Rates
from push.services.group.rooms import Room, Rooms
from push.services.group.telling import Telling
from push.services.ids import MessageIds, first_id_at

MAX_PAGE = 200
_ATTEMPTS = 20
_NO_CONVERSATION = "there is no such conversation"


class TalkLimits(msgspec.Struct, frozen=True):
    """What may be said. Each is a setting of the same name, with chat_ before it (docs/configuration.md)."""

    max_message_bytes: int = 16_384
    history_messages: int = 10_000
    history_s: int = 2_592_000
    recall_s: int = 120


@implementer(ITalk)
class Talk:
    """All conversations.

    Args:
        groups: who is in them.
        said: what was said.
        rooms: those that are in use.
        telling: tells members.
        acquaintances: knows whom one can write to.
        rates: how much may be said in one conversation.
        ids: gives out message ids.
        now_ms: milliseconds since 1970, on the clock of the ids.
        limits: what may be said.
    """

    def __init__(
        self,
        *,
        groups: IGroupStore,
        said: IConversationStore,
        rooms: Rooms,
        telling: Telling,
        acquaintances: Acquaintances,
        rates: Rates,
        ids: MessageIds,
        now_ms: Callable[[], int],
        limits: TalkLimits,
    ) -> None:
        self._groups = groups
        self._said = said
        self._rooms = rooms
        self._telling = telling
        self._acquaintances = acquaintances
        self._rates = rates
        self._ids = ids
        self._now_ms = now_ms
        self._limits = limits
        self.messages = 0

    async def say(
        self, message: ChatMessage, *, to: str | None, contact: bytes = b"", sent_by: str = ""
    ) -> ChatMessage:
        """See ITalk."""
        size_bytes = len(message.content)
        if size_bytes > self._limits.max_message_bytes:
            raise TooLarge(f"a message has at most {self._limits.max_message_bytes} bytes, as JSON")
        if to is not None:
            conversation_id = pair_id(message.sender, to)
            message = msgspec.structs.replace(message, conversation=conversation_id)
            if await self._rooms.get(conversation_id) is None:
                await self._acquaintances.check(to)
                await self._pair(message.sender, to)
        room = await self._speaking(message.conversation, message.sender)
        # Only now: a stranger must not use up what the members may say.
        self._rates.take(room.head.id)
        room, said, is_repeat = await self._append(room, message, message.sender)
        if is_repeat:
            if not said.is_recalled and (said.content, said.type) != (message.content, message.type):
                raise Conflict("this client_id belongs to another message: use a new one, or say the same again")
        else:
            self.messages += 1
            self._telling.said(room, said, contact=contact, sent_by=sent_by)
        return said

    async def recall(self, conversation_id: str, who: str | None, seq: int) -> ChatMessage:
        """See ITalk."""
        room = await self._room(conversation_id, who)
        found = await self._said.history(conversation_id, seq, seq, 1)
        if not found or found[0].type < 0 or not _may_see(room, who, seq):
            raise NotFound("there is no such message")
        (old,) = found
        if old.is_recalled:
            raise GroupConflict("this message has been taken back already")
        self._check_recall(room, who, old)
        message = ChatMessage(conversation_id, 0, 0, who or SYSTEM, RECALL_TYPE, content(recalls=seq))
        _check_speaker(room, who)
        room, said, _ = await self._append(room, message, who, recalls=seq)
        self._telling.recalled(room, said)
        return said

    async def history(
        self, conversation_id: str, who: str | None, *, after: int, before: int | None, limit: int
    ) -> tuple[Conversation, Sequence[ChatMessage]]:
        """See ITalk."""
        room = await self._room(conversation_id, who)
        since = 0 if who is None else room.members[who].since_seq
        first = max(after, since) + 1
        last = (1 << 53) if before is None else before - 1
        limit = max(1, min(limit, MAX_PAGE))
        found = await self._said.history(conversation_id, first, last, limit if before is None else -limit)
        return room.head, found

    async def read(self, conversation_id: str, who: str, seq: int, *, sent_by: str = "") -> int:
        """See ITalk."""
        room = await self._room(conversation_id, who)
        moved = await self._said.move_read(conversation_id, who, seq)
        if moved is not None:
            self._telling.read(room, who, moved, sent_by=sent_by)
            return moved
        return (await self._said.read_positions(conversation_id, [who])).get(who, 0)

    async def standings(self, who: str, after: str, limit: int) -> Sequence[Standing]:
        """See ITalk."""
        return await self._groups.standings(who, after, max(1, min(limit, MAX_PAGE)))

    async def block(self, who: str, other: str, is_blocked: bool) -> None:
        """See ITalk."""
        conversation_id = pair_id(who, other)
        for _ in range(_ATTEMPTS):
            room = await self._rooms.fresh(conversation_id)
            if room is None:
                if not is_blocked:
                    return
                await self._acquaintances.check(other)
                room = await self._pair(who, other)
            if room.members[who].is_blocking == is_blocked:
                return
            put = [Member(who, is_blocking=is_blocked)]
            if await self._change(room, Change(room.head, "", False, room.head.tells_reads, put=put)) is not None:
                return
        raise Unavailable("this conversation is changing all the time", retry_after_s=0.5)

    async def prune(self) -> None:
        """Forget what is too old."""
        await self._said.prune(self._oldest_id())

    async def _speaking(self, conversation_id: str, sender: str) -> Room:
        """A conversation for who may speak in it. Nobody is refused by how it was: that may be old."""
        room = await self._rooms.get(conversation_id)
        if room is not None:
            try:
                _check_speaker(room, sender)
            except PermissionDenied:
                room = await self._rooms.fresh(conversation_id)
        return _spoken(room, sender)

    async def _append(
        self, room: Room, message: ChatMessage, actor: str | None, recalls: int = 0
    ) -> tuple[Room, ChatMessage, bool]:
        """Store what the actor may say in this room. Returns where, as what, and whether it was there before."""
        if not self._ids.is_ready:
            raise Unavailable("the server is starting", retry_after_s=1.0)
        for _ in range(_ATTEMPTS):
            said = await self._said.append(
                msgspec.structs.replace(message, id=self._ids.next()),
                room.head.version,
                recalls=recalls,
                max_messages=self._limits.history_messages,
                from_id=self._oldest_id(),
            )
            if said is not None:
                return room, said.message, said.is_repeat
            room = _spoken(await self._rooms.fresh(message.conversation), actor)
        raise Unavailable("this conversation is changing all the time", retry_after_s=0.5)

    async def _room(self, conversation_id: str, who: str | None) -> Room:
        """A conversation as it is now, for who is in it."""
        room = await self._rooms.fresh(conversation_id)
        if room is None:
            raise NotFound(_NO_CONVERSATION)
        if who is not None and who not in room.members:
            raise PermissionDenied("you have no part in this conversation")
        return room

    async def _pair(self, one: str, other: str) -> Room:
        """The conversation of two, made if it is not there."""
        conversation_id = pair_id(one, other)
        put = [Member(who) for who in dict.fromkeys((one, other))]
        seen = Conversation(conversation_id, Kind.PAIR, 0)
        head = await self._groups.change(Change(seen, "", False, True, put=put, at_ms=self._now_ms()))
        room = await self._rooms.fresh(conversation_id)
        if room is None:
            raise Unavailable("this conversation could not be begun" if head is None else "try again")
        return room

    async def _change(self, room: Room, change: Change) -> Room | None:
        head = await self._groups.change(msgspec.structs.replace(change, at_ms=self._now_ms()))
        return None if head is None else self._rooms.changed(room, change, head)

    def _check_recall(self, room: Room, who: str | None, message: ChatMessage) -> None:
        if who is None or room.members[who].role >= Role.ADMIN:
            return
        if message.sender != who:
            raise PermissionDenied("only one's own messages can be taken back")
        if self._now_ms() - time_ms(message.id) > self._limits.recall_s * 1000:
            raise PermissionDenied(f"messages can be taken back for {self._limits.recall_s} s")

    def _oldest_id(self) -> int:
        return first_id_at(self._now_ms() - self._limits.history_s * 1000)


def _may_see(room: Room, who: str | None, seq: int) -> bool:
    return who is None or seq > room.members[who].since_seq


def _spoken(room: Room | None, actor: str | None) -> Room:
    if room is None:
        raise NotFound(_NO_CONVERSATION)
    _check_speaker(room, actor)
    return room


def _check_speaker(room: Room, sender: str | None) -> None:
    """None is the application, which may recall wherever that was said."""
    if sender is None:
        return
    if sender not in room.members:
        if sender == SYSTEM and room.head.kind is Kind.GROUP:
            return
        raise PermissionDenied("you are no member of this group")
    if room.head.kind is Kind.PAIR and any(member.is_blocking for who, member in room.members.items() if who != sender):
        raise PermissionDenied("this user does not want to be written to by you")
