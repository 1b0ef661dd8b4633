"""What members are told, in JSON: messages as they are said, and what has happened to their groups.

Written once, whatever the number of members. Must not import adapters, stores or web.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from push.chat_json import GroupEntry, group_entry, message_entry, or_unset, text_of, time_ms
from push.model_chat import ChatMessage, Conversation, token_of, uid_of
from push.protocols.wire.signals import SubSignal
from push.services.group.fanout import Fanout
from push.services.group.rooms import Room

_OLD_GROUP = 0
_OLD_PRIVATE = 1


class _By(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who did something to a group; nobody where it was an application."""

    group: str
    by: str | msgspec.UnsetType = msgspec.UNSET
    by_token: str | msgspec.UnsetType = msgspec.UNSET


class Coming(msgspec.Struct, frozen=True, gc=False):
    """Somebody who has joined a group, or left it.

    Attributes:
        who: the party.
        is_here: whether it has joined.
        by: who did it: itself, or an admin; None for an application.
    """

    who: str
    is_here: bool
    by: str | None


class _Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same, for clients."""

    uid: str | msgspec.UnsetType = msgspec.UNSET
    token: str | msgspec.UnsetType = msgspec.UNSET
    by: str | msgspec.UnsetType = msgspec.UNSET
    by_token: str | msgspec.UnsetType = msgspec.UNSET


class _Changed(GroupEntry, frozen=True, omit_defaults=True):
    """A group, and who has joined and left."""

    joined: list[_Who] | msgspec.UnsetType = msgspec.UNSET
    left: list[_Who] | msgspec.UnsetType = msgspec.UNSET
    more: bool = False


class _Read(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody has read up to there."""

    conversation: str
    read: int
    reader: str | msgspec.UnsetType = msgspec.UNSET
    reader_token: str | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.encode


class Telling:
    """Tells the clients of members.

    Args:
        fanout: brings it there.
    """

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout

    def said(self, room: Room, message: ChatMessage, *, contact: bytes, sent_by: str) -> None:
        """Something was said: tell all devices of all members, but that which it came from."""
        self._fanout.tell(
            room.head.id,
            room.audience,
            subsignal=SubSignal.MN,
            chat=_encode(message_entry(message)),
            contact=_with_id(contact, message) if contact else _contact(room, message),
            but=sent_by,
        )

    def recalled(self, room: Room, message: ChatMessage) -> None:
        """A message says that another one is taken back. Clients of the old form do not know that."""
        chat = _encode(message_entry(message))
        self._fanout.tell(room.head.id, room.audience, subsignal=SubSignal.RMN, chat=chat)

    def read(self, room: Room, who: str, seq: int, *, sent_by: str) -> None:
        """Somebody has read: tell the other devices of theirs, and everybody where that is wanted."""
        audience = room.audience if room.head.tells_reads else (who,)
        chat = _encode(_Read(room.head.id, seq, or_unset(uid_of(who)), or_unset(token_of(who))))
        self._fanout.tell(room.head.id, audience, subsignal=SubSignal.MN, chat=chat, but=sent_by)

    def added(self, head: Conversation, actor: str | None, whos: Sequence[str]) -> None:
        """These are members now, who did not join by themselves."""
        self._about(head, actor, tuple(whos), SubSignal.GAM)

    def kicked(self, head: Conversation, actor: str | None, whos: Sequence[str]) -> None:
        """These are members no more."""
        self._about(head, actor, tuple(whos), SubSignal.GKM)

    def dismissed(self, head: Conversation, actor: str | None, audience: Sequence[str]) -> None:
        """The group is no more."""
        self._about(head, actor, tuple(audience), SubSignal.GD)

    def modified(self, room: Room, actor: str | None) -> None:
        """The group's settings are others."""
        chat = _encode(group_entry(room.head))
        self._fanout.tell(room.head.id, room.audience, subsignal=SubSignal.GMI, chat=chat)

    def came(self, room: Room, comings: Sequence[Coming], has_more: bool) -> None:
        """These have joined or left, and perhaps others: the group is another."""
        joined = [_who(coming) for coming in comings if coming.is_here]
        left = [_who(coming) for coming in comings if not coming.is_here]
        fields = msgspec.structs.asdict(group_entry(room.head))
        chat = _encode(_Changed(**fields, joined=joined or msgspec.UNSET, left=left or msgspec.UNSET, more=has_more))
        self._fanout.tell(room.head.id, room.audience, subsignal=SubSignal.GMI, chat=chat)

    def _about(self, head: Conversation, actor: str | None, audience: tuple[str, ...], subsignal: int) -> None:
        if audience:
            by = (None, None) if actor is None else (uid_of(actor), token_of(actor))
            chat = _encode(_By(head.group or "", or_unset(by[0]), or_unset(by[1])))
            self._fanout.tell(head.id, audience, subsignal=subsignal, chat=chat)


def _who(coming: Coming) -> _Who:
    by = (None, None) if coming.by is None else (uid_of(coming.by), token_of(coming.by))
    who = (uid_of(coming.who), token_of(coming.who))
    return _Who(or_unset(who[0]), or_unset(who[1]), or_unset(by[0]), or_unset(by[1]))


def _with_id(contact: bytes, message: ChatMessage) -> bytes:
    """A CONTACT as others get it: the same object, with what the server knows."""
    fields: dict[str, Any] = msgspec.json.decode(contact)
    return _encode({**fields, "id": str(message.id), "time": time_ms(message.id)})


def _contact(room: Room, message: ChatMessage) -> bytes:
    """A message as the old form has it."""
    sender = message.sender
    fields: dict[str, object] = {"from": sender[1:]}
    if room.head.group is not None:
        fields |= {"group": room.head.group, "type": _OLD_GROUP}
    else:
        others = [who for who in room.audience if who != sender]
        fields |= {"to": (others or [sender])[0][1:], "type": _OLD_PRIVATE}
    fields |= {"messageType": message.type, "message": text_of(message)}
    return _encode({**fields, "id": str(message.id), "time": time_ms(message.id)})
