"""How connections end when the server stops."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.model import PushResult
from push.web.channel import LINGER_S
from tests.web.fakes import Connection, World, request_bytes
from tests.web.test_stream import CHUNKED, END, chunk, line, reasons, results

SEND = "/v1/messages:send"
MESSAGE = {"target": {"token": "a"}, "message": {"data": 1}}


class StopTests(SynchronousTestCase):
    """ApiSite.stop."""

    def setUp(self) -> None:
        self.world = World()
        self.connection = self.world.connect()

    def stop(self) -> Deferred[None]:
        return self.world.site.stop(5.0)

    def hold(self) -> Deferred[Any]:
        held: Deferred[Any] = Deferred()
        self.world.router.held = held
        return held

    def lose(self, connection: Connection) -> None:
        """What follows when a transport was told to close."""
        transport = connection.transport
        self.assertTrue(transport.disconnecting or transport.disconnected)
        connection.protocol.connectionLost(ConnectionResetError())

    def test_without_connections_it_is_done_at_once(self) -> None:
        self.connection.protocol.connectionLost(ConnectionResetError())
        self.successResultOf(self.stop())
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_idle_connections_are_closed_at_once(self) -> None:
        used = self.world.connect()
        used.send(request_bytes("GET", "/healthz"))
        stopped = self.stop()
        self.lose(self.connection)
        self.assertNoResult(stopped)
        self.lose(used)
        self.successResultOf(stopped)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_a_running_request_is_finished_and_says_that_it_is_the_last(self) -> None:
        held = self.hold()
        self.connection.send(request_bytes("POST", SEND, MESSAGE) + request_bytes("POST", SEND, MESSAGE))
        stopped = self.stop()
        self.assertFalse(self.connection.transport.disconnecting)
        held.callback([PushResult(1, 1, 1)])
        (reply,) = self.connection.received()
        self.assertEqual((reply.status, reply.headers["Connection"]), (200, "close"))
        self.lose(self.connection)
        self.successResultOf(stopped)
        self.assertEqual(len(self.world.router.calls), 1)

    def test_a_request_that_was_still_coming_is_503(self) -> None:
        request = request_bytes("POST", SEND, MESSAGE)
        for cut in (5, len(request) - 5):
            self.setUp()
            connection = self.connection
            connection.send(request[:cut])
            self.stop()
            self.assertFalse(connection.transport.disconnecting)
            connection.send(request[cut:])
            (reply,) = connection.received()
            self.assertEqual((reply.status, reply.error["reason"]), (503, "UNAVAILABLE"))
            self.assertEqual((reply.error["retry"], reply.headers["Retry-After"]), ("backoff", "1"))
            self.assertEqual(reply.headers["Connection"], "close")
            self.lose(connection)
            self.assertEqual(self.world.router.calls, [])

    def test_a_request_that_was_still_coming_behind_another_is_503(self) -> None:
        request = request_bytes("POST", SEND, MESSAGE)
        held = self.hold()
        self.connection.send(request + request[:-5])
        held.callback([PushResult(1, 1, 1)])
        self.connection.received()
        self.stop()
        self.connection.send(request[-5:])
        self.assertEqual(self.connection.received()[0].status, 503)

    def test_a_connection_that_was_accepted_too_late_gets_503(self) -> None:
        self.stop()
        for request in (request_bytes("GET", "/healthz"), request_bytes("GET", "/nothing"), CHUNKED):
            connection = self.world.connect()
            connection.send(request)
            (reply,) = connection.received()
            self.assertEqual((reply.status, reply.headers["Connection"]), (503, "close"))

    def test_a_stream_ends_with_an_error_after_what_has_come(self) -> None:
        held = self.hold()
        self.connection.send(CHUNKED)
        self.connection.send(chunk(line() + line() + line()[:-5]))
        stopped = self.stop()
        self.assertEqual(self.connection.received(), [])
        held.callback([PushResult(1, 1, 1)] * 2)
        (reply,) = self.connection.received()
        self.assertEqual(reasons(results(reply.body)), ["ok", "ok", "UNAVAILABLE"])
        self.world.clock.advance(LINGER_S)
        self.lose(self.connection)
        self.successResultOf(stopped)

    def test_a_stream_of_which_nothing_came_is_503(self) -> None:
        self.connection.send(CHUNKED)
        self.stop()
        (reply,) = self.connection.received()
        self.assertEqual((reply.status, reply.headers["Connection"]), (503, "close"))

    def test_a_stream_that_has_come_to_its_end_is_finished(self) -> None:
        held = self.hold()
        self.connection.send(CHUNKED)
        self.connection.send(chunk(line()) + END)
        self.stop()
        held.callback([PushResult(1, 1, 1)])
        (reply,) = self.connection.received()
        self.assertEqual(reasons(results(reply.body)), ["ok"])
        self.lose(self.connection)

    def test_what_takes_too_long_is_aborted(self) -> None:
        self.hold()
        self.connection.send(request_bytes("POST", SEND, MESSAGE))
        stopped = self.stop()
        self.world.clock.advance(4.9)
        self.assertFalse(self.connection.transport.disconnected)
        self.world.clock.advance(0.2)
        self.assertTrue(self.connection.transport.disconnected)
        self.assertNoResult(stopped)
        self.lose(self.connection)
        self.successResultOf(stopped)

    def test_it_may_be_called_twice(self) -> None:
        first, second = self.stop(), self.stop()
        self.lose(self.connection)
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.stop())
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
