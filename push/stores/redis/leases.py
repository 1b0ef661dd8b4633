"""Names held by one node at a time, in Redis.

Keys, behind `PREFIX:{leases}:`

| key | type | holds |
|---|---|---|
| `held:NAME` | string that expires | the lease's number, a blank, its details |
| `names` | set | names that are held, or were until a while ago |
| `number` | string | the greatest number |

A number is the time of Redis in microseconds, or one more than the last one: it grows though Redis may have lost all.
"""

import math
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.ileases import ILeases
from push.model_cluster import Lease
from push.stores.redis.client import Redis
from push.stores.redis.scripts import Script

MAX_DETAILS_BYTES = 65_536

# ARGV: the name, the details, milliseconds. Answers the number, nothing while it is held.
_ACQUIRE = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local now = redis.call('TIME')
local number = math.max(now[1] * 1000000 + now[2], (redis.call('GET', KEYS[3]) or 0) + 1)
local text = string.format('%.0f', number)
redis.call('SET', KEYS[3], text)
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], text .. ' ' .. ARGV[2], 'PX', ARGV[3])
return number
""")

# ARGV: the number and a blank, the details, milliseconds. Answers whether it was held.
_RENEW = Script("""
local stored = redis.call('GET', KEYS[1])
if not stored or stored:sub(1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
""")

# ARGV: the name, the number and a blank. Answers whether it was held.
_RELEASE = Script("""
local stored = redis.call('GET', KEYS[1])
if not stored or stored:sub(1, #ARGV[2]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
return 1
""")

# ARGV: the prefix. Answers name, stored, name, stored … and forgets names that nobody holds.
_HELD = Script("""
local answer = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local stored = redis.call('GET', ARGV[1] .. 'held:' .. name)
    if stored then
        answer[#answer + 1] = name
        answer[#answer + 1] = stored
    else
        redis.call('SREM', KEYS[1], name)
    end
end
return answer
""")


@implementer(ILeases)
class Leases:
    """The leases of a cluster.

    Args:
        redis: where they are.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._prefix = redis.keys("leases")
        self._names = self._prefix + "names"

    def acquire(self, name: str, details: bytes, ttl_s: float) -> "Deferred[Lease | None]":
        """Take a name, for so many seconds. None while somebody has it."""
        keys = [self._held(name), self._names, self._prefix + "number"]
        acquired = self._redis.writes.run(_ACQUIRE, keys, [name, _bounded(details), _ms(ttl_s)])
        return acquired.addCallback(lambda number: None if number is None else Lease(name, number, details))

    def renew(self, lease: Lease, details: bytes, ttl_s: float) -> "Deferred[bool]":
        """Keep it for so many seconds from now, with new details. False where it is lost."""
        arguments: list[bytes | str | int] = [f"{lease.number} ", _bounded(details), _ms(ttl_s)]
        return self._redis.writes.run(_RENEW, [self._held(lease.name)], arguments).addCallback(bool)

    def release(self, lease: Lease) -> "Deferred[bool]":
        """Let go. Returns whether it was still held."""
        keys = [self._held(lease.name), self._names]
        return self._redis.writes.run(_RELEASE, keys, [lease.name, f"{lease.number} "]).addCallback(bool)

    def held(self) -> "Deferred[Sequence[Lease]]":
        """All leases there are now, by name."""
        return self._redis.writes.run(_HELD, [self._names], [self._prefix]).addCallback(_leases)

    def _held(self, name: str) -> str:
        return f"{self._prefix}held:{name}"


def _bounded(details: bytes) -> bytes:
    if len(details) > MAX_DETAILS_BYTES:
        raise ValueError(f"details of a lease may have {MAX_DETAILS_BYTES} bytes, not {len(details)}")
    return details


def _ms(ttl_s: float) -> int:
    return max(1, math.ceil(ttl_s * 1000))


def _leases(answer: list[bytes]) -> list[Lease]:
    found = []
    for name, stored in zip(answer[::2], answer[1::2], strict=True):
        number, _, details = stored.partition(b" ")
        found.append(Lease(name.decode(), int(number), details))
    return sorted(found, key=lambda lease: lease.name)
