"""Tokens, users, nodes, health, numbers, the description and the page that shows it."""

import json
import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model import Registration
from push.model_health import Check, Histogram, Sample
from push.web.health import FRESH_S
from push.web.waiting import TIMEOUT_S
from tests.web.fakes import FakeConnector, World, request_bytes

ROOT = Path(__file__).parent.parent.parent


class TokenTests(SynchronousTestCase):
    """/v1/tokens and /v1/users."""

    def setUp(self) -> None:
        self.world = World()

    def online(self, token: str, uid: str | None = None) -> None:
        """Register a token that has a session."""
        session = Registration(token, uid, self.world.connector.address, 77_000)
        self.world.subscribe.add(token, uid=uid, session=session, device='{"platform":"ios","n":1.50}', tags=("x", "y"))
        self.world.connector.sessions.add(token)

    def test_a_token_online_is_described(self) -> None:
        self.online("to-ken_1.~", "alice")
        reply = self.world.call("GET", "/v1/tokens/to-ken_1.~")
        self.assertEqual(
            reply.json,
            {
                "token": "to-ken_1.~",
                "uid": "alice",
                "online": True,
                "connector": "10.0.0.1:6789",
                "since": 77,
                "device": {"platform": "ios", "n": 1.5},
                "tags": ["x", "y"],
                "created": 5,
            },
        )
        self.assertIn(b'"n":1.50', reply.body)

    def test_a_token_offline_is_described(self) -> None:
        self.world.subscribe.add("a")
        found = self.world.call("GET", "/v1/tokens/a").json
        self.assertEqual(
            (found["online"], found["connector"], found["since"], found["device"]), (False, None, None, None)
        )

    def test_unknown_and_impossible_tokens_are_404(self) -> None:
        for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", ":kick")):
            for token in ("nobody", "x" * 200, "a%20b", "%00"):
                reply = self.world.call(method, f"/v1/tokens/{token}{suffix}")
                self.assertEqual((reply.status, reply.error["reason"]), (404, "UNREGISTERED"), (method, token))

    def test_kicking_closes_the_session_and_keeps_the_token(self) -> None:
        self.online("a")
        self.assertEqual(self.world.call("POST", "/v1/tokens/a:kick").json, {"token": "a", "kicked": True})
        ((token, reason),) = self.world.connector.kicks
        self.assertEqual((token, reason.code, reason.retry), ("a", 3504, "no"))
        self.assertIn("a", self.world.subscribe.tokens)

    def test_kicking_takes_nothing_but_an_empty_body(self) -> None:
        self.online("a")
        for body, sentence in (
            ({"reason": "spam"}, "reason: unknown field."),
            ([], "The body: expected `object`, got `array`."),
            (b"{", "not JSON"),
        ):
            reply = self.world.call("POST", "/v1/tokens/a:kick", body)
            self.assertEqual(reply.status, 400, body)
            self.assertIn(sentence, reply.error["message"])
        self.assertEqual(self.world.connector.kicks, [])
        self.assertEqual(self.world.call("POST", "/v1/tokens/a:kick", {}).json["kicked"], True)

    def test_kicking_somebody_offline_kicks_nobody(self) -> None:
        self.world.subscribe.add("a")
        self.assertEqual(self.world.call("POST", "/v1/tokens/a:kick").json["kicked"], False)
        self.assertEqual(self.world.connector.kicks, [])

    def test_revoking_forgets_the_token_and_closes_its_session_wherever_it_is(self) -> None:
        self.world.subscribe.add("a")
        other = FakeConnector("10.0.0.2:6789")
        other.sessions.add("a")
        self.world.nodes.all[other.address] = other
        reply = self.world.call("DELETE", "/v1/tokens/a")
        self.assertEqual(reply.json, {"token": "a", "revoked": True, "kicked": True})
        self.assertEqual(other.kicks[0][1].code, 3504)
        self.assertEqual(self.world.call("GET", "/v1/tokens/a").status, 404)

    def test_revoking_takes_back_what_waits_for_the_token_also_when_it_has_to_be_asked_again(self) -> None:
        self.online("a")
        self.world.messages.error = Unavailable("the disk is full")
        self.assertEqual(self.world.call("DELETE", "/v1/tokens/a").status, 503)
        self.assertEqual([token for token, _ in self.world.connector.kicks], ["a"])
        self.world.messages.error = None
        self.assertEqual(self.world.call("DELETE", "/v1/tokens/a").status, 404)
        self.assertEqual(self.world.messages.forgotten, ["a"])

    def test_revoking_again_closes_what_the_first_time_could_not_reach(self) -> None:
        self.online("a")
        self.world.connector.error = Unavailable("away")
        self.assertEqual(self.world.call("DELETE", "/v1/tokens/a").status, 503)
        self.world.connector.error = None
        self.assertEqual(self.world.call("DELETE", "/v1/tokens/a").json["kicked"], True)
        self.assertEqual(self.world.call("DELETE", "/v1/tokens/a").status, 404)

    def test_a_users_tokens_are_listed_with_where_they_are(self) -> None:
        self.world.subscribe.add("b", uid="a/b ü")
        self.online("a", "a/b ü")
        self.online("c", "somebody else")
        found = self.world.call("GET", "/v1/users/a%2Fb%20%C3%BC/tokens").json
        self.assertEqual(
            found,
            {
                "uid": "a/b ü",
                "tokens": [
                    {"token": "b", "online": False, "connector": None},
                    {"token": "a", "online": True, "connector": "10.0.0.1:6789"},
                ],
            },
        )

    def test_a_user_never_seen_has_no_tokens(self) -> None:
        self.assertEqual(self.world.call("GET", "/v1/users/bob/tokens").json, {"uid": "bob", "tokens": []})

    def test_an_impossible_user_is_400(self) -> None:
        for uid in ("%00", "x" * 129, "%0A", "alice%0Abob", "alice%0A", "%0Aalice", "a%0D", "a/%0A/b"):
            reply = self.world.call("GET", f"/v1/users/{uid}/tokens")
            self.assertEqual((reply.status, reply.error["field_violations"][0]["field"]), (400, "uid"))


class NodeTests(SynchronousTestCase):
    """/v1/nodes."""

    def setUp(self) -> None:
        self.world = World()

    def test_nodes_are_listed_and_those_that_fail_are_named(self) -> None:
        failing, silent = FakeConnector("10.0.0.3:1"), FakeConnector("10.0.0.2:1")
        failing.error, silent.silent = Unavailable("away"), True
        self.world.nodes.all |= {failing.address: failing, silent.address: silent}
        connection = self.world.connect()
        connection.send(request_bytes("GET", "/v1/nodes"))
        self.assertEqual(connection.received(), [])
        self.world.clock.advance(TIMEOUT_S)
        (reply,) = connection.received()
        self.assertEqual(reply.json["unreachable"], ["10.0.0.2:1", "10.0.0.3:1"])
        self.assertEqual(
            reply.json["nodes"],
            [
                {
                    "address": "10.0.0.1:6789",
                    "name": "10.0.0.1:6789",
                    "connections": 0,
                    "sessions": 0,
                    "max_connections": 100,
                    "started": 1_700_000_000_000,
                    "draining": False,
                    "version": "1.2",
                    "places": {"framed": "10.0.0.1:6789", "websocket": "10.0.0.1:9326"},
                }
            ],
        )


class HealthTests(SynchronousTestCase):
    """/healthz and /readyz."""

    def setUp(self) -> None:
        self.world = World()

    def test_ready_and_not_ready(self) -> None:
        self.assertEqual(
            self.world.call("GET", "/readyz").json,
            {"ready": True, "checks": [{"name": "store", "ok": True, "detail": ""}]},
        )
        self.world.readiness.checks.append(Check("path", False, "no message came back"))
        self.world.clock.advance(FRESH_S)
        reply = self.world.call("GET", "/readyz")
        self.assertEqual((reply.status, reply.json["ready"]), (503, False))
        self.assertEqual(reply.json["checks"][1]["detail"], "no message came back")
        self.assertEqual(self.world.call("GET", "/healthz").status, 200)

    def test_all_who_ask_together_share_one_check(self) -> None:
        self.world.readiness.held = held = Deferred[Any]()
        connections = [self.world.connect() for _ in range(3)]
        for connection in connections:
            connection.send(request_bytes("GET", "/readyz"))
        held.callback([Check("a", True)])
        self.assertEqual([connection.received()[0].status for connection in connections], [200] * 3)
        self.assertEqual(self.world.call("GET", "/readyz").status, 200)
        self.assertEqual(self.world.readiness.calls, 1)

    def test_a_check_that_fails_unexpectedly_is_tried_again_the_next_time(self) -> None:
        self.world.readiness.held = held = Deferred[Any]()
        connections = [self.world.connect() for _ in range(2)]
        for connection in connections:
            connection.send(request_bytes("GET", "/readyz"))
        held.errback(ZeroDivisionError())
        self.assertEqual([connection.received()[0].status for connection in connections], [500] * 2)
        self.flushLoggedErrors(ZeroDivisionError)
        self.world.readiness.held = None
        self.assertEqual(self.world.call("GET", "/readyz").status, 200)


class NumberTests(SynchronousTestCase):
    """/metrics and /v1/stats."""

    def setUp(self) -> None:
        histogram = Histogram((0.1, 1.0), (3, 2, 1), 4.5)
        self.world = World(
            samples=(
                Sample("push_connections", "gauge", "Open connections.", 7),
                Sample("push_messages_total", "counter", "Messages.", 3, (("target", "all"),)),
                Sample("push_messages_total", "counter", "Messages.", 4, (("target", "tokens"),)),
                Sample("push_delivery_seconds", "histogram", "Latency.", histogram),
            )
        )

    def test_samples_are_shown_to_prometheus_with_cumulated_buckets(self) -> None:
        reply = self.world.call("GET", "/metrics")
        self.assertTrue(reply.headers["Content-Type"].startswith("text/plain"))
        lines = reply.body.decode().splitlines()
        for line in (
            "# TYPE push_connections gauge",
            "push_connections 7.0",
            "# TYPE push_messages_total counter",
            'push_messages_total{target="all"} 3.0',
            'push_messages_total{target="tokens"} 4.0',
            'push_delivery_seconds_bucket{le="0.1"} 3.0',
            'push_delivery_seconds_bucket{le="1.0"} 5.0',
            'push_delivery_seconds_bucket{le="+Inf"} 6.0',
            "push_delivery_seconds_count 6.0",
            "push_delivery_seconds_sum 4.5",
        ):
            self.assertIn(line, lines)

    def test_requests_are_counted_by_route_and_status(self) -> None:
        for path in ("/v1/tokens/a", "/v1/tokens/b", "/nothing", "/healthz"):
            self.world.call("GET", path)
        text = self.world.call("GET", "/metrics").body.decode()
        self.assertIn('push_api_requests_total{route="/v1/tokens/{token}",status="404"} 2.0', text)
        self.assertIn('push_api_requests_total{route="none",status="404"} 1.0', text)
        self.assertIn('push_api_request_seconds_count{route="/healthz"} 1.0', text)

    def test_stats_show_the_same_as_json(self) -> None:
        self.world.clock.advance(2.5)
        found = self.world.call("GET", "/v1/stats").json
        self.assertEqual((found["version"], found["uptime_s"]), ("1.2.3", 12.5))
        self.assertIn(
            {"name": "push_messages_total", "kind": "counter", "labels": {"target": "all"}, "value": 3.0},
            found["samples"],
        )
        value = next(sample["value"] for sample in found["samples"] if sample["name"] == "push_delivery_seconds")
        self.assertEqual(value, {"bounds_s": [0.1, 1.0], "counts": [3, 2, 1], "total_s": 4.5})

    def test_stats_begin_with_a_summary_of_what_is_measured_here(self) -> None:
        found = self.world.call("GET", "/v1/stats").json
        self.assertEqual(list(found), ["version", "uptime_s", "connections", "samples"])
        self.assertEqual(found["connections"], 7)
        names = ("push_sessions", "push_tokens", "push_outbox_bytes", "push_delivered_total")
        samples = [Sample(name, "gauge", "A number.", number) for number, name in enumerate(names)]
        samples.append(Sample("push_delivered_total", "counter", "A number.", 10, (("way", "other"),)))
        found = World(samples=tuple(samples)).call("GET", "/v1/stats").json
        del found["version"], found["uptime_s"], found["samples"]
        self.assertEqual(found, {"sessions": 0, "tokens": 1, "outbox_bytes": 2, "delivered": 13})


class DescriptionTests(SynchronousTestCase):
    """/openapi.json, /docs, and docs/http-api.md."""

    def setUp(self) -> None:
        self.world = World()
        self.api = self.world.call("GET", "/openapi.json").json
        self.served = {
            (str(rule), method)
            for rule in self.world.site.resource._app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Path, method and description of each."""
        return [
            (path, method, operation)
            for path, methods in self.api["paths"].items()
            for method, operation in methods.items()
        ]

    def test_it_describes_exactly_what_is_served(self) -> None:
        described = {(re.sub(r"\{(\w+)\}", "<>", path), method.upper()) for path, method, _ in self.operations()}
        self.assertEqual(described, {(re.sub(r"<\w+:\w+>", "<>", path), method) for path, method in self.served})

    def test_its_structure_is_that_of_openapi_3_1(self) -> None:
        self.assertEqual(self.api["openapi"], "3.1.0")
        self.assertEqual(set(self.api["info"]) & {"title", "version"}, {"title", "version"})
        names = [operation["operationId"] for _, _, operation in self.operations()]
        self.assertEqual(len(names), len(set(names)))
        tags = {tag["name"] for tag in self.api["tags"]}
        for path, _, operation in self.operations():
            self.assertLessEqual(set(operation["tags"]), tags)
            in_path = {found["name"] for found in operation.get("parameters", ()) if found["in"] == "path"}
            self.assertEqual(in_path, set(re.findall(r"\{(\w+)\}", path)))
            self.assertTrue(all(re.fullmatch(r"[2-5]\d\d", status) for status in operation["responses"]))
            self.assertTrue(all(response["description"] for response in operation["responses"].values()))
            for requirement in operation.get("security", ()):
                self.assertLessEqual(set(requirement), set(self.api["components"]["securitySchemes"]))

    def test_all_its_references_lead_somewhere(self) -> None:
        references = set(re.findall(r'"\$ref":\s*"([^"]+)"', json.dumps(self.api)))
        self.assertTrue(references)
        for reference in references:
            self.assertIn(reference.removeprefix("#/components/schemas/"), self.api["components"]["schemas"])

    def test_its_examples_are_accepted(self) -> None:
        self.world.subscribe.add("0123456789abcdef0123456789abcdef", device='{"platform":"console"}')
        for path, method, operation in self.operations():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                self.assertEqual(self.world.call(method.upper(), path, content["example"]).status, 200)

    def test_a_batch_may_be_lines_and_so_is_its_answer_then(self) -> None:
        batch = self.api["paths"]["/v1/messages:batchSend"]["post"]
        schema = batch["requestBody"]["content"]["application/x-ndjson"]["schema"]
        self.assertEqual(schema["contentSchema"], {"$ref": "#/components/schemas/SendRequest"})
        schema = batch["responses"]["200"]["content"]["application/x-ndjson"]["schema"]
        found = [each["$ref"].rpartition("/")[2] for each in schema["contentSchema"]["oneOf"]]
        self.assertEqual(found, ["SendReply", "ErrorReply"])
        send = self.api["paths"]["/v1/messages:send"]["post"]
        self.assertEqual(list(send["requestBody"]["content"]), ["application/json"])

    def test_the_page_allows_no_foreign_code(self) -> None:
        page = self.world.call("GET", "/docs")
        self.assertIn("default-src 'none'", page.headers["Content-Security-Policy"])
        text = page.body.decode()
        self.assertNotIn("style=", text)
        self.assertIsNone(re.search(r"<script(?![^>]*src=)|https?://", text))
        for path in re.findall(r'(?:src|href)="(/[^"#]*)"', text):
            self.assertEqual(self.world.call("GET", path).status, 200)

    def test_the_root_leads_to_the_page(self) -> None:
        reply = self.world.call("GET", "/")
        self.assertEqual((reply.status, reply.headers["Location"]), (302, "/docs"))

    def test_the_manual_has_every_path_and_every_reason(self) -> None:
        manual = (ROOT / "docs" / "http-api.md").read_text()
        for path in self.api["paths"]:
            self.assertIn(f"`{path}`", manual)
        reasons = set(re.findall(r"([A-Z_]{5,}): ", json.dumps(self.api["paths"])))
        for reason in reasons:
            self.assertIn(f"`{reason}`", manual)
