"""Pushing over HTTP: what is read from a body, what goes to the router, what comes back."""

import base64
import json
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.errors import RateLimited, Unavailable
from push.model import PushRequest, PushResult, TagQuery, Target, ToAll, ToConnector, ToTags, ToTokens, ToUids
from tests.web.fakes import World, request_bytes

SEND = "/v1/messages:send"
BATCH = "/v1/messages:batchSend"

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MESSAGE_KEYS = st.sampled_from(
    [
        "target",
        "message",
        "options",
        "validate_only",
        "token",
        "data",
        "id",
        "ttl",
        "store",
        "wait",
        "deliver_at",
        "all",
        "x",
    ]
)
NEARLY_A_MESSAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(MESSAGE_KEYS, inner) | st.lists(inner, max_size=3),
    max_leaves=12,
)


def message(data: Any = "hi", **more: Any) -> dict[str, Any]:
    """A body that is accepted."""
    return {"target": {"token": "a"}, "message": {"data": data}, **more}


class SendTests(SynchronousTestCase):
    """POST /v1/messages:send."""

    def setUp(self) -> None:
        self.world = World()

    def send(self, body: Any, **headers: str) -> Any:
        return self.world.call("POST", SEND, body, headers)

    def payload(self, body: bytes) -> bytes:
        reply = self.send(body)
        self.assertEqual(reply.status, 200, reply.body)
        return self.world.router.requests[-1].payload

    def violation(self, body: Any, status: int = 400) -> tuple[str, str]:
        """The one field that is complained of."""
        reply = self.send(body)
        self.assertEqual(reply.status, status, reply.body)
        self.assertEqual(self.world.router.calls, [])
        (violation,) = reply.error["field_violations"]
        return violation["field"], violation["message"]

    def test_answers_what_became_of_the_message_with_its_id_as_a_string(self) -> None:
        reply = self.send(message())
        self.assertEqual(reply.status, 200)
        expected = {"id": str(2**60 + 1), "targets": 1, "sent": 1, "cached": 0, "unknown": []}
        self.assertEqual(reply.json, expected)

    def test_every_kind_of_target_goes_to_the_router_as_what_it_is(self) -> None:
        kinds: list[tuple[dict[str, Any], Target]] = [
            ({"token": "a"}, ToTokens(("a",), True)),
            ({"tokens": ["a", "b", "a"]}, ToTokens(("a", "b"))),
            ({"uid": "alice"}, ToUids(("alice",), True)),
            ({"uids": ["alice", "bob", "bob"]}, ToUids(("alice", "bob"))),
            ({"tags": {"any": ["x"], "none": ["y"]}}, ToTags(TagQuery(("x",), (), ("y",)))),
            ({"connector": "10.0.0.1"}, ToConnector("10.0.0.1")),
            ({"all": True}, ToAll()),
        ]
        for target, expected in kinds:
            self.assertEqual(self.send({"target": target, "message": {"data": ""}}).status, 200)
            self.assertEqual(self.world.router.requests[-1], PushRequest(expected, b""))

    def test_options_and_validate_only_go_with_it(self) -> None:
        self.send(message(options={"ttl": 60}, validate_only=True))
        self.assertEqual(self.world.router.requests, [PushRequest(ToTokens(("a",), True), b"hi", 60, True)])

    def test_text_goes_to_clients_as_it_is(self) -> None:
        for spelt, payload in (
            (b'"hi"', b"hi"),
            (b'""', b""),
            ('"grüße 🦊"'.encode(), "grüße 🦊".encode()),
            (rb'"\u00fc\n\"\\\ud83e\udd8a"', 'ü\n"\\🦊'.encode()),
            (b'  "a"  ', b"a"),
        ):
            body = b'{"target":{"token":"a"},"message":{"data":%s}}' % spelt
            self.assertEqual(self.payload(body), payload)

    def test_other_json_goes_compact_with_its_numbers_as_they_were_spelt(self) -> None:
        for spelt, payload in (
            (b'{ "a" : [ 1.50 , 1e400, 12345678901234567890123 ] }', b'{"a":[1.50,1e400,12345678901234567890123]}'),
            (b"null", b"null"),
            (b" 0 ", b"0"),
            ('{"ü" : "ß x"}'.encode(), '{"ü":"ß x"}'.encode()),
        ):
            body = b'{"target":{"token":"a"},"message":{"data":%s}}' % spelt
            self.assertEqual(self.payload(body), payload)

    def test_base64_goes_as_bytes(self) -> None:
        self.send({"target": {"token": "a"}, "message": {"data_base64": base64.b64encode(b"\x00\xff").decode()}})
        self.assertEqual(self.world.router.requests[0].payload, b"\x00\xff")

    def test_what_is_wrong_is_named_with_its_path(self) -> None:
        long = "x" * 129
        for body, field, text in (
            ({}, "target", "required field is missing"),
            (message(extra=1), "extra", "unknown field"),
            ({"target": {"tokn": "a"}, "message": {"data": 1}}, "target.tokn", "unknown field"),
            ({"target": {"token": 3}, "message": {"data": 1}}, "target.token", "expected `str`, got `int`"),
            ({"target": {"tokens": ["a", 3]}, "message": {"data": 1}}, "target.tokens[1]", "expected `str`, got `int`"),
            ({"target": {"token": long}, "message": {"data": 1}}, "target.token", "expected `str` of length <= 128"),
            ({"target": {"tokens": []}, "message": {"data": 1}}, "target.tokens", "expected `array` of length >= 1"),
            ({"target": {"uid": "a\n"}, "message": {"data": 1}}, "target.uid", "must not contain control characters"),
            (message(options={"collapse_key": "\0"}), "options.collapse_key", "must not contain control characters"),
            (message(options={"ttl": -1}), "options.ttl", "expected `int` >= 0"),
            (message(options={"ttl": 10**30}), "options.ttl", "expected `int` <= 2592000"),
            (message(validate_only="yes"), "validate_only", "expected `bool`, got `str`"),
            ({"target": {"token": "a"}, "message": {}}, "message", "needs one of data and data_base64"),
            (
                {"target": {"token": "a"}, "message": {"data": 1, "data_base64": ""}},
                "message",
                "must have only one of data and data_base64",
            ),
            ({"target": {"all": False}, "message": {"data": 1}}, "target.all", "must be true"),
            (
                {"target": {"tags": {}}, "message": {"data": 1}},
                "target.tags",
                "must have a tag in any, all or none",
            ),
            (
                {"target": {"token": "a"}, "message": {"data_base64": "a"}},
                "message.data_base64",
                "invalid base64 encoded string",
            ),
        ):
            self.assertEqual(self.violation(body), (field, text))

    def test_a_target_must_be_exactly_one(self) -> None:
        for target in ({}, {"token": "a", "all": True}, {"uid": "a", "uids": ["a"]}):
            field, text = self.violation({"target": target, "message": {"data": 1}})
            self.assertEqual(field, "target")
            self.assertIn("exactly one of token, tokens, uid, uids, tags, connector, all", text)

    def test_a_uid_has_no_control_characters(self) -> None:
        for uid in ("a\x00", "\x1f", "a\nb", "\x7f", "\x9f", "end\n"):
            self.assertEqual(self.violation({"target": {"uid": uid}, "message": {"data": 1}})[0], "target.uid")

    def test_a_message_over_the_limit_is_413_and_one_at_the_limit_is_not(self) -> None:
        self.assertEqual(self.violation(message("x" * 65_529), 413), ("message", "more than 65528 bytes"))
        self.assertEqual(self.send(message("x" * 65_528)).status, 200)

    def test_more_targets_than_allowed_are_413(self) -> None:
        self.world = World(settings={"max_targets": 2})
        body = {"target": {"tokens": ["a", "b", "c"]}, "message": {"data": 1}}
        self.assertEqual(self.violation(body, 413), ("target.tokens", "more than 2"))

    def test_what_is_not_json_is_400_with_a_sentence(self) -> None:
        for body, sentence in (
            (b"", "The body is empty: it must be JSON."),
            (b" \n", "The body is empty: it must be JSON."),
            (b"{", "not JSON"),
            (b"\xff\xfe", "not UTF-8"),
            (b'{"target":{"token":"a"},"message":{"data":"\xc0\x80"}}', "not UTF-8"),
            (b'{"target":{"token":"a"},"message":{"data":{"\xed\xa0\x80":1}}}', "not UTF-8"),
            (b'{"target":{"token":"a"},"message":{"data":"\\ud800"}}', "not JSON"),
            (b'{"target":{"token":"a"},"message":{"data":NaN}}', "not JSON"),
            (b'{"target":{"token":"a"},"message":{"data":1}} 2', "not JSON"),
            (b"[" * 1_000_000, "The body"),
            (b'{"target":{"token":"a"},"message":{"data":' + b"[" * 500_000 + b"]" * 500_000 + b"}}", "too deeply"),
            (b'{"target":{"token":"a"},"message":{"data":' + b'{"a":' * 100_000, "too deeply"),
        ):
            reply = self.send(body)
            self.assertEqual((reply.status, reply.error["reason"]), (400, "INVALID_ARGUMENT"))
            self.assertIn(sentence, reply.error["message"])
        self.assertEqual(self.world.router.calls, [])

    def test_a_batch_that_is_not_utf8_is_none(self) -> None:
        for data in (b'"\xc0\x80"', b'{"\xed\xa0\x80":1}'):
            body = b'{"requests":[{"target":{"token":"a"},"message":{"data":%s}}]}' % data
            reply = self.world.call("POST", "/v1/messages:batchSend", body, {"Content-Type": "application/json"})
            self.assertEqual((reply.status, reply.error["reason"]), (400, "INVALID_ARGUMENT"))
            self.assertIn("not UTF-8", reply.error["message"])
        self.assertEqual(self.world.router.calls, [])

    def test_a_long_field_name_does_not_make_a_long_answer(self) -> None:
        self.assertLess(len(self.send(message(**{"x" * 100_000: 1})).body), 1_000)

    def test_a_body_that_says_it_is_not_json_is_415(self) -> None:
        body = json.dumps(message()).encode()
        for given_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "\udcff",
        ):
            reply = self.send(body, **{"Content-Type": given_type})
            self.assertEqual((reply.status, reply.error["reason"]), (415, "UNSUPPORTED_MEDIA_TYPE"))
        for given_type in ("application/json; charset=utf-8", "application/vnd.push+json", "Application/JSON"):
            self.assertEqual(self.send(body, **{"Content-Type": given_type}).status, 200)

    def test_a_single_unknown_token_is_404_unregistered(self) -> None:
        self.world.router.registered = set()
        reply = self.send(message())
        self.assertEqual((reply.status, reply.error["reason"], reply.error["retry"]), (404, "UNREGISTERED", "no"))

    def test_unknown_ones_of_several_are_listed(self) -> None:
        self.world.router.registered = {"a"}
        reply = self.send({"target": {"tokens": ["a", "b"]}, "message": {"data": 1}})
        self.assertEqual((reply.status, reply.json["unknown"]), (200, ["b"]))

    def test_what_the_router_raises_is_the_answer(self) -> None:
        self.world.router.error = Unavailable("No node is there.", retry_after_s=1.2)
        reply = self.send(message())
        self.assertEqual((reply.status, reply.error["retry"], reply.error["retry_after"]), (503, "backoff", 1.2))
        self.assertEqual(reply.headers["Retry-After"], "2")

    def test_an_unexpected_error_is_500_logged_once_and_says_nothing_of_itself(self) -> None:
        self.world.router.error = ZeroDivisionError("secret")
        reply = self.send(message(), **{"X-Request-Id": "mine"})
        self.assertEqual((reply.status, reply.error["reason"], reply.error["request_id"]), (500, "INTERNAL", "mine"))
        self.assertNotIn(b"secret", reply.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_client_that_goes_away_leaves_no_trace_and_its_message_is_still_sent(self) -> None:
        held: Deferred[Any] = Deferred()
        self.world.router.held = held
        connection = self.world.connect()
        connection.send(request_bytes("POST", SEND, message()))
        connection.protocol.connectionLost(ConnectionResetError())
        self.assertFalse(held.called)
        held.callback([PushResult(1, 1, 1)])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_client_that_goes_away_before_a_failure_leaves_one_line_in_the_log(self) -> None:
        held: Deferred[Any] = Deferred()
        self.world.router.held = held
        connection = self.world.connect()
        connection.send(request_bytes("POST", SEND, message()))
        connection.protocol.connectionLost(ConnectionResetError())
        held.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    @settings(max_examples=150, deadline=None)
    @given(ANY_JSON | NEARLY_A_MESSAGE)
    def test_no_json_makes_it_fail_unexpectedly(self, body: Any) -> None:
        for path in (SEND, BATCH):
            reply = self.world.call("POST", path, json.dumps(body).encode())
            self.assertIn(reply.status, (200, 400, 413))
        reply = self.world.call("POST", BATCH, {"requests": [body, message()]})
        self.assertEqual(reply.status, 200)
        self.assertIn("id", reply.json["results"][1])

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=60))
    def test_no_bytes_make_it_fail_unexpectedly(self, body: bytes) -> None:
        self.assertEqual(self.world.call("POST", SEND, body).status, 400)

    @settings(max_examples=100, deadline=None)
    @given(ANY_JSON)
    def test_any_data_arrives_with_its_meaning(self, data: Any) -> None:
        for spelt in (json.dumps(message(data)), json.dumps(message(data), ensure_ascii=False, indent=1)):
            try:
                body = spelt.encode()
            except UnicodeEncodeError:
                continue
            if self.send(body).status == 200:
                payload = self.world.router.requests[-1].payload.decode()
                self.assertEqual(payload if isinstance(data, str) else json.loads(payload), data)


class BatchTests(SynchronousTestCase):
    """POST /v1/messages:batchSend."""

    def setUp(self) -> None:
        self.world = World()

    def send(self, *entries: Any) -> Any:
        return self.world.call("POST", BATCH, {"requests": list(entries)})

    def test_all_entries_go_to_the_router_in_order_in_one_call(self) -> None:
        reply = self.send(message("1"), message("2"), message("3"))
        (call,) = self.world.router.calls
        self.assertEqual([request.payload for request in call], [b"1", b"2", b"3"])
        self.assertEqual(len(reply.json["results"]), 3)

    def test_bad_entries_spoil_no_others_and_answers_keep_their_places(self) -> None:
        self.world.router.registered = {"a"}
        unknown = {"target": {"token": "zzz"}, "message": {"data": 1}}
        reply = self.send(
            message("1"), {"target": 3}, message("x" * 65_529), 7, unknown, message("2", extra=1), message("3")
        )
        self.assertEqual(reply.status, 200)
        found = [result.get("error", {}).get("reason", "ok") for result in reply.json["results"]]
        bad = "INVALID_ARGUMENT"
        self.assertEqual(found, ["ok", bad, "TOO_LARGE", bad, "UNREGISTERED", bad, "ok"])
        (call,) = self.world.router.calls
        self.assertEqual([request.payload for request in call], [b"1", b"1", b"3"])
        self.assertEqual(reply.json["results"][5]["error"]["field_violations"][0]["field"], "extra")
        self.assertEqual(reply.json["results"][3]["error"]["message"], "requests[3]: expected `object`, got `int`.")

    def test_a_bad_entry_far_behind_is_named_by_its_place(self) -> None:
        connection = self.world.connect()
        connection.send(request_bytes("POST", BATCH, {"requests": [*[message()] * 1_100, 7]}))
        self.world.clock.pump([0, 0])
        (reply,) = connection.received()
        found = reply.json["results"][1_100]["error"]["message"]
        self.assertEqual(found, "requests[1100]: expected `object`, got `int`.")

    def test_text_to_one_token_is_read_alike_whatever_stands_beside_it(self) -> None:
        texts = ["", "hi", 'a "quoted" \\ line\n', "grüße 🦊", "\x00", "x" * 65_529]
        entries = [message(text) for text in texts]
        others: list[Any] = [[], [message(validate_only=True)], [{"target": {"token": "a"}, "message": {}}]]
        for beside in others:
            self.world = World()
            results = self.send(*entries, *beside).json["results"][: len(texts)]
            found = [result.get("error", {}).get("reason", "ok") for result in results]
            self.assertEqual(found, ["ok"] * 5 + ["TOO_LARGE"])
            requests = self.world.router.requests[:5]
            self.assertEqual(requests, [PushRequest(ToTokens(("a",), True), text.encode()) for text in texts[:5]])

    def test_a_batch_without_a_good_entry_does_not_reach_the_router(self) -> None:
        self.assertEqual(self.send(1, 2).status, 200)
        self.assertEqual(self.world.router.calls, [])

    def test_an_empty_batch_has_no_results(self) -> None:
        self.assertEqual(self.send().json, {"results": []})

    def test_what_is_no_batch_is_400(self) -> None:
        bodies: list[Any] = [[], {}, {"requests": {}}, {"requests": [], "more": 1}]
        for body in bodies:
            self.assertEqual(self.world.call("POST", BATCH, body).status, 400)

    def test_more_entries_than_allowed_are_413(self) -> None:
        self.world = World(settings={"max_batch": 2})
        self.assertEqual(self.send(message(), message()).status, 200)
        reply = self.send(message(), message(), message())
        self.assertEqual((reply.status, reply.error["reason"]), (413, "TOO_LARGE"))

    def test_a_body_of_nothing_but_tiny_entries_is_refused_without_decoding_them_all(self) -> None:
        plain = json.dumps(message(""), separators=(",", ":")).encode()
        for entry, status in ((b"0", 400), (b'""', 400), (b"[]", 400), (b"{}", 413), (plain, 413)):
            body = b'{"requests":[' + b",".join([entry] * (8_000_000 // (len(entry) + 1))) + b"]}"
            before_s = time.process_time()
            reply = self.world.call("POST", BATCH, body)
            took_s = time.process_time() - before_s
            self.assertEqual(reply.status, status, entry)
            # Decoded, zeros took 500 ms; they are refused in 8 (2026-11-23).
            self.assertLess(took_s, 0.075, entry)
        self.assertEqual(self.world.router.calls, [])

    def test_a_large_batch_is_as_good_as_a_small_one(self) -> None:
        """So large that its entries are counted before: also where it is full, and where one of them is no object."""
        self.world = World(settings={"max_batch": 100})
        entries = [message("x,xxx" * 1_500) for _ in range(99)]
        reply = self.send(*entries, message("last"))
        self.assertEqual((reply.status, len(reply.json["results"])), (200, 100))
        results = self.send(*entries, 0).json["results"]
        self.assertEqual(("error" in results[0], "error" in results[-1]), (False, True))
        self.assertEqual(self.send(*entries, message(), message()).status, 413)
        self.assertIn("JSON", self.world.call("POST", BATCH, b'{"requests":[{' + b"," * 600_000).error["message"])

    def test_a_long_batch_lets_others_run_in_its_middle(self) -> None:
        connection = self.world.connect()
        connection.send(request_bytes("POST", BATCH, {"requests": [message(str(n)) for n in range(2_500)]}))
        self.assertEqual(connection.received(), [])
        self.assertEqual(self.world.call("GET", "/healthz").status, 200)
        self.world.clock.pump([0, 0, 0])
        (reply,) = connection.received()
        self.assertEqual(len(reply.json["results"]), 2_500)
        self.assertEqual([request.payload for request in self.world.router.requests], [b"%d" % n for n in range(2_500)])

    def test_a_failing_router_fails_the_batch(self) -> None:
        self.world.router.error = RateLimited("Too much.")
        self.assertEqual(self.send(message()).status, 429)
