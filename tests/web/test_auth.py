"""Who is let in: keys, rights, rates, and without keys the defence against other people's web pages."""

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from push.model_access import ApiKey
from push.web.auth import is_loopback
from push.web.errors import up_to_ms
from tests.web.fakes import World

SEND = "/v1/messages:send"
MESSAGE = {"target": {"token": "a"}, "message": {"data": 1}}


def key(name: str, *rights: str) -> ApiKey:
    """A key whose secret is its name and 'secret'."""
    return ApiKey(name, frozenset(rights), sha256(f"{name}-secret".encode()).digest())


def bearer(name: str) -> dict[str, str]:
    """The header that shows such a key."""
    return {"Authorization": f"Bearer {name}-secret"}


class KeyTests(SynchronousTestCase):
    """With configured keys."""

    def setUp(self) -> None:
        self.world = World(
            settings={"keys": (key("sender", "push"), key("viewer", "read"), key("boss", "push", "read", "manage"))}
        )

    def status(self, method: str, path: str, name: str, body: object = None) -> int:
        return self.world.call(method, path, body, bearer(name)).status

    def test_each_right_opens_its_routes_and_no_others(self) -> None:
        self.world.subscribe.add("a")
        for method, path, body, allowed in (
            ("POST", SEND, MESSAGE, {"sender", "boss"}),
            ("POST", "/v1/messages:batchSend", {"requests": []}, {"sender", "boss"}),
            ("GET", "/push/sendToAll?message=x", None, {"sender", "boss"}),
            ("GET", "/v1/tokens/a", None, {"viewer", "boss"}),
            ("GET", "/v1/users/u/tokens", None, {"viewer", "boss"}),
            ("GET", "/v1/nodes", None, {"viewer", "boss"}),
            ("GET", "/v1/stats", None, {"viewer", "boss"}),
            ("GET", "/metrics", None, {"viewer", "boss"}),
            ("GET", "/monitor/onlinenum", None, {"viewer", "boss"}),
            ("POST", "/v1/tokens/a:kick", None, {"boss"}),
            ("DELETE", "/v1/tokens/a", None, {"boss"}),
            ("POST", "/v1/nodes/a:1:drain", None, {"boss"}),
            ("POST", "/v1/nodes/a:1:undrain", None, {"boss"}),
            ("GET", "/v1/allocate", None, {"sender", "viewer", "boss"}),
            ("GET", "/manager/redirect", None, {"sender", "viewer", "boss"}),
        ):
            for name in ("sender", "viewer", "boss"):
                expected = 200 if name in allowed else 403
                self.assertEqual(self.status(method, path, name, body), expected, (method, path, name))

    def test_without_a_known_key_it_is_401_and_says_how_to_send_one(self) -> None:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic c2VuZGVyLXNlY3JldA=="},
            {"Authorization": "sender-secret"},
            {"Authorization": "Bearer \udcff"},
            {**bearer("sender"), "authorization": "Bearer boss-secret"},
        ):
            reply = self.world.call("POST", SEND, MESSAGE, headers)
            self.assertEqual((reply.status, reply.error["reason"]), (401, "UNAUTHENTICATED"))
            self.assertEqual(reply.headers["WWW-Authenticate"], 'Bearer realm="push"')
        self.assertEqual(self.world.router.calls, [])

    def test_the_scheme_is_read_in_any_case(self) -> None:
        reply = self.world.call("POST", SEND, MESSAGE, {"Authorization": "bearer  sender-secret"})
        self.assertEqual(reply.status, 200)

    def test_health_and_docs_need_no_key(self) -> None:
        for path in (
            "/healthz",
            "/readyz",
            "/docs",
            "/docs/docs.js",
            "/docs/docs.css",
            "/openapi.json",
            "/monitor/alive",
        ):
            self.assertEqual(self.world.call("GET", path).status, 200, path)

    def test_a_key_may_come_from_anywhere(self) -> None:
        headers = bearer("sender") | {"Host": "push.example.org", "Origin": "https://app.example.org"}
        self.assertEqual(self.world.call("POST", SEND, MESSAGE, headers).status, 200)

    def test_a_large_body_without_a_key_is_refused_before_it_is_read(self) -> None:
        connection = self.world.connect()
        connection.send(b"POST /v1/messages:send HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")
        (reply,) = connection.received()
        self.assertEqual((reply.status, reply.headers["Connection"]), (401, "close"))

    def test_a_large_body_with_a_key_is_read(self) -> None:
        body = {"target": {"token": "a"}, "message": {"data": "x" * 20_000}}
        self.assertEqual(self.status("POST", SEND, "sender", body), 200)


class RateTests(SynchronousTestCase):
    """A token bucket for each caller."""

    def test_each_key_has_its_own_rate_and_is_told_when_to_come_back(self) -> None:
        world = World(settings={"keys": (key("one", "read"), key("two", "read")), "requests_per_s": 0.5, "burst": 2})

        def status(name: str) -> int:
            return world.call("GET", "/v1/nodes", None, bearer(name)).status

        self.assertEqual([status("one"), status("one"), status("one"), status("two")], [200, 200, 429, 200])
        reply = world.call("GET", "/v1/nodes", None, bearer("one"))
        self.assertEqual((reply.error["reason"], reply.error["retry"]), ("RATE_LIMITED", "backoff"))
        self.assertEqual((reply.headers["Retry-After"], reply.error["retry_after"]), ("2", 2.0))
        world.clock.advance(2)
        self.assertEqual([status("one"), status("one")], [200, 429])

    def test_a_wait_is_never_said_to_be_none(self) -> None:
        world = World(settings={"requests_per_s": 10_000, "burst": 1})
        world.call("GET", "/v1/nodes")
        world.clock.advance(0.000_099_9)
        reply = world.call("GET", "/v1/nodes")
        self.assertEqual((reply.status, reply.error["retry_after"]), (429, 0.001))
        self.assertIn("Try again in 0.001 s.", reply.error["message"])

    def test_a_wait_is_said_in_milliseconds_and_never_too_short(self) -> None:
        for wait_s, said_s in ((0.07, 0.07), (0.0701, 0.071), (1e-12, 0.001), (1.0011, 1.002), (2.0, 2.0)):
            self.assertEqual(up_to_ms(wait_s), said_s)

    def test_without_keys_each_address_has_its_own_rate(self) -> None:
        world = World(settings={"requests_per_s": 1, "burst": 1})
        found = [world.call("GET", "/v1/nodes", host=host).status for host in ("127.0.0.1", "127.0.0.1", "127.0.0.2")]
        self.assertEqual(found, [200, 429, 200])

    def test_health_is_not_limited(self) -> None:
        world = World(settings={"requests_per_s": 1, "burst": 1})
        self.assertEqual([world.call("GET", "/healthz").status for _ in range(3)], [200] * 3)


class BrowserTests(SynchronousTestCase):
    """Without keys."""

    def setUp(self) -> None:
        self.world = World()

    def reply(self, **headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = self.world.call("GET", "/push/sendToAll?message=x", None, named)
        return reply.status, reply.json["message"]

    def test_a_host_that_is_not_this_one_is_refused_with_the_way_out(self) -> None:
        for host in (
            "attacker.example",
            "localhost.attacker.example",
            "10.0.0.1:8080",
            "",
            "127.0.0.1@x",
            "[::1",
            "\udcff",
        ):
            status, sentence = self.reply(Host=host)
            self.assertEqual(status, 403, host)
            self.assertIn("--api-key", sentence)
        self.assertEqual(self.world.router.calls, [])

    def test_other_web_pages_are_refused(self) -> None:
        for headers in (
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Origin": "https://attacker.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:3000"},
            {"Referer": "http://attacker.example/page"},
            {"Referer": "http://localhost.attacker.example/"},
            {"Referer": "http://attacker.example?://localhost/"},
            {"Referer": "http://attacker.example/http://localhost/"},
            {"Referer": "http://localhost@attacker.example/"},
            {"Referer": "http://localhost:80@attacker.example/"},
            {"Referer": "http://[::1"},
            {"Referer": "localhost"},
            {"Referer": ""},
        ):
            self.assertEqual(self.reply(**headers)[0], 403, headers)
        self.assertEqual(self.world.router.calls, [])

    def test_programs_and_our_own_page_are_let_in(self) -> None:
        for headers in (
            {},
            {"Host": "127.0.0.1:8080"},
            {"Host": "[::1]:8080"},
            {"Referer": "http://localhost:8080/docs"},
            {"Referer": "http://127.0.0.1:8080"},
            {"Referer": "http://[::1]:8080/?a=http://x"},
            {"Sec_Fetch_Site": "none"},
            {"Sec_Fetch_Site": "same-origin", "Origin": "http://localhost:8080"},
        ):
            self.assertEqual(self.reply(**headers)[0], 200, headers)

    def test_loopback_names_are_known(self) -> None:
        for host in ("localhost", "LOCALHOST:1", "a.localhost", "localhost.", "127.9.9.9", "[::1]"):
            self.assertTrue(is_loopback(host), host)
        for host in ("", "localhost.x", "xlocalhost", "128.0.0.1", "[::2]", "::1", "127.0.0.1:x", "0x7f.1"):
            self.assertFalse(is_loopback(host), host)
