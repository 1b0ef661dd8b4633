"""Groups and chat from outside: real processes, plain sockets, HTTP."""

import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.client import Answered, Notified
from push.protocols.wire.frames import Frame
from push.protocols.wire.signals import Signal, SubSignal
from tests.integration.client import WireClient
from tests.integration.server import HOST, Api, Server
from tests.integration.test_websocket import Client as Browser
from tests.integration.waiting import wait_until


class ChatClient(WireClient):
    """A client that waits for its answers, and keeps what others said meanwhile."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._notices: list[Frame] = []

    def contact(self, **fields: Any) -> Any:
        """Send a CONTACT; its answer."""
        body = json.dumps({"from": self.token, "messageType": 0, **fields}).encode()
        self.send(self.session.request(Signal.CONTACT, body))
        return json.loads(self._answer().body)

    def ask(self, subsignal: int, **fields: Any) -> Any:
        """Send a PUBLISH that must be done; its answer."""
        self.send(self.session.request(Signal.PUBLISH, json.dumps(fields).encode(), subsignal=subsignal))
        body = self._answer().body
        assert body[0] == 0, body
        return json.loads(body[1:])

    def told(self) -> Frame:
        """The next thing that others did."""
        return self._notices.pop(0) if self._notices else self.expect(Notified).frame

    def heard(self) -> Any:
        """The next thing that others said."""
        return json.loads(self.told().body)

    def _answer(self) -> Frame:
        while True:
            event = self.next()
            if isinstance(event, Answered):
                return event.frame
            assert isinstance(event, Notified), event
            self._notices.append(event.frame)


class ChatCase(SynchronousTestCase):
    """One server for all that a test does."""

    options: tuple[str, ...] = ()
    server: Server

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.server = Server(Path(directory.name), self.options)
        self.server.transport = "lean"
        self.addCleanup(self.server.destroy)
        self.server.start()

    def client(self, **request: Any) -> ChatClient:
        """A client with a session."""
        client = ChatClient(self.server.port)
        self.addCleanup(client.close)
        client.open(**request)
        return client

    def old(self, path: str, **parameters: str) -> Any:
        """Ask as older scripts do; `code` of the answer."""
        answer = self.api.request("GET", f"/{path}?{urlencode(parameters)}")
        assert answer.json["code"] == answer.status or answer.status == 200
        return answer.json["code"]

    @property
    def api(self) -> Api:
        """The HTTP API."""
        return self.server.api

    def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """Ask as newer ones do."""
        data = None if body is None else json.dumps(body).encode()
        answer = self.api.request(method, path, data, Content_Type="application/json")
        self.assertEqual(answer.status, status, answer.body)
        return answer.json


class OlderClients(ChatCase):
    """The demo of older clients: SUB, join over HTTP, CONTACT."""

    def test_the_demo_works_unchanged(self) -> None:
        clients = [self.client() for _ in range(3)]
        for client in clients:
            self.assertEqual(self.old("group/joinGroup", token=client.token, group="test"), 200)
        self.assertEqual(self.old("group/joinGroup", token=clients[0].token, group="test"), 30_001)
        answer = clients[0].contact(group="test", type=0, message="hello")
        self.assertEqual(answer["status"], 200)
        for client in clients[1:]:
            frame = client.told()
            heard = json.loads(frame.body)
            self.assertEqual((frame.signal, frame.subsignal, frame.message_id), (Signal.CONTACT, 0, 0))
            self.assertEqual((heard["from"], heard["message"], heard["id"]), (clients[0].token, "hello", answer["id"]))
            self.assertGreater(heard["time"], 1_790_000_000_000)
        clients[2].contact(to=clients[0].token, type=1, message="psst")
        self.assertEqual(clients[0].heard()["message"], "psst")

    def test_the_older_paths(self) -> None:
        one, two, three = self.client(), self.client(), self.client()
        self.assertEqual(self.old("group/createGroup", group="room"), 200)
        self.assertEqual(self.old("group/createGroup", group="room"), 409)
        self.assertEqual(self.old("group/createGroup", group="a/b"), 400)
        for client in (one, two):
            self.assertEqual(self.old("group/joinGroup", token=client.token, group="room"), 200)
        self.assertEqual(self.old("group/joinGroup", token="unknown", group="room"), 404)
        self.assertEqual(self.old("group/joinGroup", group="room"), 400)
        self.assertEqual(self.old("message/sendToGroup", token=one.token, group="room", message="hi all"), 200)
        heard = two.heard()
        self.assertEqual((heard["from"], heard["group"], heard["message"]), (one.token, "room", "hi all"))
        self.assertEqual(self.old("message/sendToGroup", token=three.token, group="room", message="x"), 3_001)
        self.assertEqual(self.old("message/sendToGroup", token=one.token, group="nowhere", message="x"), 404)
        self.assertEqual(self.old("message/sendToSingle", token=two.token, group="room", message="only you"), 200)
        heard = two.heard()
        self.assertEqual((heard["to"], heard["message"]), (two.token, "only you"))
        self.assertEqual(self.old("message/sendToSingle", token=three.token, group="room", message="x"), 3_001)
        self.assertEqual(self.old("group/quitGroup", token=two.token, group="room"), 200)
        self.assertEqual(self.old("group/quitGroup", token=two.token, group="room"), 3_001)
        self.assertEqual(self.old("message/sendToSingle", token=two.token, group="room", message="x"), 3_001)
        one.contact(group="room", type=0, message="alone")
        self.assertEqual(two.contact(group="room", type=0, message="x")["status"], 403)


class NewerClients(ChatCase):
    """The chat form."""

    def test_two_newer_clients_and_an_older_one_talk_and_one_comes_back_to_what_it_missed(self) -> None:
        alice, bob, old = self.client(uid="alice"), self.client(uid="bob"), self.client()
        alice.ask(SubSignal.GC, group="room", uids=["bob"])
        self.assertEqual(self.old("group/joinGroup", token=old.token, group="room"), 200)
        bob.ask(SubSignal.MP)
        alice.ask(SubSignal.MS, group="room", text="one", client_id="a-1")
        self.assertEqual(old.heard()["message"], "one")
        token = bob.token
        bob.close()
        wait_until("bob is away", lambda: not self.call("GET", "/v1/users/bob/presence")["online"])
        alice.ask(SubSignal.MS, group="room", text="two", client_id="a-2")
        old.contact(group="room", type=0, message="three")
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        bob = self.client(uid="bob", token=token)
        alice = self.client(uid="alice")
        (standing,) = bob.ask(SubSignal.MP)["conversations"]
        self.assertEqual((standing["group"], standing["unread"], standing["last_seq"]), ("room", 3, 3))
        texts = [each["text"] for each in bob.ask(SubSignal.MP, group="room")["messages"]]
        self.assertEqual(texts, ["one", "two", "three"])
        self.assertEqual(alice.ask(SubSignal.MS, group="room", text="one", client_id="a-1")["seq"], 1)
        self.assertEqual(alice.ask(SubSignal.MS, group="room", text="four")["seq"], 4)
        frame = bob.told()
        self.assertEqual((frame.signal, frame.subsignal), (Signal.PUBLISH, SubSignal.MN))
        self.assertEqual(json.loads(frame.body)["text"], "four")


class TwoConnectors(NewerClients, OlderClients):
    """The same, with clients spread over processes."""

    options = ("--workers=2",)

    def test_everybody_hears_everybody_wherever_they_are(self) -> None:
        people = [self.client(uid=f"user{number}") for number in range(12)]
        connectors = {self.call("GET", f"/v1/tokens/{each.token}")["connector"] for each in people}
        self.assertEqual(len(connectors), 2)
        self.call("POST", "/v1/groups", {"group": "all", "uids": [f"user{number}" for number in range(12)]})
        for person in people:
            person.ask(SubSignal.MP)
        for number, person in enumerate(people):
            person.ask(SubSignal.MS, group="all", text=f"from {number}")
        for number, person in enumerate(people):
            heard = [person.heard() for _ in range(11)]
            self.assertEqual([each["seq"] for each in heard], [n + 1 for n in range(12) if n != number])


class OverHttp(ChatCase):
    """/v1/groups and its neighbours."""

    def test_groups(self) -> None:
        made = self.call("POST", "/v1/groups", {"group": "team", "title": "Team", "owner": "alice", "uids": ["bob"]})
        self.assertEqual((made["group"], made["members"], made["open"]), ("team", 2, True))
        self.assertEqual(self.call("GET", "/v1/groups/team"), made)
        self.call("POST", "/v1/groups", {"group": "team"}, 409)
        self.call("POST", "/v1/groups", {"group": "a:b"}, 400)
        self.call("POST", "/v1/groups", {"name": "x"}, 400)
        self.assertEqual(len(self.call("POST", "/v1/groups", {})["group"]), 16)
        self.assertEqual(
            self.call("PATCH", "/v1/groups/team", {"title": "The team", "open": False})["title"], "The team"
        )
        self.assertEqual(self.call("POST", "/v1/groups/team/members", {"uids": ["carol", "bob"]})["changed"], 1)
        self.call("POST", "/v1/groups/team/members", {}, 400)
        old = self.client()
        self.assertEqual(self.call("POST", "/v1/groups/team/members", {"tokens": [old.token]})["changed"], 1)
        self.assertEqual(self.call("PUT", f"/v1/groups/team/members/{quote('a/b')}", {"role": "admin"})["changed"], 1)
        self.call("PUT", "/v1/groups/team/members/bob", {"role": "king"}, 400)
        page = self.call("GET", "/v1/groups/team/members?limit=3")
        rest = self.call("GET", f"/v1/groups/team/members?limit=3&after={page['after']}")
        found = {each.get("uid") or each["token"]: each["role"] for each in page["members"] + rest["members"]}
        wanted = {"alice": "owner", "bob": "member", "carol": "member", "a/b": "admin", old.token: "member"}
        self.assertEqual(found, wanted)
        self.assertEqual(self.call("DELETE", "/v1/groups/team/members/carol")["changed"], 1)
        self.assertEqual(self.call("DELETE", "/v1/groups/team/members/carol")["changed"], 0)
        self.assertEqual(self.call("DELETE", f"/v1/groups/team/tokens/{old.token}")["changed"], 1)
        self.call("GET", "/v1/groups/team/members?limit=0&limit=1", status=400)
        self.call("DELETE", "/v1/groups/team")
        self.call("GET", "/v1/groups/team", status=404)

    def test_conversations(self) -> None:
        alice = self.client(uid="alice")
        alice.ask(SubSignal.MP)
        self.call("POST", "/v1/groups", {"group": "team", "uids": ["alice", "bob"]})
        self.assertEqual(alice.told().subsignal, SubSignal.GAM)
        say = "/v1/conversations/g.team/messages"
        first = self.call("POST", say, {"from": "bob", "text": "hi", "client_id": "b-1", "mentions": ["alice"]})
        self.assertEqual(
            self.call("POST", say, {"from": "bob", "text": "hi", "client_id": "b-1", "mentions": ["alice"]}), first
        )
        self.call("POST", say, {"from": "bob", "text": "other", "client_id": "b-1"}, 409)
        self.call("POST", say, {"text": "maintenance at noon", "data": {"kind": "system"}})
        self.call("POST", say, {"from": "mallory", "text": "x"}, 403)
        self.call("POST", say, {"from": "bob"}, 400)
        self.call("POST", say, {"from": "bob", "data": [1]}, 400)
        self.call("POST", say, {"from": "bob", "text": "x" * 20_000}, 413)
        self.call("POST", "/v1/conversations/g.nowhere/messages", {"text": "x"}, 404)
        heard = [alice.heard() for _ in range(2)]
        self.assertEqual([each["text"] for each in heard], ["hi", "maintenance at noon"])
        self.assertEqual((heard[0]["from"], heard[1].get("from"), heard[1]["data"]), ("bob", None, {"kind": "system"}))
        page = self.call("GET", f"{say}?after=1&limit=5")
        self.assertEqual(([each["seq"] for each in page["messages"]], page["last_seq"]), ([2], 2))
        page = self.call("GET", f"{say}?before=2&uid=alice")
        self.assertEqual([each["text"] for each in page["messages"]], ["hi"])
        self.call("GET", f"{say}?uid=mallory", status=403)
        self.call("GET", f"{say}?after=x", status=400)
        self.call("DELETE", f"{say}/1")
        self.assertEqual(alice.heard()["recalls"], 1)
        self.call("DELETE", f"{say}/1", status=409)
        self.assertEqual(self.call("PUT", "/v1/conversations/g.team/read", {"uid": "alice", "seq": 2})["read"], 2)
        (standing,) = self.call("GET", "/v1/users/alice/conversations")["conversations"]
        self.assertEqual((standing["unread"], standing["last_seq"]), (1, 3))
        sent = self.call("POST", "/v1/users/alice/messages", {"from": "bob", "text": "psst"})
        self.assertEqual(alice.told().subsignal, SubSignal.MN)
        self.assertEqual(alice.heard()["conversation"], sent["conversation"])
        self.call("POST", "/v1/users/nobody/messages", {"text": "x"}, 404)
        self.client(uid="bob")
        self.call("PUT", "/v1/users/alice/blocks/bob")
        self.call("POST", "/v1/users/alice/messages", {"from": "bob", "text": "x"}, 403)
        self.call("DELETE", "/v1/users/alice/blocks/bob")
        self.call("POST", "/v1/users/alice/messages", {"from": "bob", "text": "x"})

    def test_presence(self) -> None:
        alice = self.client(uid="alice")
        shown = self.call("GET", "/v1/users/alice/presence")
        self.assertEqual((shown["uid"], shown["online"], shown["sessions"]), ("alice", True, 1))
        alice.close()
        wait_until("alice is away", lambda: not self.call("GET", "/v1/users/alice/presence")["online"])
        self.assertGreaterEqual(self.call("GET", "/v1/users/alice/presence")["last_seen"], shown["last_seen"])
        self.assertIsNone(self.call("GET", "/v1/users/nobody/presence")["last_seen"])

    def test_a_push_reaches_all_members_of_a_group(self) -> None:
        alice, bob, old, other = self.client(uid="alice"), self.client(uid="bob"), self.client(), self.client()
        self.call("POST", "/v1/groups", {"group": "team", "uids": ["alice", "bob", "carol"]})
        self.call("POST", "/v1/groups/team/members", {"tokens": [old.token]})
        result = self.api.send({"group": "team"}, "pushed")
        self.assertEqual((result["targets"], result["sent"]), (3, 3))
        for each in (alice, bob, old):
            self.assertEqual(each.message(), b"pushed")
        self.api.send({"token": other.token}, "not to you")
        self.assertEqual(other.message(), b"not to you")
        for target, status in (({"group": "nowhere"}, 404), ({"group": "a/b"}, 400), ({"group": 7}, 400)):
            answer = self.api.post("/v1/messages:send", {"target": target, "message": {"data": "x"}})
            self.assertEqual(answer.status, status, answer.body)

    def test_all_of_it_is_described(self) -> None:
        paths = self.api.get("/openapi.json").json["paths"]
        for path in ("/v1/groups/{group}/members/{uid}", "/v1/conversations/{id}/messages", "/group/joinGroup"):
            self.assertIn(path, paths)


class OverWebSocket(ChatCase):
    """The chat form and the old one as JSON text."""

    def test_text_and_frames_talk_to_one_another(self) -> None:
        bob, old = self.client(uid="bob"), self.client()
        bob.ask(SubSignal.MP)
        with Browser(f"ws://{HOST}:{self.api.port}/ws") as alice:
            alice.open(uid="alice")
            alice.send("PUBLISH", {"group": "room", "uids": ["bob"]}, subSignal="GC", messageId=1)
            made = alice.next()
            self.assertEqual((made["signal"], made["subSignal"], made["messageId"]), ("PUB_ACK", "GC", 1))
            self.assertEqual((made["status"], made["content"]["members"]), (0, 2))
            self.assertEqual(self.old("group/joinGroup", token=old.token, group="room"), 200)
            self.assertEqual(bob.told().subsignal, SubSignal.GAM)
            came = alice.next()
            self.assertEqual((came["subSignal"], came["content"]["members"]), ("GMI", 3))
            self.assertEqual(came["content"]["joined"], [{"token": old.token}])
            self.assertEqual(json.loads(bob.told().body), came["content"])
            alice.send("PUBLISH", {"group": "room", "text": "hello"}, subSignal="MS", messageId=2)
            self.assertEqual(alice.next()["content"]["seq"], 1)
            self.assertEqual((bob.heard()["text"], old.heard()["message"]), ("hello", "hello"))
            bob.ask(SubSignal.MS, group="room", text="hi alice")
            heard = alice.next()
            self.assertEqual((heard["signal"], heard["subSignal"]), ("PUBLISH", "MN"))
            self.assertEqual((heard["content"]["from"], heard["content"]["text"]), ("bob", "hi alice"))
            alice.send("PUBLISH", {"group": "nowhere", "text": "x"}, subSignal="MS", messageId=3)
            refused = alice.next()
            self.assertEqual((refused["status"], refused["content"]["status"]), (4, 404))
            alice.send("PUBLISH", {"group": "room", "seq": 2}, subSignal="MN", messageId=4)
            self.assertEqual(alice.next()["content"], {"conversation": "g.room", "read": 2})
        with Browser(f"ws://{HOST}:{self.api.port}/ws") as carol:
            token = carol.open()
            self.assertEqual(self.old("group/joinGroup", token=token, group="room"), 200)
            bob.ask(SubSignal.MS, group="room", text="hi carol")
            heard = carol.next()
            self.assertEqual((heard["signal"], heard["content"]["message"]), ("CONTACT", "hi carol"))
            contact = {"from": token, "group": "room", "type": 0, "messageType": 0, "message": "hi bob"}
            carol.send("CONTACT", contact, messageId=9)
            answer = carol.next()
            self.assertEqual((answer["signal"], answer["messageId"], answer["content"]["status"]), ("PUB_ACK", 9, 200))
            self.assertEqual(bob.heard()["text"], "hi bob")


class WithoutGroups(ChatCase):
    """A server without the role."""

    options = ("--role=subscribe,cache,connector,router,api",)

    def test_it_says_so(self) -> None:
        client = self.client()
        self.assertEqual(client.contact(group="test", type=0, message="x")["status"], 501)
        client.send(client.session.request(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS))
        self.assertEqual(client.expect(Answered).frame.body[0], 9)
        self.assertEqual(self.api.get("/v1/groups/x").status, 404)
