"""HTTP below the routes: what arrives, how much of it, and for how long.

twisted.web takes bodies of any length and requests that never end, and answers what it cannot read with an
empty 400. Here a request is refused as soon as that can be known: its body is not waited for, and what still
comes is dropped until the client has had time to read the answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Site

from push.errors import InvalidRequest, PushError
from push.web import errors
from push.web.auth import Admission
from push.web.exchange import ApiRequest
from push.web.settings import ApiSettings

# What a client without a key may send before it has been told that it needs one.
UNKNOWN_BODY_BYTES = 16 * 1024
# How long a refused client may take to read why, while what it sends is dropped.
LINGER_S = 2.0


class ApiChannel(HTTPChannel):
    """One connection of an HTTP client."""

    site: "ApiSite"
    transport: Any  # what HTTPChannel needs of it is more than ITransport
    _begun_s: float | None = None
    _answering = False
    _refused = False
    _lingering: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        """Bytes came. A request that dribbles is given up at the first of them that is late.

        One that stays silent is given up by the idle timeout.
        """
        if self._refused:
            return
        if not self._answering:
            now_s = self.site.reactor.seconds()
            if self._begun_s is None:
                self._begun_s = now_s
            elif now_s - self._begun_s > self.site.settings.request_timeout_s:
                self.refuse(errors.RequestTimeout("The request took too long to arrive."))
                return
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """A line of the head came; after a refusal, twisted may still hold some."""
        if not self._refused:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of the head is longer than twisted allows (16 KiB)."""
        self.refuse(InvalidRequest("A line of the request's head is too long."))

    def headerReceived(self, line: bytes) -> bool:
        """A header is complete."""
        if self._refused:
            return False
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a Content-Length of more digits than int() takes
            self.refuse(InvalidRequest("A header is not valid."))
            return False

    def allHeadersReceived(self) -> None:
        """The head is complete."""
        if not self._refused:
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """A part of the body came."""
        if not self._refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """The request is complete."""
        if self._refused:
            return
        self._begun_s = None
        self._answering = True
        super().allContentReceived()

    def requestDone(self, request: ApiRequest) -> None:
        """The answer has been written."""
        self._answering = False
        super().requestDone(request)

    def refuse(self, error: PushError) -> None:
        """Answer and hear no more: drop what still comes, and close.

        Closing at once would make the kernel reset the connection while the client is still sending, and that
        could take the answer away from it.
        """
        if self._refused:
            return
        self._refused = True
        self.setTimeout(None)
        request_id = (self.requests[-1].request_id if self.requests else "") or self.site.new_request_id()
        self.transport.write(_whole_response(error, request_id))
        self.site.refused(error)
        self._lingering = self.site.reactor.callLater(LINGER_S, self.transport.abortConnection)
        if ITCPTransport.providedBy(self.transport) and not ISSLTransport.providedBy(self.transport):
            self.transport.loseWriteConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(InvalidRequest("This is not a valid HTTP request."))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        self.site.connection_closed()
        super().connectionLost(reason)


def _whole_response(error: PushError, request_id: str) -> bytes:
    body = errors.body(error, request_id)
    lines = [
        b"HTTP/1.1 %d Refused" % error.status,
        b"Date: " + datetimeToString(),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"X-Request-Id: " + request_id.encode(),
        b"X-Content-Type-Options: nosniff",
        b"Cache-Control: no-store",
        *(name + b": " + value for name, value in errors.headers(error)),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class ApiSite(Site):
    """All connections of the API.

    Args:
        resource: what answers.
        fixed: (method, path) → what answers there, tried before the resource.
        clock: for timeouts.
        settings: the limits.
        admission: knows who is known.
        new_request_id: makes the ids of requests that bring none.
        refused: told of what was refused before it came to a route.
    """

    noisy = False
    requestFactory = ApiRequest
    displayTracebacks = False

    def __init__(
        self,
        resource: IResource,
        *,
        fixed: Mapping[tuple[bytes, bytes], Callable[[ApiRequest], None]],
        clock: IReactorTime,
        settings: ApiSettings,
        admission: Admission,
        new_request_id: Callable[[], str],
        refused: Callable[[PushError], None],
    ) -> None:
        super().__init__(resource, timeout=settings.request_timeout_s, reactor=clock, parsePOSTFormSubmission=False)
        self.fixed = fixed
        self.settings = settings
        self.new_request_id = new_request_id
        self.refused = refused
        self._admission = admission
        self._open_connections = 0

    protocol = ApiChannel  # type: ignore[assignment]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Welcome a connection, or close it where there are too many."""
        if self._open_connections >= self.settings.max_connections:
            return None
        self._open_connections += 1
        return super().buildProtocol(addr)

    def connection_closed(self) -> None:
        """A connection is gone."""
        self._open_connections -= 1

    def body_room_bytes(self, authorization: bytes | None) -> int:
        """How large a body may be, for who shows this Authorization."""
        limit = self.settings.max_body_bytes
        if self._admission.is_open or self._admission.identify(authorization) is not None:
            return limit
        return min(limit, UNKNOWN_BODY_BYTES)

    def startFactory(self) -> None:
        """Nothing: there is no access log, whose clock twisted would start here."""

    def stopFactory(self) -> None:
        """Nothing."""

    def log(self, request: object) -> None:
        """Nothing: a line for each request would cost more than the request."""

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: twisted's HTTP/2 knows none of the limits above."""
        return [b"http/1.1"]
