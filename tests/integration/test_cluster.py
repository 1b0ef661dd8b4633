"""Roles in processes of their own, on a real Redis."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.peer.envelopes import MAJOR, MINOR
from push.protocols.wire.signals import CloseCode, SubSignal
from push.stores.redis.address import parse_address
from tests.integration.client import WireClient
from tests.integration.cluster import Cluster, Node
from tests.integration.test_chat import ChatClient
from tests.integration.waiting import wait_until
from tests.stores.redis.test_failover import Authority

_SHOWN = 40


# A node that joins others whatever version they say they speak.
IGNORING = "import push.protocols.peer.links as l; l.MAJOR = 1;"


def speaking(*, major: int = MAJOR, minor: int = MINOR) -> str:
    """What makes a process another version between nodes."""
    return f"import push.protocols.peer.envelopes as e; e.MAJOR, e.MINOR = {major}, {minor};"


def holder_of(caches: list[Node]) -> Node:
    """The one that holds the cache."""
    (holder,) = [node for node in caches if "holds the cache from now on" in node.output()]
    return holder


class ClusterTests(SynchronousTestCase):
    """One cluster a test."""

    @contextmanager
    def running(self, *options: str) -> Iterator[Cluster]:
        """A cluster that does not outlive this; what it wrote is shown if it was a failure."""
        cluster = Cluster(Path(self.mktemp()), options)
        try:
            yield cluster
        except BaseException:
            for node in cluster.nodes:
                print(f"\n--- {node.name} ---", *node.output().splitlines()[-_SHOWN:], sep="\n", file=sys.stderr)
            raise
        finally:
            cluster.destroy()

    def test_a_message_reaches_a_client_of_either_connector(self) -> None:
        with self.running() as cluster:
            core = cluster.node("core", "api", "router", "subscribe", "cache")
            places = [cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
            cluster.start()
            self.check_delivery(core, places)
            self.assertIn(f"at {parse_address(cluster.redis.url)}: connector\n", places[0].output())

    def test_every_role_in_a_process_of_its_own(self) -> None:
        with self.running() as cluster:
            places = [cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
            api = cluster.node("api", "api")
            for role in ("router", "subscribe", "cache"):
                cluster.node(role, role)
            cluster.start()
            self.check_delivery(api, places)

    def test_nodes_talk_over_tls_and_let_in_nobody_without_a_certificate_or_the_secret(self) -> None:
        certificates = Path(self.mktemp())
        ours, theirs = Authority(certificates), Authority(certificates, "others")

        def tls(authority: Authority, name: str) -> list[str]:
            cert, key = (path.resolve() for path in authority.issue(name))
            return [f"--peer-tls-cert={cert}", f"--peer-tls-key={key}", f"--peer-tls-ca={ours.path.resolve()}"]

        with self.running() as cluster:
            place = cluster.node("connector", "connector", options=tls(ours, "connector"))
            core = cluster.node("core", "api", "router", "subscribe", "cache", options=tls(ours, "core"))
            cluster.start()
            client = WireClient(place.port).open()
            self.assertEqual(core.api.send({"token": client.token}, "hidden")["sent"], 1)
            self.assertEqual(client.message(), b"hidden")
            strange = cluster.node("strange", "connector", options=tls(theirs, "strange"))
            plain = cluster.node("plain", "connector")
            guess = cluster.node("guess", "connector", options=tls(ours, "guess"))
            guess.variables["PUSH_PEER_SECRET"] = "0" * 32
            for node in (strange, plain, guess):
                node.spawn()
            wait_until("who has a wrong secret is told so", lambda: "the secret is not that" in guess.output())
            for node in (strange, plain):
                wait_until(f"{node.name} is not let in", lambda node=node: "cannot be joined" in node.output())
            names = {each["address"] for each in core.api.get("/v1/nodes").json["nodes"]}
            self.assertEqual(names & {node.address for node in (place, strange, plain, guess)}, {place.address})
            client.close()

    def test_an_older_and_a_newer_minor_version_work_side_by_side_and_another_major_one_is_refused(self) -> None:
        with self.running() as cluster:
            old = cluster.node("old", "connector", before=speaking(minor=0))
            new = cluster.node("new", "connector", before=speaking(minor=MINOR + 7))
            core = cluster.node("core", "api", "router", "subscribe", "cache")
            cluster.start()
            self.check_delivery(core, [old, new])
            strange = cluster.node("strange", "connector", before=speaking(major=MAJOR + 1))
            strange.spawn()
            wait_until("the reason is logged", lambda: f"speaks version {MAJOR}.{MINOR}" in strange.output())
            wait_until("it says so", lambda: f"speaks version {MAJOR}.{MINOR}" in strange.why("subscribe"))
            # One that is told is not the only one that knows: it would not have been let in.
            bold = cluster.node("bold", "connector", before=speaking(major=MAJOR + 1) + IGNORING)
            bold.spawn()
            wait_until("it is refused", lambda: "run the same release on both" in bold.why("subscribe"))
            addresses = {each["address"] for each in core.api.get("/v1/nodes").json["nodes"]}
            self.assertEqual(addresses, {old.address, new.address})

    def test_all_nodes_stop_in_order_when_they_are_asked_to(self) -> None:
        with self.running() as cluster:
            place = cluster.node("connector", "connector")
            for role in ("api", "router", "cache", "subscribe"):
                cluster.node(role, role)
            cluster.start()
            client = WireClient(place.port).open()
            self.assertEqual(place.stop(), 0)
            self.assertEqual(int(client.until_closed()[1].code), CloseCode.SHUTDOWN)  # type: ignore[union-attr]
            for node in cluster.nodes[1:]:
                self.assertEqual(node.stop(), 0, node.name)
            for node in cluster.nodes:
                self.assertNotIn("Traceback", node.output(), node.name)
            self.assertNotIn(b"node:", cluster.redis.command("KEYS", "push:{leases}:held:*"))

    def test_any_of_the_nodes_may_be_killed(self) -> None:
        with self.running() as cluster:
            places = [cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
            apis = [cluster.node(f"api-{number}", "api") for number in (1, 2)]
            routers = [cluster.node(f"router-{number}", "router") for number in (1, 2)]
            caches = [cluster.node(f"cache-{number}", "cache") for number in (1, 2)]
            tokens = [cluster.node(f"subscribe-{number}", "subscribe") for number in (1, 2)]
            cluster.start()
            client = WireClient(places[0].port).open(uid="walker")
            number = self.send_until_it_arrives(apis[0], client, 0)
            for node in (routers[0], tokens[0], holder_of(caches), apis[1]):
                node.kill()
                number = self.send_until_it_arrives(apis[0], client, number)
            away = WireClient(places[1].port).open(ack=True, uid="away")
            token = away.token
            self.accepted(apis[0], token, "unacknowledged")
            self.assertEqual(away.message(), b"unacknowledged")
            places[1].kill()
            wait_until("its token counts as offline", lambda: not apis[0].api.token(token)["online"])
            self.assertEqual(self.accepted(apis[0], token, "kept")["sent"], 0)
            back = WireClient(places[0].port).open(token=token, ack=True)
            self.assertEqual(back.messages(2), [b"unacknowledged", b"kept"])
            # What was killed comes back, and does its part again.
            for node in cluster.nodes:
                if not node.is_running:
                    node.spawn()
            for node in cluster.nodes:
                node.wait_ready()
            self.check_delivery(apis[1], places)
            client.close()
            back.close()

    def accepted(self, api: Node, token: str, data: str) -> Any:
        """The answer to a message, which may be refused for a while with 503, and with nothing else."""

        def sent() -> Any:
            answer = api.api.post("/v1/messages:send", {"target": {"token": token}, "message": {"data": data}})
            if answer.status == 503:
                return None
            self.assertEqual(answer.status, 200, answer.body)
            return answer.json

        return wait_until(f"{data} is accepted", sent)

    def send_until_it_arrives(self, api: Node, client: WireClient, number: int) -> int:
        """Messages are refused or arrive, in order; returns the number of the next one."""
        self.accepted(api, client.token, f"message {number}")
        payload = client.message()
        while payload != b"message %d" % number:  # one that was refused may have been sent all the same
            self.assertLess(int(payload.rpartition(b" ")[2]), number)
            payload = client.message()
        return number + 1

    def check_delivery(self, api: Node, places: list[Node]) -> None:
        """To one, to all, to one who is away, and from one place to another."""
        clients = [WireClient(place.port).open(uid=f"user-{at}") for at, place in enumerate(places)]
        for at, client in enumerate(clients):
            result = api.api.send({"token": client.token}, f"one {at}")
            self.assertEqual(result["sent"], 1)
            self.assertEqual(client.message(), b"one %d" % at)
        result = api.api.send({"all": True}, "everybody")
        self.assertGreaterEqual(result["sent"], len(clients))
        for client in clients:
            self.assertEqual(client.message(), b"everybody")
        first = clients[0]
        token = first.token
        first.close()
        wait_until("the token is offline", lambda: not (api.api.token(token) or {}).get("online", True))
        for number in range(3):
            self.assertEqual(api.api.send({"token": token}, f"kept {number}")["sent"], 0)
        back = WireClient(places[1].port).open(token=token)
        self.assertEqual(back.messages(3), [b"kept 0", b"kept 1", b"kept 2"])
        # The same token elsewhere: the old session is closed there, and messages find the new one.
        again = WireClient(places[0].port).open(token=token)
        self.assertEqual(int(back.until_closed()[1].code), CloseCode.REPLACED)  # type: ignore[union-attr]
        wait_until("it is found there", lambda: api.api.send({"token": token}, "moved")["sent"] == 1)
        again.message()
        for client in (clients[1], back, again):
            client.close()

    def test_members_on_both_connectors_talk_through_either_group_role_and_past_the_end_of_one(self) -> None:
        with self.running("--chat-requests-per-s=1000") as cluster:
            core = cluster.node("core", "api", "router", "subscribe", "cache", "group")
            other = cluster.node("other", "group")
            places = [cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
            cluster.start()
            for place in places:
                for group in (core, other):
                    place.wait_joined(group)
            people = [ChatClient(places[at % 2].port) for at in range(6)]
            for at, person in enumerate(people):
                person.open(uid=f"user-{at}")
            body = {"group": "room", "uids": [f"user-{at}" for at in range(6)]}
            self.assertEqual(core.api.post("/v1/groups", body).status, 200)
            for person in people:
                person.ask(SubSignal.MP)
            for at, person in enumerate(people):
                person.ask(SubSignal.MS, group="room", text=f"from {at}", client_id="c-1")
            for at, person in enumerate(people):
                heard: set[str] = set()
                while len(heard) < 5:  # that one was made a member may be told as late as this
                    heard |= {person.heard().get("text", "")} - {""}
                self.assertEqual(heard, {f"from {number}" for number in range(6) if number != at})
            self.assertEqual(core.api.send({"group": "room"}, "pushed")["sent"], 6)
            for person in people:
                self.assertEqual(person.message(), b"pushed")
            other.stop(9)
            for at, person in enumerate(people):  # said again, as it may have been lost: still one message
                said = wait_until("it is said", lambda person=person, at=at: self.say_again(person, f"from {at}"))
                self.assertLessEqual(said["seq"], 6)
            self.assertEqual(len(people[0].ask(SubSignal.MP, group="room")["messages"]), 6)
            for person in people:
                person.close()

    def say_again(self, client: ChatClient, text: str) -> Any:
        """Say it once more under the same name; None where that cannot be now."""
        try:
            return client.ask(SubSignal.MS, group="room", text=text, client_id="c-1")
        except AssertionError:
            return None
