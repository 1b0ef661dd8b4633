"""An NDJSON :batchSend: lines in, results out, while both go on."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.errors import RateLimited, Unavailable
from push.model import PushResult
from push.web.channel import LINGER_S
from push.web.lines import LINE_TYPES
from tests.web.fakes import World, replies, request_bytes
from tests.web.test_auth import bearer, key

BATCH = "/v1/messages:batchSend"
HEAD = b"POST /v1/messages:batchSend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def line(data: Any = "hi", **more: Any) -> bytes:
    """An entry that is accepted."""
    return json.dumps({"target": {"token": "a"}, "message": {"data": data}, **more}).encode() + b"\n"


def lines(count: int) -> bytes:
    """Several, with numbers as their messages."""
    return b"".join(line(str(number)) for number in range(count))


def chunk(data: bytes) -> bytes:
    """In the chunked transfer coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def reasons(results: Sequence[Any]) -> list[str]:
    """What became of each line."""
    return [result.get("error", {}).get("reason", "ok") for result in results]


def results(body: bytes) -> list[Any]:
    """The lines of an answer, or of as much of it as there is."""
    return [json.loads(each) for each in body.splitlines()]


class Streaming(SynchronousTestCase):
    """A connection to an API."""

    def setUp(self) -> None:
        self.begin()

    def begin(self, **given: Any) -> None:
        self.world = World(settings={"request_timeout_s": 30.0, **given})
        self.connection = self.world.connect()

    @property
    def transport(self) -> Any:
        return self.connection.transport

    @property
    def payloads(self) -> list[bytes]:
        return [request.payload for request in self.world.router.requests]

    def send(self, *data: bytes) -> None:
        for each in data:
            self.connection.send(each)

    def answer(self) -> Any:
        (reply,) = self.connection.received("POST")
        return reply

    def so_far(self) -> list[Any]:
        """The results of an answer that goes on."""
        (reply,) = replies(self.transport.value() + END)
        self.assertEqual(reply.status, 200)
        return results(reply.body)

    def call(self, body: bytes, **headers: str) -> Any:
        return self.world.call("POST", BATCH, body, {"Content-Type": "application/x-ndjson", **headers})


class LineTests(Streaming):
    """What is read and what is answered."""

    def test_each_line_is_an_entry_and_each_result_a_line(self) -> None:
        reply = self.call(lines(3))
        self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "application/x-ndjson"))
        self.assertEqual(self.payloads, [b"0", b"1", b"2"])
        found = results(reply.body)
        self.assertEqual([sorted(result) for result in found], [["cached", "id", "sent", "targets", "unknown"]] * 3)
        self.assertEqual([result["id"] for result in found], [str(2**60 + 3)] * 3)

    def test_it_has_what_all_answers_have(self) -> None:
        headers = self.call(lines(1), **{"X-Request-Id": "mine"}).headers
        self.assertEqual(headers["X-Request-Id"], "mine")
        self.assertEqual((headers["X-Content-Type-Options"], headers["Cache-Control"]), ("nosniff", "no-store"))
        self.assertTrue(headers["Date"])

    def test_every_name_of_the_type_is_known(self) -> None:
        for media in (*LINE_TYPES, "Application/X-NDJSON; charset=utf-8"):
            self.assertEqual(len(results(self.call(lines(2), **{"Content-Type": media}).body)), 2)

    def test_bad_lines_spoil_no_others_and_answers_keep_their_places(self) -> None:
        self.begin(max_body_bytes=300)
        body = [
            line("1"),
            b"{\n",
            line("x" * 300),
            line("2", extra=1),
            b"\xff\n",
            b'{"requests": []}\n',
            line("\ud83e\udd8a"),
            line("1") * 2 + line("4").rstrip() * 2 + b"\n",
            line("5").rstrip(),
        ]
        found = results(self.call(b"".join(body), **{"X-Request-Id": "mine"}).body)
        bad = "INVALID_ARGUMENT"
        self.assertEqual(reasons(found), ["ok", bad, "TOO_LARGE", bad, bad, bad, "ok", "ok", "ok", bad, "ok"])
        self.assertEqual(self.payloads, [b"1", "🦊".encode(), b"1", b"1", b"5"])
        self.assertEqual(found[3]["error"]["field_violations"][0]["field"], "extra")
        self.assertEqual(found[3]["error"]["request_id"], "mine")
        self.assertIn("Entry 2 of the stream is not JSON", found[1]["error"]["message"])
        self.assertEqual(found[4]["error"]["message"], "Entry 5 of the stream is not UTF-8 (byte 0).")

    def test_an_entry_that_the_router_refuses_fails_alone(self) -> None:
        self.world.router.registered = {"a"}
        body = line("1") + line("2", target={"token": "zzz"}) + line("3")
        self.assertEqual(reasons(results(self.call(body).body)), ["ok", "UNREGISTERED", "ok"])

    def test_blank_lines_and_carriage_returns_do_not_count(self) -> None:
        body = b"\r\n\n" + line("1").replace(b"\n", b"\r\n") + b" \n" + line("2") + b"\n"
        self.assertEqual(len(results(self.call(body).body)), 2)

    def test_a_line_that_breaks_off_at_the_end_of_the_body_is_an_error(self) -> None:
        self.assertEqual(reasons(results(self.call(line("1") + line("2")[:-5]).body)), ["ok", "INVALID_ARGUMENT"])

    def test_an_empty_stream_has_an_empty_answer(self) -> None:
        for data in (HEAD + b"Content-Length: 0\r\n\r\n", HEAD + b"\r\n", CHUNKED + END):
            self.send(data)
            reply = self.answer()
            self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertEqual(self.world.router.calls, [])

    def test_results_come_while_lines_do(self) -> None:
        self.send(CHUNKED)
        self.assertEqual(self.transport.value(), b"")
        for count in range(1, 4):
            self.send(chunk(line()))
            self.assertEqual(len(self.so_far()), count)
        self.send(END)
        self.assertEqual(len(results(self.answer().body)), 3)

    def test_what_is_read_at_once_is_pushed_at_once(self) -> None:
        self.send(CHUNKED + b"".join(chunk(line(str(number))) for number in range(100)))
        self.assertEqual([len(call) for call in self.world.router.calls], [100])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(1, 700), max_size=8), st.booleans())
    def test_how_it_is_cut_makes_no_difference(self, cuts: list[int], chunked: bool) -> None:
        body = line("1") + b"oops\n" + line("ü" * 40) + line("3").rstrip()
        places = sorted({cut for cut in cuts if cut < len(body)})
        parts = [body[begin:end] for begin, end in zip([0, *places], [*places, len(body)], strict=True)]
        self.begin()
        if chunked:
            self.send(CHUNKED, *map(chunk, parts), END)
        else:
            self.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body), *parts)
        self.assertEqual(reasons(results(self.answer().body)), ["ok", "INVALID_ARGUMENT", "ok", "ok"])

    def test_it_may_be_longer_than_any_other_body_and_batch(self) -> None:
        self.begin(max_body_bytes=1_000, max_batch=10)
        for head in (CHUNKED, HEAD + b"Content-Length: %d\r\n\r\n" % len(lines(100))):
            self.send(head, chunk(lines(100)) + END if head is CHUNKED else lines(100))
            self.assertEqual(reasons(results(self.answer().body)), ["ok"] * 100)

    def test_only_a_batch_of_lines_may_be(self) -> None:
        body = b"x" * 1_001
        for path, media, status in (
            ("/v1/messages:send", "application/x-ndjson", 413),
            (BATCH, "application/json", 413),
            (BATCH, "text/plain", 413),
            ("/push/sendToAll", "application/x-ndjson", 413),
        ):
            self.begin(max_body_bytes=1_000)
            self.assertEqual(self.world.call("POST", path, body, {"Content-Type": media}).status, status)
        self.assertEqual(self.world.call("POST", "/v1/messages:send", line(), {"Content-Type": media}).status, 415)

    def test_the_connection_is_kept(self) -> None:
        self.send(
            CHUNKED + chunk(lines(2)) + END + request_bytes("GET", "/healthz"),
            HEAD + b"Content-Length: %d\r\n\r\n" % len(lines(3)) + lines(3) + CHUNKED,
            chunk(lines(1)) + END,
        )
        self.assertEqual([reply.status for reply in self.connection.received()], [200] * 4)
        self.assertEqual(len(self.payloads), 6)

    def test_a_client_of_http_1_0_gets_lines_and_the_end(self) -> None:
        head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n" % len(lines(2))
        self.send(head + lines(2))
        reply = self.answer()
        self.assertEqual((len(results(reply.body)), reply.headers["Connection"]), (2, "close"))
        self.assertTrue(self.transport.disconnecting)

    def test_a_client_that_asks_may_continue(self) -> None:
        self.send(HEAD + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_it_is_counted_among_the_requests(self) -> None:
        self.call(lines(2))
        text = self.world.call("GET", "/metrics").body.decode()
        self.assertIn(f'push_api_requests_total{{route="{BATCH}",status="200"}} 1.0', text)


class AdmissionTests(Streaming):
    """Who may, and how much."""

    def test_a_stranger_is_refused_before_a_byte_of_the_body(self) -> None:
        self.begin(keys=(key("viewer", "read"),))
        for header, status in ((b"", 401), (b"Authorization: Bearer viewer-secret\r\n", 403)):
            self.connection = self.world.connect()
            self.send(HEAD + header + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
            reply = self.answer()
            self.assertEqual((reply.status, reply.headers["Connection"]), (status, "close"))
            self.send(chunk(lines(2)) + END)
            self.assertEqual(self.world.router.calls, [])

    def test_a_foreign_web_page_is_refused(self) -> None:
        self.assertEqual(self.call(lines(1), Origin="http://evil.example").status, 403)

    def test_a_caller_with_the_right_is_let_in(self) -> None:
        self.begin(keys=(key("app", "push"),))
        self.assertEqual(self.call(lines(1), **bearer("app")).status, 200)

    def test_too_many_streams_are_429(self) -> None:
        self.begin(burst=1, requests_per_s=0.1)
        self.assertEqual([self.call(b"").status, self.call(b"").status], [200, 429])

    def test_a_stream_waits_where_the_batches_that_it_stands_for_would_be_refused(self) -> None:
        self.begin(burst=2, requests_per_s=0.1, max_batch=10)
        self.send(CHUNKED)
        for _ in range(3):
            self.send(chunk(lines(10)))
        self.assertEqual(len(self.payloads), 20)
        self.assertEqual(self.transport.producerState, "paused")
        self.world.clock.advance(9.9)
        self.assertEqual(len(self.payloads), 20)
        self.world.clock.advance(0.2)
        self.assertEqual((len(self.payloads), self.transport.producerState), (30, "producing"))

    def test_bytes_count_too(self) -> None:
        self.begin(burst=2, requests_per_s=0.1, max_body_bytes=1_000)
        self.send(CHUNKED, *[chunk(line("x" * 600))] * 4)
        self.assertEqual(len(self.payloads), 3)
        self.world.clock.advance(10.1)
        self.assertEqual(len(self.payloads), 4)

    def test_a_client_that_goes_away_need_not_be_waited_for(self) -> None:
        self.begin(burst=1, requests_per_s=0.1, max_batch=1)
        self.send(CHUNKED, chunk(lines(1)), chunk(lines(1)))
        self.connection.protocol.connectionLost(ConnectionResetError())
        self.world.clock.advance(100)
        self.assertEqual((len(self.payloads), self.world.clock.getDelayedCalls()), (1, []))


class PressureTests(Streaming):
    """A router that takes long, and clients that do not read."""

    def setUp(self) -> None:
        super().setUp()
        self.send(CHUNKED)

    def hold(self) -> Deferred[Any]:
        held: Deferred[Any] = Deferred()
        self.world.router.held = held
        return held

    def release(self, held: Deferred[Any], count: int) -> None:
        self.world.router.held = None
        held.callback([PushResult(1, 1, 1)] * count)

    def test_one_slice_is_pushed_at_a_time_and_reading_pauses_meanwhile(self) -> None:
        held = self.hold()
        self.send(chunk(lines(2)))
        self.assertEqual(self.transport.producerState, "paused")
        self.send(chunk(lines(3)))
        self.assertEqual([len(call) for call in self.world.router.calls], [2])
        self.release(held, 2)
        self.world.clock.advance(0)
        self.assertEqual([len(call) for call in self.world.router.calls], [2, 3])
        self.assertEqual((len(self.so_far()), self.transport.producerState), (5, "producing"))

    def test_reading_goes_on_where_the_router_answers_at_once(self) -> None:
        self.send(chunk(lines(2)))
        self.assertEqual(self.transport.producerState, "producing")

    def test_many_lines_at_once_let_others_run_between(self) -> None:
        self.send(chunk(lines(2_500)) + END)
        self.assertEqual(self.world.call("GET", "/healthz").status, 200)
        self.assertEqual([len(call) for call in self.world.router.calls], [1_000])
        self.world.clock.pump([0, 0])
        self.assertEqual([len(call) for call in self.world.router.calls], [1_000, 1_000, 500])
        self.assertEqual(len(results(self.answer().body)), 2_500)

    def test_nothing_is_pushed_while_the_client_does_not_read(self) -> None:
        self.transport.producer.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.send(chunk(lines(2)), chunk(lines(2)) + END)
        self.assertEqual((self.payloads, self.transport.value()), ([], b""))
        self.transport.producer.resumeProducing()
        self.assertEqual((len(self.payloads), len(results(self.answer().body))), (4, 4))
        self.send(request_bytes("GET", "/healthz"))
        self.assertEqual(self.answer().status, 200)

    def test_a_client_that_reads_does_not_make_the_server_read_what_it_cannot_push(self) -> None:
        held = self.hold()
        self.send(chunk(lines(1)))
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.release(held, 1)
        self.assertEqual(self.transport.producerState, "producing")

    def test_a_client_that_goes_away_leaves_no_trace_and_nothing_else_is_sent(self) -> None:
        held = self.hold()
        self.send(chunk(lines(2)), chunk(lines(2)))
        self.connection.protocol.connectionLost(ConnectionResetError())
        self.assertFalse(held.called)
        self.release(held, 2)
        self.world.clock.advance(100)
        self.assertEqual([len(call) for call in self.world.router.calls], [2])
        self.assertEqual((self.flushLoggedErrors(), self.world.clock.getDelayedCalls()), ([], []))

    def test_a_client_that_goes_away_in_mid_line_leaves_no_trace(self) -> None:
        self.send(chunk(lines(2) + line()[:-5]))
        self.connection.protocol.connectionLost(ConnectionResetError())
        self.assertEqual((len(self.payloads), self.flushLoggedErrors()), (2, []))


class FailureTests(Streaming):
    """A router that does not accept."""

    def test_the_first_slice_decides_the_status(self) -> None:
        self.world.router.error = Unavailable("No node is there.", retry_after_s=1.2)
        reply = self.call(lines(2))
        self.assertEqual((reply.status, reply.error["reason"], reply.headers["Retry-After"]), (503, "UNAVAILABLE", "2"))

    def test_the_connection_is_kept_if_the_body_is_complete(self) -> None:
        self.world.router.error = RateLimited("Too much.")
        self.send(CHUNKED + chunk(lines(2)) + END + request_bytes("GET", "/healthz"))
        self.assertEqual([reply.status for reply in self.connection.received()], [429, 200])

    def test_it_is_closed_if_more_would_come(self) -> None:
        self.world.router.error = Unavailable("No node is there.")
        self.send(CHUNKED + chunk(lines(2)))
        reply = self.answer()
        self.assertEqual((reply.status, reply.headers["Connection"]), (503, "close"))
        self.world.router.error = None
        self.send(chunk(lines(2)) + END + request_bytes("GET", "/healthz"))
        self.assertEqual((self.connection.received(), len(self.world.router.calls)), ([], 1))
        self.world.clock.advance(LINGER_S)
        self.assertTrue(self.transport.disconnected)

    def test_later_it_is_an_error_on_each_line_and_the_stream_goes_on(self) -> None:
        self.send(CHUNKED + chunk(line()))
        self.world.router.error = Unavailable("No node is there.")
        self.send(chunk(b"oops\n" + line() + line()))
        self.world.router.error = None
        self.send(chunk(line()) + END)
        found = reasons(results(self.answer().body))
        self.assertEqual(found, ["ok", "INVALID_ARGUMENT", "UNAVAILABLE", "UNAVAILABLE", "ok"])

    def test_an_unexpected_error_is_logged_once_and_says_nothing_of_itself(self) -> None:
        self.world.router.error = ZeroDivisionError("secret")
        reply = self.call(lines(2))
        self.assertEqual((reply.status, reply.error["reason"]), (500, "INTERNAL"))
        self.assertNotIn(b"secret", reply.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_later_that_is_an_error_on_each_line_too(self) -> None:
        self.send(CHUNKED + chunk(line()))
        self.world.router.error = ZeroDivisionError("secret")
        self.send(chunk(lines(2)) + END)
        self.assertEqual(reasons(results(self.answer().body)), ["ok", "INTERNAL", "INTERNAL"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_answers_wrongly_closes_the_connection(self) -> None:
        held: Deferred[Sequence[Any]] = Deferred()
        self.world.router.held = held
        self.send(CHUNKED + chunk(lines(2)))
        held.callback([ZeroDivisionError])
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class EndTests(Streaming):
    """Streams that break off, and silence."""

    def test_what_is_no_chunk_ends_the_stream_with_an_error(self) -> None:
        self.send(CHUNKED + chunk(line() + line()[:-5]) + b"zz\r\n")
        self.assertEqual(reasons(results(self.answer().body)), ["ok", "INVALID_ARGUMENT"])
        self.assertEqual(len(self.payloads), 1)
        self.world.clock.advance(LINGER_S)
        self.assertTrue(self.transport.disconnected)

    def test_before_anything_was_accepted_it_is_the_status(self) -> None:
        self.send(CHUNKED, b"zz\r\n")
        reply = self.answer()
        self.assertEqual((reply.status, reply.headers["Connection"]), (400, "close"))

    def test_a_stream_may_take_as_long_as_it_likes(self) -> None:
        self.send(CHUNKED)
        for at in range(200):
            self.world.clock.advance(29)
            self.send(chunk(lines(10)[at : at + 1]))
        self.send(END)
        self.assertEqual(self.answer().status, 200)

    def test_silence_ends_it(self) -> None:
        self.send(CHUNKED, chunk(line() + line()[:-5]))
        self.world.clock.advance(29)
        self.assertEqual(len(self.so_far()), 1)
        self.world.clock.advance(1)
        self.assertEqual(reasons(results(self.answer().body)), ["ok", "REQUEST_TIMEOUT"])
        self.world.clock.advance(LINGER_S)
        self.assertTrue(self.transport.disconnected)

    def test_silence_from_the_beginning_is_408(self) -> None:
        self.send(CHUNKED)
        self.world.clock.advance(30)
        self.assertEqual(self.answer().status, 408)

    def test_a_router_that_takes_long_is_not_silence(self) -> None:
        held: Deferred[Sequence[Any]] = Deferred()
        self.world.router.held = held
        self.send(CHUNKED, chunk(line()))
        self.world.clock.pump([20] * 10)
        self.world.router.held = None
        held.callback([PushResult(1, 1, 1)])
        self.world.clock.advance(29)
        self.send(END)
        self.assertEqual(reasons(results(self.answer().body)), ["ok"])

    def test_a_client_that_never_reads_is_given_up(self) -> None:
        for ending in (b"", END):
            self.begin()
            self.send(CHUNKED)
            self.world.clock.advance(29)
            self.transport.producer.pauseProducing()
            self.send(chunk(line()) + ending)
            self.world.clock.advance(29)
            self.assertFalse(self.transport.disconnected)
            self.world.clock.advance(1)
            self.assertTrue(self.transport.disconnected)
            self.connection.protocol.connectionLost(ConnectionAbortedError())
            self.assertEqual((self.payloads, self.world.clock.getDelayedCalls()), ([], []))

    def test_a_kept_connection_that_stays_silent_is_closed(self) -> None:
        for slow in (False, True):
            self.begin()
            held: Deferred[Sequence[Any]] = Deferred()
            self.world.router.held = held if slow else None
            self.send(CHUNKED + chunk(line()), END)
            if slow:
                held.callback([PushResult(1, 1, 1)])
            self.answer()
            self.world.clock.advance(29)
            self.assertFalse(self.transport.disconnecting)
            self.world.clock.advance(1)
            self.assertTrue(self.transport.disconnecting)
