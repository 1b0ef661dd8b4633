"""Asking where to connect, and emptying connectors, over HTTP."""

from twisted.trial.unittest import SynchronousTestCase

from push.errors import NotFound, NowhereElse
from push.protocols.wire.answers import NodeAddress
from push.web.routes_allocation import network_of
from tests.web.fakes import World
from tests.web.test_auth import bearer, key

TWO = [NodeAddress("10.0.0.2", 6789), NodeAddress("::1", 6790)]


class AllocationTests(SynchronousTestCase):
    """/v1/allocate and /manager/redirect."""

    def test_nodes_are_named_in_the_order_drawn(self) -> None:
        world = World()
        world.allocation.nodes = TWO
        found = world.call("GET", "/v1/allocate")
        expected = {"nodes": [{"host": "10.0.0.2", "port": 6789}, {"host": "::1", "port": 6790}]}
        self.assertEqual((found.status, found.json), (200, expected))
        self.assertEqual(found.headers["Access-Control-Allow-Origin"], "*")

    def test_the_older_path_says_the_same_in_its_own_form(self) -> None:
        world = World()
        world.allocation.nodes = TWO
        infos = [{"ip": "10.0.0.2", "port": 6789}, {"ip": "::1", "port": 6790}]
        for method in ("GET", "POST"):
            found = world.call(method, "/manager/redirect")
            self.assertEqual(found.json, {"code": 200, "message": "success", "nodeInfos": infos})

    def test_the_client_says_what_it_speaks(self) -> None:
        world = World()
        for query in ("", "?protocol=websocket", "?protocol="):
            for path in ("/v1/allocate", "/manager/redirect"):
                self.assertEqual(world.call("GET", path + query).status, 200)
        self.assertEqual(world.allocation.asked, [*["framed"] * 2, *["websocket"] * 2, *["framed"] * 2])
        self.assertEqual(world.call("GET", "/v1/allocate?protocol=a&protocol=b").status, 400)

    def test_no_room_anywhere_is_503(self) -> None:
        world = World()
        world.allocation.nodes = []
        found = world.call("GET", "/v1/allocate")
        self.assertEqual((found.status, found.error["retry"], found.error["retry_after"]), (503, "backoff", 5.0))
        self.assertEqual(world.call("GET", "/manager/redirect").json["code"], 503)

    def test_no_key_is_needed_where_others_need_one(self) -> None:
        world = World(settings={"keys": (key("boss", "read"),)})
        self.assertEqual(world.call("GET", "/v1/nodes").status, 401)
        self.assertEqual(world.call("GET", "/v1/allocate").status, 200)

    def test_an_address_that_asks_too_often_is_told_to_wait_and_others_are_not(self) -> None:
        world = World(settings={"allocate_per_s": 2.0})
        asked = [world.call("GET", path).status for path in ("/v1/allocate", "/manager/redirect", "/v1/allocate")]
        self.assertEqual(asked, [200, 200, 429])
        self.assertEqual(world.call("GET", "/v1/allocate", host="10.1.1.1").status, 200)
        world.clock.advance(0.5)
        self.assertEqual(world.call("GET", "/v1/allocate").status, 200)

    def test_asking_where_to_connect_takes_nothing_from_what_a_sender_may_do(self) -> None:
        world = World(settings={"requests_per_s": 1.0, "burst": 1})
        self.assertEqual([world.call("GET", "/v1/allocate").status for _ in range(3)], [200] * 3)
        self.assertEqual(world.call("GET", "/v1/nodes").status, 200)

    def test_what_one_customer_has_of_ipv6_is_one_address(self) -> None:
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff:1"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))
        self.assertEqual(network_of("::ffff:10.0.0.1"), network_of("10.0.0.1"))
        self.assertNotEqual(network_of("10.0.0.1"), network_of("10.0.0.2"))
        self.assertEqual(network_of(""), "")


class DrainTests(SynchronousTestCase):
    """/v1/nodes/{node}:drain and :undrain."""

    def setUp(self) -> None:
        self.world = World()

    def test_a_name_may_have_colons_and_a_number(self) -> None:
        for path, name in (
            ("/v1/nodes/10.0.0.1:6789:drain", "10.0.0.1:6789"),
            ("/v1/nodes/[::1]:6789:drain", "[::1]:6789"),
            ("/v1/nodes/10.0.0.1:6789%232:drain", "10.0.0.1:6789#2"),
        ):
            found = self.world.call("POST", path)
            self.assertEqual(found.status, 200, found.body)
            self.assertEqual(self.world.draining.asked.pop(), (name, 100.0))
            self.assertTrue(found.json["nodes"][0]["draining"])

    def test_the_rate_is_what_was_asked_for(self) -> None:
        self.world.call("POST", "/v1/nodes/a:1:drain", {"sessions_per_s": 2.5})
        self.assertEqual(self.world.draining.asked, [("a:1", 2.5)])

    def test_there_are_two_ways_to_end_it(self) -> None:
        self.world.call("POST", "/v1/nodes/a:1:drain", {"drain": False})
        self.world.call("POST", "/v1/nodes/a:1:undrain")
        self.assertEqual(self.world.draining.asked, [("a:1", None)] * 2)

    def test_what_makes_no_sense_is_refused_by_name(self) -> None:
        for body, field in (
            ({"sessions_per_s": 0}, "sessions_per_s"),
            ({"sessions_per_s": "fast"}, "sessions_per_s"),
            ({"rate": 1}, "rate"),
        ):
            found = self.world.call("POST", "/v1/nodes/a:1:drain", body)
            self.assertEqual((found.status, found.error["field_violations"][0]["field"]), (400, field))
        self.assertEqual(self.world.draining.asked, [])

    def test_failures_have_their_status(self) -> None:
        for error, status, reason in (
            (NotFound("no"), 404, "NOT_FOUND"),
            (NowhereElse("no"), 409, "NOWHERE_ELSE"),
        ):
            self.world.draining.error = error
            found = self.world.call("POST", "/v1/nodes/a:1:drain")
            self.assertEqual((found.status, found.error["reason"]), (status, reason))

    def test_a_path_that_only_looks_like_it_is_404(self) -> None:
        self.assertEqual(self.world.call("POST", "/v1/nodes/a:1").status, 404)
        self.assertEqual(self.world.call("POST", "/v1/nodes/a:1:paint").status, 404)

    def test_the_right_to_read_is_not_enough(self) -> None:
        world = World(settings={"keys": (key("viewer", "read"),)})
        self.assertEqual(world.call("POST", "/v1/nodes/a:1:drain", None, bearer("viewer")).status, 403)
