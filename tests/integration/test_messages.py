"""From an HTTP request to a message at a client, through a real process and real sockets."""

import asyncio
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from twisted.trial.unittest import SynchronousTestCase

from aio_sdk import PushClient
from push.protocols.wire.client import Event, Opened, PongReceived, Refused
from push.protocols.wire.messages import SubRequest
from tests.integration.client import WireClient
from tests.integration.server import HOST, Answer, Server, running, started
from tests.integration.waiting import wait_until

TEXT = "schöne Grüße, 你好"


class TargetTests(SynchronousTestCase):
    """Every kind of target reaches those whom it names, and nobody else."""

    def test_messages_go_to_those_they_are_for_and_replies_count_them(self) -> None:
        with (
            started(self.mktemp()) as server,
            WireClient(server.port) as one,
            WireClient(server.port) as two,
            WireClient(server.port) as gone,
        ):
            one.open(uid="alice", tags=("news", "beta"))
            two.open(uid="alice", tags=("news",), ack=True)
            gone.open(uid="bob")
            gone.close()
            self.assertEqual(len(one.token), 32)
            self._wait_offline(server, gone.token)
            send = server.api.send
            everybody = [one.token, two.token, gone.token, "never-issued"]
            counts = [
                self._counts(send({"token": one.token}, TEXT)),
                self._counts(send({"tokens": everybody}, {"n": [1, None, "ü"]})),
                self._counts(send({"uid": "alice"}, "to alice")),
                self._counts(send({"uids": ["alice", "bob", "nobody"]}, "to both")),
                self._counts(send({"tags": {"any": ["beta", "gamma"]}}, "any")),
                self._counts(send({"tags": {"all": ["news"], "none": ["beta"]}}, "all but beta")),
                self._counts(send({"connector": f"{HOST}:{server.port}"}, "here")),
                self._counts(send({"connector": HOST}, "at this address")),
                self._counts(send({"all": True}, "everybody")),
            ]
            as_json = '{"n":[1,null,"ü"]}'
            got_one = [payload.decode() for payload in one.messages(8)]
            got_two = [payload.decode() for payload in two.messages(7)]
        self.assertEqual(
            counts,
            [
                (1, 1, 0, []),
                (3, 2, 1, ["never-issued"]),
                (2, 2, 0, []),
                (3, 2, 1, ["nobody"]),
                (1, 1, 0, []),
                (1, 1, 0, []),
                (2, 2, 0, []),
                (2, 2, 0, []),
                (2, 2, 0, []),
            ],
        )
        self.assertEqual(got_one, [TEXT, as_json, "to alice", "to both", "any", "here", "at this address", "everybody"])
        self.assertEqual(
            got_two, [as_json, "to alice", "to both", "all but beta", "here", "at this address", "everybody"]
        )

    def test_what_cannot_be_delivered_is_said(self) -> None:
        with started(self.mktemp()) as server, WireClient(server.port) as client:
            client.open()
            send = server.api.post("/v1/messages:send", {"target": {"token": "nobody"}, "message": {"data": "x"}})
            self.assertEqual((send.status, send.json["error"]["reason"]), (404, "UNREGISTERED"))
            batch = [
                {"target": {"token": client.token}, "message": {"data_base64": "AAH/"}},
                {"target": {"token": "nobody"}, "message": {"data": "x"}},
                {"target": {"all": True, "uid": "alice"}, "message": {"data": "x"}},
                {"target": {"all": True}, "message": {"data": "last"}},
            ]
            answer = server.api.post("/v1/messages:batchSend", {"requests": batch})
            results = answer.json["results"]
            self.assertEqual([result.get("sent") for result in results], [1, None, None, 1])
            self.assertEqual(
                [result["error"]["reason"] for result in results[1:3]], ["UNREGISTERED", "INVALID_ARGUMENT"]
            )
            self.assertEqual(client.messages(2), [b"\x00\x01\xff", b"last"])
            self.assertLess(int(results[0]["id"]), int(results[3]["id"]))

    def test_a_ready_server_counts_no_message_to_itself_as_a_client(self) -> None:
        with started(self.mktemp()) as server, WireClient(server.port) as client:
            client.open()
            self.assertEqual(server.api.get("/readyz").status, 200)
            self.assertEqual(self._counts(server.api.send({"all": True}, "x")), (1, 1, 0, []))
            self.assertEqual(server.api.get("/monitor/onlinenum").json["onlineNum"], 1)
            self.assertEqual(server.api.sample("push_sessions"), 1)
            self.assertEqual(client.message(), b"x")

    @staticmethod
    def _counts(reply: Any) -> tuple[int, int, int, list[str]]:
        return reply["targets"], reply["sent"], reply["cached"], reply["unknown"]

    @staticmethod
    def _wait_offline(server: Server, token: str) -> None:
        wait_until("the session is closed", lambda: not server.api.token(token)["online"])


class SessionTests(SynchronousTestCase):
    """What clients and administrators do with sessions."""

    def test_a_second_session_replaces_the_first(self) -> None:
        with started(self.mktemp()) as server, WireClient(server.port) as old, WireClient(server.port) as new:
            old.open(uid="alice")
            new.open(token=old.token)
            said = old.disconnected()
            self.assertEqual((said.code, said.retry), (3500, "no"))
            server.api.send({"token": new.token}, "to the new one")
            self.assertEqual(new.message(), b"to the new one")

    def test_the_older_sdks_go_on_working(self) -> None:
        """They speak version 1, send an empty SUB and a PING right behind it, and never another message id than 0."""
        with started(self.mktemp()) as server, WireClient(server.port) as client:
            client.socket.sendall(bytes.fromhex("f8010100000000000000f8010300000000000000"))
            answer = client.socket.recv(10, 0x100)  # MSG_WAITALL
            self.assertEqual(answer[:3].hex(), "f80201")
            body = client.socket.recv(int.from_bytes(answer[3:7]), 0x100)
            self.assertIn(b'"status":200', body)
            self.assertEqual(client.socket.recv(3, 0x100).hex(), "f80203")

    def test_heartbeats_are_answered_with_the_interval_in_force(self) -> None:
        with started(self.mktemp()) as server, WireClient(server.port) as client:
            client.open(interval_ms=45_000)
            client.send(client.session.ping(20_000))
            self.assertEqual(client.expect(PongReceived).interval_ms, 20_000)

    def test_a_token_can_be_looked_at_kicked_and_revoked(self) -> None:
        with started(self.mktemp()) as server, WireClient(server.port) as client, WireClient(server.port) as again:
            client.open(uid="alice", device='{"platform":"test"}', tags=("a",))
            path = f"/v1/tokens/{client.token}"
            known = server.api.token(client.token)
            self.assertEqual((known["uid"], known["online"], known["tags"]), ("alice", True, ["a"]))
            self.assertEqual(known["device"], {"platform": "test"})
            self.assertEqual(known["connector"], f"{HOST}:{server.port}")
            self.assertEqual(server.api.get("/v1/users/alice/tokens").status, 200)
            self.assertEqual(server.api.post(f"{path}:kick", {}).status, 200)
            self.assertEqual(client.disconnected().code, 3504)
            again.open(token=client.token)
            self.assertEqual(server.api.request("DELETE", path).status, 200)
            self.assertEqual(again.disconnected().code, 3504)
            self.assertEqual(server.api.get(path).status, 404)


class OlderPathTests(SynchronousTestCase):
    """The paths that stand in the scripts of the older system's users."""

    def test_they_mean_what_they_meant(self) -> None:
        with started(self.mktemp()) as server, WireClient(server.port) as one, WireClient(server.port) as two:
            one.open()
            two.open()
            get, request = server.api.get, server.api.request
            replies = [
                get(f"/push/sendByToken?token={one.token}&message=hello%20one"),
                get(f"/push/sendByTokens?tokens={one.token};{two.token}&message=both"),
                get(f"/push/sendByIp?ip={HOST}&message=by+ip"),
                get("/push/sendToAll?message=all"),
                request("POST", "/push/sendToAll", "aus dem Körper".encode()),
                get("/monitor/alive"),
            ]
            for reply in replies:
                self.assertEqual((reply.status, reply.json), (200, {"code": 200, "message": "ok"}))
            self.assertEqual(one.messages(5)[:3], [b"hello one", b"both", b"by ip"])
            self.assertEqual(two.messages(4)[-1].decode(), "aus dem Körper")
            self.assertEqual(get("/monitor/onlinenum").json["onlineNum"], 2)
            self.assertIs(get(f"/monitor/onlinestatus?token={one.token}").json["online"], True)
            self.assertEqual(
                get("/manager/redirect").json,
                {"code": 200, "message": "success", "nodeInfos": [{"ip": HOST, "port": server.port}]},
            )


class AsyncioClientTests(SynchronousTestCase):
    """aio_sdk against the real server."""

    def test_messages_arrive_in_order_and_are_acknowledged(self) -> None:
        async def listen(server: Server) -> list[str]:
            got = []
            async with asyncio.timeout(60), PushClient(f"push://{HOST}:{server.port}", uid="carol") as client:
                await client.wait_open()
                batch = [{"target": {"uid": "carol"}, "message": {"data": f"{n}"}} for n in range(300)]
                await asyncio.to_thread(server.api.post, "/v1/messages:batchSend", {"requests": batch[:150]})
                async for message in client:
                    got.append(message.text)
                    if len(got) == 150:
                        await asyncio.to_thread(server.api.post, "/v1/messages:batchSend", {"requests": batch[150:]})
                    if len(got) == 300:
                        break
            return got

        with started(self.mktemp()) as server:
            self.assertEqual(asyncio.run(listen(server)), [str(n) for n in range(300)])
            self.assertGreaterEqual(server.api.sample("push_acknowledged_total"), 299)


class SecuredTests(SynchronousTestCase):
    """Listening for other machines, which takes credentials on both sides."""

    SECRET = "a secret of clients that is long enough"
    KEY = "a-key-of-the-api-that-nobody-else-has"

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        secret = directory.resolve() / "secret"
        secret.write_text(self.SECRET)
        self.server = Server(directory)
        self.server.interface = "0.0.0.0"
        self.server.options += [f"--advertise={HOST}:{self.server.port}", f"--client-jwt-key-file={secret}"]
        # As `pushctl key` makes it.
        self.server.options += [f"--api-key=backend:push:{sha256(self.KEY.encode()).hexdigest()}"]

    def jwt(self, uid: str) -> str:
        """A credential of a user."""
        return jwt.encode({"sub": uid, "exp": int(time.time()) + 3600}, self.SECRET, "HS256")

    def sub(self, **request: str) -> tuple[Event | None, WireClient]:
        """Ask for a session; the answer, and the client that has it."""
        client = WireClient(self.server.port)
        client.send(client.session.sub(SubRequest(**request)))  # type: ignore[arg-type]
        return client.next(), client

    def push(self, uid: str, **headers: str) -> Answer:
        """Push to a user."""
        body = json.dumps({"target": {"uid": uid}, "message": {"data": "x"}}).encode()
        return self.server.api.request("POST", "/v1/messages:send", body, **headers)

    def test_both_sides_must_show_who_they_are(self) -> None:
        good = {"Authorization": f"Bearer {self.KEY}"}
        with running(self.server):
            self.server.start()
            opened, alice = self.sub(auth=self.jwt("alice"))
            self.assertIsInstance(opened, Opened)
            for status, request in (
                (401, {}),
                (401, {"uid": "alice"}),
                (401, {"auth": "x.y.z"}),
                (401, {"auth": jwt.encode({"sub": "alice"}, "another secret, which is just as long", "HS256")}),
                (403, {"auth": self.jwt("bob"), "uid": "alice"}),
                (403, {"auth": self.jwt("bob"), "token": alice.token}),
            ):
                refused, client = self.sub(**request)
                client.close()
                self.assertIsInstance(refused, Refused)
                self.assertEqual(refused and refused.status, status)  # type: ignore[union-attr]
            self.assertEqual(self.push("alice").status, 401)
            self.assertEqual(self.push("alice", Authorization="Bearer guess").status, 401)
            self.assertEqual(self.push("alice", **good).status, 200)
            self.assertEqual(self.server.api.request("GET", "/v1/nodes", None, **good).status, 403)
            self.assertEqual(alice.message(), b"x")
            alice.close()
            self.assertEqual(self.server.stop(), 0)
            log = self.server.output()
            for secret in (self.SECRET, self.KEY, "guess", alice.token, "Traceback"):
                self.assertNotIn(secret, log)

    def test_without_them_it_does_not_start(self) -> None:
        for missing, part in (("--client-jwt", "set --client-jwt-key-file"), ("--api-key", "set --api-key")):
            server = Server(self.server.directory)
            server.interface = self.server.interface
            server.options = [option for option in self.server.options if not option.startswith(missing)]
            with running(server):
                code, output = server.run()
            self.assertEqual(code, 1)
            self.assertEqual(len(output.splitlines()), 1)
            self.assertIn(part, output)
