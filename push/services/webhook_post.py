"""One POST to a configured URL, and what came back: bounded in time and size, never to where it is redirected.

Importing twisted.web.client does not install a reactor. Must not import adapters, stores or web.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

# What an answer says is of no interest; so much is read all the same, to use the connection again.
MAX_ANSWER_BYTES = 65_536
# Nobody is believed who asks to be left alone for longer.
MAX_RETRY_AFTER_S = 3_600.0
_IDLE_S = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    Attributes:
        status: of the answer; 0 where there was none.
        retry_after_s: how long the receiver asked to be left alone, in seconds.
        trouble: why there was none, in words for the log.
    """

    status: int = 0
    retry_after_s: float = 0.0
    trouble: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has it."""
        return 200 <= self.status < 300


class Poster:
    """Posts to one URL over a connection that is kept.

    Args:
        url: http or https; certificates are verified.
        reactor: time and connections.
        timeout_s: how long a request may take, from connecting to the end of the answer.
        policy: whose certificates are good; None: the system's authorities.
    """

    def __init__(self, url: str, *, reactor: Any, timeout_s: float, policy: IPolicyForHTTPS | None = None) -> None:
        self._url = url.encode("ascii")
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 1
        self._pool.cachedConnectionTimeout = _IDLE_S
        self._agent = Agent(reactor, policy or BrowserLikePolicyForHTTPS(), connectTimeout=timeout_s, pool=self._pool)
        self._sending: Deferred[Any] | None = None

    async def post(self, body: bytes, headers: Mapping[str, str], now_s: float) -> Answer:
        """Post, and wait for the answer. One at a time.

        Args:
            body: of the request.
            headers: besides those of HTTP.
            now_s: seconds since 1970, for answers that name a date.

        Returns:
            The answer, or why there is none.
        """
        by_s = self._reactor.seconds() + self._timeout_s
        sent = Headers({name: [value] for name, value in headers.items()})
        try:
            response = await self._until(by_s, self._agent.request(b"POST", self._url, sent, _Body(body)))
        except Exception as error:  # whatever can go wrong between two hosts: it is tried again
            is_late = self._reactor.seconds() >= by_s
            return Answer(trouble=f"no answer within {self._timeout_s:g} s" if is_late else _words(error))
        with suppress(TimeoutError, CancelledError):  # it has said what counts
            await self._until(by_s, _drained(response))
        retry_after = response.headers.getRawHeaders("retry-after") or [""]
        return Answer(response.code, _retry_after_s(retry_after[0], now_s))

    def abort(self) -> None:
        """Break off what is being posted, if anything is."""
        if self._sending is not None:
            self._sending.cancel()

    def close(self) -> "Deferred[None]":
        """Close the connection that is kept. Fires when it is closed."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def _until(self, by_s: float, sending: "Deferred[Any]") -> "Deferred[Any]":
        self._sending = sending

        def over(result: Any) -> Any:
            self._sending = None
            return result

        return sending.addTimeout(max(0.001, by_s - self._reactor.seconds()), self._reactor).addBoth(over)


@implementer(IBodyProducer)
class _Body:
    """Bytes that are there already. Twisted's own would ask the global reactor for the time."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        consumer.write(self._body)
        return succeed(None)

    def stopProducing(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


class _Drain(Protocol):
    """Reads an answer's body and forgets it; what is too long is cut."""

    def __init__(self, done: "Deferred[None]") -> None:
        self._done = done
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES and self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._done.called:  # the status is what counts, not whether the body was whole
            self._done.callback(None)


def _drained(response: IResponse) -> "Deferred[None]":
    def give_up(_: object) -> None:
        if drain.transport is not None:
            drain.transport.loseConnection()

    done: Deferred[None] = Deferred(give_up)
    drain = _Drain(done)
    response.deliverBody(drain)
    return done


def _words(error: Exception) -> str:
    """What went wrong, without the URL or anything that was sent."""
    if isinstance(error, ResponseFailed):
        reasons = [each.value for each in error.reasons if isinstance(each, Failure)]
        return ", ".join(dict.fromkeys(type(each).__name__ for each in reasons)) or "the connection was lost"
    return type(error).__name__


def _retry_after_s(text: str, now_s: float) -> float:
    """RFC 9110, 10.2.3: seconds, or a date."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(MAX_RETRY_AFTER_S, float(text[:9]))
    try:
        return min(MAX_RETRY_AFTER_S, max(0.0, parsedate_to_datetime(text).timestamp() - now_s))
    except (ValueError, TypeError, OverflowError):
        return 0.0
