"""HTTP itself: how much, how long, how malformed; and what every answer has."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from push.web.channel import LINGER_S, TURN_REQUESTS
from push.web.settings import ApiSettings
from tests.web.fakes import World, replies, request_bytes

reactor: Any = _reactor
SEND = "/v1/messages:send"
MESSAGE = {"target": {"token": "a"}, "message": {"data": 1}}
HEAD = b"POST /v1/messages:send HTTP/1.1\r\nHost: localhost\r\n"


class SizeTests(SynchronousTestCase):
    """Bodies over the limit."""

    def setUp(self) -> None:
        self.world = World(settings={"max_body_bytes": 1_000})
        self.connection = self.world.connect()

    def refused(self, status: int) -> Any:
        (reply,) = self.connection.received()
        self.assertEqual((reply.status, reply.headers["Connection"]), (status, "close"))
        self.assertEqual(reply.error["request_id"], reply.headers["X-Request-Id"])
        return reply

    def test_a_content_length_over_the_limit_is_refused_before_the_body(self) -> None:
        self.connection.send(HEAD + b"Content-Length: 1001\r\nX-Request-Id: mine\r\n\r\n")
        reply = self.refused(413)
        self.assertEqual((reply.error["reason"], reply.error["request_id"]), ("TOO_LARGE", "mine"))

    def test_such_a_client_is_not_asked_to_continue(self) -> None:
        self.connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        self.refused(413)

    def test_a_client_within_the_limit_is_asked_to_continue(self) -> None:
        self.connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        self.assertEqual(self.connection.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_a_chunked_body_is_refused_when_it_grows_over_the_limit(self) -> None:
        self.connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
        self.connection.send(chunk * 2)
        self.assertEqual(self.connection.received(), [])
        self.connection.send(chunk + b"0\r\n\r\n")
        self.refused(413)
        self.assertEqual(self.world.router.calls, [])

    def test_a_body_at_the_limit_is_read(self) -> None:
        self.connection.send(HEAD + b"Content-Length: 1000\r\n\r\n" + b" " * 1_000)
        (reply,) = self.connection.received()
        self.assertEqual(reply.status, 400)

    def test_after_a_refusal_what_comes_is_dropped_and_then_the_connection(self) -> None:
        self.connection.send(HEAD + b"Content-Length: 1001\r\n\r\n" + b"x" * 1_001)
        self.refused(413)
        self.connection.send(request_bytes("GET", "/healthz"))
        self.assertEqual(self.connection.received(), [])
        self.assertFalse(self.connection.transport.disconnected)
        self.world.clock.advance(LINGER_S)
        self.assertTrue(self.connection.transport.disconnected)

    def test_refusals_are_counted(self) -> None:
        self.connection.send(HEAD + b"Content-Length: 1001\r\n\r\n")
        text = self.world.call("GET", "/metrics").body.decode()
        self.assertIn('push_api_requests_total{route="none",status="413"} 1.0', text)


class MalformedTests(SynchronousTestCase):
    """What is not HTTP gets an answer that says so, and nothing in the log."""

    def test_it_is_400_in_the_shape_of_all_errors_and_the_connection_ends(self) -> None:
        for data in (
            b"\x00\x01\x02\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            HEAD + b"Host: attacker.example\r\nContent-Length: 2\r\n\r\n{}",
            b"GET / HTTP/1.1\r\nno colon\r\nHost: localhost\r\n\r\n",
            HEAD + b"Content-Length: x\r\n\r\n",
            HEAD + b"Content-Length: -1\r\n\r\n",
            HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
            HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\nX: y\r\n\r\n",
            HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            world = World()
            connection = world.connect()
            connection.send(data + request_bytes("POST", SEND, MESSAGE))
            found = connection.received()
            self.assertEqual([reply.status for reply in found], [400], data[:80])
            self.assertEqual(found[0].error["reason"], "INVALID_ARGUMENT")
            self.assertEqual(world.router.calls, [])
            world.clock.advance(LINGER_S)
            self.assertTrue(connection.transport.disconnected)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_path_that_is_not_utf8_is_400(self) -> None:
        for path in ("/v1/tokens/%ff", "/\udcff", "/v1/tokens/%c0%80"):
            self.assertEqual(World().call("GET", path).status, 400, path)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_paths_and_hosts_of_any_kind_are_answered(self) -> None:
        world = World()
        for path in ("/v1//nodes", "/v1/nodes/", "*", "/..", "/%00", "/v1/tokens/", "http://x/", "/v1/tokens/a:b", "x"):
            self.assertEqual(world.call("GET", path).status, 404, path)
        for host in ("a..b", "x" * 300, "\udcff", "[", "a:b:c", ""):
            self.assertEqual(world.call("GET", "/healthz", None, {"Host": host}).status, 200, host)
        self.assertEqual(self.flushLoggedErrors(), [])


class HeadTests(SynchronousTestCase):
    """Heads over the limits say so."""

    def test_how_much_there_may_be_is_said(self) -> None:
        for data in (
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 600 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 1_000 + b"\r\n") * 20 + b"\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 20_000,
        ):
            connection = World().connect()
            connection.send(data)
            (reply,) = connection.received()
            self.assertEqual((reply.status, reply.error["reason"]), (431, "HEAD_TOO_LARGE"), data[:60])
            self.assertEqual(
                reply.error["message"], "A request's head has at most 500 headers, and 16384 bytes in all."
            )


class TimeTests(SynchronousTestCase):
    """Clients that take long."""

    def setUp(self) -> None:
        self.world = World(settings={"request_timeout_s": 30.0})
        self.connection = self.world.connect()

    def dribble(self, data: bytes) -> None:
        """One byte in ten seconds: never idle, never done."""
        for at in range(len(data)):
            self.connection.send(data[at : at + 1])
            self.world.clock.advance(10)
            if self.connection.transport.value():
                return

    def test_a_dribbled_head_is_cut_off(self) -> None:
        self.dribble(request_bytes("GET", "/healthz"))
        (reply,) = self.connection.received()
        self.assertEqual((reply.status, reply.error["reason"]), (408, "REQUEST_TIMEOUT"))

    def test_a_dribbled_body_is_cut_off(self) -> None:
        self.connection.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        self.dribble(b"x" * 1_000)
        self.assertEqual(self.connection.received()[0].status, 408)

    def test_a_silent_client_is_closed(self) -> None:
        self.connection.send(b"GET /hea")
        self.world.clock.advance(30)
        self.assertTrue(self.connection.transport.disconnecting)

    def test_a_kept_connection_has_the_whole_time_for_each_request(self) -> None:
        for _ in range(5):
            self.connection.send(request_bytes("GET", "/healthz"))
            self.assertEqual(self.connection.received()[0].status, 200)
            self.world.clock.advance(20)

    def test_an_answer_that_takes_long_is_waited_for(self) -> None:
        held: Deferred[Any] = Deferred()
        self.world.router.held = held
        self.connection.send(request_bytes("POST", SEND, MESSAGE))
        self.world.clock.pump([20] * 5)
        self.connection.send(b"GET /healthz")  # the next request may begin to come meanwhile
        self.world.clock.pump([20] * 5)
        self.connection.send(b" HTTP/1.1\r\nHost: x\r\n\r\n")
        held.callback([ZeroDivisionError])
        self.assertEqual([reply.status for reply in self.connection.received()], [500, 200])
        self.flushLoggedErrors()


class AnswerTests(SynchronousTestCase):
    """What all answers have in common."""

    def setUp(self) -> None:
        self.world = World()

    def test_they_name_their_request_and_forbid_guessing_and_keeping(self) -> None:
        for path in ("/healthz", "/nothing", "/v1/tokens/x"):
            headers = self.world.call("GET", path).headers
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.assertEqual(headers["Content-Type"], "application/json")
            self.assertTrue(headers["X-Request-Id"])
            self.assertIsNone(headers["Server"])

    def test_a_sane_request_id_is_kept_and_another_is_replaced(self) -> None:
        for given, kept in (("abc-1", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("é", False)):
            reply = self.world.call("GET", "/nothing", None, {"X-Request-Id": given})
            self.assertEqual(reply.headers["X-Request-Id"] == given, kept, given)
            self.assertEqual(reply.error["request_id"], reply.headers["X-Request-Id"])

    def test_request_ids_differ(self) -> None:
        found = {self.world.call("GET", "/healthz").headers["X-Request-Id"] for _ in range(10)}
        self.assertEqual(len(found), 10)

    def test_a_path_that_is_not_there_is_404(self) -> None:
        reply = self.world.call("GET", "/v2/messages")
        self.assertEqual((reply.status, reply.error["reason"]), (404, "NOT_FOUND"))

    def test_a_method_that_is_not_there_is_405_and_says_which_are(self) -> None:
        for method, path, allowed in (
            ("GET", SEND, "POST"),
            ("PUT", "/v1/tokens/a", "DELETE, GET, HEAD"),
            ("GET", "/v1/tokens/a:kick", "POST"),
            ("BREW", "/healthz", "GET, HEAD"),
        ):
            reply = self.world.call(method, path)
            self.assertEqual((reply.status, reply.headers["Allow"]), (405, allowed))
            self.assertEqual(reply.error["reason"], "METHOD_NOT_ALLOWED")

    def test_head_is_answered_without_a_body(self) -> None:
        reply = self.world.call("HEAD", "/healthz")
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertEqual(reply.headers["Content-Length"], str(len(self.world.call("GET", "/healthz").body)))

    def test_a_path_spelt_with_percent_signs_is_the_same_path(self) -> None:
        for path in ("/v1/messages:send", "/v1/messages%3Asend", "/v1/%6dessages:send?x=y"):
            self.assertEqual(self.world.call("POST", path, MESSAGE).status, 200, path)

    def test_the_connection_is_closed_after_the_answer_where_it_was_asked_for(self) -> None:
        for head in (b"GET %s HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET %s HTTP/1.0\r\n\r\n"):
            for path in (b"/healthz", b"/nothing"):
                connection = self.world.connect()
                connection.send(head % path)
                (reply,) = connection.received()
                self.assertEqual(reply.headers.get_all("Connection"), ["close"])
                self.assertTrue(connection.transport.disconnecting)

    def test_requests_in_a_row_are_answered_in_a_row(self) -> None:
        connection = self.world.connect()
        connection.send(
            request_bytes("GET", "/healthz") + request_bytes("GET", "/no") + request_bytes("GET", "/readyz")
        )
        self.assertEqual([reply.status for reply in connection.received()], [200, 404, 200])

    def test_more_connections_than_allowed_are_closed(self) -> None:
        world = World(settings={"max_connections": 2})
        kept = [world.connect(), world.connect()]
        self.assertIsNone(world.site.buildProtocol(None))
        kept[0].protocol.connectionLost(ConnectionResetError())
        world.connect()
        self.assertIsNone(world.site.buildProtocol(None))

    def test_one_address_cannot_take_all_connections(self) -> None:
        for settings, most in (
            ({"max_connections": 80}, 20),
            ({"max_connections": 40}, 16),
            ({"max_connections_per_address": 3}, 3),
        ):
            world = World(settings=settings)
            kept = [world.connect() for _ in range(most)]
            address = kept[0].transport.getPeer()
            self.assertIsNone(world.site.buildProtocol(address))
            self.assertEqual(world.call("GET", "/healthz", host="127.0.0.2").status, 200)
            kept[0].protocol.connectionLost(ConnectionResetError())
            world.connect()
            self.assertIsNone(world.site.buildProtocol(address))

    def test_of_addresses_that_are_gone_nothing_is_kept(self) -> None:
        self.world.connect().protocol.connectionLost(ConnectionResetError())
        self.assertEqual(len(self.world.site._by_host), 0)


class PipelineTests(SynchronousTestCase):
    """Many requests at once on one connection."""

    def setUp(self) -> None:
        self.world = World()
        self.connection = self.world.connect()

    def ids(self) -> list[str]:
        return [reply.headers["X-Request-Id"] for reply in self.connection.received()]

    def ask(self, path: str, numbers: range) -> None:
        self.connection.send(
            b"".join(request_bytes("GET", path, None, {"X-Request-Id": str(number)}) for number in numbers)
        )

    def test_others_are_served_between_and_the_order_is_kept(self) -> None:
        self.ask("/healthz", range(100))
        transport = self.connection.transport
        self.assertEqual(transport.producerState, "paused")
        found = self.ids()
        self.assertEqual(len(found), TURN_REQUESTS)
        self.world.clock.advance(0)
        found += self.ids()
        self.assertEqual(found, [str(number) for number in range(100)])
        self.assertEqual(transport.producerState, "producing")

    def test_what_comes_after_a_pipeline_has_its_whole_time(self) -> None:
        self.ask("/healthz", range(TURN_REQUESTS))
        self.connection.protocol.pauseProducing()
        self.ask("/healthz", range(1))
        self.connection.protocol.resumeProducing()
        self.world.clock.pump([0, 0, 20])
        self.assertEqual(len(self.ids()), TURN_REQUESTS + 1)
        self.connection.send(b"GET /healthz HTTP/1.1\r\n")
        self.world.clock.advance(20)
        self.connection.send(b"\r\n")
        self.assertEqual(self.connection.received()[0].status, 200)

    def test_a_client_that_does_not_read_is_read_no_further(self) -> None:
        protocol, transport = self.connection.protocol, self.connection.transport
        held: Deferred[Any] = Deferred()
        self.world.router.held = held
        self.connection.send(request_bytes("POST", SEND, MESSAGE) + request_bytes("GET", "/healthz") * 3)
        protocol.pauseProducing()  # as the transport does when it is full
        held.callback([ZeroDivisionError])
        self.world.clock.pump([0, 0, 0])
        self.assertEqual([reply.status for reply in self.connection.received()], [500])
        self.assertEqual(transport.producerState, "paused")
        protocol.resumeProducing()
        self.world.clock.pump([0, 0])
        self.assertEqual([reply.status for reply in self.connection.received()], [200] * 3)
        self.assertEqual(transport.producerState, "producing")
        self.flushLoggedErrors()

    def test_a_connection_that_is_lost_leaves_nothing_behind(self) -> None:
        self.ask("/healthz", range(100))
        self.connection.protocol.connectionLost(ConnectionResetError())
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_when_the_server_stops_the_next_is_503(self) -> None:
        self.ask("/healthz", range(100))
        self.connection.received()
        self.world.site.stop(5.0)
        self.world.clock.advance(0)
        (reply,) = self.connection.received()
        self.assertEqual((reply.status, reply.headers["Connection"]), (503, "close"))


class SocketTests(TestCase):
    """Over a real socket, where closing too early would take the answer away."""

    timeout = 20

    def setUp(self) -> None:
        self.world = World(clock=reactor)
        self.port = reactor.listenTCP(0, self.world.site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.gone: Deferred[None] = Deferred()
        self.addCleanup(lambda: self.gone)
        site: Any = self.world.site
        counted = site.connection_closed

        def closed(channel: Any) -> None:
            counted(channel)
            if not site._channels and not self.gone.called:
                self.gone.callback(None)

        site.connection_closed = closed
        self.channels = site._channels

    def talk(self, client: Callable[[socket.socket], bytes]) -> "Deferred[bytes]":
        def run() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=10) as connection:
                return client(connection)

        return deferToThread(run)

    async def test_a_client_that_goes_on_sending_still_reads_why_it_was_refused(self) -> None:
        def client(connection: socket.socket) -> bytes:
            connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
            for _ in range(64):
                connection.sendall(b"x" * 65_536)
            return connection.makefile("rb").read()

        (reply,) = replies(await self.talk(client))
        self.assertEqual(reply.status, 413)

    async def test_requests_are_answered_and_the_connection_is_kept(self) -> None:
        def client(connection: socket.socket) -> bytes:
            data = b""
            for _ in range(3):
                connection.sendall(request_bytes("POST", SEND, MESSAGE))
                data += connection.recv(65_536)
            return data

        found = replies(await self.talk(client))
        self.assertEqual([reply.status for reply in found], [200] * 3)

    async def test_idle_connections_of_one_address_lock_nobody_else_out(self) -> None:
        address = self.port.getHost().port

        def client(connection: socket.socket) -> bytes:
            with ExitStack() as stack:
                most = ApiSettings("", 0.0).connections_per_address
                for _ in range(most + 5):
                    last = stack.enter_context(socket.create_connection(("127.0.0.1", address), timeout=10))
                self.assertEqual(last.recv(1), b"")
                other = socket.create_connection(("127.0.0.1", address), 10, source_address=("127.0.0.2", 0))
                with other:
                    other.sendall(request_bytes("GET", "/healthz", None, {"Connection": "close"}))
                    return other.makefile("rb").read()

        (reply,) = replies(await self.talk(client))
        self.assertEqual(reply.status, 200)

    async def test_answers_of_a_pipeline_wait_until_the_client_reads(self) -> None:
        number = 100
        buffered: list[int] = []

        def look() -> None:
            for channel in self.channels:
                buffered.append(channel.transport._tempDataLen + len(channel.transport.dataBuffer))

        looking = LoopingCall(look)
        done = looking.start(0.001)

        def read_all(connection: socket.socket) -> bytes:
            connection.sendall(request_bytes("GET", "/openapi.json") * (number - 1))
            connection.sendall(request_bytes("GET", "/openapi.json", None, {"Connection": "close"}))
            return connection.makefile("rb").read()

        found = replies(await self.talk(read_all))
        looking.stop()
        await done
        self.assertEqual([reply.status for reply in found], [200] * number)
        self.assertLess(max(buffered), 3 * len(found[0].body) + 65_536)
