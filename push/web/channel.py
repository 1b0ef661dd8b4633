"""HTTP below the routes: what arrives, how much of it, and for how long.

twisted.web takes bodies of any length and requests that never end, and answers what it cannot read with an
empty 400. Here a request is refused as soon as that can be known: its body is not waited for, and what still
comes is dropped until the client has had time to read the answer.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IProtocol, ISSLTransport, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString

from push.errors import InvalidRequest, PushError
from push.web import errors
from push.web.exchange import ApiRequest, BodyStream

if TYPE_CHECKING:
    from push.web.api_site import ApiSite

# How long a refused client may take to read why, while what it sends is dropped.
LINGER_S = 2.0
# What one connection may have answered of a pipeline before others are served.
TURN_REQUESTS = 16
TURN_S = 0.005


class ApiChannel(HTTPChannel):
    """One connection of an HTTP client."""

    site: "ApiSite"
    transport: Any  # what HTTPChannel needs of it is more than ITransport
    request_line = b""
    _begun_s: float | None = None
    _answering = False
    _refused = False
    _streaming = False
    _held = False
    _changed_to: IProtocol | None = None
    _lingering: IDelayedCall | None = None
    _going_on: IDelayedCall | None = None
    _turn_began_s = 0.0
    _turn_requests = 0

    def dataReceived(self, data: bytes) -> None:
        """Bytes came. A request that dribbles is given up at the first of them that is late.

        One that stays silent is given up by the idle timeout.
        """
        if self._changed_to is not None:
            self._changed_to.dataReceived(data)
            return
        if self._refused:
            return
        if not self._answering:
            now_s = self.site.reactor.seconds()
            if self._begun_s is None:
                self._begun_s = now_s
            elif now_s - self._begun_s > self.site.settings.request_timeout_s:
                self.refuse(errors.RequestTimeout("The request took too long to arrive."))
                return
        if not self._busyReceiving:
            self._begin_turn()
        super().dataReceived(data)
        self._let_stream_work()

    def lineReceived(self, line: bytes) -> None:
        """A line of the head came; after a refusal, twisted may still hold some."""
        if self._refused:
            return
        if not self.requests:
            self.request_line = line
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of the head is longer than twisted allows (16 KiB)."""
        self._refuse_head()

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
        if self._refused:
            return
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"Host")
        if hosts is not None and len(hosts) > 1:  # RFC 9112, 3.2: who would be meant depends on who reads it
            self.refuse(InvalidRequest("There is more than one Host header."))
            return
        super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """A part of the body came, or what follows the request by which the protocol was changed."""
        if self._changed_to is not None:
            self._changed_to.dataReceived(data)
        elif not self._refused:
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
        self._answering = self._streaming = False
        if self._refused:
            self.requests.remove(request)
            self._linger()
            return
        # twisted reads no lines while `paused`; it answers all that has come, whether the client reads or not.
        self.paused = bool(self.persistent) and self._is_turn_over()
        super().requestDone(request)
        if self.paused:
            self.transport.pauseProducing()
            if not self._waitingForTransport:
                self._go_on_soon()
        self._let_stream_work()

    def _begin_turn(self) -> None:
        self._turn_began_s = self.site.reactor.seconds()
        self._turn_requests = 0

    def _is_turn_over(self) -> bool:
        """Whether the next request of a pipeline has to wait: for the client to read, or for others."""
        if self._waitingForTransport:
            return True
        if not self._busyReceiving:  # the answer took long, and comes in a turn of its own
            self._begin_turn()
        self._turn_requests += 1
        if not (self._buffer or self._dataBuffer):
            return False
        return self._turn_requests >= TURN_REQUESTS or self.site.reactor.seconds() - self._turn_began_s > TURN_S

    def _go_on_soon(self) -> None:
        if self._going_on is None:
            self._going_on = self.site.reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Read the next requests of a pipeline."""
        self._going_on = None
        if self._waitingForTransport or self.transport.disconnecting:
            return
        self.paused = False
        self.transport.resumeProducing()
        if self._buffer:
            self.dataReceived(b"")

    def change_protocol(self, response: bytes, protocol: IProtocol) -> None:
        """Speak HTTP no more: what comes is for another protocol, which has the transport from now on.

        Args:
            response: the head that says so.
            protocol: not connected yet.
        """
        self.setTimeout(None)
        self.requests.clear()
        self.site.connection_closed(self)  # it is no connection of the API any more
        self.transport.unregisterProducer()
        self.transport.write(response)
        self._changed_to = protocol
        protocol.makeConnection(self.transport)

    def stop(self) -> None:
        """The server stops: close as soon as what is being answered is."""
        if self._streaming:
            self.refuse(errors.Stopping())
        elif self._answering:
            self.persistent = 0
        elif self._begun_s is None and not self.requests and not self._buffer:
            self.loseConnection()

    def stream_begins(self) -> None:
        """The body that comes is read at once; it may take as long as it likes, but never be silent for long."""
        self._answering = self._streaming = True
        self._begun_s = None

    def stream_ends(self) -> None:
        """The body is complete; that its answer is read has a time limit, which twisted has just lifted."""
        self._streaming = False
        self.setTimeout(self.site.settings.request_timeout_s)

    def read_on(self) -> None:
        """Whoever reads the stream wants more."""
        if self._held:
            self._held = False
            self.resetTimeout()
            self.transport.resumeProducing()

    def resumeProducing(self) -> None:
        """The client has read. twisted reads on then, whoever is behind."""
        super().resumeProducing()
        if self._held or self.paused:
            self.transport.pauseProducing()
        if self.paused:
            self._go_on_soon()

    def timeoutConnection(self) -> None:
        """Nothing came for too long."""
        stream = self._stream
        if stream is None:
            super().timeoutConnection()
        elif stream.waits_for_data:
            self.refuse(errors.RequestTimeout("The stream was silent for too long."))
        elif stream.waits_for_room:
            self.transport.abortConnection()
        else:  # it is the server that takes long
            self.setTimeout(self.site.settings.request_timeout_s)

    @property
    def _stream(self) -> BodyStream | None:
        return self.requests[-1].stream if self.requests else None

    def _let_stream_work(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.arrived()
            if stream.is_behind:
                self._held = True
                self.transport.pauseProducing()

    def refuse(self, error: PushError) -> None:
        """Answer and hear no more: drop what still comes, and close.

        Closing at once would make the kernel reset the connection while the client is still sending, and that
        could take the answer away from it.
        """
        if self._refused:
            return
        self._refused = True
        stream = self._stream
        if stream is not None:
            self.persistent = 0
            stream.ended(error)
            return
        request_id = (self.requests[-1].request_id if self.requests else "") or self.site.new_request_id()
        self.transport.write(_whole_response(error, request_id))
        self.site.refused(error)
        self._linger()

    def _linger(self) -> None:
        self.setTimeout(None)
        self.read_on()
        self._lingering = self.site.reactor.callLater(LINGER_S, self.transport.abortConnection)
        if ITCPTransport.providedBy(self.transport) and not ISSLTransport.providedBy(self.transport):
            self.transport.loseWriteConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # twisted says the same of what it cannot read, and of what is too much for it.
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self._refuse_head()
        else:
            self.refuse(InvalidRequest("This is not a valid HTTP request."))

    def _refuse_head(self) -> None:
        at_most = f"at most {self.maxHeaders} headers, and {self.totalHeadersSize} bytes in all"
        self.refuse(errors.HeadTooLarge(f"A request's head has {at_most}."))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        if self._changed_to is None:
            self.site.connection_closed(self)
        else:
            self._changed_to.connectionLost(reason)
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
