"""Writes of one process to some keys, numbered, so that each is done once or not at all.

What was sent before a connection broke may reach Redis long after: a frozen server reads it when it goes on, behind
what was sent over a new connection. So every write carries the next number, the script keeps the greatest that
was done, and one that comes late does nothing. The same lets a write be repeated until somebody says that it is done.

Where it has to be in replicas, it is done when they have said so: then no failover loses it.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from push.errors import Unavailable
from push.stores.redis.client import Redis
from push.stores.redis.connection import Value
from push.stores.redis.errors import RETRY_AFTER_S, AnswerLost, Away
from push.stores.redis.fence import Fence
from push.stores.redis.scripts import Script

# At the beginning of a script that a Writer runs: `late()` says whether it has nothing to do any more, `mark()` that it
# is done. Until the first write Redis has done nothing. A day later nothing of a broken connection comes any more.
PRELUDE = """
local number = ARGV[1]
local function late() return (redis.call('GET', KEYS[1]) or 0) + 0 >= number + 0 end
local function mark() redis.call('SET', KEYS[1], number, 'EX', 86400) end
"""
LATE = b"LATE"

# How long replicas may take: this part of what a call may.
_WAIT_SHARE = 0.5

_MARK = Script(PRELUDE + "mark()")
_SETTLE = Script(
    PRELUDE
    + """
if late() then return 1 end
mark()
return 0
"""
)


class Writer:
    """Runs scripts that begin with PRELUDE. At most one write may be under way.

    Args:
        redis: where.
        prefix: of the keys.
        is_replicated: whether `insist` goes on until so many replicas have it as the address of Redis says.
        name: of this process, in the name of the key with the number.
    """

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        *,
        is_replicated: bool = False,
        name: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._redis = redis
        self._replicas = redis.replicas if is_replicated else 0
        self._connection = redis.commits if is_replicated else redis.writes
        self._key = f"{prefix}writer:{name()}"
        self._clock = redis.clock
        self._wait_ms = max(1, round(1000 * redis.timeout_s * _WAIT_SHARE))
        self._number = 0

    async def write(self, script: Script, keys: Sequence[Value], arguments: Sequence[Value]) -> Any:
        """Run a script once. In it, KEYS and ARGV begin at 2.

        Raises:
            AnswerLost, Unavailable: as Connection.call.
        """
        self._number += 1
        answer = await self._connection.run(script, [self._key, *keys], [self._number, *arguments])
        if answer == LATE:
            raise AnswerLost("another process writes to Redis under this one's name")
        return answer

    async def insist(
        self,
        script: Script,
        keys: Sequence[Value],
        arguments: Sequence[Value],
        *,
        patience_s: float,
        fence: Fence | None = None,
    ) -> None:
        """Run a script, again and again until it is known that it was done. It answers LATE where it was before.

        With a fence, the script has its key as the last of KEYS, and its number as ARGV[2].

        Raises:
            Superseded: it was not done, nor will be: it is the turn of another writer.
            AnswerLost: it is not known after so many seconds; `settle` has to be asked before anything else is written.
            Unavailable: it was not done, nor will be.
        """
        self._number += 1
        if fence is not None:
            keys, arguments = [*keys, fence.key], [fence.number, *arguments]
        until_s = self._clock.seconds() + patience_s
        lost: AnswerLost | None = None
        failed: Unavailable
        while True:
            try:
                answer = await self._connection.run(
                    script, [self._key, *keys], [self._number, *arguments], is_patient=True
                )
                if self._replicas:
                    await self._replicated(is_late=answer == LATE)
            except AnswerLost as error:
                failed = lost = error
            except Away as error:
                failed = lost or error
            except Unavailable as error:
                meaning = error if fence is None else fence.look(error)
                # Refused this time; but an earlier time it may have been done.
                raise lost or meaning from None
            else:
                return
            if self._clock.seconds() >= until_s:
                raise failed

    async def settle(self) -> bool:
        """Whether the last write was done. If it was not, it will not be any more."""
        return bool(await self._connection.run(_SETTLE, [self._key], [self._number]))

    async def _replicated(self, *, is_late: bool) -> None:
        """Wait until replicas have the write that was answered in this moment.

        WAIT is for what its own connection has written (https://redis.io/docs/latest/commands/wait/; 7.0 takes all that
        was written before): where that was another one, something is written once more.

        Raises:
            AnswerLost: it is not known that they do.
        """
        connection = self._connection
        times = connection.times_connected
        try:
            if is_late:
                await connection.run(_MARK, [self._key], [self._number])
            count = await connection.call("WAIT", self._replicas, self._wait_ms)
        except Unavailable:  # whatever is the matter: the write itself was done
            count = 0
        if count < self._replicas or connection.times_connected != times:
            raise AnswerLost(
                f"fewer than {self._replicas} replicas of Redis have said that they have it",
                retry_after_s=RETRY_AFTER_S,
            )
