"""Who may write to a store that has one writer at a time: whoever opened it with the greatest number.

The number stands in Redis beside what it guards, and every writing script looks at it. So what a former writer sent
before it knew, a frozen server reads behind the new writer's first word, and refuses. A store that has been emptied has
no number any more and refuses its writer, too: what that has in memory is not what is stored.
"""

from collections.abc import Callable

from push.errors import Superseded, Unavailable
from push.stores.redis.client import Redis
from push.stores.redis.scripts import Script

# In a script, behind what says that a write was done already. The key is the last one; ARGV[2] is the writer's number.
GUARD = """
local function superseded(key) return (redis.call('GET', key) or '') ~= ARGV[2] end
"""
WORD = "FENCED"

# ARGV: the number. Answers whether nobody has opened it with a greater one.
_OPEN = Script("""
local stored = redis.call('GET', KEYS[1])
if stored and stored + 0 > ARGV[1] + 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
""")


class Fence:
    """The guard of one store, as one process sees it.

    Args:
        redis: where.
        prefix: of the store's keys.

    Attributes:
        key: where the number stands.
        number: under which this process writes; empty while it has not opened the store, which is as good as any other
            as long as nobody has.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self.key = f"{prefix}fence"
        self.number = ""
        self._lost: Callable[[], None] = lambda: None

    async def open(self, number: int, lost: Callable[[], None]) -> None:
        """See IFenced.

        Raises:
            Superseded: somebody has opened it with a greater number.
            Unavailable: Redis cannot be asked.
        """
        if not await self._redis.writes.run(_OPEN, [self.key], [number]):
            raise superseded()
        self.number = str(number)
        self._lost = lost

    def look(self, error: Unavailable) -> Unavailable:
        """What an error means; whoever opened the store is told where it is somebody else's."""
        if getattr(error, "word", "") != WORD:
            return error
        self._lost()
        return superseded()


def superseded() -> Superseded:
    """The error."""
    return Superseded("this store is another node's by now", retry_after_s=1.0)
