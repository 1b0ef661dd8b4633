"""What each method of the chat asks, and what it makes of the answers: one place for both SDKs. Pure.

What cannot be is raised when a plan is made, before anything is asked. Source: docs/chat.md.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from push.protocols.wire.signals import SubSignal
from push_client.chat import ChatError, ChatMessage, Positions, place, read_message, read_messages
from push_client.requests import Ask, Plan

PAGE = 100
_UNREADABLE = 503


def say(
    positions: Positions,
    where: Mapping[str, object],
    text: str | None,
    *,
    data: Mapping[str, Any] | None,
    type: int,
    mentions: Iterable[str],
    client_id: str | None,
) -> Plan[ChatMessage]:
    """Say something, once: by its name (random, if none is given) the server knows it again."""
    content = {"text": text, "data": data, "type": type, "mentions": _names(mentions)}
    return _say(positions, where, content, client_id or secrets.token_hex(8))


def _say(
    positions: Positions, where: Mapping[str, object], content: Mapping[str, object], client_id: str
) -> Plan[ChatMessage]:
    answer = yield Ask(SubSignal.MS, {**where, **content, "client_id": client_id}, again=True)
    said = read_message({**content, **answer, "group": where.get("group")})
    if said is None:
        raise ChatError(_UNREADABLE, "an answer without a conversation or a number")
    positions.said(said.conversation, said.seq)
    return said


def recall(positions: Positions, message: ChatMessage) -> Plan[None]:
    """Take back what one said."""
    answer = yield Ask(SubSignal.MR, {"conversation": message.conversation, "seq": message.seq})
    positions.said(message.conversation, number(answer, "seq"))


def history(
    *, group: str | None, to: str | None, conversation: str | None, before: int | None, limit: int
) -> Plan[list[ChatMessage]]:
    """The last messages before a number."""
    return _history({**place(group=group, to=to, conversation=conversation), "before": before, "limit": limit})


def _history(fields: Mapping[str, object]) -> Plan[list[ChatMessage]]:
    return read_messages((yield Ask(SubSignal.LRM, fields, again=True)))


def conversations(*, patiently: bool = False) -> Plan[list[dict[str, Any]]]:
    """All that one takes part in."""
    return _pages(SubSignal.MP, {"limit": PAGE}, "conversations", patiently=patiently)


def read(message: ChatMessage) -> Plan[None]:
    """Say that one has read up to here."""
    return have_read(message.conversation, message.seq, patiently=False)


def have_read(conversation: str, seq: int, *, patiently: bool = True) -> Plan[None]:
    """The same, of any number."""
    yield Ask(SubSignal.MN, {"conversation": conversation, "seq": seq}, again=True, patiently=patiently)


def create(
    group: str | None, *, title: str, uids: Iterable[str], open: bool, receipts: bool
) -> Plan[dict[str, Any]]:  # fmt: skip
    """Make a group."""
    fields = {"group": group, "title": title, "uids": _names(uids), "open": open, "receipts": receipts}
    return _whole(Ask(SubSignal.GC, fields))


def join(group: str) -> Plan[bool]:
    """Become a member."""
    return _whether(Ask(SubSignal.GAM, {"group": group}, again=True))


def quit(group: str) -> Plan[bool]:
    """Leave."""
    return _whether(Ask(SubSignal.GQ, {"group": group}, again=True))


def group(group: str) -> Plan[dict[str, Any]]:
    """How a group is."""
    return _whole(Ask(SubSignal.GPGI, {"group": group}, again=True))


def members(group: str) -> Plan[list[dict[str, Any]]]:
    """All members."""
    return _pages(SubSignal.GPGM, {"group": group}, "members")


def add(group: str, uids: Iterable[str]) -> Plan[int]:
    """Make others members."""
    return _changed(Ask(SubSignal.GAM, {"group": group, "uids": _names(uids, at_least_one=True)}, again=True))


def kick(group: str, uids: Iterable[str]) -> Plan[int]:
    """Remove members."""
    return _changed(Ask(SubSignal.GKM, {"group": group, "uids": _names(uids, at_least_one=True)}, again=True))


def modify(group: str, changes: Mapping[str, object]) -> Plan[dict[str, Any]]:
    """Change what is given."""
    return _whole(Ask(SubSignal.GMI, {**changes, "group": group}, again=True))


def dismiss(group: str) -> Plan[None]:
    """End a group."""
    yield Ask(SubSignal.GD, {"group": group})


def presence(uids: Iterable[str], *, watch: bool) -> Plan[list[dict[str, Any]]]:
    """Whether users are there."""
    return _presence({"uids": _names(uids), "watch": watch})


def _presence(fields: Mapping[str, object]) -> Plan[list[dict[str, Any]]]:
    return _entries((yield Ask(SubSignal.US, fields, again=True)), "presence")


def block(uid: str, is_blocked: bool) -> Plan[None]:
    """Have a user not write to one alone any more, or again."""
    yield Ask(SubSignal.MMI, {"uid": uid, "block": is_blocked}, again=True)


def number(fields: Mapping[str, Any], name: str) -> int:
    """A whole number that a server sent; 0 for anything else."""
    value = fields.get(name)
    return value if type(value) is int else 0


def _whole(ask: Ask) -> Plan[dict[str, Any]]:
    return (yield ask)


def _changed(ask: Ask) -> Plan[int]:
    return number((yield ask), "changed")


def _whether(ask: Ask) -> Plan[bool]:
    return (yield from _changed(ask)) > 0


def _pages(
    subsignal: int, fields: Mapping[str, object], name: str, *, patiently: bool = False
) -> Plan[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    after: object = None
    while after != "":
        answer = yield Ask(subsignal, {**fields, "after": after}, again=True, patiently=patiently)
        page = _entries(answer, name)
        found += page
        # A server that goes on for ever with nothing is not followed.
        after = answer.get("after", "") if page else ""
    return found


def _entries(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _names(uids: Iterable[str], *, at_least_one: bool = False) -> list[str]:
    found = list(uids)
    if isinstance(uids, str) or not all(isinstance(uid, str) for uid in found):
        raise TypeError("uids are strings")
    if at_least_one and not found:
        raise ValueError("say whom")
    return found
