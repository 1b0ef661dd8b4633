"""The scripts of tokens.py, which says what the keys hold."""

from push.stores.redis.scripts import Script
from push.stores.redis.writer import PRELUDE

# What one call asks for: about a millisecond of Redis.
KNOWN_PART = 2_000
UIDS_PART = 500
# How many tokens one call of TAGGED looks at.
SCANNED = 2_000

# KEYS: the writer's, info, order, last. ARGV: the writer's number, the prefix, the limit on tokens, and what is to be
# written; tokens.py has its form.
# Answers the number of tokens, and for each: what is stored now, or 1 deleted, 0 not there or denied, 2 over the limit.
WRITE = Script(
    PRELUDE
    + """
if late() then return redis.status_reply('LATE') end
mark()
local info, order, last = KEYS[2], KEYS[3], KEYS[4]
local prefix, limit = ARGV[2], tonumber(ARGV[3])
local count = redis.call('HLEN', info)

local function tag(token, old_tags, new_tags)
    if old_tags == new_tags then return end
    for _, name in ipairs(cjson.decode(old_tags)) do redis.call('ZREM', prefix .. 'tag:' .. name, token) end
    for _, name in ipairs(cjson.decode(new_tags)) do redis.call('ZADD', prefix .. 'tag:' .. name, 0, token) end
end

local function own(token, old_uid, new_uid, number)
    if old_uid == new_uid then return end
    if old_uid then redis.call('ZREM', prefix .. 'uid:' .. old_uid, token) end
    if new_uid then redis.call('ZADD', prefix .. 'uid:' .. new_uid, number, token) end
end

local function delete(token, stored)
    if not stored then return 0 end
    local old = cmsgpack.unpack(stored)
    own(token, old[1], false, 0)
    tag(token, old[3], '[]')
    redis.call('HDEL', info, token)
    redis.call('ZREM', order, token)
    count = count - 1
    return 1
end

local function register(token, stored, uid, device, tags, now_ms, owner_only)
    local old = stored and cmsgpack.unpack(stored)
    if old and owner_only and old[1] ~= uid then return 0 end
    if not old then
        if count >= limit then return 2 end
        old = {false, false, '[]', now_ms, redis.call('INCR', last)}
        redis.call('ZADD', order, 0, token)
        count = count + 1
    end
    local new = {uid or old[1], device or old[2], tags or old[3], old[4], old[5]}
    local packed = cmsgpack.pack(new)
    if packed ~= stored then
        redis.call('HSET', info, token, packed)
        own(token, old[1], new[1], new[5])
        tag(token, old[3], new[3])
    end
    return packed
end

local answer = {}
for at = 4, #ARGV do
    local token, uid, device, tags, now_ms, owner_only = unpack(cmsgpack.unpack(ARGV[at]))
    local stored = redis.call('HGET', info, token)
    if now_ms < 0 then
        answer[at - 3] = delete(token, stored)
    else
        answer[at - 3] = register(token, stored, uid, device, tags, now_ms, owner_only)
    end
end
return {count, unpack(answer)}
"""
)

# ARGV: the prefix and uids. Answers {index, tokens} for those that have any.
OF_UIDS = Script("""
local answer = {}
for at = 2, #ARGV do
    local tokens = redis.call('ZRANGE', ARGV[1] .. 'uid:' .. ARGV[at], 0, -1)
    if #tokens > 0 then answer[#answer + 1] = {at - 1, tokens} end
end
return answer
""")

# ARGV: the prefix; which set to go through; after which token; how many; how many to look at; the number of tags in
# each of all, any, none; these.
# Answers after which token to go on, empty at the end, and those that match.
TAGGED = Script("""
local prefix, driver = ARGV[1], ARGV[1] .. ARGV[2]
local after, limit, left = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local found = {}

local at = 9
local function take(count)
    local tags = {unpack(ARGV, at, at + count - 1)}
    at = at + count
    return tags
end
local all, any, none = take(tonumber(ARGV[6])), take(tonumber(ARGV[7])), take(tonumber(ARGV[8]))

local function has(tags, tokens)
    local columns = {}
    for index, tag in ipairs(tags) do
        columns[index] = redis.call('ZMSCORE', prefix .. 'tag:' .. tag, unpack(tokens))
    end
    return function(at)
        local count = 0
        for _, column in ipairs(columns) do if column[at] then count = count + 1 end end
        return count
    end
end

while left > 0 do
    local size = math.min(left, 250)
    local tokens = redis.call('ZRANGE', driver, '(' .. after, '+', 'BYLEX', 'LIMIT', 0, size)
    if #tokens == 0 then return {'', found} end
    local of_all, of_any, of_none = has(all, tokens), has(any, tokens), has(none, tokens)
    for at, token in ipairs(tokens) do
        after = token
        if of_all(at) == #all and (#any == 0 or of_any(at) > 0) and of_none(at) == 0 then
            found[#found + 1] = token
            if #found >= limit then return {after, found} end
        end
    end
    if #tokens < size then return {'', found} end
    left = left - size
end
return {after, found}
""")
