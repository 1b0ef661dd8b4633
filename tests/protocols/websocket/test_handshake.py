"""The opening handshake: who comes in, who does not, and what they are told."""

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import InvalidRequest, PermissionDenied, PushError, Unavailable, UpgradeRequired
from push.protocols.websocket.forms import Kind
from push.protocols.websocket.head import MAX_HEAD_BYTES, refusal
from push.protocols.websocket.plugin import WebSocketFactory, WebSocketUpgrade
from push.protocols.websocket.upgrade import Accepted, accept, is_known_origin
from push.protocols.wire.signals import CloseCode
from push.testing.connections import Transport, make_connector
from tests.protocols.websocket.masked import BINARY, header

# RFC 6455, section 1.3, but for the origin: the example with its answer.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ANSWER = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = {
    b"Host": b"server.example.com",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def offered(origins: tuple[str, ...] = (), method: bytes = b"GET", **more: bytes | None) -> Accepted:
    """The answer to the request of the RFC with other headers; None for one that is missing."""
    headers = HEADERS | {name.replace("_", "-").encode(): value for name, value in more.items()}
    given = [(name, value) for name, value in headers.items() if value is not None]
    return accept(method, b"HTTP/1.1", given, origins=origins)


class Answers(SynchronousTestCase):
    """What is answered to a request, wherever it came from."""

    def test_the_example_of_the_rfc(self) -> None:
        self.assertEqual(
            offered().response,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + ANSWER + b"\r\n\r\n",
        )

    def test_spelling_does_not_matter(self) -> None:
        offered(Upgrade=b"WebSocket", Connection=b"keep-alive, UPGRADE")
        headers = [(name.lower(), value) for name, value in HEADERS.items()]
        accept(b"GET", b"HTTP/1.1", headers, origins=())

    def test_no_compression_is_agreed_upon(self) -> None:
        response = offered(Sec_WebSocket_Extensions=b"permessage-deflate; client_max_window_bits").response
        self.assertNotIn(b"Extensions", response)

    def test_the_first_known_subprotocol_is_chosen(self) -> None:
        for value, chosen, kind in (
            (b"push.json", b"push.json", Kind.TEXT),
            (b"mqtt, push.framed,push.json", b"push.framed", Kind.BINARY),
        ):
            accepted = offered(Sec_WebSocket_Protocol=value)
            self.assertIn(b"\r\nSec-WebSocket-Protocol: " + chosen + b"\r\n", accepted.response)
            self.assertIs(accepted.kind, kind)

    def test_of_unknown_subprotocols_none_is_chosen(self) -> None:
        accepted = offered(Sec_WebSocket_Protocol=b"mqtt")
        self.assertNotIn(b"Sec-WebSocket-Protocol", accepted.response)
        self.assertIsNone(accepted.kind)

    def assertRefused(self, error: type[PushError], **more: bytes | None) -> None:
        """It is refused with this error."""
        self.assertRaises(error, offered, **more)

    def test_what_is_no_such_request(self) -> None:
        self.assertRefused(UpgradeRequired, Upgrade=None)
        self.assertRefused(UpgradeRequired, Upgrade=b"h2c")
        self.assertRefused(UpgradeRequired, Sec_WebSocket_Version=None)
        self.assertRefused(UpgradeRequired, Sec_WebSocket_Version=b"8")
        self.assertRaises(UpgradeRequired, offered, method=b"POST")
        self.assertRaises(UpgradeRequired, accept, b"GET", b"HTTP/1.0", HEADERS.items(), origins=())

    def test_what_is_not_well_formed(self) -> None:
        self.assertRefused(InvalidRequest, Connection=None)
        self.assertRefused(InvalidRequest, Connection=b"keep-alive")
        self.assertRefused(InvalidRequest, Host=None)
        for key in (None, b"", b"dGhlIHNhbXBsZSBub25j", b"dGhlIHNhbXBsZSBub25jZQ", b"\xff" * 24):
            self.assertRefused(InvalidRequest, Sec_WebSocket_Key=key)
        self.assertRaises(InvalidRequest, accept, b"GET", b"HTTP/1.1", [*HEADERS.items(), (b"host", b"b")], origins=())


class Refusals(SynchronousTestCase):
    """Answers to requests that lead to no session."""

    def test_they_say_when_to_come_back_in_whole_seconds(self) -> None:
        self.assertIn(b"\r\nRetry-After: 2\r\n", refusal(Unavailable("full", retry_after_s=1.5)))
        self.assertIn(b"\r\nRetry-After: 1\r\n", refusal(Unavailable("full", retry_after_s=0.0)))
        self.assertNotIn(b"Retry-After", refusal(Unavailable("full")))


class Origins(SynchronousTestCase):
    """Which web pages may connect."""

    def test_those_of_this_machine(self) -> None:
        for origin in (
            "http://localhost",
            "http://localhost:8080",
            "https://LOCALHOST:8080",
            "http://app.localhost:3000",
            "http://127.0.0.1:9",
            "http://127.1.2.3",
            "http://[::1]:8080",
        ):
            self.assertTrue(is_known_origin(origin, ()), origin)

    def test_no_others(self) -> None:
        for origin in (
            "",
            "null",
            "https://example.org",
            "http://localhost.example.org",
            "http://notlocalhost",
            "http://127.0.0.1.example.org",
            "http://127.0.0.1@example.org",
            "file://localhost",
            "chrome-extension://localhost",
            "localhost",
            "http://[::1",
            "http://10.0.0.1",
        ):
            self.assertFalse(is_known_origin(origin, ()), origin)

    def test_those_that_are_named(self) -> None:
        origins = ("https://example.org", "https://example.org:8443")
        for origin, is_known in (
            ("https://example.org", True),
            ("https://EXAMPLE.org", True),
            ("https://example.org:8443", True),
            ("http://example.org", False),
            ("https://example.org:1", False),
            ("https://www.example.org", False),
            ("http://localhost", True),
        ):
            self.assertIs(is_known_origin(origin, origins), is_known, origin)

    def test_all(self) -> None:
        for origin in ("null", "https://example.org"):
            self.assertTrue(is_known_origin(origin, ("*",)))

    def test_programs_that_name_none_come_in_and_pages_of_others_do_not(self) -> None:
        offered(Origin=b"http://localhost:8080")
        self.assertRaises(PermissionDenied, offered, Origin=b"https://example.org")
        offered(("https://example.org",), Origin=b"https://example.org")

    def test_nobody_is_of_two(self) -> None:
        two = [*HEADERS.items(), (b"Origin", b"http://localhost"), (b"origin", b"https://example.org")]
        self.assertRaises(PermissionDenied, accept, b"GET", b"HTTP/1.1", two, origins=())


class OnAPortOfItsOwn(SynchronousTestCase):
    """The same on a connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, _, _ = make_connector(self.clock, allowed_origins=("https://example.org",))
        self.transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        self.protocol = WebSocketFactory(self.connector).buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """What is written when this has come, and the turn is over."""
        self.protocol.dataReceived(data)
        self.clock.advance(0)
        written: bytes = self.transport.value()
        return written

    def request(self, **more: bytes | None) -> bytes:
        """The request of the RFC with other headers."""
        headers = HEADERS | {name.replace("_", "-").encode(): value for name, value in more.items()}
        lines = [name + b": " + value for name, value in headers.items() if value is not None]
        return b"\r\n".join([b"GET /any?path HTTP/1.1", *lines, b"", b""])

    def assertRefused(self, status: int, said: bytes, answer: bytes) -> None:
        """There is a whole answer, and the connection ends."""
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertTrue(lines[0].startswith(b"HTTP/1.1 %d " % status), answer)
        self.assertIn(b"Content-Length: %d" % len(body), lines)
        self.assertIn(said, body)
        self.assertTrue(self.transport.half_closed or self.transport.disconnecting)
        self.assertEqual(self.send(b"what comes later"), answer)

    def test_a_request_that_drips_in(self) -> None:
        for byte in self.request()[:-1]:
            self.assertEqual(self.send(bytes((byte,))), b"")
        self.assertIn(ANSWER, self.send(b"\n"))

    def test_what_comes_in_the_same_packet_is_not_lost(self) -> None:
        ping = bytes.fromhex("898037fa213d")
        self.assertTrue(self.send(self.request() + ping).endswith(b"\r\n\r\n\x8a\x00"))

    def test_an_ordinary_request(self) -> None:
        answer = self.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertRefused(426, b"ws://", answer)
        self.assertIn(b"\r\nUpgrade: websocket\r\n", answer)
        self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", answer)

    def test_another_protocol(self) -> None:
        self.assertRefused(400, b"not a valid HTTP request", self.send(b"\xf8\2\1\0\0\0\0\0\0\0\r\n\r\n"))

    def test_a_page_of_somebody_else(self) -> None:
        self.assertRefused(403, b"--allowed-origin", self.send(self.request(Origin=b"https://example.com")))

    def test_a_page_that_is_allowed(self) -> None:
        self.assertIn(b"101", self.send(self.request(Origin=b"https://example.org")))

    def test_what_is_large_waits_until_the_session_is_open_by_either_way_in(self) -> None:
        self.send(self.request())
        response, protocol = WebSocketUpgrade(self.connector).upgrade(b"GET", b"HTTP/1.1", HEADERS.items())
        self.assertIn(b"101", response)
        transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 2))
        protocol.makeConnection(transport)
        protocol.dataReceived(header(BINARY, 60_000))
        self.clock.advance(0)
        for said in (self.send(header(BINARY, 60_000)), transport.value()):
            self.assertTrue(said.endswith(b"\x88\x02" + CloseCode.TOO_LARGE.to_bytes(2, "big")), said)

    def test_a_head_without_end(self) -> None:
        answer = b""
        for _ in range(MAX_HEAD_BYTES // 1_000 + 2):
            answer = answer or self.send(b"GET / HTTP/1.1\r\nX: " if not _ else b"x" * 1_000)
        self.assertRefused(400, b"too long", answer)

    def test_a_handshake_that_takes_too_long(self) -> None:
        self.send(self.request()[:-1])
        self.clock.advance(20)
        self.connector.sweep()
        self.assertRefused(503, b"too long", self.transport.value())
        self.clock.advance(5)
        self.connector.sweep()
        self.assertTrue(self.transport.aborted)

    def test_whoever_leaves_is_forgotten(self) -> None:
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.send(b"GET ")
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.connector.connections), 0)
