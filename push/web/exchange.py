"""One HTTP request and its answer: what every route reads from the one, and what every other has in common."""

import re
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.server import Request

from push.errors import InvalidRequest, NotFound, PushError, TooLarge, Unauthenticated
from push.web import errors

if TYPE_CHECKING:
    from push.web.channel import ApiChannel

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~-]{1,64}\Z")
JSON = b"application/json"
# What all answers have.
COMMON_HEADERS = {b"X-Content-Type-Options": b"nosniff", b"Cache-Control": b"no-store"}
_COMMON_LINES = b"".join([b"%s: %s\r\n" % item for item in COMMON_HEADERS.items()])
_LEGACY = (b"/push/", b"/monitor/", b"/manager/", b"/group/", b"/message/")


class BodyStream(Protocol):
    """Reads a body while it comes, and answers meanwhile."""

    @property
    def waits_for_data(self) -> bool:
        """Whether the client has to send before anything else happens."""

    @property
    def waits_for_room(self) -> bool:
        """Whether the client has to read before anything else happens."""

    @property
    def is_behind(self) -> bool:
        """Whether there is so much to do that no more should be read."""

    def begin(self) -> None:
        """Begin to work: the request knows its stream."""

    def received(self, data: bytes) -> None:
        """A part of the body came."""

    def arrived(self) -> None:
        """What could be read at once has all been given to `received`."""

    def ended(self, error: PushError | None = None) -> None:
        """No more comes: the body is complete, or breaks off because of an error."""

    def lost(self) -> None:
        """The client is gone."""


class ApiRequest(Request):
    """One request and its answer.

    Attributes:
        request_id: tells it from others, in the answer and in the log.
        key_name: the name of the API key that it was admitted with, "" for none.
        stream: what reads its body, where that is not kept until it is complete.
    """

    channel: "ApiChannel"
    content: BytesIO | None
    request_id = ""
    key_name = ""
    stream: BodyStream | None = None
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
        if self.text_header(b"Content-Type") in (None, "application/json") or not self._begin_stream():
            self._make_room(length)

    def _begin_stream(self) -> bool:
        """Let the body be read while it comes, where its route can do that, and its sender may ask for it."""
        self.method, self.uri, self.clientproto = self.channel.request_line.split(b" ")
        try:
            self.stream = self.channel.site.stream(self)
        except PushError as error:
            self._refuse(error)
            return True
        if self.stream is None:
            return False
        self.channel.stream_begins()
        self.stream.begin()
        return True

    def _make_room(self, length: int | None) -> None:
        site = self.channel.site
        if length != 0:
            self._room_bytes = site.body_room_bytes(self.authorization)
            if length is not None:
                self._check_size(length)

    def handleContentChunk(self, data: bytes) -> None:
        """More of the body has come."""
        if self.stream is not None:
            self.stream.received(data)
            return
        self._size_bytes += len(data)
        if self._check_size(self._size_bytes) and self.content is not None:
            self.content.write(data)

    def _check_size(self, size_bytes: int) -> bool:
        if size_bytes <= self._room_bytes:
            return True
        limit = self.channel.site.settings.max_body_bytes
        if self._room_bytes < limit:
            self._refuse(Unauthenticated("An API key is needed: send it as `Authorization: Bearer <key>`."))
        else:
            self._refuse(TooLarge(f"A request body has at most {limit} bytes."))
        return False

    def _refuse(self, error: PushError) -> None:
        # Or twisted would ask for the body after all.
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(error)

    def process(self) -> None:
        """The request is complete: answer it."""
        self.site = self.channel.site
        if self.stream is not None:
            self.channel.stream_ends()
            self.stream.ended()
            return
        self.site.process(self)

    def find_resource(self) -> None:
        """Let the site's resource find out what answers."""
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
            self.render(self.channel.site.resource)
        except Exception:
            self.processingFailed(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)
        if self.stream is not None:
            self.stream.lost()

    def answer(self, body: bytes, content_type: bytes = JSON, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Write the whole answer, with the status that was set. What is left to do is to call `done`.

        twisted would take the headers one by one, which costs a fifth of a short request (measured 2026-11-23).

        Args:
            body: that a HEAD request does not get.
            content_type: what it is.
            headers: further ones, names and values well-formed; of those that all answers have, other values.
        """
        if self._disconnected:
            return
        self.startedWriting = 1
        head = b"%s %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (
            self.clientproto,
            self.code,
            self.code_message,
            datetimeToString(),
            self.request_id.encode(),
            content_type,
            len(body),
        )
        if headers:
            given = {**COMMON_HEADERS, **dict(headers)}
            head += b"".join([b"%s: %s\r\n" % item for item in given.items()])
        else:
            head += _COMMON_LINES
        if not self.channel.persistent:
            head += b"Connection: close\r\n"
        self.channel.write(b"%s\r\n%s" % (head, b"" if self.method == b"HEAD" else body))

    def answer_failure(self, error: PushError) -> None:
        """Write the whole answer of a failure."""
        self.setResponseCode(error.status)
        body = errors.body(error, self.request_id, legacy=self.is_legacy)
        self.answer(body, headers=errors.headers(error))

    def done(self) -> None:
        """The answer is written: be done, unless the client has gone away meanwhile."""
        if not self._disconnected:
            self.finish()

    def fail(self, error: PushError) -> None:
        """Answer with a failure and be done."""
        self.answer_failure(error)
        self.done()

    def processingFailed(self, reason: Failure) -> Failure:
        """Something unexpected was raised on the way to a route or back."""
        self.unexpected(reason)
        return reason

    def unexpected(self, reason: Failure) -> None:
        """Log what should not have been raised, and answer so, or close where an answer has begun."""
        self._log.failure("Unexpected failure in request {request_id}", failure=reason, request_id=self.request_id)
        if self._disconnected:
            return
        if self.startedWriting:
            self.loseConnection()
        else:
            self.fail(errors.Internal())
