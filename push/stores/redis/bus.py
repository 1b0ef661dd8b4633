"""Broadcasts to all nodes, over Redis' publish and subscribe.

Redis sends and forgets: a subscription that was away, or too slow (client-output-buffer-limit pubsub), misses what was
published meanwhile. Whether it lives is asked every two seconds, in subscribed mode too. Whether it is deaf all the
same is for a canary of the services to find out.
"""

import hiredis
from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.ipush import IBroadcastBus, IBusListener
from push.stores.redis.client import Redis
from push.stores.redis.protocol import PlainProtocol


@implementer(IBroadcastBus)
class BroadcastBus:
    """One channel, with a subscription on a connection of its own.

    Args:
        redis: whose.
        channel: its name.
    """

    def __init__(self, redis: Redis, channel: str = "broadcasts") -> None:
        self._redis = redis
        self._channel = redis.channel(channel)
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
        return self._redis.writes.call("PUBLISH", self._channel, data)

    async def _subscribe(self, protocol: PlainProtocol) -> None:
        # After each login: nothing of a connection outlives it.
        await protocol.send(hiredis.pack_command(("SUBSCRIBE", self._channel)))  # type: ignore[arg-type]

    def _received(self, data: bytes) -> None:
        for listener in self._listeners:
            listener.received(data)

    def _resumed(self) -> None:
        for listener in self._listeners:
            listener.resumed()

    def _interrupted(self) -> None:
        for listener in self._listeners:
            listener.interrupted()
