"""HTTP below the routes: what arrives, how much of it, for how long; and every answer's common headers.

twisted.web takes bodies of any length and requests that never end, and answers what it cannot read with an
empty 400. Here a request is refused as soon as that can be known: its body is not waited for, and what still
comes is dropped until the client has had time to read the answer.
"""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from push.errors import InvalidRequest, NotFound, PushError, TooLarge, Unauthenticated
from push.web import errors
from push.web.auth import Admission
from push.web.settings import ApiSettings

# What a client without a key may send before it has been told that it needs one.
UNKNOWN_BODY_BYTES = 16 * 1024
# How long a refused client may take to read why, while what it sends is dropped.
LINGER_S = 2.0

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~-]{1,64}\Z")
_LEGACY = (b"/push/", b"/monitor/", b"/manager/")


class ApiRequest(Request):
    """One request and its answer.

    Attributes:
        request_id: tells it from others, in the answer and in the log.
    """

    channel: "ApiChannel"
    content: BytesIO | None
    request_id = ""
    defaultContentType = b"application/json"
    _log = Logger()
    _room_bytes = 0
    _size_bytes = 0

    @property
    def authorization(self) -> bytes | None:
        """The Authorization header; None where there are several, too."""
        values = self.requestHeaders.getRawHeaders(b"Authorization")
        return values[0] if values is not None and len(values) == 1 else None

    @property
    def peer_host(self) -> str:
        """The address of the client, without its port; "" where it has none."""
        return str(getattr(self.client, "host", ""))

    @property
    def is_legacy(self) -> bool:
        """Whether it is one of the older paths, which say failures in their own way."""
        return self.path is not None and self.path.startswith(_LEGACY)

    def text_header(self, name: bytes) -> str | None:
        """A header, the last where there are several; any bytes are text in it."""
        values = self.requestHeaders.getRawHeaders(name)
        return None if values is None else values[-1].decode("latin-1")

    def body(self) -> bytes:
        """All of the body."""
        return b"" if self.content is None else self.content.getvalue()

    def getRequestHostname(self) -> bytes:
        """Always the same: routes do not depend on Host, and werkzeug raises on one that is no domain name."""
        return b"localhost"

    def gotLength(self, length: int | None) -> None:
        """The headers are complete; `length` is None for a chunked body."""
        self.content = BytesIO()
        site = self.channel.site
        given = self.requestHeaders.getRawHeaders(b"X-Request-Id")
        self.request_id = (
            given[0].decode() if given is not None and _REQUEST_ID.match(given[0]) else site.new_request_id()
        )
        if length != 0:
            self._room_bytes = site.body_room_bytes(self.authorization)
            if length is not None:
                self._check_size(length)

    def handleContentChunk(self, data: bytes) -> None:
        """More of the body has come."""
        self._size_bytes += len(data)
        if self._check_size(self._size_bytes) and self.content is not None:
            self.content.write(data)

    def _check_size(self, size_bytes: int) -> bool:
        if size_bytes <= self._room_bytes:
            return True
        # Or twisted would ask for the body after all.
        self.requestHeaders.removeHeader(b"Expect")
        limit = self.channel.site.settings.max_body_bytes
        if self._room_bytes < limit:
            self.channel.refuse(Unauthenticated("An API key is needed: send it as `Authorization: Bearer <key>`."))
        else:
            self.channel.refuse(TooLarge(f"A request body has at most {limit} bytes."))
        return False

    def process(self) -> None:
        """The request is complete: answer it."""
        self.site = self.channel.site
        set_header = self.responseHeaders.setRawHeaders
        set_header(b"Date", [datetimeToString()])
        set_header(b"X-Request-Id", [self.request_id.encode()])
        set_header(b"X-Content-Type-Options", [b"nosniff"])
        set_header(b"Cache-Control", [b"no-store"])
        self.prepath = []
        if not self.path.startswith(b"/"):  # "*", or a URL as proxies get it
            self.fail(NotFound("There is nothing but paths here."))
            return
        path = unquote_to_bytes(self.path)
        self.postpath = path[1:].split(b"/")
        try:
            path.decode()
        except UnicodeDecodeError:
            self.fail(InvalidRequest("The path is not UTF-8."))
            return
        try:
            self.render(self.site.resource)
        except Exception:
            self.processingFailed(Failure())

    def describe(self, error: PushError) -> bytes:
        """Set the status and headers of a failure.

        Returns:
            Its body.
        """
        self.setResponseCode(error.status)
        for name, value in errors.headers(error):
            self.responseHeaders.setRawHeaders(name, [value])
        return errors.body(error, self.request_id, legacy=self.is_legacy)

    def fail(self, error: PushError) -> None:
        """Answer with a failure."""
        body = self.describe(error)
        self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Something unexpected was raised on the way to a route or back."""
        self._log.failure("Unexpected failure in request {request_id}", failure=reason, request_id=self.request_id)
        if self._disconnected:
            return reason
        if self.startedWriting:
            self.loseConnection()
        else:
            self.fail(errors.Internal())
        return reason


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
        clock: for timeouts.
        settings: the limits.
        admission: knows who is known.
        new_request_id: makes the ids of requests that bring none.
        refused: told of what was refused before it came to a route.
    """

    requestFactory = ApiRequest
    displayTracebacks = False

    def __init__(
        self,
        resource: IResource,
        *,
        clock: IReactorTime,
        settings: ApiSettings,
        admission: Admission,
        new_request_id: Callable[[], str],
        refused: Callable[[PushError], None],
    ) -> None:
        super().__init__(resource, timeout=settings.request_timeout_s, reactor=clock, parsePOSTFormSubmission=False)
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
