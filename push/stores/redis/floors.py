"""Numbers that may only grow, in Redis.

Keys, behind `PREFIX:{floors}:`

| key | type | holds |
|---|---|---|
| `all` | hash | name → number in decimal |

Lua has doubles for numbers, exact up to 2^53 only: what may be more is compared as text, the longer one being the
greater.
"""

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.ileases import IFloorStore
from push.stores.redis.client import Redis
from push.stores.redis.scripts import Script

_RAISE = Script("""
local function less(a, b)
    if #a ~= #b then return #a < #b end
    for at = 1, #a do
        local x, y = a:byte(at), b:byte(at)
        if x ~= y then return x < y end
    end
    return false
end
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored or less(stored, ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
""")


@implementer(IFloorStore)
class FloorStore:
    """The floors of a cluster: who wants one of their own gives it a name of its own.

    Args:
        redis: where they are.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._key = redis.keys("floors") + "all"

    def floor(self, name: str) -> "Deferred[int]":
        """The number stored, 0 at first."""
        return self._redis.reads.call("HGET", self._key, name).addCallback(lambda stored: int(stored or 0))

    def raise_floor(self, name: str, value: int) -> "Deferred[None]":
        """Store a number (0 or more), unless a greater one is stored."""
        return self._redis.writes.run(_RAISE, [self._key], [name, str(value)]).addCallback(lambda _: None)
