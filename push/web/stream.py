"""An NDJSON :batchSend while it runs: lines come, slices of them go to the router, results go back meanwhile.

However long the stream, what is kept of it is one line, what one read of the socket brought, and the answers that
the transport has not taken yet: reading pauses while the router works and while the client does not read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from zope.interface import implementer

from push.errors import PushError, RateLimited
from push.ipush import IRouter
from push.model import PushResult
from push.web import errors, outcomes
from push.web.exchange import COMMON_HEADERS, ApiRequest
from push.web.lines import NDJSON, LineBuffer
from push.web.repeats import Repeats
from push.web.requests import SLICE_ENTRIES, MessageReader

_encode_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What a stream may cost.

    Attributes:
        max_line_bytes: the longest line.
        request_entries: so many entries count as one request towards the rate limit, …
        request_bytes: … and so many bytes, whichever is reached first.
    """

    max_line_bytes: int
    request_entries: int
    request_bytes: int


@implementer(IPushProducer)
class MessageStream:
    """One such request and its answer.

    Args:
        request: whose head has been read, and whose sender may push.
        router: where messages go.
        reader: reads lines.
        clock: whose turns the work is spread over.
        limits: of the stream.
        repeats: how each line is known when it comes again.
        count: counts a further request towards the rate limit; raises RateLimited.
        answered: told the status, in the end.
    """

    _log = Logger()

    def __init__(
        self,
        request: ApiRequest,
        *,
        router: IRouter,
        reader: MessageReader,
        clock: IReactorTime,
        limits: StreamLimits,
        repeats: Repeats,
        count: Callable[[], None],
        answered: Callable[[int], None],
    ) -> None:
        self._request = request
        self._router = router
        self._reader = reader
        self._clock = clock
        self._limits = limits
        self._repeats = repeats
        self._count = count
        self._answered = answered
        self._lines = LineBuffer(limits.max_line_bytes)
        self._entries = self._bytes = self._position = 0
        self._ended = self._lost = self._is_full = False
        self._error: PushError | None = None
        self._waiting: Deferred[None] | None = None
        self.waits_for_data = False

    @property
    def waits_for_room(self) -> bool:
        """Whether the client has to read before anything else happens."""
        return self._is_full

    @property
    def is_behind(self) -> bool:
        """Whether there is so much to do that no more should be read."""
        return not (self._ended or self._lost or self.waits_for_data)

    def begin(self) -> None:
        """Begin to work; what has come is taken when `arrived` is called."""
        self._request.registerProducer(self, True)
        Deferred.fromCoroutine(self._run()).addErrback(self._unexpected)

    def received(self, data: bytes) -> None:
        """A part of the body came."""
        self._bytes += len(data)
        self._lines.feed(data)

    def arrived(self) -> None:
        """What could be read at once has all been given to `received`."""
        self._wake()

    def ended(self, error: PushError | None = None) -> None:
        """No more comes: the body is complete, or breaks off because of an error, and with it its last line."""
        self._ended = True
        self._error = error
        if error is None:
            self._lines.end()
        self._wake()

    def lost(self) -> None:
        """The client is gone: what has been routed stays so, what has not is dropped."""
        self._lost = True
        self._lines.clear()
        self._wake()

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._is_full = True
        self._request.channel.resetTimeout()

    def resumeProducing(self) -> None:
        """It has read."""
        self._is_full = False
        self._wake()

    def stopProducing(self) -> None:
        """It is gone."""
        self.lost()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _wait(self) -> None:
        """Wait until anything happens."""
        self._waiting = Deferred()
        await self._waiting

    async def _run(self) -> None:
        while not self._lost:
            if self._is_full:
                await self._wait()
            elif lines := self._lines.take(SLICE_ENTRIES):
                await self._push(lines)
                if self._lines:
                    await self._sleep(0)
            elif self._ended:
                self._finish()
                return
            else:
                self.waits_for_data = True
                self._request.channel.read_on()
                await self._wait()
                self.waits_for_data = False
        self._answered(self._request.code)

    async def _push(self, lines: list[bytes | None]) -> None:
        await self._keep_to_the_rate(len(lines))
        if self._lost:
            return
        parsed = self._reader.lines(lines, self._limits.max_line_bytes, self._repeats, self._position)
        self._position += len(lines)
        failed: PushError | None = None
        found: Sequence[PushResult | PushError] = ()
        try:
            found = await outcomes.push(self._router, parsed)
        except PushError as error:
            failed = error
        except Exception:
            self._log.failure("Unexpected failure in request {request_id}", request_id=self._request.request_id)
            failed = errors.Internal()
        if self._lost:
            return
        if failed is not None:
            if not self._request.startedWriting:
                self._refuse(failed)
                return
            found = [entry if isinstance(entry, PushError) else failed for entry in parsed]
        self._begin_answer()
        self._request.write(_encode_lines(outcomes.replies(found, self._request.request_id)))

    async def _keep_to_the_rate(self, entries: int) -> None:
        """Wait as long as the requests would have to that these entries stand for."""
        limits = self._limits
        self._entries += entries
        while not self._lost and (self._entries > limits.request_entries or self._bytes > limits.request_bytes):
            try:
                self._count()
            except RateLimited as error:
                await self._sleep(error.retry_after_s or 0.0)
            else:
                self._entries = max(0, self._entries - limits.request_entries)
                self._bytes = max(0, self._bytes - limits.request_bytes)

    async def _sleep(self, seconds: float) -> None:
        due = self._clock.callLater(seconds, self._wake)
        while due.active() and not self._lost:
            await self._wait()
        if due.active():
            due.cancel()

    def _refuse(self, error: PushError) -> None:
        """The first slice was not accepted: that is the answer, and the rest need not be sent."""
        self._lines.clear()
        if self._ended:
            self._error = error
        else:
            self._request.channel.refuse(error)

    def _begin_answer(self) -> None:
        request = self._request
        if request.startedWriting:
            return
        set_header = request.responseHeaders.setRawHeaders
        set_header(b"Date", [datetimeToString()])
        set_header(b"X-Request-Id", [request.request_id.encode()])
        set_header(b"Content-Type", [NDJSON.encode()])
        for name, value in COMMON_HEADERS.items():
            set_header(name, [value])
        if not request.channel.persistent:
            set_header(b"Connection", [b"close"])

    def _finish(self) -> None:
        request = self._request
        request.unregisterProducer()
        if self._error is not None and not request.startedWriting:
            request.answer_failure(self._error)
        else:
            self._begin_answer()
            if self._error is not None:
                request.write(_encode_lines([errors.entry(self._error, request.request_id)]))
        self._answered(request.code)
        request.finish()

    def _unexpected(self, failure: Failure) -> None:
        self._log.failure(
            "Unexpected failure in request {request_id}", failure=failure, request_id=self._request.request_id
        )
        if not self._lost:
            self._request.channel.transport.abortConnection()
