"""What was said in conversations, in Redis.

Keys, behind `PREFIX:{chats}:`

| key | type | holds |
|---|---|---|
| `log:ID` | hash | sequence number → a message: chat_scripts.py |
| `names:ID` | hash | sender, NUL and client_id → sequence number |
| `oldest` | sorted set | conversations, by the time of the first message that is kept: milliseconds since 2026-01-01 |

Each message is one script: it looks for one of the same name, at the version of the conversation, gives the number, and
forgets what is too old or too much.
"""

import struct
from collections.abc import Mapping, Sequence

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.igroup import IConversationStore
from push.model_chat import ChatMessage, Said
from push.stores.redis.chat_scripts import APPEND, MOVE_READ, TRIM
from push.stores.redis.client import Redis

_ID = struct.Struct(">Q")
_HELD = msgspec.msgpack.Decoder(tuple[str, int, str, bool, str])
_TIME_SHIFT = 22
# How many conversations are looked for at once, when old messages are forgotten.
_PRUNED = 100


@implementer(IConversationStore)
class ConversationStore:
    """The conversations of a cluster.

    Args:
        redis: where they are.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._prefix = redis.keys("chats")

    def append(
        self, message: ChatMessage, version: int, *, recalls: int = 0, max_messages: int, from_id: int
    ) -> "Deferred[Said | None]":
        """Store a message, if the conversation is as it was seen."""
        held = (message.sender, message.type, message.client_id, False, message.content.decode())
        arguments: list[str | int | bytes] = [
            self._prefix,
            message.conversation,
            version,
            message.sender,
            message.client_id,
            _ID.pack(message.id) + msgspec.msgpack.encode(held),
            str(message.id),
            recalls,
            max_messages,
            _ID.pack(from_id),
        ]

        def said(answer: object) -> Said | None:
            if isinstance(answer, list):
                seq, value = answer
                return Said(_message(message.conversation, seq, value), True)
            assert isinstance(answer, int)
            return Said(msgspec.structs.replace(message, seq=answer), False) if answer else None

        return self._redis.writes.run(APPEND, [], arguments).addCallback(said)

    def history(
        self, conversation_id: str, first_seq: int, last_seq: int, limit: int
    ) -> "Deferred[Sequence[ChatMessage]]":
        """Messages between sequence numbers."""
        return Deferred.fromCoroutine(self._history(conversation_id, first_seq, last_seq, limit))

    def move_read(self, conversation_id: str, who: str, seq: int) -> "Deferred[int | None]":
        """Say up to where a member has read."""
        moving = self._redis.writes.run(MOVE_READ, [], [self._prefix, conversation_id, who, seq])
        return moving.addCallback(lambda moved: moved or None)

    def read_positions(self, conversation_id: str, whos: Sequence[str]) -> "Deferred[Mapping[str, int]]":
        """Up to where members have read."""
        return Deferred.fromCoroutine(self._read_positions(conversation_id, whos))

    def prune(self, before_id: int) -> "Deferred[None]":
        """Forget what is older, a few at a time."""
        return Deferred.fromCoroutine(self._prune(before_id))

    async def _history(self, conversation_id: str, first_seq: int, last_seq: int, limit: int) -> Sequence[ChatMessage]:
        ends = await self._redis.reads.call("HMGET", f"{self._prefix}head:{conversation_id}", "first_seq", "last_seq")
        if ends[0] is None:
            return []
        first, last = max(first_seq, int(ends[0])), min(last_seq, int(ends[1]))
        wanted = list(range(first, min(last, first + limit - 1) + 1) if limit > 0 else _last(first, last, -limit))
        if not wanted:
            return []
        rows = await self._redis.reads.call("HMGET", f"{self._prefix}log:{conversation_id}", *wanted)
        return [_message(conversation_id, seq, row) for seq, row in zip(wanted, rows, strict=True) if row is not None]

    async def _read_positions(self, conversation_id: str, whos: Sequence[str]) -> Mapping[str, int]:
        if not whos:
            return {}
        rows = await self._redis.reads.call("HMGET", f"{self._prefix}reads:{conversation_id}", *whos)
        return {who: int(row) for who, row in zip(whos, rows, strict=True) if row is not None}

    async def _prune(self, before_id: int) -> None:
        least = _ID.pack(before_id)
        wanted = ("-inf", before_id >> _TIME_SHIFT, "LIMIT", 0, _PRUNED)
        done: set[bytes] = set()
        while True:
            found = await self._redis.reads.call("ZRANGEBYSCORE", self._prefix + "oldest", *wanted)
            ids = [each for each in found if each not in done]
            if not ids:
                return
            for conversation_id in ids:
                while await self._redis.writes.run(TRIM, [], [self._prefix, conversation_id, least]):
                    pass
            # One whose first message is of the same millisecond, but is kept, is found again.
            done.update(ids)


def _last(first: int, last: int, count: int) -> range:
    return range(max(first, last - count + 1), last + 1)


def _message(conversation_id: str, seq: int, row: bytes) -> ChatMessage:
    (message_id,) = _ID.unpack_from(row)
    sender, kind, client_id, is_recalled, content = _HELD.decode(row[_ID.size :])
    return ChatMessage(conversation_id, seq, message_id, sender, kind, content.encode(), client_id, is_recalled)
