"""Receipts in Redis: a log of chunks of its own for each node that writes receipts.

Keys, behind `PREFIX:{receipts:NAME}:`

| key | type | holds |
|---|---|---|
| `log` | hash | `first` and `last`: numbers of the chunks that there are; `total`: the weight of all there ever were |
| `heads` | hash | number → first and last id (eight bytes each), total with this chunk and time (doubles) |
| `ids`, `lives` | hash | number → message ids (eight bytes each); lives |
| `writer:ID` | string, expires | the number of the last write of a process |
| `fence` | string | the number of who may write |

To find a message, a script looks at the chunks from the newest on, a bounded number at a time.
"""

import struct
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.ileases import IFenced
from push.ireceipts import IReceiptStore
from push.model_receipts import StoredLives
from push.stores.redis.client import Redis
from push.stores.redis.fence import GUARD, Fence
from push.stores.redis.ordered import Ordered
from push.stores.redis.scripts import Script
from push.stores.redis.writer import PRELUDE, Writer

PATIENCE_S = 5.0
# How many chunks one call looks at: about a millisecond of Redis.
LOOKED_AT = 500
PRUNED = 200

# KEYS: the writer's, log, heads, ids, lives, fence. ARGV: the writer's number, that of the fence, first id, last id,
# weight, time, ids, lives.
_APPEND = Script(
    PRELUDE
    + GUARD
    + """
if late() then return redis.status_reply('LATE') end
if superseded(KEYS[6]) then return redis.error_reply('FENCED it is another writer that may write') end
mark()
local last = redis.call('HINCRBY', KEYS[2], 'last', 1)
redis.call('HSETNX', KEYS[2], 'first', last)
local total = redis.call('HINCRBY', KEYS[2], 'total', ARGV[5])
redis.call('HSET', KEYS[3], last, ARGV[3] .. ARGV[4] .. struct.pack('>dd', total, ARGV[6]))
redis.call('HSET', KEYS[4], last, ARGV[7])
redis.call('HSET', KEYS[5], last, ARGV[8])
return redis.status_reply('DONE')
"""
)

# KEYS: log, heads, ids, lives. ARGV: the id, before which number (0: all), how many to look at.
# Answers {number, lives}, or before which number to go on, 0 at the end.
_NEWEST = Script("""
local log = redis.call('HMGET', KEYS[1], 'first', 'last')
if not log[1] then return 0 end
local first, at = tonumber(log[1]), tonumber(log[2])
local id, before, left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if before > 0 then at = math.min(at, before - 1) end
local high, low = struct.unpack('>I4I4', id)

local function contains(ids)
    local start = 1
    while true do
        local found = ids:find(id, start, true)
        if not found then return false end
        if found % 8 == 1 then return true end
        start = found + 1
    end
end

for number = at, first, -1 do
    if left == 0 then return number + 1 end
    left = left - 1
    local fh, fl, lh, ll = struct.unpack('>I4I4I4I4', redis.call('HGET', KEYS[2], number))
    local is_before = high < fh or (high == fh and low < fl)
    local is_behind = high > lh or (high == lh and low > ll)
    if not is_before and not is_behind and contains(redis.call('HGET', KEYS[3], number)) then
        return {number, redis.call('HGET', KEYS[4], number)}
    end
end
return 0
""")

# KEYS: log, heads, ids, lives. ARGV: the weight, the time, how many. Answers how many were deleted.
_PRUNE = Script("""
local log = redis.call('HMGET', KEYS[1], 'first', 'last', 'total')
if not log[1] then return 0 end
local first, last, floor = tonumber(log[1]), tonumber(log[2]), log[3] - ARGV[1]
local gone = {}
for number = first, math.min(last, first + ARGV[3] - 1) do
    local total, time = struct.unpack('>dd', redis.call('HGET', KEYS[2], number), 17)
    if total > floor and time >= ARGV[2] + 0 then break end
    gone[#gone + 1] = number
end
if #gone > 0 then
    for index = 2, 4 do redis.call('HDEL', KEYS[index], unpack(gone)) end
    if gone[#gone] == last then
        redis.call('HDEL', KEYS[1], 'first')
    else
        redis.call('HSET', KEYS[1], 'first', gone[#gone] + 1)
    end
end
return #gone
""")


@implementer(IReceiptStore, IFenced)
class ReceiptStore:
    """The receipts of one node.

    Args:
        redis: where they are.
        name: of the node: nobody else may write under it at the same time.
        patience_s: how long a chunk is tried to be written.
    """

    def __init__(self, redis: Redis, *, name: str, patience_s: float = PATIENCE_S) -> None:
        self._redis = redis
        prefix = redis.keys("receipts", name)
        self._keys = [prefix + name for name in ("log", "heads", "ids", "lives")]
        self._writer = Writer(redis, prefix)
        self._fence = Fence(redis, prefix)
        self._patience_s = patience_s
        self._appends: Ordered[StoredLives, None] = Ordered(self._append, max_batch=1)

    def open(self, fence: int, lost: Callable[[], None]) -> "Deferred[None]":
        """See IFenced."""
        return Deferred.fromCoroutine(self._fence.open(fence, lost))

    def append(self, chunk: StoredLives) -> "Deferred[None]":
        """Write a chunk behind all earlier ones. Where it raises AnswerLost, it may be there."""
        return self._appends.submit(chunk)

    def newest(self, message_id: int, before: int | None) -> "Deferred[tuple[int, bytes] | None]":
        """The newest chunk in which a message is."""
        return Deferred.fromCoroutine(self._newest(message_id, before))

    def prune(self, max_weight: int, before_ms: int) -> "Deferred[None]":
        """Delete the oldest chunks, a few at a time."""
        return Deferred.fromCoroutine(self._prune(max_weight, before_ms))

    async def _append(self, chunks: Sequence[StoredLives]) -> Sequence[None]:
        (chunk,) = chunks
        ids = struct.pack(f">{len(chunk.ids)}q", *chunk.ids)
        ends = (struct.pack(">q", end) for end in (min(chunk.ids), max(chunk.ids)))
        arguments: list[bytes | int] = [*ends, chunk.weight, chunk.at_ms, ids, chunk.lives]
        await self._writer.insist(_APPEND, self._keys, arguments, patience_s=self._patience_s, fence=self._fence)
        return [None]

    async def _newest(self, message_id: int, before: int | None) -> tuple[int, bytes] | None:
        if before is not None and before <= 1:
            return None
        place = before or 0
        while True:
            arguments: list[bytes | int] = [struct.pack(">q", message_id), place, LOOKED_AT]
            answer = await self._redis.reads.run(_NEWEST, self._keys, arguments)
            if isinstance(answer, list):
                return answer[0], answer[1]
            if answer == 0:
                return None
            place = answer

    async def _prune(self, max_weight: int, before_ms: int) -> None:
        while await self._redis.writes.run(_PRUNE, self._keys, [max_weight, before_ms, PRUNED]) == PRUNED:
            pass
