"""Broadcasts to all nodes, over Redis' publish and subscribe; and a short log of them, for who has missed some.

Redis sends and forgets: a subscription that was away, or too slow (client-output-buffer-limit pubsub), misses what was
published meanwhile. Whether it lives is asked every two seconds, in subscribed mode too. Whether it is deaf all the
same is for who listens to find out: see IBroadcastBus.beat and renew.

Keys, behind `PREFIX:{broadcasts}:`

| key | type | holds |
|---|---|---|
| `last` | hash | `epoch`, `number` of what was published last, `bytes` of the log |
| `log` | list | what was published last, the newest at the end, at most LOG_LENGTH and LOG_BYTES |

An epoch is named by its beginning, in microseconds since 1970 on the clock of Redis.

The script that gives out a number also publishes, so numbers come in their order everywhere.
"""

import re
from collections.abc import Sequence

import hiredis
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from push.icluster import IBroadcastBus, IBusListener
from push.model_cluster import BusPlace
from push.stores.redis.client import Redis
from push.stores.redis.protocol import PlainProtocol
from push.stores.redis.scripts import Script

LOG_LENGTH = 256
LOG_BYTES = 8_388_608

# What all scripts begin with: KEYS: last, log. Where Redis has lost everything, it is counted anew.
_PLACE = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
    local now = redis.call('TIME')
    epoch = string.format('%.0f', now[1] * 1000000 + now[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'number', 0, 'bytes', 0)
    redis.call('DEL', KEYS[2])
end
"""

# ARGV: the channel, the data, the most entries and bytes of the log. Answers to how many it was sent.
_PUBLISH = Script(
    _PLACE
    + """
local number = redis.call('HINCRBY', KEYS[1], 'number', 1)
local length = redis.call('RPUSH', KEYS[2], ARGV[2])
local bytes = redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[2])
while length > tonumber(ARGV[3]) or (bytes > tonumber(ARGV[4]) and length > 0) do
    local oldest = redis.call('LPOP', KEYS[2])
    if not oldest then break end
    length = length - 1
    bytes = redis.call('HINCRBY', KEYS[1], 'bytes', -#oldest)
end
return redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. number .. '\\n' .. ARGV[2])
"""
)

# ARGV: the channel.
_BEAT = Script(_PLACE + "return redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. redis.call('HGET', KEYS[1], 'number'))")

# ARGV: epoch and number of who asks. Answers the epoch, the number, and of the log what comes after that.
_SINCE = Script(
    _PLACE
    + """
local number = tonumber(redis.call('HGET', KEYS[1], 'number'))
local count = number
if epoch == ARGV[1] and tonumber(ARGV[2]) <= number then count = number - tonumber(ARGV[2]) end
local found = {}
if count > 0 then found = redis.call('LRANGE', KEYS[2], -count, -1) end
return {epoch, number, found}
"""
)

_HEAD = re.compile(rb"([0-9]{1,19}) ([0-9]{1,19})(\n)?")


@implementer(IBroadcastBus)
class BroadcastBus:
    """One channel, with a subscription on a connection of its own.

    Args:
        redis: whose.
        channel: its name.
    """

    _log = Logger()

    def __init__(self, redis: Redis, channel: str = "broadcasts") -> None:
        self._redis = redis
        self._channel = redis.channel(channel)
        prefix = redis.keys(channel)
        self._keys = (prefix + "last", prefix + "log")
        self._listeners: list[IBusListener] = []
        self._subscription = redis.subscription(self._received, self._subscribe)
        self._subscription.on_up = self._resumed
        self._subscription.on_down = self._interrupted

    @property
    def is_listening(self) -> bool:
        """Whether what is published comes in now, as far as is known."""
        return self._subscription.is_up

    def listen(self, listener: IBusListener) -> None:
        """Tell a listener."""
        self._listeners.append(listener)
        if self.is_listening:
            listener.resumed()

    def publish(self, data: bytes) -> "Deferred[int]":
        """Publish something. Returns how many nodes it was sent to."""
        # With its text, not its hash: one that Redis has to be told anew would come behind what is published next.
        arguments = (self._channel, data, LOG_LENGTH, LOG_BYTES)
        return self._redis.writes.call("EVAL", _PUBLISH.source, 2, *self._keys, *arguments)

    def beat(self) -> "Deferred[None]":
        """Have all listeners told the place of what was published last."""
        return self._redis.writes.run(_BEAT, self._keys, [self._channel]).addCallback(lambda _: None)

    def since(self, place: BusPlace) -> "Deferred[tuple[BusPlace, Sequence[bytes]]]":
        """What the log has that was published after this."""
        asked = self._redis.reads.run(_SINCE, self._keys, [place.epoch, place.number])
        return asked.addCallback(lambda answer: (BusPlace(int(answer[0]), answer[1]), answer[2]))

    def renew(self) -> None:
        """Make the subscription anew."""
        self._subscription.renew()

    async def _subscribe(self, protocol: PlainProtocol) -> None:
        # After each login: nothing of a connection outlives it.
        await protocol.send(hiredis.pack_command(("SUBSCRIBE", self._channel)))  # type: ignore[arg-type]

    def _received(self, message: bytes) -> None:
        head = _HEAD.match(message)
        if head is None:
            self._log.warn("something that is none of ours was published at {channel}", channel=self._channel)
            return
        place = BusPlace(int(head[1]), int(head[2]))
        data = message[head.end() :] if head[3] else None
        for listener in self._listeners:
            listener.received(place, data)

    def _resumed(self) -> None:
        for listener in self._listeners:
            listener.resumed()

    def _interrupted(self) -> None:
        for listener in self._listeners:
            listener.interrupted()
