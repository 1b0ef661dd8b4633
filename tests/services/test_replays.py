"""Connections that are behind: what the cache has comes first, in order, as fast as the client takes it, and once."""

import json
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model import Delivery, DeliveryReport, Outcome
from push.model_cache import Everybody, Keep
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from tests.fakes_cache import MemoryCache
from tests.services.clients import Client, make_connector

NEVER_MS = 10**15


class ReplayCase(SynchronousTestCase):
    """A connector with a window of 4, and a cache."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache()
        self.connector, self.subscribe, _ = make_connector(self.clock, self.cache)

    def client(self, token: str, **fields: Any) -> Client:
        """A client that asks for a session with a token."""
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, json.dumps({"token": token, **fields}).encode())
        return client

    def keep(self, *message_ids: int, token: str = "t", logged: bool = False) -> None:
        """Have messages kept, whose payload is their number."""
        for message_id in message_ids:
            audience = Everybody() if logged else None
            tokens = () if logged else (token,)
            keep = Keep(message_id, b"%d" % message_id, tokens, NEVER_MS, audience=audience)
            self.successResultOf(Deferred.fromCoroutine(self.cache.keep([keep])))

    def deliver(self, *message_ids: int, kept: bool = False, token: str = "t") -> DeliveryReport:
        """Deliver messages, which are kept as well or not."""
        if kept:
            self.keep(*message_ids, token=token)
        batch = [Delivery(each, b"%d" % each, [token], kept) for each in message_ids]
        return self.successResultOf(Deferred.fromCoroutine(self.connector.deliver(batch)))

    def broadcast(self, message_id: int, *, logged: bool) -> None:
        """Broadcast a message."""
        if logged:
            self.keep(message_id, logged=True)
        done = Deferred.fromCoroutine(self.connector.broadcast(message_id, b"%d" % message_id, logged))
        self.turn()
        self.successResultOf(done)

    def turn(self) -> None:
        """Let everything happen that waits for a turn."""
        for _ in range(10):
            self.clock.advance(0)

    def got(self, client: Client) -> list[int]:
        """The messages that came, by the numbers in their payloads."""
        self.turn()
        acks = client.protocol.acks
        return [int(body[ID.size :] if acks else body) for body in client.pushes()]

    def acknowledge(self, client: Client, *message_ids: int) -> None:
        """Send one PUB_ACK."""
        client.send(Signal.PUB_ACK, struct.pack(f">{len(message_ids)}Q", *message_ids), subsignal=SubSignal.MN)


class AtTheBeginning(ReplayCase):
    """What waits when a session opens."""

    def test_the_answer_comes_first_and_then_what_waits_in_order(self) -> None:
        self.keep(1, 2, 3)
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, b'{"token":"t"}')
        self.turn()
        frames = client.frames()
        self.assertEqual([frame.signal for frame in frames], [Signal.SUB] + [Signal.PUSH] * 3)
        self.assertEqual([frame.body for frame in frames[1:]], [b"1", b"2", b"3"])

    def test_what_was_handed_to_a_client_that_does_not_acknowledge_is_forgotten(self) -> None:
        self.keep(*range(1, 200))
        self.assertEqual(self.got(self.client("t")), list(range(1, 200)))
        self.assertEqual(self.cache.entries, [])

    def test_a_client_that_acknowledges_gets_a_window_at_a_time(self) -> None:
        self.keep(*range(1, 8))
        client = self.client("t", ack=True)
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        self.acknowledge(client, 2)
        self.assertEqual(self.got(client), [5])
        self.acknowledge(client, 1, 3, 4, 5)
        self.assertEqual(self.got(client), [6, 7])
        self.assertTrue(client.protocol.is_behind is False)
        self.acknowledge(client, 6, 7)
        self.turn()
        self.assertEqual(self.cache.entries, [])

    def test_what_was_not_acknowledged_comes_again_before_anything_newer(self) -> None:
        first = self.client("t", ack=True)
        self.deliver(1, 2, 3, kept=True)
        self.assertEqual(self.got(first), [1, 2, 3])
        self.acknowledge(first, 2)
        first.hang_up()
        self.keep(4)
        second = self.client("t", ack=True)
        self.assertEqual(self.got(second), [1, 3, 4])

    def test_an_acknowledgement_of_what_an_earlier_connection_got_counts(self) -> None:
        first = self.client("t", ack=True)
        self.deliver(*range(1, 8), kept=True)
        self.assertEqual(self.got(first), [1, 2, 3, 4])
        first.hang_up()
        second = self.client("t", ack=True)
        self.acknowledge(second, 7)
        self.turn()
        self.assertEqual(self.cache.of("t"), [b"1", b"2", b"3", b"4", b"5", b"6"])

    def test_nothing_is_pulled_where_nothing_is_kept(self) -> None:
        self.client("t", ack=True)
        self.turn()
        self.assertEqual(self.cache.pulls, 0)

    def test_a_cache_that_cannot_be_read_is_asked_again(self) -> None:
        self.keep(1)
        self.cache.pull_error = Unavailable("the disk is away")
        client = self.client("t", ack=True)
        self.assertEqual(self.got(client), [])
        self.cache.pull_error = None
        self.clock.advance(1)
        self.assertEqual(self.got(client), [1])

    def test_it_is_not_asked_again_for_who_has_left_meanwhile(self) -> None:
        self.cache.pull_error = Unavailable("the disk is away")
        self.keep(1)
        client = self.client("t", ack=True)
        self.turn()
        before = len(self.clock.getDelayedCalls())
        client.hang_up()
        self.turn()
        self.assertLess(len(self.clock.getDelayedCalls()), before)

    def test_who_leaves_while_the_cache_is_read_gets_nothing_and_loses_nothing(self) -> None:
        self.keep(1)
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, b'{"token":"t"}')
        client.hang_up()
        self.turn()
        self.assertEqual(self.cache.of("t"), [b"1"])


class InTheMiddle(ReplayCase):
    """What comes while a connection is behind."""

    def test_kept_messages_beyond_the_window_wait_in_the_cache(self) -> None:
        client = self.client("t", ack=True)
        report = self.deliver(*range(1, 8), kept=True)
        self.assertEqual(list(report.sent), [1, 1, 1, 1, 0, 0, 0])
        self.assertEqual(report.missed[4], [("t", Outcome.BEHIND)])
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        self.acknowledge(client, 1, 2, 3)
        self.assertEqual(self.got(client), [5, 6, 7])
        self.deliver(8, kept=True)
        self.assertEqual(self.got(client), [])
        self.acknowledge(client, 4, 5, 6, 7)
        self.assertEqual(self.got(client), [8])

    def test_what_is_acknowledged_in_the_turn_of_a_pull_is_not_pulled_again(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(1, 2, 3, 4, 5, kept=True)
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        for message_id in (1, 2, 3, 4):
            self.acknowledge(client, message_id)
        self.assertEqual(self.got(client), [5])

    def test_what_is_acknowledged_while_a_pull_is_under_way_does_not_come_again(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(1, 2, kept=True)
        self.assertEqual(self.got(client), [1, 2])
        pull, gate = self.cache.pull, Deferred[None]()

        async def slowly(*arguments: Any) -> Any:
            page = await pull(*arguments)
            await gate
            return page

        self.patch(self.cache, "pull", slowly)
        self.keep(3)
        self.successResultOf(Deferred.fromCoroutine(self.connector.refill(["t"])))
        self.turn()
        self.acknowledge(client, 1, 2)
        self.turn()
        gate.callback(None)
        self.assertEqual(self.got(client), [3])

    def test_what_was_pulled_before_it_is_brought_does_not_come_again(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(1, kept=True)
        self.assertEqual(self.got(client), [1])
        self.keep(2, 3)
        self.successResultOf(Deferred.fromCoroutine(self.connector.refill(["t"])))
        self.assertEqual(self.got(client), [2, 3])
        self.acknowledge(client, 1, 2)
        batch = [Delivery(each, b"%d" % each, ["t"], is_kept=True) for each in (2, 3)]
        report = self.successResultOf(Deferred.fromCoroutine(self.connector.deliver(batch)))
        self.assertEqual(report, DeliveryReport([0, 0], {each: [("t", Outcome.BEHIND)] for each in (0, 1)}))
        self.assertEqual(self.got(client), [])
        self.deliver(4, kept=True)
        self.assertEqual(self.got(client), [4])

    def test_messages_kept_nowhere_keep_their_place_between_kept_ones(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(1, 2, 3, 4, 5, kept=True)
        self.deliver(6)
        self.deliver(7, kept=True)
        self.deliver(8)
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        self.acknowledge(client, 1, 2)
        self.assertEqual(self.got(client), [5, 6])
        self.acknowledge(client, 3, 4, 5, 6)
        self.assertEqual(self.got(client), [7, 8])

    def test_messages_kept_nowhere_wait_behind_a_replay_to_who_does_not_acknowledge(self) -> None:
        self.keep(1, 2)
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, b'{"token":"t"}')
        self.deliver(3)
        self.deliver(4, kept=True)
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        self.assertEqual(self.cache.entries, [])

    def test_refill_brings_what_was_not_delivered(self) -> None:
        client = self.client("t")
        self.keep(1)
        self.successResultOf(Deferred.fromCoroutine(self.connector.refill(["t", "gone"])))
        self.assertEqual(self.got(client), [1])

    def test_a_delivery_without_payload_is_pulled(self) -> None:
        client = self.client("t")
        self.keep(1)
        work = self.connector.deliver([Delivery(1, None, ["t"], True)])
        report = self.successResultOf(Deferred.fromCoroutine(work))
        self.assertEqual(report.missed[0], [("t", Outcome.BEHIND)])
        self.assertEqual(self.got(client), [1])

    def test_a_client_that_does_not_read_is_given_no_more_until_it_does(self) -> None:
        self.keep(*range(1, 300))
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, b'{"token":"t"}')
        client.stop_reading()
        self.turn()
        self.assertEqual(len(self.cache.entries), 299)
        client.read_on()
        self.assertEqual(self.got(client), list(range(1, 300)))

    def test_a_page_that_is_larger_than_the_outbox_makes_nobody_a_slow_reader(self) -> None:
        for number in range(1, 9):
            keep = Keep(number, b"%d" % number * 3_000, ("t",), NEVER_MS)
            self.successResultOf(Deferred.fromCoroutine(self.cache.keep([keep])))
        client = self.client("t")

        def write_and_fill_up(data: bytes) -> None:
            write(data)
            client.stop_reading()

        write = client.transport.write
        self.patch(client.transport, "write", write_and_fill_up)
        got: list[bytes] = []
        for _ in range(20):
            self.turn()
            got += client.pushes()
            self.assertFalse(client.is_ended)
            client.read_on()
        self.assertEqual([int(each[:1]) for each in got], list(range(1, 9)))

    def test_a_client_that_stops_to_acknowledge_gets_on_as_one_that_does_not(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(*range(1, 7), kept=True)
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        client.sub(token="t", ack=False)
        self.turn()
        self.assertEqual(self.cache.entries, [])

    def test_a_renewed_session_gets_nothing_again_that_is_on_its_way(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(1, 2, kept=True)
        self.assertEqual(self.got(client), [1, 2])
        client.sub(token="t")
        self.assertEqual(self.got(client), [])


class Logged(ReplayCase):
    """Broadcasts that are kept once."""

    def test_who_was_away_gets_them_when_it_comes(self) -> None:
        self.client("t").hang_up()
        self.broadcast(1, logged=True)
        self.assertEqual(self.got(self.client("t")), [1])

    def test_who_got_them_does_not_get_them_again(self) -> None:
        client = self.client("t")
        self.broadcast(1, logged=True)
        self.broadcast(2, logged=True)
        self.assertEqual(self.got(client), [1, 2])
        client.hang_up()
        self.turn()
        self.assertEqual(self.cache.log_positions, {"t": 2})
        self.assertEqual(self.got(self.client("t")), [])

    def test_nor_where_it_comes_again_before_its_old_connection_has_ended(self) -> None:
        self.client("t")
        self.broadcast(1, logged=True)
        self.assertEqual(self.got(self.client("t")), [])

    def test_what_was_not_acknowledged_comes_again(self) -> None:
        client = self.client("t", ack=True)
        for number in (1, 2, 3):
            self.broadcast(number, logged=True)
        self.assertEqual(self.got(client), [1, 2, 3])
        self.acknowledge(client, 1, 3)
        client.hang_up()
        self.turn()
        self.assertEqual(self.cache.log_positions, {"t": 1})
        self.assertEqual(self.got(self.client("t", ack=True)), [2, 3])

    def test_who_is_behind_pulls_them_and_gets_each_once(self) -> None:
        client = self.client("t", ack=True)
        self.deliver(1, 2, 3, 4, 5, kept=True)
        self.broadcast(6, logged=True)
        self.broadcast(7, logged=False)
        self.assertEqual(self.got(client), [1, 2, 3, 4])
        self.acknowledge(client, 1, 2, 3, 4)
        self.assertEqual(self.got(client), [5, 6, 7])
        self.assertEqual(client.protocol.log_position, 6)

    def test_one_that_was_pulled_already_is_not_delivered_besides(self) -> None:
        for tokens in (["t"], ["t", "u"]):
            message_id = len(tokens)
            self.keep(message_id, logged=True)
            client = self.client("t", ack=True)
            self.assertEqual(self.got(client), [message_id])
            self.acknowledge(client, message_id)
            delivery = Delivery(message_id, b"%d" % message_id, tokens, is_kept=True, is_logged=True)
            report = self.successResultOf(Deferred.fromCoroutine(self.connector.deliver([delivery])))
            self.assertEqual((report.sent, self.got(client)), ([1], []))
            client.hang_up()
            self.turn()

    def test_one_that_was_pulled_already_is_left_out_of_the_broadcast(self) -> None:
        self.keep(1, logged=True)
        client = self.client("t")
        self.assertEqual(self.got(client), [1])
        work = Deferred.fromCoroutine(self.connector.broadcast(1, b"1", True))
        self.turn()
        self.successResultOf(work)
        self.assertEqual(self.got(client), [])

    def test_where_too_many_wait_they_are_pulled_and_not_refused(self) -> None:
        client = self.client("t")
        self.got(client)
        payloads = [b"%d" % number * 30_000 for number in (1, 2, 3)]
        work = []
        for number, payload in enumerate(payloads, 1):
            keep = Keep(number, payload, (), NEVER_MS, audience=Everybody())
            self.successResultOf(Deferred.fromCoroutine(self.cache.keep([keep])))
            work.append(Deferred.fromCoroutine(self.connector.broadcast(number, payload, True)))
        self.turn()
        self.assertEqual([self.successResultOf(each) for each in work], [1, 1, 1])
        self.assertEqual(client.pushes(), payloads)

    def test_what_open_sessions_have_is_told_now_and_then(self) -> None:
        plain = self.client("t")
        acks = self.client("u", ack=True)
        quiet = self.client("v", ack=True)
        for number in (1, 2):
            self.broadcast(number, logged=True)
        self.assertEqual([self.got(each) for each in (plain, acks, quiet)], [[1, 2]] * 3)
        self.acknowledge(acks, 1, 2)
        self.connector.log_places.look()
        self.turn()
        self.assertEqual(self.cache.log_positions, {"t": 2, "u": 2, "v": 0})
        self.cache.log_positions.clear()
        self.connector.log_places.look()
        self.turn()
        self.assertEqual(self.cache.log_positions, {}, "nothing has happened since")
