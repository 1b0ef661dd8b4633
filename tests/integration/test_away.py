"""Messages for clients that are away, as asked for over HTTP: they arrive when the client returns, in order, once."""

import signal
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.client import Received
from tests.integration.client import WireClient
from tests.integration.server import Api, Server, started
from tests.integration.waiting import wait_until

SEND = "/v1/messages:send"


def left(server: Server) -> str:
    """The token of a client that acknowledges, and has gone."""
    with WireClient(server.port) as client:
        token = client.open(uid="alice", ack=True).token
    wait_until("the session is closed", lambda: not server.api.token(token)["online"])
    return token


def returned(server: Server, token: str, number: int) -> list[str]:
    """What the client gets when it comes back, all of which it acknowledges."""
    with WireClient(server.port) as client:
        client.open(token=token, uid="alice", ack=True)
        got = [client.expect(Received) for _ in range(number)]
        for frame in client.session.acknowledge([each.message_id for each in got if each.message_id is not None]):
            client.send(frame)
        wait_until("the acknowledgements have come", lambda: not waits(server.api, got))
    return [each.payload.decode() for each in got]


def waits(api: Api, messages: list[Received]) -> list[Received]:
    """Those of these messages that nobody has acknowledged yet."""
    return [each for each in messages if not counts(api, str(each.message_id)).get("delivered")]


def counts(api: Api, message_id: str) -> Any:
    """What happened to a message; nothing, where a kill has taken the memory of it."""
    answer = api.get(f"/v1/messages/{message_id}")
    if answer.status not in (200, 404):
        raise AssertionError(f"{answer.status}: {answer.body!r}")
    return answer.json.get("counts", {})


class AwayTests(SynchronousTestCase):
    """A client goes, messages come, the client returns."""

    def send(self, server: Server, data: str, target: Any = None, **options: Any) -> Any:
        """The reply of a push that must succeed."""
        body = {"target": target or {"uid": "alice"}, "message": {"data": data}, "options": options}
        answer = server.api.post(SEND, body)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    def test_what_was_sent_meanwhile_arrives_when_it_returns_even_if_the_server_was_killed(self) -> None:
        with started(self.mktemp()) as server:
            token = left(server)
            replies = [self.send(server, str(number)) for number in range(5)]
            self.assertEqual([(reply["sent"], reply["cached"]) for reply in replies], [(0, 1)] * 5)
            server.stop(signal.SIGKILL)
            server.start()
            self.assertEqual(returned(server, token, 5), ["0", "1", "2", "3", "4"])
            self.send(server, "5")
            self.assertEqual(returned(server, token, 1), ["5"])

    def test_options_decide_what_arrives_and_in_which_order(self) -> None:
        with started(self.mktemp()) as server:
            token = left(server)
            self.send(server, "first")
            self.send(server, "2 unread", collapse_key="unread")
            self.send(server, "typing", store="never")
            self.send(server, "for now", ttl=0)
            self.send(server, "short", ttl=1)
            self.send(server, "stored", store="always")
            self.send(server, "3 unread", collapse_key="unread")
            self.send(server, "alarm", priority="high")
            taken_back = self.send(server, "sorry")["id"]
            self.assertEqual(server.api.request("DELETE", f"/v1/messages/{taken_back}").json["cancelled"], 1)
            time.sleep(1.5)
            self.assertEqual(returned(server, token, 4), ["alarm", "first", "stored", "3 unread"])
            self.assertEqual(counts(server.api, taken_back)["cancelled"], 1)

    def test_a_message_for_later_comes_then_also_after_a_restart(self) -> None:
        with started(self.mktemp()) as server:
            token = left(server)
            due_ms = int(time.time() * 1000) + 5_000
            reply = self.send(server, "later", deliver_at=due_ms)
            self.assertEqual((reply["sent"], reply["cached"], reply["due"]), (0, 0, due_ms))
            server.stop(signal.SIGKILL)
            server.start()
            self.assertEqual(returned(server, token, 1), ["later"])
            self.assertGreaterEqual(time.time() * 1000, due_ms)

    def test_the_same_request_again_sends_nothing_also_after_a_restart(self) -> None:
        body = b'{"target": {"uid": "alice"}, "message": {"data": "once"}}'
        other = b'{"target": {"uid": "alice"}, "message": {"data": "twice"}}'
        spaced = b'{"message":{"data":"once"},\n"target":{"uid":"alice"}}'
        with started(self.mktemp()) as server:
            token = left(server)

            def post(content: bytes) -> Any:
                return server.api.request("POST", SEND, content, Idempotency_Key="order-1001")

            first = post(body).json
            self.assertEqual(post(spaced).json, first)
            self.assertEqual((post(other).status, post(other).json["error"]["reason"]), (409, "KEY_REUSED"))
            server.stop(signal.SIGKILL)
            server.start()
            self.assertEqual(post(body).json, first)
            self.assertEqual(post(other).status, 409)
            self.send(server, "last")
            self.assertEqual(returned(server, token, 2), ["once", "last"])

    def test_what_waits_for_a_revoked_token_is_not_for_who_has_it_next(self) -> None:
        with started(self.mktemp()) as server:
            token = left(server)
            taken_back = self.send(server, "secret")["id"]
            self.assertEqual(server.api.request("DELETE", f"/v1/tokens/{token}").status, 200)
            self.assertEqual(counts(server.api, taken_back)["cancelled"], 1)
            with WireClient(server.port) as client:
                client.open(token=token, uid="mallory", ack=True)
                self.send(server, "hello", {"token": token})
                self.assertEqual(client.message(), b"hello")

    def test_an_answer_may_wait_until_it_is_delivered(self) -> None:
        with started(self.mktemp()) as server:
            token = left(server)
            begun_s = time.monotonic()
            reply = self.send(server, "anybody?", wait="delivered", wait_timeout=0.5)
            self.assertEqual((reply["cached"], reply["delivered"]), (1, 0))
            self.assertGreaterEqual(time.monotonic() - begun_s, 0.5)
            self.assertEqual(returned(server, token, 1), ["anybody?"])
            receipt = server.api.get(f"/v1/messages/{reply['id']}").json
            self.assertEqual([state["state"] for state in receipt["tokens"]], ["delivered"])
            explained = server.api.get(f"/v1/messages/{reply['id']}:explain?token={token}").json
            self.assertTrue(explained["explanation"][0])
