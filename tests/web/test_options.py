"""How messages are asked to be brought: options over HTTP, and what makes a request known when it comes again."""

import json
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.errors import CacheFull, Conflict
from push.model import PLAIN, Once, OnFull, Options, PushRequest, PushResult, Store, ToTokens
from push.web import repeats
from tests.web.fakes import World, replies, request_bytes
from tests.web.test_auth import bearer, key
from tests.web.test_messages import BATCH, SEND, message

LINES = {"Content-Type": "application/x-ndjson"}


class OptionTests(SynchronousTestCase):
    """What is read from `options`."""

    def setUp(self) -> None:
        self.world = World()

    def options(self, given: dict[str, Any], **more: Any) -> Options:
        """The options that the router gets."""
        reply = self.world.call("POST", SEND, message(options=given, **more))
        self.assertEqual(reply.status, 200, reply.body)
        return self.world.router.requests[-1].options

    def violation(self, given: Any, path: str = SEND, **more: Any) -> tuple[str, str]:
        """The one option that is complained of."""
        entry = message(options=given, **more)
        reply = self.world.call("POST", path, entry if path == SEND else {"requests": [entry]})
        error = reply.error if path == SEND else reply.json["results"][0]["error"]
        self.assertEqual((error["code"], self.world.router.calls), (400, []), reply.body)
        (violation,) = error["field_violations"]
        return violation["field"], violation["message"]

    def test_each_option_goes_to_the_router_as_what_it_is(self) -> None:
        ahead_ms = self.world.now_ms + 60_000
        for given, expected in (
            ({"collapse_key": "score ü"}, Options(collapse_key="score ü")),
            ({"priority": "high"}, Options(is_high=True)),
            ({"deliver_at": ahead_ms}, Options(deliver_at_ms=ahead_ms)),
            ({"store": "always"}, Options(store=Store.ALWAYS)),
            ({"store": "never"}, Options(store=Store.NEVER)),
            ({"on_full": "drop_oldest"}, Options(on_full=OnFull.DROP_OLDEST)),
            ({"wait": "delivered"}, Options(wait_s=10.0)),
            ({"wait": "delivered", "wait_timeout": 0.5}, Options(wait_s=0.5)),
            ({"wait": "delivered", "wait_timeout": 60}, Options(wait_s=60.0)),
            ({"priority": "high", "store": "always", "ttl": 5}, Options(store=Store.ALWAYS, is_high=True)),
        ):
            self.assertEqual(self.options(given), expected)

    def test_what_asks_for_nothing_is_the_very_plain_options(self) -> None:
        words = {"priority": "normal", "store": "if_offline", "on_full": "reject", "wait": "accepted"}
        for given in ({}, {"ttl": 60}, words, {**words, "ttl": 0}):
            self.assertIs(self.options(given), PLAIN)
        self.world.call("POST", SEND, message())
        self.assertIs(self.world.router.requests[-1].options, PLAIN)
        for entries in ([message()], [message(), message(validate_only=True)], [message(), 7]):
            self.world.call("POST", BATCH, {"requests": entries})
            self.assertIs(self.world.router.calls[-1][0].options, PLAIN)

    def test_a_time_that_is_past_is_taken_and_one_too_far_ahead_is_not(self) -> None:
        now_ms = self.world.now_ms
        self.assertEqual(self.options({"deliver_at": now_ms - 1}).deliver_at_ms, now_ms - 1)
        self.world = World(settings={"max_delay_s": 60})
        self.assertEqual(self.options({"deliver_at": now_ms + 60_000}).deliver_at_ms, now_ms + 60_000)
        self.world = World(settings={"max_delay_s": 60})
        expected = ("options.deliver_at", "must be at most 60 seconds ahead")
        self.assertEqual(self.violation({"deliver_at": now_ms + 60_001}), expected)
        self.assertEqual(self.violation({"deliver_at": 10**30}), expected)

    def test_seconds_are_not_taken_for_milliseconds(self) -> None:
        seconds = self.world.now_ms // 1000
        self.assertEqual(
            self.violation({"deliver_at": seconds}), ("options.deliver_at", "expected `int` >= 1000000000000")
        )

    def test_words_that_are_not_known_are_refused_with_those_that_are(self) -> None:
        for option, words in (
            ("priority", "normal, high"),
            ("store", "if_offline, always, never"),
            ("on_full", "reject, drop_oldest"),
            ("wait", "accepted, delivered"),
        ):
            for word in ("", "HIGH", "x" * 100_000):
                self.assertEqual(self.violation({option: word}), (f"options.{option}", f"must be one of {words}"))
            self.assertEqual(self.violation({option: 1}), (f"options.{option}", "expected `str`, got `int`"))

    def test_limits_of_collapse_keys_and_waiting(self) -> None:
        for given, field in (
            ({"collapse_key": ""}, "options.collapse_key"),
            ({"collapse_key": "x" * 65}, "options.collapse_key"),
            ({"collapse_key": "a\nb"}, "options.collapse_key"),
            ({"wait": "delivered", "wait_timeout": 0}, "options.wait_timeout"),
            ({"wait": "delivered", "wait_timeout": 60.5}, "options.wait_timeout"),
            ({"wait_timeout": 5}, "options.wait_timeout"),
        ):
            self.assertEqual(self.violation(given)[0], field)

    def test_only_what_can_be_waited_for_is(self) -> None:
        waiting = {"wait": "delivered"}
        for target in ({"all": True}, {"connector": "10.0.0.1"}, {"tags": {"any": ["x"]}}):
            field, text = self.violation(waiting, target=target)
            self.assertEqual((field, "only for token" in text), ("options.wait", True))
        later = {**waiting, "deliver_at": self.world.now_ms + 1}
        self.assertEqual(self.violation(later), ("options.wait", "cannot be delivered beside deliver_at"))
        for unkept in ({"ttl": 0}, {"store": "never"}):
            field, text = self.violation({**waiting, **unkept})
            self.assertEqual((field, "nothing is kept" in text), ("options.wait", True))
        for target in ({"tokens": ["a"]}, {"uid": "alice"}, {"uids": ["alice"]}):
            self.assertEqual(self.options(waiting, target=target).wait_s, 10.0)

    def test_a_batch_waits_for_nobody(self) -> None:
        field, text = self.violation({"wait": "delivered"}, BATCH)
        self.assertEqual((field, "batch" in text), ("options.wait", True))
        lines = json.dumps(message(options={"wait": "delivered"})).encode()
        (result,) = self.world.call("POST", BATCH, lines, LINES).body.splitlines()
        self.assertEqual(json.loads(result)["error"]["field_violations"][0]["field"], "options.wait")

    def test_options_are_read_alike_in_batches_and_lines(self) -> None:
        entry = message(options={"priority": "high", "ttl": 5})
        expected = PushRequest(ToTokens(("a",), True), b"hi", 5, False, Options(is_high=True))
        self.world.call("POST", BATCH, {"requests": [entry, message()]})
        self.world.call("POST", BATCH, {"requests": [entry, 7]})
        self.world.call("POST", BATCH, json.dumps(entry).encode(), LINES)
        self.assertEqual([call[0] for call in self.world.router.calls], [expected] * 3)


class ReplyTests(SynchronousTestCase):
    """What is said of what became of a message."""

    def setUp(self) -> None:
        self.world = World()

    def answer(self, outcome: Any) -> Any:
        held: Deferred[Any] = Deferred()
        held.callback([outcome])
        self.world.router.held = held
        return self.world.call("POST", SEND, message())

    def test_it_says_more_only_where_there_is_more_to_say(self) -> None:
        plain = {"id": "7", "targets": 3, "sent": 1, "cached": 1, "unknown": []}
        for more, said in (
            ({}, {}),
            ({"rejected": 1}, {"rejected": 1}),
            ({"is_logged": True}, {"logged": True}),
            ({"due_ms": 5}, {"due": 5}),
            ({"due_ms": 0}, {"due": 0}),
            ({"delivered": 0}, {"delivered": 0}),
            ({"delivered": 2, "rejected": 1}, {"rejected": 1, "delivered": 2}),
        ):
            self.assertEqual(self.answer(PushResult(7, 3, 1, 1, **more)).json, {**plain, **said})

    def test_a_full_cache_and_a_key_used_twice_have_their_own_reasons(self) -> None:
        for error, expected in (
            (CacheFull("Full."), (429, "CACHE_FULL", "backoff")),
            (Conflict("Another."), (409, "KEY_REUSED", "no")),
        ):
            reply = self.answer(error)
            self.assertEqual((reply.status, reply.error["reason"], reply.error["retry"]), expected)


class RepeatTests(SynchronousTestCase):
    """By what a request is known when it is made again."""

    def setUp(self) -> None:
        self.world = World()

    def once(self, body: Any, path: str = SEND, **headers: str) -> Once | None:
        """What the router is told of the last entry."""
        reply = self.world.call("POST", path, body, headers)
        self.assertEqual(reply.status, 200, reply.body)
        return self.world.router.calls[-1][-1].options.once

    def print_of(self, body: Any) -> bytes:
        """The fingerprint of a request."""
        once = self.once(body, **{"Idempotency-Key": "k"})
        assert once is not None
        return once.fingerprint

    def named(self, entry: dict[str, Any], own_id: Any = "m1") -> dict[str, Any]:
        return {**entry, "message": {**entry["message"], "id": own_id}}

    def test_a_request_without_a_name_is_not_known(self) -> None:
        self.assertIsNone(self.once(message()))

    def test_names_of_requests_of_entries_and_of_messages_are_kept_apart(self) -> None:
        header = {"Idempotency-Key": "k"}
        found = [
            self.once(message(), **header),
            self.once({"requests": [message(), message()]}, BATCH, **header),
            self.once(self.named(message(), "k")),
        ]
        self.assertEqual([once and once.key for once in found], ["/key/k", "/entry/k/1", "/id/k"])
        self.assertEqual(len({once and once.fingerprint for once in found}), 1)

    def test_each_entry_has_the_key_of_its_place_however_it_is_read(self) -> None:
        header = {"Idempotency-Key": "k"}
        expected = ["/entry/k/0", "/entry/k/1", "/entry/k/2"]
        plain = [message(str(number)) for number in range(3)]
        with_bad_ones = [message(str(number)) for number in range(2)]
        with_bad_ones[1:1] = [{"target": 3}]
        with_options = [message(str(number), options={"priority": "high"}) for number in range(3)]
        for entries, keys in ((plain, expected), (with_options, expected), (with_bad_ones, expected[::2])):
            self.world.call("POST", BATCH, {"requests": entries}, header)
            lines = b"\n\n".join(json.dumps(entry).encode() for entry in entries)
            self.world.call("POST", BATCH, lines, {**LINES, **header})
            for call in self.world.router.calls[-2:]:
                self.assertEqual([request.options.once and request.options.once.key for request in call], keys)

    def test_the_places_go_on_from_slice_to_slice(self) -> None:
        header = {"Idempotency-Key": "k"}
        entries = [message(str(number)) for number in range(2_500)]
        lines = b"\n".join(json.dumps(entry).encode() for entry in entries)
        for body, headers in (({"requests": entries}, header), (lines, {**LINES, **header})):
            self.world = World()
            connection = self.world.connect()
            connection.send(request_bytes("POST", BATCH, body, headers))
            self.world.clock.pump([0] * 5)
            self.assertEqual([reply.status for reply in replies(connection.transport.value(), "POST")], [200])
            keys = [request.options.once and request.options.once.key for request in self.world.router.requests]
            self.assertEqual(keys, [f"/entry/k/{number}" for number in range(2_500)])

    def test_a_stream_without_end_does_not_use_up_names_without_end(self) -> None:
        self.patch(repeats, "MAX_ENTRIES", 2)
        entries = [message("0"), message("1"), message("2"), self.named(message("3")), {"target": 3}]
        lines = b"\n".join(json.dumps(entry).encode() for entry in entries)
        reply = self.world.call("POST", BATCH, lines, {**LINES, "Idempotency-Key": "k"})
        keys = [request.options.once and request.options.once.key for request in self.world.router.requests]
        self.assertEqual(keys, ["/entry/k/0", "/entry/k/1", "/id/m1"])
        errors = [json.loads(line).get("error") for line in reply.body.splitlines()]
        self.assertEqual([error and error["code"] for error in errors], [None, None, 400, None, 400])
        self.assertIn("Idempotency-Key: names 2 entries at most", errors[2]["message"])
        self.world = World()
        reply = self.world.call("POST", BATCH, lines, LINES)
        self.assertEqual(len(self.world.router.requests), 4)

    def test_a_messages_own_id_goes_before_the_header(self) -> None:
        entries = [message(), self.named(message())]
        once = self.once({"requests": entries}, BATCH, **{"Idempotency-Key": "k"})
        self.assertEqual(once and once.key, "/id/m1")
        once = self.once(self.named(message()), **{"Idempotency-Key": "k"})
        self.assertEqual(once and once.key, "/id/m1")

    def test_the_keys_of_one_sender_are_not_anothers(self) -> None:
        self.world = World(settings={"keys": (key("a-1", "push"), key("b", "push"))})
        found = [self.once(message(), **{"Idempotency-Key": "k", **bearer(name)}) for name in ("a-1", "b")]
        self.assertEqual([once and once.key for once in found], ["a-1/key/k", "b/key/k"])
        line = json.dumps(self.named(message())).encode()
        once = self.once(line, BATCH, **LINES, **bearer("b"))
        self.assertEqual(once and once.key, "b/id/m1")

    def test_the_same_request_is_the_same_however_it_is_written(self) -> None:
        spelt = [
            b'{"target":{"token":"a"},"message":{"data":{"x":[1,{"a":1.50,"b":null}],"y":"\\u00fc"}},"options":{"ttl":5}}',
            '{ "options": {"ttl": 5, "store": "if_offline"},\n"message": {"data": {"y": "ü", "x": [1, {"b": null, '
            '"a": 1.50}]}}, "validate_only": false, "target": {"token": "a"} }'.encode(),
        ]
        self.assertEqual(len({self.print_of(body) for body in spelt}), 1)
        self.assertEqual(
            self.print_of(message("hi")), self.print_of({"target": {"token": "a"}, "message": {"data_base64": "aGk="}})
        )

    def test_whatever_is_asked_for_makes_a_difference(self) -> None:
        ahead_ms = self.world.now_ms + 1
        bodies = [
            message(),
            message("ho"),
            message({"a": 1}),
            message({"a": "1"}),
            message({"a": 1.0}),
            message({"a": [1]}),
            message({"b": 1}),
            {**message(), "target": {"token": "b"}},
            {**message(), "target": {"tokens": ["a"]}},
            {**message(), "target": {"tokens": ["a", "b"]}},
            {**message(), "target": {"uid": "a"}},
            {**message(), "target": {"uids": ["a"]}},
            {**message(), "target": {"tags": {"any": ["a"]}}},
            {**message(), "target": {"tags": {"all": ["a"]}}},
            {**message(), "target": {"connector": "a"}},
            {**message(), "target": {"all": True}},
            *(
                message(options=given)
                for given in (
                    {"ttl": 0},
                    {"ttl": 1},
                    {"collapse_key": "a"},
                    {"priority": "high"},
                    {"deliver_at": ahead_ms},
                    {"store": "always"},
                    {"store": "never"},
                    {"on_full": "drop_oldest"},
                    {"wait": "delivered"},
                )
            ),
            *({"target": {"token": "a"}, "message": {"data_base64": data}} for data in ("ew==", "e/8=", "eyJhIjox")),
        ]
        self.assertEqual(len({self.print_of(body) for body in bodies}), len(bodies))

    def test_numbers_that_only_floats_confuse_are_not_the_same(self) -> None:
        def body(number: bytes) -> bytes:
            return b'{"target":{"token":"a"},"message":{"data":{"n":%s}}}' % number

        numbers = (b"1e400", b"1e401", b"12345678901234567890.12", b"12345678901234567890.13", b"9" * 5_000)
        self.assertEqual(len({self.print_of(body(number)) for number in numbers}), len(numbers))

    def test_a_fingerprint_is_the_one_that_an_earlier_version_stored(self) -> None:
        target = b"\xa8ToTokens\x82\xa6tokens\x91\xa1a\xa6single\xc3"
        plain = b"\x95" + target + b"\xc4\x02hi\xc0\x80"  # as MessagePack spells it
        self.assertEqual(self.print_of(message()), sha256(plain).digest())
        more = b"\x95" + target + b'\xc4\x07{"a":1}\x05\x82\xa5store\x02\xa7is_high\xc3'
        body = message({"a": 1}, options={"ttl": 5, "priority": "high", "store": "always"})
        self.assertEqual(self.print_of(body), sha256(more).digest())

    def test_a_time_that_has_passed_meanwhile_makes_no_difference(self) -> None:
        body = message(options={"deliver_at": self.world.now_ms + 1_000})
        before = self.print_of(body)
        self.world.now_ms += 5_000
        self.assertEqual(self.print_of(body), before)

    def test_a_dry_run_uses_no_name_up(self) -> None:
        for body in (message(validate_only=True), self.named(message(validate_only=True))):
            self.assertIsNone(self.once(body, **{"Idempotency-Key": "k"}))

    def test_names_that_cannot_be_are_refused(self) -> None:
        for name in ("", "x" * 129, "a b", "ü", "a\tb"):
            reply = self.world.call("POST", SEND, self.named(message(), name))
            self.assertEqual((reply.status, reply.error["field_violations"][0]["field"]), (400, "message.id"), name)
        for name in ("", "x" * 129, "a b", "\udcff"):
            for path, headers in ((SEND, {}), (BATCH, {}), (BATCH, LINES)):
                body = json.dumps(message()).encode()
                reply = self.world.call("POST", path, body, {"Idempotency-Key": name, **headers})
                found = reply.status, reply.error["field_violations"][0]["field"]
                self.assertEqual(found, (400, "Idempotency-Key"), (name, path))
        self.assertEqual(self.world.router.calls, [])
        for name in ("x" * 128, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~/"):
            once = self.once(message(), **{"Idempotency-Key": name})
            self.assertEqual(once and once.key, f"/key/{name}")

    def test_two_names_for_one_request_are_one_too_many(self) -> None:
        data = request_bytes("POST", SEND, message(), {"Idempotency-Key": "a\r\nIdempotency-Key: a"})
        connection = self.world.connect()
        connection.send(data)
        self.assertEqual(connection.received()[0].status, 400)
