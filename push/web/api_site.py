"""All connections of the API: how many there are, what they may send, and how they end when the server stops."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Site

from push.errors import PushError
from push.web import errors
from push.web.auth import Admission
from push.web.channel import ApiChannel
from push.web.exchange import ApiRequest, BodyStream
from push.web.lines import LINE_TYPES
from push.web.measure import RequestMeasure
from push.web.settings import ApiSettings

# What a client without a key may send before it has been told that it needs one.
UNKNOWN_BODY_BYTES = 16 * 1024


class ApiSite(Site):
    """All connections of the API.

    Args:
        resource: what answers.
        fixed: (method, path) → what answers there, tried before the resource.
        streams: (method, path) → what reads bodies of lines there while they come; raises what admission does.
        clock: for timeouts.
        settings: the limits.
        admission: knows who is known.
        new_request_id: makes the ids of requests that bring none.
        refused: told of what was refused before it came to a route.
        measure: counts its requests.
    """

    noisy = False
    requestFactory = ApiRequest
    displayTracebacks = False

    def __init__(
        self,
        resource: IResource,
        *,
        fixed: Mapping[tuple[bytes, bytes], Callable[[ApiRequest], None]],
        streams: Mapping[tuple[bytes, bytes], Callable[[ApiRequest], BodyStream]],
        clock: IReactorTime,
        settings: ApiSettings,
        admission: Admission,
        new_request_id: Callable[[], str],
        refused: Callable[[PushError], None],
        measure: RequestMeasure,
    ) -> None:
        super().__init__(resource, timeout=settings.request_timeout_s, reactor=clock, parsePOSTFormSubmission=False)
        self._fixed = fixed
        self._streams = streams
        self.settings = settings
        self.new_request_id = new_request_id
        self.refused = refused
        self.measure = measure
        self.is_stopping = False
        self._admission = admission
        self._channels: dict[ApiChannel, str] = {}
        self._by_host: Counter[str] = Counter()
        self._stopped: list[Deferred[None]] = []
        self._deadline: IDelayedCall | None = None

    protocol = ApiChannel  # type: ignore[assignment]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Welcome a connection, or close it where there are too many, in all or from its address."""
        host = str(getattr(addr, "host", ""))  # "" for a socket of Unix, which has no address
        if len(self._channels) >= self.settings.max_connections:
            return None
        if host and self._by_host[host] >= self.settings.connections_per_address:
            return None
        channel = super().buildProtocol(addr)
        assert isinstance(channel, ApiChannel)
        self._channels[channel] = host
        self._by_host[host] += 1
        return channel

    def connection_closed(self, channel: ApiChannel) -> None:
        """A connection is gone."""
        host = self._channels.pop(channel, None)
        if host is not None:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]
        if not self._channels:
            self._all_closed()

    def stop(self, timeout_s: float) -> "Deferred[None]":
        """Close all connections: idle ones at once, the others when their answers are written.

        What still comes on them is answered with 503, and the streams that run are ended so. Listening is not
        stopped by this: do that first. May be called twice.

        Args:
            timeout_s: connections that are still open after this time are aborted, in seconds.

        Returns:
            Fires when all are closed.
        """
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        if not self.is_stopping:
            self.is_stopping = True
            self._deadline = self.reactor.callLater(timeout_s, self._abort)
            for channel in tuple(self._channels):
                channel.stop()
        if not self._channels:
            self._all_closed()
        return stopped

    def _abort(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.abortConnection()

    def _all_closed(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        waiting, self._stopped = self._stopped, []
        for stopped in waiting:
            stopped.callback(None)

    def process(self, request: ApiRequest) -> None:
        """Answer a request that is complete."""
        if self.is_stopping:
            error = errors.Stopping()
            request.channel.persistent = 0
            self.refused(error)
            request.fail(error)
            return
        serve = self._fixed.get((request.method, request.path))
        if serve is not None:
            serve(request)
        else:
            request.find_resource()

    def body_room_bytes(self, authorization: bytes | None) -> int:
        """How large a body may be, for who shows this Authorization."""
        limit = self.settings.max_body_bytes
        if self._admission.is_open or self._admission.identify(authorization) is not None:
            return limit
        return min(limit, UNKNOWN_BODY_BYTES)

    def stream(self, request: ApiRequest) -> BodyStream | None:
        """What reads the body of a request while it comes, if anything does.

        Args:
            request: whose head has been read.

        Raises:
            PushError: its sender may not ask for that.
        """
        media = (request.text_header(b"Content-Type") or "").partition(";")[0].strip().lower()
        begin = self._streams.get((request.method, request.uri.partition(b"?")[0]))
        if begin is None or media not in LINE_TYPES:
            return None
        if self.is_stopping:
            raise errors.Stopping
        return begin(request)

    def startFactory(self) -> None:
        """Nothing: there is no access log, whose clock twisted would start here."""

    def stopFactory(self) -> None:
        """Nothing."""

    def log(self, request: object) -> None:
        """Nothing: a line for each request would cost more than the request."""

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: twisted's HTTP/2 knows none of the limits above."""
        return [b"http/1.1"]
