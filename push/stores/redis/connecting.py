"""Makes one connection at a time to Redis, and tries again until there is one.

ClientService is not used: with Twisted 26.4 it stumbles over a connection that is lost while it is prepared, and its
stop waits for a frozen peer to read what was written.
"""

from collections.abc import Callable
from typing import Any, Protocol

import txredisapi
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReactorTime, IStreamClientEndpoint

from push.stores.redis.errors import in_words
from push.stores.redis.protocol import PlainProtocol

# A restarted Redis listens again within some 100 ms; one that is away for long is asked every two seconds.
_RETRY_DELAY_S = backoffPolicy(0.05, 2.0, 2.0, jitter=lambda: 0.0)


class Greeting(Protocol):
    """Prepares a new connection; it is used when this has returned."""

    async def __call__(self, protocol: PlainProtocol) -> None:
        """Raise PushError or RedisError where it cannot be used."""


class Connecting:
    """From nothing to a connection that can be used.

    Args:
        endpoint: how to connect.
        greet: what is said first.
        factory: makes the protocol.
        clock: for limits and pauses.
        timeout_s: for connecting, and again for the greeting.
        usable: told the connection.
        failed: told after each attempt why it has failed.

    Attributes:
        is_hurried: whether an attempt is under way, or comes at once, that began when Redis was known to be there.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        greet: Greeting,
        factory: IProtocolFactory,
        *,
        clock: IReactorTime,
        timeout_s: float,
        usable: Callable[[PlainProtocol], object],
        failed: Callable[[str], object],
    ) -> None:
        self._endpoint = endpoint
        self._greet = greet
        self._factory = factory
        self._clock = clock
        self._timeout_s = timeout_s
        self._usable = usable
        self._failed = failed
        self._failures = 0
        self._next: IDelayedCall | None = None
        self._attempt: Deferred[None] | None = None
        self._is_stopped = False
        self._is_repeated = False
        self.is_hurried = False

    def start(self) -> None:
        """Begin, in the next turn."""
        self._is_stopped = False
        self.is_hurried = self._is_repeated = False
        self._failures = 0
        self._next = self._clock.callLater(0, self._begin)

    def hurry(self) -> None:
        """Redis was just reached: try in the next turn, whatever is left of the pause.

        An attempt under way may have begun too early: should it fail, the next one follows without a pause, once.
        Nothing where there is a connection, or none is wanted.
        """
        if self._is_stopped:
            return
        if self._next is not None:
            self._next.reset(0)
            self.is_hurried = True
        elif self._attempt is not None:
            self.is_hurried = self._is_repeated = True

    def stop(self) -> "Deferred[None]":
        """Give up. Fires when nothing is open any more."""
        self._is_stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        stopped: Deferred[None] = Deferred()
        if self._attempt is None:
            stopped.callback(None)
        else:
            attempt = self._attempt
            attempt.addBoth(lambda _: stopped.callback(None))
            attempt.cancel()
        return stopped

    def _begin(self) -> None:
        self._next = None
        attempt = self._attempt = Deferred.fromCoroutine(self._connect())
        if attempt.called:
            self._attempt = None

    async def _connect(self) -> None:
        protocol: Any = None
        try:
            connecting: Deferred[Any] = self._endpoint.connect(self._factory)
            protocol = await connecting.addTimeout(self._timeout_s, self._clock)
            await Deferred.fromCoroutine(self._greet(protocol)).addTimeout(self._timeout_s, self._clock)
        except Exception as error:  # whatever an endpoint, a resolver or TLS raises: it is tried again
            why: BaseException = error
            if protocol is not None:
                if isinstance(error, txredisapi.ConnectionError) and protocol.why_lost is not None:
                    why = protocol.why_lost.value
                protocol.transport.abortConnection()
                await protocol.closed()
            self._attempt = None
            if not self._is_stopped:
                self._again(in_words(why, self._timeout_s))
        else:
            self._attempt = None
            if protocol.why_lost is None:
                self.is_hurried = self._is_repeated = False
                self._usable(protocol)
            else:
                self._again(in_words(protocol.why_lost.value, self._timeout_s))

    def _again(self, why: str) -> None:
        self._next = self._clock.callLater(0 if self._is_repeated else _RETRY_DELAY_S(self._failures), self._begin)
        self._failures += 1
        self.is_hurried, self._is_repeated = self._is_repeated, False
        self._failed(why)
