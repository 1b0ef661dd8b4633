"""The scripts of groups and conversations. The names of keys are in groups.py; all begin with ARGV[1].

What is in the log is eight bytes of message id, and MessagePack [sender, type, client_id, is_recalled, content].
"""

from push.stores.redis.scripts import Script

# How many messages one append forgets; how many one call of TRIM does: about a millisecond of Redis.
TRIMMED_BY_APPEND = 16
TRIMMED = 500

# ARGV: prefix, id, the version that was seen, kind, title, open, tells, gone, time, how many come, and for each of them
# party, role and block; then the parties that leave. Answers 0 where it was seen otherwise.
CHANGE = Script("""
local prefix, id, gone, at = ARGV[1], ARGV[2], ARGV[8], ARGV[9]
local head, members, order, reads = prefix .. 'head:' .. id, prefix .. 'members:' .. id, prefix .. 'order:' .. id,
    prefix .. 'reads:' .. id
local was = redis.call('HMGET', head, 'version', 'last_seq', 'gone')
local version, last = tonumber(was[1] or 0), tonumber(was[2] or 0)
if version ~= tonumber(ARGV[3]) then return 0 end

local function leave(who)
    redis.call('HDEL', members, who)
    redis.call('ZREM', order, who)
    redis.call('HDEL', reads, who)
    redis.call('ZREM', prefix .. 'of:' .. who, id)
end

if version == 0 or was[3] == '1' then
    redis.call('HSET', head, 'kind', ARGV[4], 'created', at, 'last_seq', last, 'first_seq', last + 1)
    redis.call('HSETNX', head, 'last_id', '0')
end
local puts = tonumber(ARGV[10])
for at_put = 11 + 3 * puts, #ARGV do leave(ARGV[at_put]) end
if gone == '1' then
    for _, who in ipairs(redis.call('HKEYS', members)) do redis.call('ZREM', prefix .. 'of:' .. who, id) end
    redis.call('UNLINK', members, order, reads, prefix .. 'log:' .. id, prefix .. 'names:' .. id)
    redis.call('ZREM', prefix .. 'oldest', id)
    redis.call('HSET', head, 'first_seq', last + 1)
end
for put = 0, puts - 1 do
    local who, role, blocks = ARGV[11 + 3 * put], tonumber(ARGV[12 + 3 * put]), ARGV[13 + 3 * put] == '1'
    local stored = redis.call('HGET', members, who)
    local joined, since = tonumber(at), last
    if stored then
        local old = cmsgpack.unpack(stored)
        joined, since = old[2], old[3]
    else
        redis.call('ZADD', order, 0, who)
        redis.call('HSET', reads, who, last)
        redis.call('ZADD', prefix .. 'of:' .. who, 0, id)
    end
    redis.call('HSET', members, who, cmsgpack.pack({role, joined, since, blocks}))
end
redis.call('HSET', head, 'version', version + 1, 'title', ARGV[5], 'open', ARGV[6], 'tells', ARGV[7], 'gone', gone,
    'members', redis.call('HLEN', members))
return redis.call('HGETALL', head)
""")

_TRIMMING = """
local prefix, id = ARGV[1], ARGV[2]
local head, log, names = prefix .. 'head:' .. id, prefix .. 'log:' .. id, prefix .. 'names:' .. id

local function is_older(value, than)
    local high, low = struct.unpack('>I4I4', value)
    local than_high, than_low = struct.unpack('>I4I4', than)
    return high < than_high or (high == than_high and low < than_low)
end

-- Forget the first messages that are too many, or too old. Returns which is the first then.
local function trim(first, last, max_messages, from, limit)
    local begun = first
    while first <= last and first - begun < limit do
        local value = redis.call('HGET', log, first)
        if value then
            if last - first < max_messages and not is_older(value, from) then break end
            local held = cmsgpack.unpack(value:sub(9))
            if held[3] ~= '' then redis.call('HDEL', names, held[1] .. '\\0' .. held[3]) end
            redis.call('HDEL', log, first)
        end
        first = first + 1
    end
    return first
end

local function note_oldest(first)
    local value = redis.call('HGET', log, first)
    if value then
        local high, low = struct.unpack('>I4I4', value)
        redis.call('ZADD', prefix .. 'oldest', string.format('%.0f', high * 1024 + math.floor(low / 4194304)), id)
    else
        redis.call('ZREM', prefix .. 'oldest', id)
    end
end
"""

# ARGV: prefix, id, the version that was seen, sender, client_id, what is to be in the log, message id, which is
# recalled, most messages, and the least id that need be kept, as eight bytes. Answers the number; {number, what is
# in the log} where it was there before; 0 where the conversation was seen otherwise.
APPEND = Script(
    _TRIMMING
    + """
local sender, name = ARGV[4], ARGV[4] .. '\\0' .. ARGV[5]
if ARGV[5] ~= '' then
    local seq = redis.call('HGET', names, name)
    if seq then return {tonumber(seq), redis.call('HGET', log, seq)} end
end
local was = redis.call('HMGET', head, 'version', 'last_seq', 'first_seq')
if not was[1] or was[1] ~= ARGV[3] then return 0 end
local seq, first = tonumber(was[2]) + 1, tonumber(was[3])
redis.call('HSET', log, seq, ARGV[6])
if ARGV[5] ~= '' then redis.call('HSET', names, name, seq) end
local reads = prefix .. 'reads:' .. id
if redis.call('HEXISTS', reads, sender) == 1 then redis.call('HSET', reads, sender, seq) end
local recalled = redis.call('HGET', log, ARGV[8])
if recalled then
    local held = cmsgpack.unpack(recalled:sub(9))
    held[4], held[5] = true, '{}'
    redis.call('HSET', log, ARGV[8], recalled:sub(1, 8) .. cmsgpack.pack(held))
end
local kept = trim(first, seq, tonumber(ARGV[9]), ARGV[10], """
    + str(TRIMMED_BY_APPEND)
    + """)
redis.call('HSET', head, 'last_seq', seq, 'last_id', ARGV[7], 'first_seq', kept)
if kept ~= first or kept == seq then note_oldest(kept) end
return seq
"""
)

# ARGV: prefix, id, the least message id that is kept, as eight bytes. Answers 1 where there may be more to forget.
TRIM = Script(
    _TRIMMING
    + """
local was = redis.call('HMGET', head, 'last_seq', 'first_seq')
if not was[1] then
    redis.call('ZREM', prefix .. 'oldest', id)
    return 0
end
local first = tonumber(was[2])
local kept = trim(first, tonumber(was[1]), math.huge, ARGV[3], """
    + str(TRIMMED)
    + """)
redis.call('HSET', head, 'first_seq', kept)
note_oldest(kept)
return kept - first == """
    + str(TRIMMED)
    + """ and 1 or 0
"""
)

# ARGV: prefix, id, party, number. Answers the new position, or 0 where it has not moved.
MOVE_READ = Script("""
local reads = ARGV[1] .. 'reads:' .. ARGV[2]
local was = redis.call('HGET', reads, ARGV[3])
local last = redis.call('HGET', ARGV[1] .. 'head:' .. ARGV[2], 'last_seq')
if not was or not last then return 0 end
local seq = math.min(tonumber(ARGV[4]), tonumber(last))
if seq <= tonumber(was) then return 0 end
redis.call('HSET', reads, ARGV[3], seq)
return seq
""")

# KEYS: when parties were seen. ARGV: party and time, and so on.
SAW = Script("""
for at = 1, #ARGV, 2 do
    local was = redis.call('HGET', KEYS[1], ARGV[at])
    if not was or tonumber(was) < tonumber(ARGV[at + 1]) then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
""")
