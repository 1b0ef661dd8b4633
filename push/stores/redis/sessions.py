"""Where tokens are online, in Redis.

Keys, behind `PREFIX:{sessions}:`

| key | type | holds |
|---|---|---|
| `at` | hash | token → MessagePack [epoch, connector, uid or false, acks] |
| `on:CONNECTOR` | sorted set, score = epoch | the tokens that are online there |
| `epoch` | string | the greatest epoch |
| `writer:ID` | string, expires | the number of the last write of a process |

An epoch is the time of Redis in microseconds, or one more than the last one where that clock stands behind it. So it
grows though Redis may have lost everything; it stays below 2^53, exact in Lua, until the year 2255.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.icluster import ISessionDirectory
from push.model import Registration
from push.model_cluster import Opening
from push.stores.redis.client import Redis
from push.stores.redis.ordered import Ordered, together
from push.stores.redis.scripts import Script
from push.stores.redis.writer import PRELUDE, Writer

# What one look-up asks for: some 0.3 ms of Redis.
_FIND_PART = 1_000

# KEYS: the writer's, at, epoch. ARGV: the writer's number, the prefix, and for each thing to be done MessagePack
# [what, token, connector, uid, acks, epoch].
# Answers for each: open {epoch, the session before}, reopen the loser (1: itself), close nothing, remove the session.
_WRITE = Script(
    PRELUDE
    + """
if late() then return redis.status_reply('LATE') end
mark()
local at, last, prefix = KEYS[2], KEYS[3], ARGV[2]

local function text(value) return string.format('%.0f', value) end

local function put(token, old, new)
    if old and old[2] ~= new[2] then redis.call('ZREM', prefix .. 'on:' .. old[2], token) end
    redis.call('HSET', at, token, cmsgpack.pack(new))
    redis.call('ZADD', prefix .. 'on:' .. new[2], text(new[1]), token)
end

local function drop(token, old)
    redis.call('HDEL', at, token)
    redis.call('ZREM', prefix .. 'on:' .. old[2], token)
end

local function open(token, stored, old, new)
    local now = redis.call('TIME')
    local epoch = math.max(now[1] * 1000000 + now[2], (redis.call('GET', last) or 0) + 1)
    redis.call('SET', last, text(epoch))
    new[1] = epoch
    put(token, old, new)
    return {epoch, stored}
end

local function reopen(token, stored, old, new)
    if old and old[1] >= new[1] then
        return (old[1] ~= new[1] or old[2] ~= new[2]) and 1
    end
    if (redis.call('GET', last) or 0) + 0 < new[1] then redis.call('SET', last, text(new[1])) end
    put(token, old, new)
    return stored
end

local function close(token, stored, old, new)
    if old and old[1] == new[1] and old[2] == new[2] then drop(token, old) end
    return false
end

local function remove(token, stored, old)
    if old then drop(token, old) end
    return stored
end

local todo = {open = open, reopen = reopen, close = close, remove = remove}
local answer = {}
for index = 3, #ARGV do
    local what, token, connector, uid, acks, epoch = unpack(cmsgpack.unpack(ARGV[index]))
    local stored = redis.call('HGET', at, token)
    local old = stored and cmsgpack.unpack(stored)
    answer[index - 2] = todo[what](token, stored, old, {epoch, connector, uid, acks})
end
return answer
"""
)

# ARGV: the prefix, the connector, up to which epoch, how many. Answers how many.
_LEAVE = Script("""
local at, key = KEYS[1], ARGV[1] .. 'on:' .. ARGV[2]
local tokens = redis.call('ZRANGE', key, '-inf', ARGV[3], 'BYSCORE', 'LIMIT', 0, ARGV[4])
for _, token in ipairs(tokens) do
    redis.call('HDEL', at, token)
    redis.call('ZREM', key, token)
end
return #tokens
""")

# Answers the greatest epoch until now.
_LAST_EPOCH = Script("""
local now = redis.call('TIME')
return math.max(now[1] * 1000000 + now[2], (redis.call('GET', KEYS[1]) or 0) + 0)
""")


class _Write(NamedTuple):
    """Something to be done. In this form it goes to the script."""

    what: str
    token: str
    connector: str = ""
    uid: str | bool = False
    acks: bool = False
    epoch: int = 0


_session = msgspec.msgpack.Decoder(tuple[int, str, str | bool, bool])


@implementer(ISessionDirectory)
class SessionDirectory:
    """The sessions of a cluster.

    Args:
        redis: where they are.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._prefix = redis.keys("sessions")
        self._at = self._prefix + "at"
        self._writer = Writer(redis, self._prefix)
        self._writes: Ordered[_Write, Any] = Ordered(self._write)

    def open(self, token: str, uid: str | None, connector: str, *, acks: bool) -> "Deferred[Opening]":
        """Open a session, in the place of the one that the token may have."""

        def opened(answer: tuple[int, bytes | None]) -> Opening:
            epoch, replaced = answer
            return Opening(Registration(token, uid, connector, epoch, acks), _decoded(token, replaced))

        item = _Write("open", token, connector, False if uid is None else uid, acks)
        return self._writes.submit(item).addCallback(opened)

    def reopen(self, registrations: Sequence[Registration]) -> "Deferred[Sequence[Registration]]":
        """These sessions are open, whatever was known of their tokens. Returns those that lost."""
        # Submitted before this returns: the order of calls is kept.
        calls = [self._writes.submit(_of("reopen", one)) for one in registrations]
        return Deferred.fromCoroutine(self._losers(registrations, calls))

    def close(self, registrations: Sequence[Registration]) -> "Deferred[None]":
        """Sessions are over. Where another one is known for the token, that stays."""
        calls = [self._writes.submit(_of("close", one)) for one in registrations]
        return Deferred.fromCoroutine(together(calls)).addCallback(lambda _: None)

    def find(self, tokens: Sequence[str]) -> "Deferred[Mapping[str, Registration]]":
        """The sessions of those of these tokens that are online."""
        return Deferred.fromCoroutine(self._find(tokens))

    def remove(self, token: str) -> "Deferred[Registration | None]":
        """The token is revoked: forget its session. Returns it."""
        return self._writes.submit(_Write("remove", token)).addCallback(lambda stored: _decoded(token, stored))

    def last_epoch(self) -> "Deferred[int]":
        """An epoch that is not less than that of any session opened until now."""
        return self._redis.writes.run(_LAST_EPOCH, [self._prefix + "epoch"])

    def leave(self, connector: str, last_epoch: int, limit: int) -> "Deferred[int]":
        """A connector has died: forget its sessions up to this epoch, at most so many. Returns how many."""
        return self._redis.writes.run(_LEAVE, [self._at], [self._prefix, connector, last_epoch, limit])

    def count(self) -> "Deferred[int]":
        """How many tokens are online."""
        return self._redis.reads.call("HLEN", self._at)

    async def _write(self, items: Sequence[_Write]) -> Sequence[Any]:
        packed: list[bytes | PushError] = [_packed(item) for item in items]
        arguments = [one for one in packed if isinstance(one, bytes)]
        answers = iter(await self._writer.write(_WRITE, [self._at, self._prefix + "epoch"], [self._prefix, *arguments]))
        return [next(answers) if isinstance(one, bytes) else one for one in packed]

    async def _losers(self, registrations: Sequence[Registration], calls: Sequence["Deferred[Any]"]) -> Any:
        answers = await together(calls)
        losers = []
        for registration, answer in zip(registrations, answers, strict=True):
            if answer == 1:
                losers.append(registration)
            elif (loser := _decoded(registration.token, answer)) is not None:
                losers.append(loser)
        return losers

    async def _find(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        parts = [tokens[at : at + _FIND_PART] for at in range(0, len(tokens), _FIND_PART)]
        reads = self._redis.reads
        answers = await together(
            [
                reads.call("HMGET", self._at, *(token.encode("utf-8", "surrogatepass") for token in part))
                for part in parts
            ]
        )
        found: dict[str, Registration] = {}
        for part, stored in zip(parts, answers, strict=True):
            for token, one in zip(part, stored, strict=True):
                session = _decoded(token, one)
                if session is not None:
                    found[token] = session
        return found


def _of(what: str, session: Registration) -> _Write:
    uid = False if session.uid is None else session.uid
    return _Write(what, session.token, session.connector, uid, session.acks, session.epoch)


def _packed(item: _Write) -> bytes | PushError:
    try:
        return msgspec.msgpack.encode(tuple(item))
    except UnicodeEncodeError:
        return Unavailable("a text that is not Unicode cannot be stored")


def _decoded(token: str, stored: bytes | None) -> Registration | None:
    if stored is None:
        return None
    try:
        epoch, connector, uid, acks = _session.decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unavailable("Redis holds a session that cannot be read") from None
    return Registration(token, uid if isinstance(uid, str) else None, connector, epoch, acks)
