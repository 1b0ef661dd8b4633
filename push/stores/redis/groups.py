"""Who is in which conversation, and when parties were last there, in Redis, for all nodes of a cluster.

Keys, behind `PREFIX:{chats}:`

| key | type | holds |
|---|---|---|
| `head:ID` | hash | a conversation: version, title, numbers of messages, … |
| `members:ID` | hash | party → MessagePack [role, joined, since, blocks] |
| `order:ID` | sorted set, all scores 0 | the parties, in order |
| `reads:ID` | hash | party → up to where it has read |
| `of:PARTY` | sorted set, all scores 0 | the conversations that a party is in |
| `log:ID`, `names:ID`, `oldest` | | see chats.py |
| `seen` | hash | party → when it was last there |

A change is one script, which does nothing where the version is not the one that was seen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.igroup import IGroupStore, IPresenceStore
from push.model_chat import GROUP_PREFIX, Change, Conversation, Kind, Member, Role, Standing
from push.stores.redis.chat_scripts import CHANGE, SAW
from push.stores.redis.client import Redis
from push.stores.redis.ordered import together

_MEMBER = msgspec.msgpack.Decoder(tuple[int, int, int, bool])
# "/" comes right behind "." in the order of bytes.
_BEHIND_GROUPS = "(" + GROUP_PREFIX[:-1] + "/"
_SEEN_PART = 1_000


@implementer(IGroupStore)
class GroupStore:
    """The groups of a cluster.

    Args:
        redis: where they are.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._prefix = redis.keys("chats")

    def load(self, conversation_id: str) -> "Deferred[Conversation | None]":
        """A conversation, also one that is gone."""
        loading = self._redis.reads.call("HGETALL", f"{self._prefix}head:{conversation_id}")
        return loading.addCallback(lambda row: head_of(conversation_id, row))

    def members(self, conversation_id: str, after: str, limit: int) -> "Deferred[Sequence[Member]]":
        """The next members."""
        return Deferred.fromCoroutine(self._members(conversation_id, after, limit))

    def change(self, change: Change) -> "Deferred[Conversation | None]":
        """Change a conversation, if it is as it was seen."""
        before = change.before
        arguments: list[str | int] = [
            self._prefix,
            before.id,
            before.version,
            int(before.kind),
            change.title,
            int(change.is_open),
            int(change.tells_reads),
            int(change.is_gone),
            change.at_ms,
            len(change.put),
        ]
        for member in change.put:
            arguments += (member.who, int(member.role), int(member.is_blocking))
        arguments += change.removed
        changing = self._redis.writes.run(CHANGE, [], arguments)
        return changing.addCallback(lambda row: head_of(before.id, row) if row else None)

    def standings(self, who: str, after: str, limit: int) -> "Deferred[Sequence[Standing]]":
        """The next conversations of a party."""
        return Deferred.fromCoroutine(self._standings(who, after, limit))

    def groups_of(self, who: str) -> "Deferred[int]":
        """In how many groups a party is."""
        counting: Deferred[int] = self._redis.reads.call(
            "ZLEXCOUNT", f"{self._prefix}of:{who}", "[" + GROUP_PREFIX, _BEHIND_GROUPS
        )
        return counting

    async def _members(self, conversation_id: str, after: str, limit: int) -> Sequence[Member]:
        whos = await self._page(f"order:{conversation_id}", after, limit)
        if not whos:
            return []
        rows = await self._redis.reads.call("HMGET", f"{self._prefix}members:{conversation_id}", *whos)
        return [_member(who, row) for who, row in zip(whos, rows, strict=True) if row is not None]

    async def _standings(self, who: str, after: str, limit: int) -> Sequence[Standing]:
        ids = await self._page(f"of:{who}", after, limit)
        call = self._redis.reads.call
        rows = await together(
            [
                asked
                for each in ids
                for asked in (
                    call("HGETALL", f"{self._prefix}head:{each}"),
                    call("HGET", f"{self._prefix}members:{each}", who),
                    call("HGET", f"{self._prefix}reads:{each}", who),
                )
            ]
        )
        found: list[Standing] = []
        for conversation_id, head, member, read in zip(ids, rows[::3], rows[1::3], rows[2::3], strict=True):
            conversation = head_of(conversation_id, head)
            if conversation is not None and member is not None:  # or it was left meanwhile
                found.append(Standing(conversation, _member(who, member), int(read or 0)))
        return found

    async def _page(self, key: str, after: str, limit: int) -> list[str]:
        least = f"({after}" if after else "-"
        rows = await self._redis.reads.call("ZRANGEBYLEX", self._prefix + key, least, "+", "LIMIT", 0, limit)
        return [row.decode() for row in rows]


@implementer(IPresenceStore)
class PresenceStore:
    """When the parties of a cluster were last there.

    Args:
        redis: where that is.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._key = redis.keys("chats") + "seen"

    def saw(self, seen: Mapping[str, int]) -> "Deferred[None]":
        """Store when parties were last seen."""
        arguments = [each for pair in seen.items() for each in pair]
        parts = [arguments[at : at + 2 * _SEEN_PART] for at in range(0, len(arguments), 2 * _SEEN_PART)]
        storing = [self._redis.writes.run(SAW, [self._key], part) for part in parts]
        return Deferred.fromCoroutine(together(storing)).addCallback(lambda _: None)

    def seen(self, whos: Sequence[str]) -> "Deferred[Mapping[str, int]]":
        """When they were."""
        return Deferred.fromCoroutine(self._seen(whos))

    async def _seen(self, whos: Sequence[str]) -> Mapping[str, int]:
        if not whos:
            return {}
        rows = await self._redis.reads.call("HMGET", self._key, *whos)
        return {who: int(row) for who, row in zip(whos, rows, strict=True) if row is not None}


def head_of(conversation_id: str, row: Sequence[bytes]) -> Conversation | None:
    """A conversation, out of its hash; None where that is empty."""
    if not row:
        return None
    fields: dict[bytes, Any] = dict(zip(row[::2], row[1::2], strict=True))
    return Conversation(
        conversation_id,
        Kind(int(fields[b"kind"])),
        int(fields[b"version"]),
        fields[b"title"].decode(),
        fields[b"open"] == b"1",
        fields[b"tells"] == b"1",
        int(fields[b"created"]),
        int(fields[b"members"]),
        int(fields[b"last_seq"]),
        int(fields[b"last_id"]),
        int(fields[b"first_seq"]),
        fields[b"gone"] == b"1",
    )


def _member(who: str, row: bytes) -> Member:
    role, joined_ms, since_seq, is_blocking = _MEMBER.decode(row)
    return Member(who, Role(role), joined_ms, since_seq, is_blocking)
