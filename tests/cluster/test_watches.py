"""Who watches the presence of others is told of it, whatever becomes of the nodes that tell."""

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.group_roles import ChatStores
from push.protocols.wire.signals import Signal, SubSignal
from push.services.chosen_chat import chosen
from tests.cluster.nodes import Cluster, ConnectorNode
from tests.services.clients import Client
from tests.stores.test_tokens import make_database

SEEDS = 6
# Two looks, and what a link takes to be made again.
TOLD_S = 20.0


class User(Client):
    """A user's only device, and what it knows of others by what it was told."""

    def __init__(self, node: ConnectorNode, uid: str) -> None:
        super().__init__(node.connector, node.cluster.world.clock)
        self.uid = uid
        self.knows: dict[str, bool] = {}
        self.told: list[tuple[str, bool]] = []
        self.send(Signal.SUB, json.dumps({"uid": uid, "token": f"token-of-{uid}"}).encode(), message_id=1)

    def watch(self, *uids: str) -> None:
        """Ask to be told of these."""
        body = json.dumps({"uids": uids}).encode()
        self.send(Signal.PUBLISH, body, subsignal=SubSignal.US, message_id=7)

    def read(self) -> list[tuple[str, bool]]:
        """Who came or went, as it was told since the last look."""
        told: list[tuple[str, bool]] = []
        for frame in self.frames():
            if frame.signal == Signal.PUB_ACK and not frame.body[0]:
                shown = json.loads(frame.body[1:])["presence"]
                self.knows = {each["uid"]: each["online"] for each in shown}
            elif frame.signal == Signal.PUBLISH:
                body = json.loads(frame.body)
                self.knows[body["uid"]] = body["online"]
                told.append((body["uid"], body["online"]))
        return told


class Watching(SynchronousTestCase):
    """Two nodes with the group role, which tell of the same sessions."""

    def begin(self, seed: int) -> None:
        """A cluster, and Alice, who watches Bob."""
        database = make_database(Path(self.mktemp()) / "chat.sqlite")
        database.open()
        self.addCleanup(database.close)
        chats = ChatStores.in_sqlite(database)
        self.cluster = Cluster(seed, routers=0, connectors=3, groups=2, chats=chats)
        self.world = self.cluster.world
        self.world.is_calm = True
        self.world.pass_time(5)
        self.alice, self.bob = self.user(0, "alice"), self.user(1, "bob")
        self.alice.watch("bob")
        self.world.pass_time(1)
        self.assertEqual(self.alice.read(), [])
        self.assertEqual(self.alice.knows, {"bob": True})

    def user(self, connector: int, uid: str) -> User:
        """Somebody comes."""
        user = User(self.cluster.connectors[f"10.0.0.{connector}:1"], uid)
        self.world.pass_time(1)
        return user

    def home(self) -> str:
        """The node that tells Alice."""
        return chosen(self.cluster.groups, "ualice")

    def watching(self, name: str) -> list[str]:
        """Whose sessions watch others, as a node with the group role has it."""
        presence: Any = self.cluster.groups[name].role.side.presence
        return [session.uid for session in presence.watching()]

    def kill(self, name: str) -> None:
        """As kill -9."""
        self.cluster.groups[name].kill()

    def told(self) -> list[tuple[str, bool]]:
        """What Alice is told within the time that it may take."""
        self.world.pass_time(TOLD_S)
        return self.alice.read()

    def test_who_watches_is_told_on_when_the_node_that_told_dies(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            self.assertEqual(self.watching(self.home()), ["alice"])
            self.kill(self.home())
            self.assertEqual(self.told(), [])
            self.bob.hang_up()
            self.assertEqual(self.told(), [("bob", False)])
            self.user(2, "bob")
            self.assertEqual(self.told(), [("bob", True)])

    def test_what_changes_while_nobody_tells_is_told_after_that(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            for name in self.cluster.groups:
                self.kill(name)
            self.bob.hang_up()
            self.assertEqual(self.told(), [])
            self.cluster.start("group1")
            self.assertEqual(self.told(), [("bob", False)])

    def test_a_link_that_breaks_makes_nobody_be_told_twice(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            connector, home = self.cluster.connectors["10.0.0.0:1"], self.cluster.groups[self.home()]
            link = connector.link(home)
            for lasting_s in (0.3, 3.0, 9.0):
                link.is_blocked = True
                link.lose()
                self.world.pass_time(lasting_s)
                link.unblock()
                self.world.pass_time(6)
            holders = [name for name in self.cluster.groups for _ in self.watching(name)]
            self.assertEqual(len(holders), 1)
            self.bob.hang_up()
            self.assertEqual(self.told(), [("bob", False)])

    def test_a_node_that_stood_still_does_not_tell_what_another_one_tells(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            home = self.cluster.groups[self.home()]
            home.clock.is_frozen = True
            for link in self.world.links_of(home):
                link.lose()
            self.world.pass_time(15)
            self.bob.hang_up()
            self.assertEqual(self.told(), [("bob", False)])
            home.clock.thaw()
            self.assertEqual(self.told(), [])
            self.user(2, "bob")
            self.assertEqual(self.told(), [("bob", True)])

    def test_who_asks_for_others_when_another_node_is_chosen_is_told_of_those_alone(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            home = self.home()
            self.kill(home)
            self.assertEqual(self.told(), [])
            self.cluster.start(home)
            self.assertEqual(self.told(), [])
            (other,) = set(self.cluster.groups) - {home}
            self.assertEqual((self.watching(home), self.watching(other)), ([], ["alice"]))
            self.alice.watch("carol")
            self.world.pass_time(1)
            self.assertEqual((self.watching(home), self.watching(other)), (["alice"], []))
            self.bob.hang_up()
            self.user(2, "carol")
            self.assertEqual(self.told(), [("carol", True)])

    def test_a_node_that_is_there_for_a_moment_only_takes_no_watch_with_it(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            self.kill(self.home())
            self.assertEqual(self.told(), [])
            self.cluster.start(self.home())
            self.alice.watch("bob")
            self.world.pass_time(0.2)
            self.assertEqual(self.watching(self.home()), ["alice"])
            self.kill(self.home())
            self.bob.hang_up()
            self.assertEqual(self.told(), [("bob", False)])

    def test_redis_that_lost_everything_makes_nobody_be_told_of(self) -> None:
        for seed in range(SEEDS):
            self.begin(seed)
            self.cluster.stores.empty()
            self.assertEqual(self.told(), [])
            self.bob.hang_up()
            self.assertEqual(self.told(), [("bob", False)])

    def test_sessions_that_are_over_watch_nobody_anywhere(self) -> None:
        self.begin(0)
        connector = self.cluster.connectors["10.0.0.0:1"]
        self.assertEqual(len(connector.watches), 1)
        self.alice.hang_up()
        self.world.pass_time(60)
        self.assertEqual(len(connector.watches), 0)
        self.assertEqual([self.watching(name) for name in self.cluster.groups], [[], []])

    def test_at_last_all_know_how_it_is_whatever_happened(self) -> None:
        for seed in range(3 * SEEDS):
            self.begin(seed)
            Walk(self).go()


class Walk:
    """A random walk through what can happen to nodes that tell."""

    def __init__(self, case: Watching) -> None:
        self.case = case
        self.cluster, self.world = case.cluster, case.world
        self.random = self.world.random
        self.users: dict[str, User | None] = {"bob": case.bob, "carol": None}
        self.watched = ("bob",)

    def go(self) -> None:
        """Walk, and see how all ends."""
        self.world.is_calm = False
        # What the directory of sessions is wrong about then, until a token comes back, is told as it has it.
        self.case.patch(self.world, "loses_answers", lambda: False)
        for _ in range(40):
            steps = (self.kill, self.start, self.cut, self.freeze, self.come_or_go, self.come_or_go, self.watch)
            self.random.choice(steps)()
            self.world.pass_time(self.random.choice((0.05, 0.5, 2.0, 6.0)))
        self.world.is_calm = True
        for name, node in self.cluster.groups.items():
            node.clock.thaw()
            if not node.is_alive:
                self.cluster.start(name)
        self.world.pass_time(30)
        alice = self.case.alice
        alice.read()
        is_there = {uid: self.users[uid] is not None for uid in self.watched}
        self.case.assertEqual({uid: alice.knows.get(uid) for uid in self.watched}, is_there)

    def kill(self) -> None:
        """A node dies."""
        self.random.choice(list(self.cluster.groups.values())).kill()

    def start(self) -> None:
        """A node that died is there again."""
        dead = [name for name in self.cluster.dead() if name in self.cluster.groups]
        if dead:
            self.cluster.start(self.random.choice(dead))

    def cut(self) -> None:
        """A link breaks, and is made again."""
        self.random.choice(self.world.links_of(self.random.choice(list(self.cluster.groups.values())))).lose()

    def freeze(self) -> None:
        """A node stands still, or goes on."""
        node = self.random.choice(list(self.cluster.groups.values()))
        if node.clock.is_frozen:
            node.clock.thaw()
        elif node.is_alive:
            node.clock.is_frozen = True

    def come_or_go(self) -> None:
        """Somebody who is watched, perhaps."""
        uid = self.random.choice(list(self.users))
        user = self.users[uid]
        if user is None:
            self.users[uid] = self.case.user(self.random.choice((1, 2)), uid)
        else:
            user.hang_up()
            self.users[uid] = None

    def watch(self) -> None:
        """Alice asks for others; who gets no answer asks until there is one."""
        wanted = self.random.choice((("bob",), ("carol",), ("bob", "carol")))
        alice = self.case.alice
        for _ in range(30):
            alice.watch(*wanted)
            self.world.pass_time(0.5)
            alice.read()
            if set(alice.knows) == set(wanted):
                self.watched = wanted
                return
            self.start()
        self.watched = ()
