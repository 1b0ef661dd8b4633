"""Groups and chat in a real cluster: two connectors, API and group role in processes of their own, one Redis."""

import json
from pathlib import Path
from typing import Any

from push.protocols.wire.signals import SubSignal
from push.services.chosen_chat import chosen
from tests.integration import test_chat  # and not its classes, which would be tests of this module too
from tests.integration.cluster import Cluster, Node
from tests.integration.server import Api
from tests.integration.waiting import wait_until

OPTIONS = ("--presence-debounce-s=0.3", "--chat-requests-per-s=1000")


class ClusterServer:
    """Such a cluster, where the tests of one server expect one: clients go to the two connectors by turns."""

    def __init__(self, directory: Path) -> None:
        self.cluster = Cluster(directory, OPTIONS)
        self.places = [self.cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
        self.front = self.cluster.node("api", "api")
        self.group = self.cluster.node("group", "group")
        self.core = self.cluster.node("core", "router", "subscribe", "cache")
        self._count = 0

    @property
    def api(self) -> Api:
        """Of the node that has nothing else."""
        return self.front.api

    @property
    def port(self) -> int:
        """Of the next connector."""
        self._count += 1
        return self.places[self._count % 2].port

    def start(self) -> None:
        """Start what is not running, and wait until all is ready, and chat can be asked for at either connector."""
        for node in self.cluster.nodes:
            if not node.is_running:
                node.spawn()
        for node in reversed(self.cluster.nodes):
            node.wait_ready()
        for place in self.places:
            place.wait_joined(self.group)

    def stop(self) -> int:
        """Stop the group role, which is then started again: it keeps nothing but in Redis."""
        code = self.group.stop()
        wait_until("the API knows that it is gone", lambda: self.api.get("/v1/groups/room").status == 503)
        return code

    def destroy(self) -> None:
        """Leave nothing behind."""
        self.cluster.destroy()


class ClusterChat(test_chat.ChatCase):
    """What works on one server works here; of that, what five processes may do differently."""

    test_newer_and_older_clients = (
        test_chat.NewerClients.test_two_newer_clients_and_an_older_one_talk_and_one_comes_back_to_what_it_missed
    )
    test_the_older_paths = test_chat.OlderClients.test_the_older_paths
    test_groups = test_chat.OverHttp.test_groups
    test_conversations = test_chat.OverHttp.test_conversations
    test_a_push_reaches_all_members_of_a_group = test_chat.OverHttp.test_a_push_reaches_all_members_of_a_group

    def setUp(self) -> None:
        self.server: Any = ClusterServer(Path(self.mktemp()))
        self.addCleanup(self.server.destroy)
        self.server.start()
        wait_until("the API has joined the group role", lambda: self.api.get("/v1/groups/room").status == 404)

    def test_watchers_are_told_of_users_at_the_other_connector(self) -> None:
        alice, bob = self.client(uid="alice"), self.client(uid="bob")
        places = {self.call("GET", f"/v1/tokens/{each.token}")["connector"] for each in (alice, bob)}
        self.assertEqual(len(places), 2)
        (shown,) = alice.ask(SubSignal.US, uids=["bob"])["presence"]
        self.assertEqual((shown["online"], shown["sessions"]), (True, 1))
        bob.close()
        frame = alice.told()
        self.assertEqual(frame.subsignal, SubSignal.US)
        told = json.loads(frame.body)
        self.assertEqual((told["uid"], told["online"]), ("bob", False))
        self.assertGreaterEqual(told["last_seen"], shown["last_seen"])
        self.client(uid="bob")
        self.assertTrue(json.loads(alice.told().body)["online"])

    def test_who_was_at_a_connector_that_died_is_away(self) -> None:
        alice, bob = self.client(uid="alice"), self.client(uid="bob")
        alice.ask(SubSignal.US, uids=["bob"])
        at = self.call("GET", f"/v1/tokens/{bob.token}")["connector"]
        node = self._at(at)
        node.kill()
        told = json.loads(alice.told().body)
        self.assertEqual((told["uid"], told["online"]), ("bob", False))
        self.assertIsNotNone(told["last_seen"])

    def test_who_watches_is_told_on_when_the_node_that_told_is_killed(self) -> None:
        group, other = self.server.group, self.server.cluster.node("other-group", "group")
        other.spawn()
        other.wait_ready()
        for place in self.server.places:
            place.wait_joined(other)
        alice, bob = self.client(uid="alice"), self.client(uid="bob")
        # A second watcher, so that both nodes are asked by somebody, most times.
        carol = self.client(uid="carol")
        for each in (alice, carol):
            each.ask(SubSignal.US, uids=["bob"])
        home = chosen([group.node_name, other.node_name], "ualice")
        tells, stays = (group, other) if home == group.node_name else (other, group)
        tells.kill()
        bob.close()
        self.assertEqual(json.loads(alice.told().body)["online"], False)
        self.assertEqual(json.loads(carol.told().body)["online"], False)
        tells.spawn()
        tells.wait_ready()
        stays.kill()
        self.client(uid="bob")
        self.assertEqual(json.loads(alice.told().body)["online"], True)

    def _at(self, address: str) -> Node:
        (node,) = (each for each in self.server.places if each.address == address)
        found: Node = node
        return found
