"""The paths of the older system."""

import tracemalloc
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from push.errors import Conflict, Unavailable
from push.model import PushRequest, Registration, ToAll, ToConnector, ToTokens
from tests.web.fakes import FakeConnector, World

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OK = {"code": 200, "message": "ok"}


class SendTests(SynchronousTestCase):
    """Pushing."""

    def setUp(self) -> None:
        self.world = World()

    def sent(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> PushRequest:
        """What the router gets of a request that is accepted."""
        reply = self.world.call(method, path, body, headers)
        self.assertEqual((reply.status, reply.json), (200, OK))
        return self.world.router.requests[-1]

    def failure(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        reply = self.world.call("POST" if body is not None else "GET", path, body, headers)
        self.assertEqual((reply.json["code"], set(reply.json)), (reply.status, {"code", "message"}))
        return reply.status, reply.json["message"]

    def test_each_path_has_its_target(self) -> None:
        for path, target in (
            ("/push/sendByToken?token=a&message=hi", ToTokens(("a",), True)),
            ("/push/sendByTokens?tokens=a;b;;a;&message=hi", ToTokens(("a", "b"))),
            ("/push/sendByTokens?tokens=a%3Bb&message=hi", ToTokens(("a", "b"))),
            ("/push/sendByIp?ip=10.0.0.1&message=hi", ToConnector("10.0.0.1")),
            ("/push/sendByIp?ip=10.0.0.1:6789&message=hi", ToConnector("10.0.0.1:6789")),
            ("/push/sendToAll?message=hi", ToAll()),
        ):
            for method in ("GET", "POST"):
                self.assertEqual(self.sent(method, path), PushRequest(target, b"hi"))

    def test_everything_may_come_in_a_form(self) -> None:
        body = b"token=a&message=gr%C3%BC%C3%9Fe+%26+more"
        request = self.sent("POST", "/push/sendByToken", body, FORM)
        self.assertEqual(request, PushRequest(ToTokens(("a",), True), "grüße & more".encode()))

    def test_the_query_wins_over_the_form(self) -> None:
        self.assertEqual(self.sent("POST", "/push/sendToAll?message=q", b"message=f", FORM).payload, b"q")

    def test_the_message_may_be_the_whole_body(self) -> None:
        for body in (b"hello", b"\x00\xff", b'{"a": "b&c=d"}', b"&" * 1_000, b"a=1&b=2"):
            for headers in ({}, FORM, {"Content-Type": "text/plain"}):
                self.assertEqual(self.sent("POST", "/push/sendToAll", body, headers).payload, body)
        self.assertEqual(self.sent("POST", "/push/sendByToken?token=a", b"hello").payload, b"hello")

    def test_what_is_missing_or_wrong_is_said_with_the_status_as_code(self) -> None:
        for path in (
            "/push/sendByToken?token=a",
            "/push/sendByToken?message=x",
            "/push/sendByToken?token=&message=x",
            "/push/sendByToken?token=%ff&message=x",
            "/push/sendByTokens?tokens=;&message=x",
            "/push/sendByIp?message=x",
            "/push/sendToAll",
            "/push/sendToAll?" + "&".join(f"a{n}=1" for n in range(200)),
        ):
            self.assertEqual(self.failure(path)[0], 400, path)
        self.assertIn("message", self.failure("/push/sendByToken?token=a")[1])
        self.assertEqual(
            self.failure("/push/sendToAll", b"x", {"Content-Type": "multipart/form-data; boundary=b"})[0], 415
        )
        self.assertEqual(self.failure("/push/sendToAll", b"x" * 65_529)[0], 413)
        self.assertEqual(self.world.router.calls, [])

    def test_a_message_may_be_percent_encoded_from_end_to_end(self) -> None:
        body = b"token=%61&message=" + b"%41" * 65_528
        self.assertEqual(self.sent("POST", "/push/sendByToken", body, FORM).payload, b"A" * 65_528)

    def test_a_form_of_percent_signs_is_refused_before_it_is_taken_apart(self) -> None:
        for form in (b"message=" + b"%41" * 1_000_000, b"%41" * 1_000_000, b"tokens=" + b"%41" * 1_000_000):
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            self.assertEqual(self.failure("/push/sendToAll", form, FORM)[0], 413)
            self.assertLess(tracemalloc.get_traced_memory()[1], 8 * len(form))
            tracemalloc.stop()
        self.assertEqual(self.world.router.calls, [])

    def test_as_many_tokens_as_allowed_may_come_and_no_more(self) -> None:
        for separator in (b";", b"%3B", b"%3b", b"; "):
            body = b"message=x&tokens=" + separator.join(b"t%d" % number for number in range(100_000)) + separator
            request = self.sent("POST", "/push/sendByTokens", body, FORM)
            self.assertEqual(len(cast(ToTokens, request.target).tokens), 100_000)
            self.assertEqual(self.failure("/push/sendByTokens", body + b"more", FORM)[0], 413)
        self.assertEqual(self.failure("/push/sendByTokens", b"message=x&tokens=" + b"a;" * 1_000_000, FORM)[0], 413)

    def test_how_long_it_is_kept_may_be_said(self) -> None:
        path = "/push/sendByToken?token=a"
        for given in ("0", "60", "2592000"):
            self.assertEqual(self.sent("GET", f"{path}&message=x&ttl={given}").ttl_s, int(given))
        self.assertEqual(self.sent("POST", path, b"message=x&ttl=60", FORM).ttl_s, 60)
        self.assertIsNone(self.sent("POST", f"{path}&message=x&ttl=").ttl_s)
        for given in ("-1", "2592001", "1.5", "x", "9" * 5_000, "%D9%A1", "%ff"):
            self.assertEqual(self.failure(f"{path}&message=x&ttl={given}")[0], 400, given)

    def test_a_message_that_looks_like_a_time_to_live_is_a_message(self) -> None:
        request = self.sent("POST", "/push/sendToAll", b"ttl=soon", FORM)
        self.assertEqual((request.payload, request.ttl_s), (b"ttl=soon", None))

    def test_a_request_may_have_a_name(self) -> None:
        request = self.sent("GET", "/push/sendToAll?message=x", headers={"Idempotency-Key": "k"})
        self.assertEqual(request.options.once and request.options.once.key, "/key/k")
        self.assertEqual(self.failure("/push/sendToAll?message=x", headers={"Idempotency-Key": "a b"})[0], 400)
        self.world.router.error = Conflict("Another.")
        self.assertEqual(self.failure("/push/sendToAll?message=x"), (409, "Another."))

    def test_an_unknown_token_is_404(self) -> None:
        self.world.router.registered = set()
        self.assertEqual(self.failure("/push/sendByToken?token=a&message=x")[0], 404)

    def test_other_methods_and_paths_fail_in_the_same_shape(self) -> None:
        for method, path, status in (("DELETE", "/push/sendToAll", 405), ("GET", "/push/nothing", 404)):
            reply = self.world.call(method, path)
            self.assertEqual((reply.status, reply.json["code"]), (status, status))

    def test_an_unexpected_error_fails_in_the_same_shape(self) -> None:
        self.world.router.error = ZeroDivisionError()
        self.assertEqual(self.failure("/push/sendToAll?message=x")[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class LookTests(SynchronousTestCase):
    """Monitoring and redirecting."""

    def setUp(self) -> None:
        self.world = World()

    def both(self, path: str) -> Any:
        """The answer to GET, which is that to POST."""
        found = self.world.call("GET", path)
        self.assertEqual(found.json, self.world.call("POST", path).json)
        return found.json

    def test_alive(self) -> None:
        self.assertEqual(self.both("/monitor/alive"), OK)

    def test_sessions_of_all_nodes_are_counted(self) -> None:
        other = FakeConnector("10.0.0.2:6789")
        other.sessions |= {"a", "b"}
        self.world.connector.sessions.add("c")
        self.world.nodes.all[other.address] = other
        self.assertEqual(self.both("/monitor/onlinenum"), {"code": 200, "message": "ok", "onlineNum": 3})

    def test_a_number_that_is_not_known_is_not_made_up(self) -> None:
        self.world.connector.error = Unavailable("away")
        self.assertEqual(self.both("/monitor/onlinenum")["code"], 503)

    def test_whether_a_token_is_online(self) -> None:
        self.world.subscribe.add("a", session=Registration("a", None, "10.0.0.1:6789", 1))
        self.world.subscribe.add("b")
        for token, online in (("a", True), ("b", False), ("nobody", False), ("a%20b", False)):
            found = self.both(f"/monitor/onlinestatus?token={token}")
            self.assertEqual(found, {"code": 200, "message": "ok", "online": online})
