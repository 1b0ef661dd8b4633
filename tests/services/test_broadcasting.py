"""Tests of push.services.broadcasting, reception and heard: connectors on one bus, in memory and simulated time."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.icluster import IBusListener
from push.inodes import IBroadcasting, ILinkedConnector
from push.ipush import IConnector
from push.model import Delivery, DeliveryReport, Registration
from push.model_chat import Notice
from push.model_cluster import BusPlace, Node
from push.protocols.wire.messages import Disconnect
from push.services.broadcasting import EachByItself, OverBus
from push.services.connector import Connector
from push.services.heard import PAYLOAD_LIMIT_S, TURN_LIMIT_S
from push.services.reception import Reception, read_broadcast, write_broadcast
from tests.fakes_cluster import MemoryBus, MemoryChannel
from tests.services.clients import Client, make_connector

MAX_PAYLOAD_BYTES = 1_000


@implementer(ILinkedConnector)
class Linked:
    """A connector as if over a link: one that may be cut or slow, and that counts what it carries."""

    waiting_bytes = 0

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.address = connector.address
        self.hears = False
        self.is_cut = False
        self.held: list[Deferred[None]] | None = None
        self.payloads: list[bytes | None] = []
        self.probe: Any = None

    async def _way(self) -> None:
        if self.is_cut:
            raise Unavailable("the link is cut")
        if self.held is not None:
            turn: Deferred[None] = Deferred()
            self.held.append(turn)
            await turn

    def let_go(self) -> None:
        """What was held arrives now."""
        held, self.held = self.held or [], None
        for turn in held:
            turn.callback(None)

    async def deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        """See IConnector."""
        await self._way()
        return await self._connector.deliver(batch)

    async def broadcast(
        self, message_id: int, payload: bytes | None, is_logged: bool = False, place: Any = None
    ) -> int:
        """See IConnector."""
        self.payloads.append(payload)
        await self._way()
        return await self._connector.broadcast(message_id, payload, is_logged, place)

    async def bring(self, message_id: int) -> int:
        """See IConnector."""
        await self._way()
        return await self._connector.bring(message_id)

    async def notify(self, notices: Sequence[Notice]) -> int:
        """See IConnector."""
        return await self._connector.notify(notices)

    async def refill(self, tokens: Sequence[str]) -> None:
        """See IConnector."""
        await self._connector.refill(tokens)

    async def kick(self, token: str, reason: Disconnect) -> bool:
        """See IConnector."""
        return await self._connector.kick(token, reason)

    async def replaced(self, registrations: Sequence[Registration]) -> None:
        """See IConnector."""
        await self._connector.replaced(registrations)

    async def drain(self, sessions_per_s: float | None) -> None:
        """See IConnector."""
        await self._connector.drain(sessions_per_s)

    async def node(self) -> Node:
        """See IConnector."""
        return await self._connector.node()

    def samples(self) -> Any:
        """See ILinkedConnector."""
        return succeed(())

    def link_samples(self) -> Any:
        """See ILinkedConnector."""
        return ()


class Place:
    """A connector with a client, its ear, and the router's link to it."""

    def __init__(self, clock: Clock, channel: MemoryChannel) -> None:
        self.connector, _, _ = make_connector(clock)
        self.resynchronised = 0
        self.link = Linked(self.connector)
        self.bus = MemoryBus(channel)
        self.reception = Reception(
            self.bus,
            heard=self.connector.hear(10_000),
            resynchronise=self.resynchronise,
            max_payload_bytes=MAX_PAYLOAD_BYTES,
            clock=clock,
            changed=self.changed,
        )
        self.reception.startService()
        self.client = Client(self.connector, clock)
        self.token = self.client.sub()["token"]

    def resynchronise(self) -> None:
        """Note it."""
        self.resynchronised += 1

    def changed(self, hears: bool) -> None:
        """Tell the router, if it can be told."""
        self.link.hears = hears

    def counted(self, name: str) -> float:
        """One of its numbers."""
        (value,) = (s.value for s in self.reception.samples() if s.name == f"push_bus_{name}")
        assert isinstance(value, int | float)
        return value


class BusCase(SynchronousTestCase):
    """Three connectors and a router."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.channel = MemoryChannel()
        self.places = [Place(self.clock, self.channel) for _ in range(3)]
        self.bus = MemoryBus(self.channel)
        self.broadcasting = OverBus(self.bus, clock=self.clock)
        self.ids = iter(range(1, 1_000))

    def send(self, payload: bytes = b"hello") -> list[Deferred[int]]:
        """Broadcast."""
        links: list[IConnector] = [place.link for place in self.places]
        begun = self.broadcasting.broadcast(next(self.ids), payload, False, links)
        return [Deferred.fromCoroutine(_awaited(each)) for each in begun]

    def pass_time(self, seconds: float) -> None:
        """In small steps."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def got(self) -> list[list[bytes]]:
        """What each client got since the last look."""
        return [place.client.pushes() for place in self.places]


async def _awaited(work: Any) -> Any:
    return await work


class OverBusTests(BusCase):
    """The way of a broadcast."""

    def test_interfaces_are_kept(self) -> None:
        verifyObject(IBroadcasting, self.broadcasting)
        verifyObject(IBroadcasting, EachByItself())
        verifyObject(ILinkedConnector, self.places[0].link)
        verifyObject(IBusListener, self.places[0].reception)

    def test_it_is_published_once_and_counted_by_each(self) -> None:
        sent = self.send(b"one")
        self.assertEqual(self.got(), [[b"one"]] * 3)
        self.assertEqual([self.successResultOf(each) for each in sent], [1, 1, 1])
        self.assertEqual(self.channel.number, 1)
        self.assertEqual([place.link.payloads for place in self.places], [[], [], []])

    def test_it_comes_between_what_was_sent_before_and_after_whenever_it_arrives(self) -> None:
        place = self.places[0]
        self.bus.failure = Unavailable("later")  # it comes when the test says so
        for number, payload in enumerate((b"before", b"after")):
            if number:
                self.send(b"all")
            Deferred.fromCoroutine(place.link.deliver([Delivery(1_000 + number, payload, (place.token,))]))
        self.clock.advance(0)
        self.assertEqual(place.client.pushes(), [b"before"])
        place.reception.received(BusPlace(1, 1), write_broadcast(1, b"all"))
        self.assertEqual(place.client.pushes(), [b"all", b"after"])

    def test_it_waits_for_its_turn_behind_what_its_link_still_carries(self) -> None:
        place = self.places[0]
        place.link.held = []
        Deferred.fromCoroutine(place.link.deliver([Delivery(1_000, b"before", (place.token,))]))
        sent = self.send(b"all")
        self.assertEqual(self.got(), [[], [b"all"], [b"all"]])
        place.link.let_go()
        self.assertEqual(place.client.pushes(), [b"before", b"all"])
        self.assertEqual(self.successResultOf(sent[0]), 1)

    def test_one_that_is_deaf_gets_it_over_its_link_after_a_moment_and_once(self) -> None:
        self.places[0].bus.is_deaf = True
        self.channel.log.clear()
        sent = self.send()
        self.channel.log.clear()
        self.clock.advance(PAYLOAD_LIMIT_S)
        self.assertEqual(self.got(), [[b"hello"]] * 3)
        self.assertEqual(self.successResultOf(sent[0]), 1)
        self.assertEqual(self.places[0].link.payloads, [b"hello"])
        self.places[0].reception.received(BusPlace(1, 1), write_broadcast(1, b"hello"))
        self.pass_time(TURN_LIMIT_S + 2)
        self.assertEqual(self.got(), [[]] * 3)

    def test_one_that_missed_it_takes_it_out_of_the_log_before_it_asks_its_sender(self) -> None:
        self.places[0].bus.is_deaf = True
        sent = self.send()
        self.clock.advance(PAYLOAD_LIMIT_S / 2)
        self.assertEqual(self.got(), [[b"hello"]] * 3)
        self.assertEqual(self.successResultOf(sent[0]), 1)
        self.assertEqual(self.places[0].link.payloads, [])

    def test_one_that_is_known_to_hear_nothing_gets_it_over_its_link_at_once(self) -> None:
        self.places[0].bus.interrupt()
        self.send()
        self.assertEqual(self.got(), [[b"hello"]] * 3)
        self.assertEqual([place.link.payloads for place in self.places], [[b"hello"], [], []])

    def test_while_the_bus_is_away_all_get_it_over_their_links(self) -> None:
        self.bus.interrupt()
        self.send()
        self.assertEqual(self.got(), [[b"hello"]] * 3)
        self.assertEqual(self.channel.number, 0)

    def test_a_bus_that_takes_nothing_costs_one_wait_and_not_one_for_each(self) -> None:
        self.bus.failure = Unavailable("away")
        self.send(b"1")
        self.clock.advance(PAYLOAD_LIMIT_S)
        self.send(b"2")
        self.assertEqual(self.got(), [[b"1", b"2"]] * 3)
        self.bus.failure = None
        self.pass_time(1.0)
        self.send(b"3")
        self.assertEqual(self.channel.number, 1)

    def test_what_is_logged_is_not_published(self) -> None:
        links: list[IConnector] = [place.link for place in self.places]
        for each in self.broadcasting.broadcast(1, None, True, links):
            Deferred.fromCoroutine(_awaited(each))
        self.assertEqual(self.channel.number, 0)
        self.assertEqual([place.link.payloads for place in self.places], [[None]] * 3)

    def test_for_a_lone_connector_the_bus_is_not_needed(self) -> None:
        del self.places[1:]
        self.send()
        self.assertEqual((self.got(), self.channel.number), ([[b"hello"]], 0))

    def test_those_that_are_not_linked_hear_it_where_the_cluster_has_more_than_one(self) -> None:
        self.broadcasting = OverBus(self.bus, clock=self.clock, known=lambda: 3)
        links: list[IConnector] = [self.places[0].link]
        for each in self.broadcasting.broadcast(1, b"hello", False, links):
            Deferred.fromCoroutine(_awaited(each))
        self.assertEqual(self.got(), [[b"hello"], [], []])
        self.pass_time(TURN_LIMIT_S + 1)
        self.assertEqual(self.got(), [[], [b"hello"], [b"hello"]])

    def test_a_connector_of_the_router_s_own_process_needs_no_bus_nor_does_the_only_other_one(self) -> None:
        self.broadcasting = OverBus(self.bus, clock=self.clock, known=lambda: 2)
        links: list[IConnector] = [self.places[0].connector, self.places[1].link]
        for each in self.broadcasting.broadcast(1, b"hello", False, links):
            Deferred.fromCoroutine(_awaited(each))
        self.assertEqual((self.got(), self.channel.number), ([[b"hello"], [b"hello"], []], 0))

    def test_what_a_connector_got_directly_and_hears_besides_comes_once(self) -> None:
        links: list[IConnector] = [self.places[0].connector, *(place.link for place in self.places[1:])]
        sent = [
            Deferred.fromCoroutine(_awaited(each)) for each in self.broadcasting.broadcast(1, b"hello", False, links)
        ]
        self.pass_time(TURN_LIMIT_S + 1)
        self.assertEqual((self.got(), self.channel.number), ([[b"hello"]] * 3, 1))
        self.assertEqual([self.successResultOf(each) for each in sent], [1, 1, 1])

    def test_with_a_cut_link_it_comes_without_a_turn_and_once(self) -> None:
        place = self.places[0]
        place.link.is_cut = True
        sent = self.send()
        self.failureResultOf(sent[0], Unavailable)
        self.assertEqual(place.client.pushes(), [])
        self.pass_time(TURN_LIMIT_S + 1)
        self.assertEqual(place.client.pushes(), [b"hello"])
        self.assertEqual(place.counted("unturned_total"), 1)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(place.connector.bring(1))), 0)  # its turn, so late
        self.assertEqual(place.client.pushes(), [])

    def test_what_waits_for_its_turn_is_bounded(self) -> None:
        self.places[0].link.is_cut = True
        for _ in range(12):
            for each in self.send(bytes(1_000)):
                each.addErrback(lambda failure: failure.trap(Unavailable))
        self.assertEqual(len(self.places[0].client.pushes()), 2)


class ReceptionTests(BusCase):
    """What is noticed on the bus."""

    def setUp(self) -> None:
        super().setUp()
        self.place = self.places[0]
        for place in self.places:
            place.link.is_cut = True  # nothing has a turn

    def lose(self, count: int) -> None:
        """The first connector misses some."""
        self.place.bus.is_deaf = True
        self.publish(count)
        self.place.bus.is_deaf = False

    def publish(self, count: int = 1) -> None:
        """Broadcast some."""
        for _ in range(count):
            message_id = next(self.ids)
            self.successResultOf(self.bus.publish(write_broadcast(message_id, b"%d" % message_id)))

    def arrived(self) -> list[bytes]:
        """What comes to its client without turns, after the next beat."""
        self.pass_time(TURN_LIMIT_S + 3)
        return self.place.client.pushes()

    def test_it_hears_from_the_start(self) -> None:
        self.assertTrue(self.place.reception.hears)
        self.assertEqual([check.ok for check in self.place.reception.checks()], [True])

    def test_a_gap_is_filled_out_of_the_log(self) -> None:
        self.publish(2)
        self.lose(3)
        self.publish()
        self.assertEqual(self.arrived(), [b"%d" % number for number in (1, 2, 6, 3, 4, 5)])
        self.assertEqual((self.place.counted("filled_total"), self.place.counted("missed_total")), (4, 0))
        self.assertEqual(self.place.resynchronised, 0)

    def test_a_gap_at_the_end_shows_at_the_next_beat(self) -> None:
        self.publish()
        self.lose(2)
        self.assertEqual(self.arrived(), [b"1", b"2", b"3"])

    def test_what_the_log_has_no_more_is_missed_and_said(self) -> None:
        self.publish()
        self.lose(3)
        del self.channel.log[2], self.channel.log[3]
        self.publish()
        self.assertEqual(sorted(self.arrived()), [b"1", b"4", b"5"])
        self.assertEqual(self.place.counted("missed_total"), 2)
        self.assertEqual((self.place.resynchronised, self.places[1].resynchronised), (1, 0))

    def test_an_interruption_is_filled(self) -> None:
        self.publish()
        self.place.bus.interrupt()
        self.assertFalse(self.place.reception.checks()[0].ok)
        self.publish(2)
        self.place.bus.resume()
        self.assertEqual(self.arrived(), [b"1", b"2", b"3"])
        self.assertTrue(self.place.reception.checks()[0].ok)

    def test_a_count_that_begins_anew_is_no_loss(self) -> None:
        self.publish(5)
        self.place.bus.interrupt()
        self.channel.lose()
        self.publish(2)
        self.place.bus.resume()
        self.publish()
        self.assertEqual(len(self.arrived()), 8)
        self.assertEqual((self.place.counted("missed_total"), self.place.resynchronised), (0, 0))
        self.lose(1)
        self.assertEqual(self.arrived(), [b"9"])

    def test_a_redis_that_went_back_a_little_is_followed(self) -> None:
        self.publish(5)
        self.channel.number = 3
        del self.channel.log[4], self.channel.log[5]
        self.publish(4)
        self.lose(1)
        self.assertEqual(len(self.arrived()), 10)
        self.assertEqual((self.place.counted("missed_total"), self.place.resynchronised), (0, 0))

    def test_what_comes_while_the_log_is_fetched_leaves_no_gap(self) -> None:
        self.publish()
        self.lose(1)
        found: Deferred[Any] = Deferred()
        real = self.place.bus.since
        asked = []

        def since(place: BusPlace) -> Any:
            asked.append(place)
            return found if len(asked) == 1 else real(place)

        self.place.bus.since = since  # type: ignore[method-assign]
        self.publish()
        answer = self.successResultOf(real(asked[0]))
        self.publish(3)
        found.callback(answer)
        self.publish()
        self.pass_time(3.0)
        self.assertEqual(asked, [BusPlace(1, 1)])
        self.assertEqual(len(self.arrived()), 7)

    def test_a_log_that_cannot_be_asked_is_asked_again(self) -> None:
        self.publish()
        self.lose(1)
        self.place.bus.failure = Unavailable("away")
        self.publish()
        self.place.bus.failure = None
        self.assertEqual(len(self.arrived()), 3)

    def test_a_deaf_subscription_is_found_within_five_seconds_and_made_anew(self) -> None:
        self.publish()
        self.place.bus.is_deaf = True
        self.publish()
        started_s = self.clock.seconds()
        while not self.place.bus.renewals:
            self.clock.advance(0.1)
            self.assertLess(self.clock.seconds() - started_s, 5.0)
        self.assertTrue(self.place.reception.hears)
        self.assertEqual(len(self.arrived()), 2)
        self.assertEqual([place.bus.renewals for place in self.places], [1, 0, 0])

    def test_one_that_stays_deaf_is_not_ready(self) -> None:
        def renew() -> None:
            self.place.bus.renewals += 1

        self.place.bus.renew = renew  # type: ignore[method-assign]
        self.place.bus.is_deaf = True
        self.pass_time(5.0)
        self.assertEqual(self.place.bus.renewals, 1)
        (check,) = self.place.reception.checks()
        self.assertEqual((check.ok, check.detail), (False, "nothing is heard"))
        self.assertFalse(self.place.link.hears)

    def test_that_nobody_can_publish_says_nothing_about_who_hears(self) -> None:
        for place in self.places:
            place.bus.failure = Unavailable("away")
        self.pass_time(20.0)
        self.assertEqual([place.bus.renewals for place in self.places], [0, 0, 0])

    def test_in_a_silent_cluster_about_one_beat_a_second_is_published_by_all_together(self) -> None:
        beats = 0
        for place in self.places:

            def beat(bus: MemoryBus = place.bus) -> Any:
                nonlocal beats
                beats += 1
                return MemoryBus.beat(bus)

            place.bus.beat = beat  # type: ignore[method-assign]
        self.pass_time(30.0)
        self.assertIn(beats, range(15, 35))

    def test_what_is_no_broadcast_is_left_out(self) -> None:
        for data in (b"", b"x", write_broadcast(1, b"") * 2, write_broadcast(1, bytes(MAX_PAYLOAD_BYTES + 1))):
            self.successResultOf(self.bus.publish(data))
        self.publish()
        self.assertEqual(self.arrived(), [b"1"])
        self.assertRaises(ValueError, read_broadcast, write_broadcast(1, b"xx"), 1)
