"""Redis as the stores have it: a connection on which writes keep their order, one for look-ups, and names for keys."""

import re
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.ihealth import IMeasured
from push.model_health import Sample
from push.stores.redis.address import RedisAddress
from push.stores.redis.connecting import Greeting
from push.stores.redis.connection import TIMEOUT_S, Connection
from push.stores.redis.greeting import endpoint_of, greet
from push.stores.redis.protocol import Lost, PlainProtocol, SubscribedProtocol

DEFAULT_PREFIX = "push"


def check_prefix(prefix: str) -> str:
    """A prefix of all keys, as it was given.

    Raises:
        ValueError: it may not be one.
    """
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", prefix):
        raise ValueError("must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")
    return prefix


@implementer(IMeasured)
class Redis:
    """The connections of one process.

    Args:
        address: where it is.
        reactor: connects and has the time.
        prefix: of all keys and channels.
        timeout_s: how long a call may take.

    Attributes:
        writes: calls that must keep their order.
        reads: look-ups, which do not wait behind writes.
        commits: writes that have to be in replicas; a connection of its own where they wait for these, else `writes`.
        replicas: in how many.
        clock: has the time.
        timeout_s: how long a call may take.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        reactor: IReactorTime,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._address = address
        self._reactor = reactor
        self.clock = reactor
        self._prefix = check_prefix(prefix)
        self.timeout_s = timeout_s
        self._endpoint = endpoint_of(address, reactor, timeout_s)
        self._is_running = False
        self._connections: list[Connection] = []
        self.writes = self._connection("writes", self._greet)
        self.reads = self._connection("reads", self._greet)
        self.replicas = address.replicas
        self.commits = self._connection("commits", self._greet) if self.replicas else self.writes

    def start(self) -> None:
        """Begin to connect."""
        self._is_running = True
        for connection in self._connections:
            connection.start()

    def stop(self) -> "Deferred[None]":
        """End all connections; fires when they are closed."""
        self._is_running = False
        closing = gatherResults([connection.stop() for connection in self._connections], consumeErrors=True)
        return closing.addCallback(lambda _: None)

    def keys(self, family: str, *more: str) -> str:
        """The beginning of the names of keys that scripts use together: they lie in one slot, should there be slots."""
        return f"{self._prefix}:{{{':'.join((family, *more))}}}:"

    def channel(self, name: str) -> str:
        """The name of a channel. Channels are the same in all databases of a server, so the database is in it."""
        return f"{self._prefix}:{self._address.db}:{name}"

    def subscription(self, received: Callable[[bytes], None], subscribe: Greeting) -> Connection:
        """A connection of its own that gets what is published.

        Args:
            received: told each message.
            subscribe: prepares it after each login.
        """

        async def greet_and_subscribe(protocol: PlainProtocol) -> None:
            await self._greet(protocol)
            await subscribe(protocol)

        return self._connection("subscription", greet_and_subscribe, lambda lost: SubscribedProtocol(lost, received))

    def time_ms(self) -> "Deferred[int]":
        """The time of Redis, milliseconds since 1970."""
        asked = self.reads.call("TIME")
        return asked.addCallback(lambda answer: int(answer[0]) * 1000 + int(answer[1]) // 1000)

    def samples(self) -> Iterable[Sample]:
        """How its connections do."""
        for connection in self._connections:
            yield from connection.samples()

    def _hurry(self) -> None:
        # Where one has come up, the others need not wait until their own pauses are over.
        for connection in self._connections:
            connection.hurry()

    async def _greet(self, protocol: PlainProtocol) -> None:
        await greet(protocol, self._address)

    def _connection(
        self, name: str, greeting: Greeting, build: Callable[[Lost], PlainProtocol] = PlainProtocol
    ) -> Connection:
        connection = Connection(
            name,
            self._endpoint,
            greeting,
            clock=self._reactor,
            timeout_s=self.timeout_s,
            build=build,
            came_up=self._hurry,
        )
        self._connections.append(connection)
        if self._is_running:
            connection.start()
        return connection
