"""The scripts of cache.py, which says what the keys hold.

Positions and message ids go up to 2^63, Lua's numbers are exact up to 2^53: so they are eight bytes, big-endian, and
sorted sets keep them in the order of these bytes.
"""

from push.stores.redis.fence import GUARD
from push.stores.redis.scripts import Script
from push.stores.redis.writer import PRELUDE

# What one call is given back at most, unless a single row is longer: some milliseconds of Redis.
PAGE_BYTES = 4 * 1024 * 1024
PAGE_ROWS = 5_000
PRUNED = 500

# KEYS: the writer's, order, heads, payloads, done, positions, replies, expiry, due, fence. ARGV: the writer's number,
# that of the fence, then eleven lists, each behind its length: Commit in cache_changes.py. Fails with TAKEN where a
# position is there, with FENCED where it is another writer's turn; then nothing is done. Redis puts ERR before a single
# word.
COMMIT = Script(
    PRELUDE
    + GUARD
    + """
if late() then return redis.status_reply('LATE') end
if superseded(KEYS[10]) then return redis.error_reply('FENCED it is another writer that may write') end
local lists, at = {}, 3
while at <= #ARGV do
    lists[#lists + 1] = {at + 1, at + ARGV[at]}
    at = at + ARGV[at] + 1
end

-- Redis and Lua take a few thousand values at a time.
local function each(list, width, call)
    local first, last = list[1], list[2]
    local step = 2000 * width
    for start = first, last, step do call(unpack(ARGV, start, math.min(start + step - 1, last))) end
end
local function all(list, width, command, key)
    each(list, width, function(...) redis.call(command, key, ...) end)
end

local taken = false
for start = lists[2][1], lists[2][2], 2 do
    if redis.call('HEXISTS', KEYS[3], ARGV[start]) == 1 then taken = true end
end
if taken then return redis.error_reply('TAKEN a position is there') end
mark()

all(lists[1], 2, 'ZADD', KEYS[2])
all(lists[2], 2, 'HSET', KEYS[3])
all(lists[3], 2, 'HSET', KEYS[4])
all(lists[4], 2, 'ZADD', KEYS[5])
all(lists[5], 1, 'ZREM', KEYS[2])
all(lists[5], 1, 'HDEL', KEYS[3])
all(lists[5], 1, 'HDEL', KEYS[4])
if redis.call('EXISTS', KEYS[5]) == 1 then
    for at = lists[5][1], lists[5][2] do
        local position = ARGV[at]
        -- No token has a byte 255: it is not in UTF-8.
        redis.call('ZREMRANGEBYLEX', KEYS[5], '[' .. position, '[' .. position .. '\\255')
    end
end
all(lists[6], 2, 'HSET', KEYS[6])
all(lists[7], 2, 'HSET', KEYS[7])
all(lists[8], 2, 'ZADD', KEYS[8])
all(lists[9], 2, 'HSET', KEYS[9])
all(lists[10], 1, 'HDEL', KEYS[9])
all(lists[11], 1, 'HDEL', KEYS[7])
all(lists[11], 1, 'ZREM', KEYS[8])
return redis.status_reply('DONE')
"""
)

# KEYS: order, heads. ARGV: after which position, how many, how many bytes. Answers position, head, position, head …
MESSAGES = Script("""
local positions = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
local answer, left = {}, tonumber(ARGV[3])
for _, position in ipairs(positions) do
    local head = redis.call('HGET', KEYS[2], position)
    left = left - #head
    if left < 0 and #answer > 0 then break end
    answer[#answer + 1] = position
    answer[#answer + 1] = head
end
return answer
""")

# KEYS: a hash. ARGV: how many bytes, fields. Answers values, from the first field on; nil for those that are not there.
VALUES = Script("""
local answer, left = {}, tonumber(ARGV[1])
for at = 2, #ARGV do
    local value = redis.call('HGET', KEYS[1], ARGV[at])
    left = left - (value and #value or 0)
    if left < 0 and #answer > 0 then break end
    answer[#answer + 1] = value
end
return answer
""")

# KEYS: replies, expiry. ARGV: up to which time, how many. Answers how many were deleted.
PRUNE_REPLIES = Script("""
local keys = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
if #keys > 0 then
    redis.call('HDEL', KEYS[1], unpack(keys))
    redis.call('ZREM', KEYS[2], unpack(keys))
end
return #keys
""")

# KEYS: positions. ARGV: before which position, the cursor, how many to look at. Answers the next cursor.
PRUNE_POSITIONS = Script("""
local high, low = struct.unpack('>I4I4', ARGV[1])
local found = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
for at = 1, #found[2], 2 do
    local h, l = struct.unpack('>I4I4', found[2][at + 1])
    if h < high or (h == high and l < low) then redis.call('HDEL', KEYS[1], found[2][at]) end
end
return found[1]
""")
