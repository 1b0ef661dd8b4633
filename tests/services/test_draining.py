"""Tests of push.services.draining and moving: sessions go elsewhere at a rate, and stay where there is no elsewhere."""

import json
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import NotFound, NowhereElse, Unavailable
from push.inodes import IDraining
from push.ipush import IConnectionHost
from push.model_cluster import Node
from push.protocols.framed import FramedWireProtocol
from push.protocols.tcp import FramedProtocol
from push.protocols.wire.answers import NodeAddress, parse_sub_answer
from push.protocols.wire.signals import Signal
from push.services.allocation import PolledPlaces
from push.services.connector import Connector
from push.services.draining import Draining
from push.services.moving import GRACE_S
from tests.services.clients import Client, make_connector
from tests.web.fakes import FakeConnector, FakeNodes

ELSEWHERE = [NodeAddress("10.0.0.2", 6789), NodeAddress("10.0.0.3", 6789)]


class LineProtocol(FramedProtocol):
    """As if it were another wire protocol."""

    __slots__ = ("factory",)
    speaks = "lines"


class Lines(FramedWireProtocol):
    """Clients that speak that."""

    name = "lines"

    def factory(self, host: IConnectionHost) -> Any:
        """See IWireProtocol."""
        return Factory.forProtocol(lambda: LineProtocol(host))


class WorkingClock(Clock):
    """A clock that goes on while it is looked at, as if work took time."""

    step_s = 0.0

    def seconds(self) -> float:
        """A moment later each time."""
        self.rightNow += self.step_s
        return super().seconds()


class Elsewhere(SynchronousTestCase):
    """A connector with somewhere else to send clients to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.places = list(ELSEWHERE)
        self.connector = self.make()

    def make(self, **limits: Any) -> Connector:
        """A connector."""
        connector, self.subscribe, _ = make_connector(self.clock, elsewhere=lambda protocol: self.places, **limits)
        return connector

    def client(self) -> Client:
        """A connection."""
        return Client(self.connector, self.clock)

    def online(self, count: int) -> list[Client]:
        """Clients with sessions."""
        clients = [self.client() for _ in range(count)]
        for client in clients:
            self.assertEqual(client.sub()["status"], 200)
        return clients

    def drain(self, sessions_per_s: float | None) -> None:
        """Begin or end."""
        self.successResultOf(Deferred.fromCoroutine(self.connector.drain(sessions_per_s)))

    def node(self) -> Node:
        """How it says it is."""
        return self.successResultOf(Deferred.fromCoroutine(self.connector.node()))

    def pass_time(self, seconds: float) -> None:
        """In small steps."""
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)


def unasked(client: Client) -> list[dict[str, Any]]:
    """The redirects that came with message id 0."""
    return [json.loads(frame.body) for frame in client.frames() if (frame.signal, frame.message_id) == (Signal.SUB, 0)]


class FullTests(Elsewhere):
    """A connector over its limit."""

    def setUp(self) -> None:
        super().setUp()
        self.connector = self.make(max_connections=1)
        self.online(1)

    def test_one_too_many_is_told_where_there_is_room(self) -> None:
        client = self.client()
        answer = client.sub()
        self.assertEqual((answer["status"], answer["host"], answer["port"]), (302, "10.0.0.2", 6789))
        self.assertEqual(parse_sub_answer(json.dumps(answer).encode()).nodes, tuple(ELSEWHERE))
        self.assertTrue(client.is_ended)

    def test_where_there_is_no_elsewhere_it_is_told_to_come_back_later(self) -> None:
        self.places.clear()
        self.assertEqual(self.client().sub()["status"], 503)

    def test_one_of_too_many_from_one_address_is_sent_nowhere(self) -> None:
        self.connector = self.make(max_connections_per_address=1)
        self.online(1)
        self.assertEqual(self.client().sub()["status"], 503)

    def test_a_chat_client_is_told_in_its_own_form(self) -> None:
        client = self.client()
        client.send(Signal.CONNECT, b'{"userName": "u"}', message_id=7)
        (ack, _) = client.frames()
        self.assertEqual((ack.signal, ack.subsignal, ack.message_id), (Signal.CONNECT_ACK, 7, 7))
        self.assertEqual(json.loads(ack.body)["host"], "10.0.0.2")


class MovingTests(Elsewhere):
    """A connector that is drained."""

    def test_who_comes_is_sent_elsewhere_and_who_has_a_session_may_renew_it(self) -> None:
        (old,) = self.online(1)
        self.drain(0.001)
        self.assertEqual(self.client().sub()["status"], 302)
        self.assertEqual(old.sub(uid="u")["status"], 200)
        self.assertTrue(self.node().draining)

    def test_sessions_are_told_at_the_rate_and_at_spread_times(self) -> None:
        clients = self.online(40)
        self.drain(10.0)
        self.pass_time(2.0)
        told = [found[0] for found in map(unasked, clients) if found]
        self.assertIn(len(told), range(18, 23))
        self.assertEqual({one["status"] for one in told}, {302})
        self.assertGreater(len({one["retry_after"] for one in told}), 5)
        self.pass_time(2.5)
        self.assertEqual(self.connector.moving.moved, 40)

    def test_each_is_told_once_and_closed_if_it_stays(self) -> None:
        (client,) = self.online(1)
        self.drain(100.0)
        self.pass_time(GRACE_S / 2)
        self.assertEqual(len(unasked(client)), 1)
        self.assertFalse(client.is_ended)
        self.pass_time(GRACE_S / 2 + 1.2)
        self.assertEqual(client.goodbye()["code"], 3001)
        self.assertEqual(self.node().sessions, 0)

    def test_messages_arrive_until_it_goes(self) -> None:
        (client,) = self.online(1)
        self.drain(100.0)
        self.pass_time(0.5)
        broadcast = Deferred.fromCoroutine(self.connector.broadcast(1, b"still here"))
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(broadcast), 1)
        self.assertEqual(client.pushes(), [b"still here"])

    def test_nobody_is_told_while_there_is_no_elsewhere(self) -> None:
        clients = self.online(3)
        self.places.clear()
        self.drain(100.0)
        self.pass_time(GRACE_S * 2)
        self.assertEqual([unasked(client) for client in clients], [[], [], []])
        self.assertEqual(self.client().sub()["status"], 200)  # better here than nowhere
        self.places.extend(ELSEWHERE)
        self.pass_time(1.0)
        self.assertEqual([len(unasked(client)) for client in clients], [1, 1, 1])

    def test_who_speaks_what_is_spoken_nowhere_else_stays_and_holds_up_nobody(self) -> None:
        places: dict[str | None, list[NodeAddress]] = {"framed": ELSEWHERE}
        self.connector, self.subscribe, _ = make_connector(
            self.clock, elsewhere=lambda protocol: places.get(protocol, [])
        )
        clients = [Client(self.connector, self.clock, wire=Lines() if n % 2 == 0 else None) for n in range(6)]
        self.assertEqual({client.sub()["status"] for client in clients}, {200})
        self.drain(100.0)
        self.pass_time(1.0)
        self.assertEqual([len(unasked(client)) for client in clients], [0, 1, 0, 1, 0, 1])
        places["lines"] = [NodeAddress("10.0.0.2", 7000)]
        self.pass_time(1.0)
        (told,) = unasked(clients[0])
        self.assertEqual((told["host"], told["port"]), ("10.0.0.2", 7000))

    def test_others_are_served_while_many_are_told_and_closed(self) -> None:
        clock = self.clock = WorkingClock()
        self.connector = self.make(max_connections=2_000, max_connections_per_address=2_000, max_subs_per_s=1e6)
        self.online(1_000)
        clock.step_s = 0.000_1  # what each look at the clock costs: telling 1,000 takes 0.1 s or more
        seen: list[int] = []

        def look() -> None:
            seen.append(self.connector.moving.moved)
            if len(seen) < 1_000:
                clock.callLater(0.001, look)

        look()
        self.drain(1e6)
        self.pass_time(1.0)
        self.assertEqual(self.connector.moving.moved, 1_000)
        self.assertLess(max(after - before for before, after in pairwise(seen)), 300)

    def test_what_is_undone_is_undone(self) -> None:
        clients = self.online(20)
        self.drain(10.0)
        self.pass_time(1.0)
        self.drain(None)
        self.pass_time(GRACE_S * 2)
        self.assertFalse(self.node().draining)
        self.assertIn(sum(len(unasked(client)) for client in clients), range(8, 13))
        self.assertFalse(any(client.is_ended for client in clients))
        self.assertEqual(self.client().sub()["status"], 200)
        self.drain(100.0)
        self.pass_time(1.0)
        self.assertTrue(all(unasked(client) for client in clients))

    def test_another_rate_takes_the_place_of_the_first(self) -> None:
        self.online(50)
        self.drain(1.0)
        self.pass_time(1.0)
        self.drain(100.0)
        self.pass_time(1.0)
        self.assertEqual(self.connector.moving.moved, 50)

    def test_one_that_leaves_sends_those_who_come_elsewhere_too(self) -> None:
        self.connector.leave(self.clock.seconds() + 10)
        self.assertEqual(self.client().sub()["status"], 302)
        self.places.clear()
        self.assertEqual(self.client().sub()["status"], 503)


class DrainingTests(SynchronousTestCase):
    """Which connectors are meant."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.workers = [FakeConnector(f"a:1#{number}") for number in (1, 2)]
        self.other = FakeConnector("b:1")
        self.nodes = FakeNodes(*self.workers, self.other)
        self.places = PolledPlaces(self.nodes, clock=self.clock)
        self.places.startService()
        self.addCleanup(self.places.stopService)
        self.draining = Draining(nodes=self.nodes, places=self.places, clock=self.clock)

    def ask(self, name: str, rate: float | None) -> "Deferred[Any]":
        """Drain."""
        asked: Deferred[Any] = Deferred.fromCoroutine(self.draining.drain(name, rate))
        self.clock.advance(1.0)
        return asked

    def test_interface_is_kept(self) -> None:
        verifyObject(IDraining, self.draining)

    def test_an_address_means_all_that_share_it(self) -> None:
        found = self.successResultOf(self.ask("a:1", 10.0))
        self.assertEqual([node.address for node in found], ["a:1#1", "a:1#2"])
        self.assertEqual([worker.rates for worker in self.workers], [[5.0], [5.0]])
        self.successResultOf(self.ask("a:1", None))
        self.assertEqual([worker.rates for worker in self.workers], [[5.0, None], [5.0, None]])

    def test_a_name_means_one(self) -> None:
        self.successResultOf(self.ask("a:1#2", 10.0))
        self.assertEqual([worker.rates for worker in self.workers], [[], [10.0]])

    def test_nobody_has_this_name(self) -> None:
        self.failureResultOf(self.ask("c:1", 10.0), NotFound)

    def test_the_last_place_there_is_is_not_drained(self) -> None:
        del self.nodes.all["b:1"]
        self.failureResultOf(self.ask("a:1", 10.0), NowhereElse)
        self.failureResultOf(self.ask("a:1#1", 10.0), NowhereElse)  # those who share its address are no elsewhere
        self.assertEqual([worker.rates for worker in self.workers], [[], []])

    def test_who_drains_or_is_full_is_no_elsewhere(self) -> None:
        self.other.draining = True
        self.clock.advance(1.0)
        self.failureResultOf(self.ask("a:1", 10.0), NowhereElse)
        self.other.draining, self.other.connections = False, 100
        self.clock.advance(1.0)
        self.failureResultOf(self.ask("a:1", 10.0), NowhereElse)
        self.assertEqual(self.successResultOf(self.ask("a:1", None))[0].address, "a:1#1")

    def test_who_drains_since_a_moment_is_no_elsewhere(self) -> None:
        self.clock.advance(1.0)
        self.successResultOf(Deferred.fromCoroutine(self.draining.drain("b:1", 10.0)))
        asked = Deferred.fromCoroutine(self.draining.drain("a:1", 10.0))
        self.assertFalse(self.places.known()[-1].draining, "it is known by now: this proves nothing")
        self.failureResultOf(asked, NowhereElse)
        self.assertEqual([worker.rates for worker in self.workers], [[], []])

    def test_who_does_not_answer_is_no_elsewhere(self) -> None:
        self.clock.advance(1.0)
        self.other.silent = True
        asked = Deferred.fromCoroutine(self.draining.drain("a:1", 10.0))
        self.clock.advance(5.0)
        self.failureResultOf(asked, NowhereElse)

    def test_one_that_does_not_answer_is_said_to_be_in_doubt(self) -> None:
        self.workers[0].silent = True
        asked = self.ask("a:1", 10.0)
        self.clock.advance(5.0)
        self.failureResultOf(asked, Unavailable)
        self.assertEqual(self.workers[1].rates, [5.0])
