"""What a console is told: every second, for as long as it asks, and nothing that is kept."""

import json

from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model import ToTokens
from push.model_health import Histogram, Sample
from push.web.routes_watch import MAX_NODES, MAX_WATCHERS, WATCH_S
from tests.web.fakes import Reply, World

SAMPLES = (
    Sample("push_sessions", "gauge", "", 3),
    Sample("push_messages_total", "counter", "", 7, (("outcome", "sent"),)),
    Sample("push_delivery_seconds", "histogram", "", Histogram((0.1, 1.0), (1, 2, 3), 4.5)),
    Sample("push_store_commits_total", "counter", "", 9),
)


class WatchTests(SynchronousTestCase):
    """/v1/stats:watch."""

    def setUp(self) -> None:
        self.world = World(samples=SAMPLES)

    def watch(self, token: str = "a-token") -> Reply:
        """Ask to be told, as a console."""
        self.world.subscribe.add(token, device='{"platform":"console"}')
        return self.world.call("POST", "/v1/stats:watch", {"token": token})

    def pass_s(self, seconds: int) -> None:
        """Let time pass."""
        self.world.clock.pump([1.0] * seconds)

    def test_it_is_told_at_once_and_every_second(self) -> None:
        self.assertEqual(self.watch().json, {"interval_s": 1.0, "seconds": 30.0})
        self.assertEqual(len(self.world.router.requests), 1)
        self.pass_s(3)
        self.assertEqual(len(self.world.router.requests), 4)
        request = self.world.router.requests[-1]
        self.assertEqual((request.target, request.ttl_s), (ToTokens(("a-token",)), 0))

    def test_it_is_told_how_nodes_are_and_what_was_measured(self) -> None:
        self.watch()
        told = json.loads(self.world.router.requests[0].payload)["console"]
        self.assertEqual(told["time"], self.world.now_ms)
        self.assertEqual([node["name"] for node in told["nodes"]], ["10.0.0.1:6789"])
        values = {sample["name"]: sample["value"] for sample in told["samples"]}
        self.assertEqual((values["push_sessions"], values["push_messages_total"]), (3, 7))
        self.assertEqual(values["push_delivery_seconds"]["counts"], [1, 2, 3])
        self.assertNotIn("push_store_commits_total", values, "only what a console shows")

    def others(self, count: int) -> tuple[Sample, ...]:
        """What so many other nodes have told."""
        return tuple(
            Sample(name, "counter", "h", number, (("node", f"10.0.{number >> 8}.{number & 255}:6789"),))
            for number in range(count)
            for name in ("push_taken_ms", "push_acknowledged_total", "push_outbox_bytes")
        )

    def test_it_is_told_what_other_nodes_have_measured(self) -> None:
        self.world = World(others=self.others(2))
        self.watch()
        told = json.loads(self.world.router.requests[0].payload)["console"]
        named = [(each["labels"]["node"], each["name"]) for each in told["samples"] if "node" in each["labels"]]
        self.assertEqual(len(named), 6)
        self.assertIn(("10.0.0.1:6789", "push_acknowledged_total"), named)
        self.assertFalse(told["is_partial"])

    def test_of_too_many_nodes_the_first_are_shown_and_that_is_said(self) -> None:
        self.world = World(others=self.others(600))
        self.watch()
        payload = self.world.router.requests[0].payload
        self.assertLess(len(payload), 65_528)
        told = json.loads(payload)["console"]
        nodes = {each["labels"]["node"] for each in told["samples"] if "node" in each["labels"]}
        self.assertEqual((len(nodes), told["is_partial"]), (MAX_NODES, True))

    def test_what_is_told_is_never_longer_than_a_message_may_be(self) -> None:
        long = "a-connector-of-a-long-name" * 20
        others = tuple(
            Sample(name, "histogram", "h", Histogram((0.1,) * 13, (9_999,) * 14, 1.5), (("node", f"{long}-{number}"),))
            for number in range(60)
            for name in ("push_delivery_seconds", "push_reactor_lag_seconds")
        )
        for most, is_told in ((65_528, True), (8_192, True), (1_016, False)):
            self.world = World(samples=SAMPLES * 3, others=others, settings={"max_payload_bytes": most})
            self.watch()
            payload = self.world.router.requests[0].payload
            self.assertLessEqual(len(payload), most)
            told = json.loads(payload)["console"]
            self.assertIs(told["is_partial"], True)
            self.assertIs(bool([each for each in told["samples"] if "node" in each["labels"]]), is_told)

    def test_stats_are_of_the_node_unless_asked_for_all(self) -> None:
        self.world = World(others=self.others(1))
        own = self.world.call("GET", "/v1/stats").json
        for stats in (own, self.world.call("GET", "/v1/stats?scope=node").json):
            self.assertFalse([each for each in stats["samples"] if "node" in each["labels"]])
        every = self.world.call("GET", "/v1/stats?scope=cluster").json
        self.assertEqual(len([each for each in every["samples"] if "node" in each["labels"]]), 3)
        self.assertEqual(every.get("outbox_bytes"), own.get("outbox_bytes"))
        self.assertEqual(self.world.call("GET", "/v1/stats?scope=galaxy").status, 400)

    def test_who_does_not_ask_again_is_forgotten_and_nothing_runs_on(self) -> None:
        self.watch()
        self.pass_s(int(WATCH_S) + 5)
        self.assertEqual(len(self.world.router.requests), int(WATCH_S))
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
        self.watch()
        self.assertEqual(len(self.world.router.requests), int(WATCH_S) + 1)

    def test_who_asks_again_goes_on_and_is_told_once_a_second(self) -> None:
        for _ in range(3):
            self.watch()
            self.pass_s(20)
        self.assertEqual(len(self.world.router.requests), 61)

    def test_several_are_told_in_one_push(self) -> None:
        self.watch("one")
        self.watch("two")
        self.pass_s(1)
        self.assertEqual(self.world.router.requests[-1].target, ToTokens(("one", "two")))

    def test_there_is_a_limit(self) -> None:
        for number in range(MAX_WATCHERS):
            self.assertEqual(self.watch(f"t{number}").status, 200)
        self.assertEqual(self.watch("one-more").status, Unavailable.status)
        self.assertEqual(self.watch("t0").status, 200)

    def test_a_push_that_fails_is_not_the_last(self) -> None:
        self.world.router.error = RuntimeError("away")
        self.watch()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.world.router.error = None
        self.pass_s(1)
        self.assertEqual(len(self.world.router.requests), 2)

    def test_nobodys_clients_are_told_what_they_do_not_expect(self) -> None:
        self.world.subscribe.add("phone", device='{"platform":"android"}')
        self.world.subscribe.add("bare")
        for token in ("phone", "bare", "never-issued"):
            self.assertEqual(self.world.call("POST", "/v1/stats:watch", {"token": token}).status, 403)
        self.assertEqual(self.world.router.requests, [])

    def test_an_order_must_name_a_token(self) -> None:
        for body in ({}, {"token": ""}, {"token": "x" * 129}, {"token": 7}, {"token": "x", "more": 1}):
            self.assertEqual(self.world.call("POST", "/v1/stats:watch", body).status, 400)


class PageTests(SynchronousTestCase):
    """What is served beside the API."""

    def test_pages_need_nothing_from_elsewhere_and_may_not_be_framed(self) -> None:
        world = World()
        for path, kind in (
            ("/console", "text/html; charset=utf-8"),
            ("/console/console.js", "text/javascript; charset=utf-8"),
            ("/console/pages.css", "text/css; charset=utf-8"),
            ("/demo", "text/html; charset=utf-8"),
            ("/demo/demo.js", "text/javascript; charset=utf-8"),
        ):
            reply = world.call("GET", path)
            self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, kind))
            policy = reply.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'; script-src 'self'", policy)
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertNotIn(b"https://", reply.body)
