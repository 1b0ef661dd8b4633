"""A connector with clients of the wire protocol: sessions, order, limits, and who is closed for what."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.ihealth import IMeasured
from push.ipush import IConnection, IConnectionHost, IConnector
from push.model import Delivery, DeliveryReport, Outcome
from push.protocols.forms import PLAIN_FORM
from push.protocols.tcp import MAX_FRAMES_A_TURN
from push.protocols.wire.frames import ID, encode
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from push.services.connections import MAX_UNWELCOME
from tests.services.clients import Client, make_connector


class ConnectorCase(SynchronousTestCase):
    """A connector and its clock."""

    limits: dict[str, Any] = {}  # noqa: RUF012

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, self.subscribe, self.store = make_connector(self.clock, **self.limits)

    def client(self, host: str = "127.0.0.1") -> Client:
        """A new connection."""
        return Client(self.connector, self.clock, host)

    def online(self, **fields: Any) -> tuple[Client, str]:
        """A client with a session, and its token."""
        client = self.client()
        answer = client.sub(**fields)
        self.assertEqual(answer["status"], 200, answer)
        return client, answer["token"]

    def deliver(self, *batch: tuple[int, bytes, list[str]]) -> DeliveryReport:
        """Deliver, and give the report."""
        work = Deferred.fromCoroutine(self.connector.deliver([Delivery(*each) for each in batch]))
        while not work.called:
            self.clock.advance(0)
        return self.successResultOf(work)

    def broadcast(self, message_id: int, payload: bytes) -> "Deferred[int]":
        """Start a broadcast."""
        return Deferred.fromCoroutine(self.connector.broadcast(message_id, payload))


class Sessions(ConnectorCase):
    """Opening, replacing, ending."""

    def test_interfaces_are_kept(self) -> None:
        verifyObject(IConnector, self.connector)
        verifyObject(IConnectionHost, self.connector)
        verifyObject(IMeasured, self.connector)
        verifyObject(IConnection, self.client().protocol)

    def test_who_wants_to_know_is_told_when_something_was_missed(self) -> None:
        told, _ = self.online(missed=True)
        told_later, _ = self.online(missed=True, ack=True)
        other, _ = self.online()
        self.connector.resynchronise()
        for _ in range(5):
            self.clock.advance(0)
        for client, expected in ((told, [205]), (told_later, [205]), (other, [])):
            frames = [frame for frame in client.frames() if frame.signal == Signal.SUB]
            self.assertEqual([json.loads(frame.body)["status"] for frame in frames], expected)

    def test_a_new_client_gets_a_token_of_128_bits(self) -> None:
        _, token = self.online()
        self.assertRegex(token, r"\A[0-9a-f]{32}\Z")

    def test_a_presented_token_is_kept(self) -> None:
        _, token = self.online(token="my-own.token~1")
        self.assertEqual(token, "my-own.token~1")

    def test_a_java_client_gets_its_answers_in_order_and_unchanged_pushes(self) -> None:
        """SUB with an empty body, PING right behind it, message id 0, no acknowledgement, version 1."""
        client = self.client()
        client.protocol.dataReceived(bytes.fromhex("f801010000000000 0000 f8010300000000000000".replace(" ", "")))
        first, second = client.frames()
        self.assertEqual((first.signal, first.message_id), (Signal.SUB, 0))
        self.assertEqual((second.signal, second.message_id), (Signal.PING, 0))
        registration = client.protocol.registration
        assert registration is not None
        self.deliver((7, b"hello", [registration.token]))
        (push,) = client.frames()
        self.assertEqual((push.signal, push.subsignal, push.message_id, push.body), (4, 0, 0, b"hello"))

    def test_a_connection_counts_once_whatever_becomes_of_it(self) -> None:
        """New, with a session, with the session renewed, replaced, closed and gone."""
        connections = self.connector.connections

        def counted() -> tuple[int, int, int, int]:
            return len(connections), len(list(connections)), connections.sessions, len(connections.with_session())

        first = self.client()
        self.assertEqual(counted(), (1, 1, 0, 0))
        token = first.sub()["token"]
        self.assertEqual(counted(), (1, 1, 1, 1))
        first.sub(tags=["new"])
        self.assertEqual(counted(), (1, 1, 1, 1))
        second, _ = self.online(token=token)
        self.assertEqual(counted(), (2, 2, 1, 1))
        self.assertEqual(connections.with_session(), [second.protocol])
        first.hang_up()
        self.assertEqual(counted(), (1, 1, 1, 1))
        second.protocol.disconnect(Disconnect(CloseCode.KICKED, "enough"))
        self.assertEqual(counted(), (1, 1, 0, 0))
        second.hang_up()
        self.assertEqual(counted(), (0, 0, 0, 0))

    def test_a_second_session_of_a_token_wins_and_the_first_is_told(self) -> None:
        first, token = self.online()
        second, again = self.online(token=token)
        self.assertEqual(again, token)
        self.assertEqual(first.goodbye()["code"], CloseCode.REPLACED)
        self.assertTrue(first.is_ended)
        first.hang_up()  # its late end must not take the new session away
        self.assertEqual(self.deliver((1, b"x", [token])).sent, [1])
        self.assertEqual(second.pushes(), [b"x"])
        self.assertEqual(self.connector.connections.sessions, 1)

    def test_a_client_that_leaves_while_its_session_is_opened_is_not_online(self) -> None:
        waiting: list[Deferred[None]] = []
        register = self.store.register

        async def later(*args: Any, **kwargs: Any) -> Any:
            waiting.append(Deferred())
            await waiting[-1]
            return await register(*args, **kwargs)

        self.patch(self.store, "register", later)
        client = self.client()
        client.send(Signal.SUB, b'{"token":"t"}')
        client.hang_up()
        waiting[0].callback(None)
        located = self.successResultOf(Deferred.fromCoroutine(self.subscribe.locate(["t"], {})))
        self.assertEqual(dict(located.online), {})
        self.assertEqual((len(self.connector.connections), self.connector.connections.sessions), (0, 0))

    def test_an_abandoned_takeover_leaves_the_session_that_there_is(self) -> None:
        client, token = self.online()
        stranger = self.client()
        waiting: list[Deferred[None]] = []
        register = self.store.register

        async def later(*args: Any, **kwargs: Any) -> Any:
            waiting.append(Deferred())
            await waiting[-1]
            return await register(*args, **kwargs)

        patch = self.patch(self.store, "register", later)
        stranger.send(Signal.SUB, json.dumps({"token": token}).encode())
        stranger.send(Signal.DISCONNECT)
        patch.restore()
        waiting[0].callback(None)
        self.assertTrue(self.is_located(token))
        client.hang_up()
        self.assertFalse(self.is_located(token))

    def test_a_takeover_whose_client_sends_no_more_leaves_the_session_that_there_is(self) -> None:
        client, token = self.online()
        stranger = self.client()
        waiting: list[Deferred[None]] = []
        register = self.store.register

        async def later(*args: Any, **kwargs: Any) -> Any:
            waiting.append(Deferred())
            await waiting[-1]
            return await register(*args, **kwargs)

        patch = self.patch(self.store, "register", later)
        stranger.send(Signal.SUB, json.dumps({"token": token}).encode())
        stranger.protocol.readConnectionLost()
        patch.restore()
        waiting[0].callback(None)
        self.assertTrue(stranger.is_ended)
        self.assertFalse(client.is_ended)
        self.assertTrue(self.is_located(token))
        client.hang_up()
        self.assertFalse(self.is_located(token))
        self.assertEqual((len(self.connector.connections), self.connector.connections.sessions), (1, 0))

    def test_a_renewal_that_is_overtaken_by_a_takeover_leaves_the_new_session(self) -> None:
        client, token = self.online()
        waiting: list[Deferred[None]] = []
        register = self.store.register

        async def later(*args: Any, **kwargs: Any) -> Any:
            waiting.append(Deferred())
            await waiting[-1]
            return await register(*args, **kwargs)

        patch = self.patch(self.store, "register", later)
        client.send(Signal.SUB)
        patch.restore()
        self.online(token=token)
        waiting[0].callback(None)
        self.assertTrue(self.is_located(token))

    def is_located(self, token: str) -> bool:
        """Whether messages find the token."""
        located = self.successResultOf(Deferred.fromCoroutine(self.subscribe.locate([token], {})))
        return token in located.online

    def test_a_store_that_fails_unexpectedly_refuses_the_session(self) -> None:
        self.patch(self.store, "register", lambda *args, **kwargs: 1 / 0)
        self.assertEqual(self.client().sub()["status"], 503)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_session_that_ended_is_not_located(self) -> None:
        client, token = self.online()
        client.hang_up()
        located = self.successResultOf(Deferred.fromCoroutine(self.subscribe.locate([token], {})))
        self.assertEqual(dict(located.online), {})

    def test_kick_closes_with_the_given_reason(self) -> None:
        client, token = self.online()
        work = Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "out")))
        self.assertTrue(self.successResultOf(work))
        self.assertEqual(client.goodbye(), {"code": 3504, "reason": "out", "retry": "no"})
        work = Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "out")))
        self.assertFalse(self.successResultOf(work))

    def test_a_renewed_sub_changes_the_uid_and_keeps_the_session(self) -> None:
        client, token = self.online(uid="alice")
        self.assertEqual(client.sub(uid="bob", ack=True)["token"], token)
        self.assertEqual(self.connector.connections.sessions, 1)
        info = self.successResultOf(Deferred.fromCoroutine(self.subscribe.describe(token)))
        assert info is not None
        self.assertEqual(info.uid, "bob")
        self.deliver((5, b"x", [token]))
        (push,) = client.frames()
        self.assertEqual((push.subsignal, push.body), (SubSignal.MN, ID.pack(5) + b"x"))

    def test_a_renewed_session_keeps_its_interval_unless_it_promises_another(self) -> None:
        client, _ = self.online(interval=60_000)
        self.assertEqual(client.sub(tags=["a"])["interval"], 60_000)
        self.assertEqual(client.sub(interval=90_000)["interval"], 90_000)

    def test_a_session_that_is_renewed_during_a_broadcast_still_gets_it(self) -> None:
        client, _ = self.online()
        self.broadcast(1, b"x")
        client.send(Signal.SUB)
        self.assertEqual(client.pushes(), [b"x"])

    def test_every_end_is_counted_once(self) -> None:
        client, token = self.online()
        client.hang_up()
        client, token = self.online()
        Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "out")))
        client.hang_up()
        closes = {s.labels: s.value for s in self.connector.samples() if s.name == "push_closes_total"}
        self.assertEqual(closes, {(("code", "0"), ("by", "client")): 1, (("code", "3504"), ("by", "server")): 1})

    def test_acknowledgements_are_counted(self) -> None:
        client, token = self.online(ack=True)
        self.deliver((5, b"x", [token]), (6, b"y", [token]))
        client.send(Signal.PUB_ACK, ID.pack(5) + ID.pack(6), subsignal=SubSignal.MN)
        self.assertEqual(self.connector.measures.acknowledged, 2)


class Delivering(ConnectorCase):
    """Order, coalescing, reports."""

    def test_a_batch_to_few_tokens_each_lets_others_be_served_in_its_middle(self) -> None:
        tokens = [self.online()[1] for _ in range(10)]
        was_done: list[bool] = []
        self.clock.callLater(0.005, lambda: was_done.append(work.called))
        self.slow_clock()
        batch = [Delivery(number, b"x", tokens) for number in range(60)]
        work = Deferred.fromCoroutine(self.connector.deliver(batch))
        while not work.called:
            self.clock.advance(0)
        self.assertEqual(was_done, [False])

    def test_one_connection_that_cannot_be_written_to_does_not_keep_the_others_waiting(self) -> None:
        (broken, broken_token), (fine, fine_token) = self.online(), self.online()
        self.patch(broken.transport, "write", lambda data: 1 / 0)
        self.deliver((1, b"x", [broken_token]), (2, b"y", [fine_token]))
        self.assertEqual(fine.pushes(), [b"y"])
        self.assertTrue(broken.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_is_delivered_in_one_turn_leaves_in_one_write(self) -> None:
        client, token = self.online()
        writes: list[bytes] = []
        self.patch(client.transport, "write", writes.append)
        self.deliver((1, b"a", [token]), (2, b"b", [token]))
        self.deliver((3, b"c", [token]))
        self.clock.advance(0)
        self.assertEqual(writes, [encode(4, b"a") + encode(4, b"b") + encode(4, b"c")])

    def test_the_report_says_who_was_not_reached(self) -> None:
        _, token = self.online()
        report = self.deliver((1, b"a", [token, "gone"]), (2, b"b", [token]))
        self.assertEqual((list(report.sent), dict(report.missed)), ([1, 1], {0: [("gone", Outcome.OFFLINE)]}))

    def test_what_is_beyond_the_window_waits_for_acknowledgements_in_order(self) -> None:
        client, token = self.online(ack=True)
        report = self.deliver(*[(number, b"%d" % number, [token]) for number in range(1, 8)])
        self.assertEqual(list(report.sent), [1] * 7)
        self.assertEqual([body[8:] for body in client.pushes()], [b"1", b"2", b"3", b"4"])
        client.send(Signal.PUB_ACK, ID.pack(1) + ID.pack(2), subsignal=SubSignal.MN)
        self.assertEqual([body[8:] for body in client.pushes()], [b"5", b"6"])
        self.broadcast(8, b"8")
        self.clock.advance(0)
        client.send(Signal.PUB_ACK, b"".join(map(ID.pack, (3, 4, 5, 6))), subsignal=SubSignal.MN)
        self.assertEqual([body[8:] for body in client.pushes()], [b"7", b"8"])
        self.assertEqual(self.waiting_bytes(), 0)

    def test_a_client_that_never_acknowledges_is_closed_when_too_much_waits(self) -> None:
        client, token = self.online(ack=True)
        self.deliver(*[(number, b"", [token]) for number in range(4)])
        self.clock.advance(0)
        report = self.deliver(*[(number, b"", [token]) for number in range(4, 106)])
        self.assertEqual(list(report.sent), [1] * 100 + [0, 0])
        self.assertEqual(client.goodbye()["code"], CloseCode.SLOW_CONSUMER)
        client.hang_up()
        self.assertEqual(self.waiting_bytes(), 0)

    def waiting_bytes(self) -> object:
        """The gauge of what waits."""
        return next(s.value for s in self.connector.samples() if s.name == "push_outbox_bytes")

    def test_a_broadcast_reaches_every_session_and_no_other_connection(self) -> None:
        clients = [self.online()[0] for _ in range(3)] + [self.online(ack=True)[0]]
        stranger = self.client()
        done = self.broadcast(9, b"all")
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(done), 4)
        self.assertEqual([client.pushes() for client in clients], [[b"all"]] * 3 + [[ID.pack(9) + b"all"]])
        self.assertEqual(stranger.frames(), [])

    def test_broadcasts_of_one_turn_leave_in_one_write_and_are_counted_each(self) -> None:
        client, _ = self.online()
        writes: list[bytes] = []
        self.patch(client.transport, "write", writes.append)
        done = [self.broadcast(number, b"%d" % number) for number in (1, 2, 3)]
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(each) for each in done], [1, 1, 1])
        self.assertEqual(writes, [encode(4, b"1") + encode(4, b"2") + encode(4, b"3")])

    def test_a_message_does_not_overtake_a_broadcast_that_was_accepted_before_it(self) -> None:
        client, token = self.online()
        done = self.broadcast(1, b"first")
        self.deliver((2, b"second", [token]))
        self.clock.advance(0)
        self.assertEqual(client.pushes(), [b"first", b"second"])
        self.assertEqual(self.successResultOf(done), 1)

    def test_a_broadcast_does_not_overtake_a_batch_that_is_being_delivered(self) -> None:
        _, token = self.online()
        last, last_token = self.online()
        self.slow_clock()
        batch = [Delivery(1, b"x", [token]) for _ in range(90)] * 10 + [Delivery(2, b"batch", [last_token])]
        delivered = Deferred.fromCoroutine(self.connector.deliver(batch))
        self.assertNoResult(delivered)
        done = self.broadcast(3, b"broadcast")
        later = Deferred.fromCoroutine(self.connector.deliver([Delivery(4, b"later", [last_token])]))
        for _ in range(50):
            self.clock.advance(0)
        self.assertEqual(last.pushes(), [b"batch", b"broadcast", b"later"])
        for work in (delivered, done, later):
            self.assertTrue(work.called)

    def slow_clock(self) -> None:
        """Every look at the clock takes 10 ms, so that long work is divided."""
        seconds = self.clock.seconds

        def look() -> float:
            self.clock.rightNow += 0.01
            return seconds()

        self.patch(self.clock, "seconds", look)

    def test_a_client_that_comes_during_a_broadcast_gets_the_next_one_only(self) -> None:
        self.online()
        self.broadcast(1, b"before")
        late, _ = self.online()
        self.clock.advance(0)
        self.broadcast(2, b"after")
        self.clock.advance(0)
        self.assertEqual(late.pushes(), [b"after"])

    def test_a_long_broadcast_lets_others_be_served_in_its_middle(self) -> None:
        for _ in range(45):
            self.online()
        done = self.broadcast(1, b"x")
        was_done: list[bool] = []
        self.clock.callLater(0.005, lambda: was_done.append(done.called))
        self.slow_clock()
        self.clock.advance(0)
        self.assertEqual(was_done, [False])
        self.assertEqual(self.successResultOf(done), 45)


class SlowConsumers(ConnectorCase):
    """Who does not read."""

    def test_messages_wait_while_the_transport_is_full_and_then_arrive_in_order(self) -> None:
        client, token = self.online()
        client.stop_reading()
        for number in range(5):
            self.deliver((number, b"%d" % number, [token]))
        self.assertEqual(client.pushes(), [])
        client.read_on()
        self.assertEqual(client.pushes(), [b"0", b"1", b"2", b"3", b"4"])

    def assertClosedAsSlow(self, client: Client, code: CloseCode) -> None:
        """It has been told why, and is off the books."""
        goodbye = client.goodbye()
        self.assertEqual((goodbye["code"], goodbye["retry"]), (code, "backoff"))
        self.assertTrue(client.is_ended)

    def test_too_many_bytes(self) -> None:
        client, token = self.online()
        other, other_token = self.online()
        client.stop_reading()
        reports = [self.deliver((n, bytes(3000), [token, other_token])) for n in range(6)]
        self.assertEqual([list(report.sent) for report in reports], [[2]] * 3 + [[1]] * 3)
        self.assertEqual(reports[3].missed[0], [(token, Outcome.OVERFLOW)])
        self.assertEqual(reports[4].missed[0], [(token, Outcome.OFFLINE)])
        self.assertClosedAsSlow(client, CloseCode.SLOW_CONSUMER)
        self.assertEqual(len(other.pushes()), 6)

    def test_too_many_messages(self) -> None:
        client, token = self.online()
        client.stop_reading()
        report = self.deliver(*[(n, b"", [token]) for n in range(101)])
        self.assertEqual(list(report.sent), [1] * 100 + [0])
        self.assertClosedAsSlow(client, CloseCode.SLOW_CONSUMER)

    def test_too_many_broadcasts(self) -> None:
        client, _ = self.online()
        client.stop_reading()
        for number in range(5):
            self.broadcast(number, bytes(3000))
            self.clock.advance(0)
        self.assertClosedAsSlow(client, CloseCode.SLOW_CONSUMER)

    def test_broadcasts_that_travel_together_obey_the_limits_too(self) -> None:
        client, _ = self.online()
        client.stop_reading()
        for number in range(5):
            self.broadcast(number, bytes(3000))
        self.clock.advance(0)
        self.assertClosedAsSlow(client, CloseCode.SLOW_CONSUMER)

    def test_a_transport_that_takes_too_much_at_once_counts_against_the_limits(self) -> None:
        client, token = self.online()
        write = client.transport.write

        def write_and_be_full(data: bytes) -> None:
            write(data)
            client.stop_reading()

        self.patch(client.transport, "write", write_and_be_full)
        self.deliver((1, bytes(8000), [token]))
        self.clock.advance(0)
        self.deliver((2, bytes(1000), [token]))
        self.assertEqual(list(self.deliver((3, bytes(1000), [token])).sent), [0])
        self.assertClosedAsSlow(client, CloseCode.SLOW_CONSUMER)

    def test_what_is_written_at_the_end_counts_until_the_transport_is_gone(self) -> None:
        client, token = self.online()
        client.stop_reading()
        self.deliver((1, bytes(990), [token]))
        self.online(token=token)
        self.assertEqual(self.outbox_bytes(), 1000)
        client.hang_up()
        self.assertEqual(self.outbox_bytes(), 0)

    def test_a_burst_in_one_turn_is_no_backlog_while_the_transport_takes_it(self) -> None:
        client, token = self.online()
        report = self.deliver(*[(n, bytes(100), [token]) for n in range(1000)])
        self.assertEqual(sum(report.sent), 1000)
        self.assertEqual(len(client.pushes()), 1000)

    def test_at_the_nodes_ceiling_those_with_most_to_read_are_closed_and_nobody_else(self) -> None:
        slow = [self.online() for _ in range(8)]
        fast, fast_token = self.online()
        for client, _ in slow:
            client.stop_reading()
        for (_, token), size in zip(slow, (3000, 3000, 9000, 9500, 9000, 9000, 3000, 6000), strict=True):
            self.deliver((1, bytes(size), [token]))
        goodbyes = [client.goodbye().get("code") for client, _ in slow]
        self.assertEqual(goodbyes, [None, None, None, CloseCode.SLOW_CONSUMER, None, None, None, None])
        self.deliver((2, b"x", [fast_token]))
        self.assertEqual(fast.pushes(), [b"x"])

    def test_while_closing_frees_nothing_not_everybody_is_closed(self) -> None:
        clients = [self.online() for _ in range(8)]
        for client, token in clients:
            write = client.transport.write

            def write_and_be_full(data: bytes, client: Client = client, write: Any = write) -> None:
                write(data)
                client.stop_reading()

            self.patch(client.transport, "write", write_and_be_full)
            self.deliver((1, bytes(9000), [token]))
        self.clock.advance(0)
        ended = sum(client.is_ended for client, _ in clients)
        self.assertEqual(ended, 0, "what the transports hold cannot be dropped, and waits for nobody")

    def test_what_waits_is_counted_until_it_is_written_or_dropped(self) -> None:
        reads, token = self.online()
        leaves, leaving_token = self.online()
        for client, each in ((reads, token), (leaves, leaving_token)):
            client.stop_reading()
            self.deliver((1, bytes(990), [each]))
        self.assertEqual(self.outbox_bytes(), 2000)
        reads.read_on()
        self.assertEqual(self.outbox_bytes(), 1000)
        leaves.hang_up()
        self.assertEqual(self.outbox_bytes(), 0)

    def test_what_was_queued_before_the_transport_was_full_is_counted_too(self) -> None:
        client, token = self.online()
        self.deliver_without_turn(token)
        client.stop_reading()
        self.assertEqual(self.outbox_bytes(), 22)
        client.stop_reading()  # saying so twice changes nothing
        client.read_on()
        client.read_on()
        self.assertEqual(self.outbox_bytes(), 0)
        self.assertEqual(client.pushes(), [b"x", b"x"])

    def deliver_without_turn(self, token: str) -> None:
        """Queue two messages; the turn does not end."""
        Deferred.fromCoroutine(self.connector.deliver([Delivery(each, b"x", [token]) for each in (1, 2)]))

    def test_lone_message_leaves_in_its_own_turn_and_what_follows_in_the_next(self) -> None:
        (first, one), (second, other) = self.online(), self.online()
        pushed = [PLAIN_FORM.encode_push(number, b"%d" % number) for number in range(4)]
        for number, token in enumerate((one, other, one)):
            Deferred.fromCoroutine(self.connector.deliver([Delivery(number, b"%d" % number, [token])]))
        self.assertEqual([each.transport.value() for each in (first, second)], [pushed[0], b""])
        self.clock.advance(0)
        self.assertEqual([each.transport.value() for each in (first, second)], [pushed[0] + pushed[2], pushed[1]])
        Deferred.fromCoroutine(self.connector.deliver([Delivery(3, b"3", [other])]))
        self.assertEqual(second.transport.value(), pushed[1] + pushed[3])

    def outbox_bytes(self) -> object:
        """The gauge."""
        return next(s.value for s in self.connector.samples() if s.name == "push_outbox_bytes")

    def test_what_the_transport_holds_of_a_closed_client_counts_until_it_is_gone(self) -> None:
        client, token = self.online()
        write = client.transport.write

        def write_and_be_full(data: bytes) -> None:
            write(data)
            client.stop_reading()

        self.patch(client.transport, "write", write_and_be_full)
        self.deliver((1, bytes(990), [token]))
        self.clock.advance(0)
        self.assertEqual(self.outbox_bytes(), 1000)
        Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "out")))
        self.assertEqual(self.outbox_bytes(), 1000)
        client.hang_up()
        self.assertEqual(self.outbox_bytes(), 0)

    def test_a_client_that_never_hangs_up_is_cut_off(self) -> None:
        client, token = self.online()
        client.stop_reading()
        self.deliver(*[(n, b"", [token]) for n in range(101)])
        self.connector.sweep()
        self.assertFalse(client.transport.aborted)
        self.clock.advance(5.0)
        self.connector.sweep()
        self.assertTrue(client.transport.aborted)

    def test_pings_that_are_never_read_end_the_session_too(self) -> None:
        client, _ = self.online()
        client.stop_reading()
        for _ in range(101):
            client.send(Signal.PING)
        self.assertClosedAsSlow(client, CloseCode.SLOW_CONSUMER)


class Limits(ConnectorCase):
    """Everything that could grow."""

    def test_connections_in_all(self) -> None:
        self.connector, self.subscribe, self.store = make_connector(self.clock, max_connections=2)
        first, _ = self.online()
        self.online()
        refused = self.client()
        answer = refused.sub()
        self.assertEqual(answer["status"], 503)
        self.assertGreater(answer["retry_after"], 0)
        self.assertTrue(refused.is_ended)
        refused.hang_up()
        first.hang_up()
        self.online()

    def test_connections_of_one_address(self) -> None:
        self.connector, self.subscribe, self.store = make_connector(self.clock, max_connections_per_address=1)
        self.online()
        self.assertEqual(self.client().sub()["status"], 503)
        self.assertEqual(self.client("127.0.0.2").sub()["status"], 200)

    def test_connections_over_the_limit_are_told_so_only_up_to_a_number(self) -> None:
        self.connector, self.subscribe, self.store = make_connector(self.clock, max_connections=0)
        unwelcome = [self.client() for _ in range(MAX_UNWELCOME + 1)]
        self.assertEqual([client.transport.aborted for client in unwelcome], [False] * MAX_UNWELCOME + [True])

    def test_sessions_opened_in_a_second(self) -> None:
        self.connector, self.subscribe, self.store = make_connector(self.clock, max_subs_per_s=2.0)
        answers = [self.client().sub() for _ in range(3)]
        self.assertEqual([answer["status"] for answer in answers], [200, 200, 429])
        self.assertGreaterEqual(answers[2]["retry_after"], 1)
        self.clock.advance(1.0)
        self.assertEqual(self.client().sub()["status"], 200)

    def test_bodies_before_and_after_the_session_is_open(self) -> None:
        client = self.client()
        client.protocol.dataReceived(encode(Signal.SUB, bytes(4097))[:10])
        self.assertEqual(client.goodbye()["code"], CloseCode.TOO_LARGE)
        client, _ = self.online()
        client.send(Signal.CONTACT, bytes(65_536))
        self.assertEqual(client.goodbye(), {})
        client.protocol.dataReceived(encode(Signal.CONTACT, bytes(65_537))[:10])
        self.assertEqual(client.goodbye()["code"], CloseCode.TOO_LARGE)

    def test_the_handshake_deadline(self) -> None:
        client = self.client()
        for _ in range(19):
            self.clock.advance(1)
            client.protocol.dataReceived(encode(Signal.SUB)[:1] if not _ else b"")
            self.connector.sweep()
        self.assertFalse(client.is_ended)
        self.clock.advance(1)
        self.connector.sweep()
        self.assertTrue(client.is_ended)

    def test_the_idle_deadline_follows_the_promised_interval(self) -> None:
        client, _ = self.online(interval=10_000)
        patient, _ = self.online(interval=600_000)
        self.clock.advance(69)
        self.connector.sweep()
        self.assertFalse(client.is_ended)
        client.send(Signal.PING)
        self.clock.advance(69)
        self.connector.sweep()
        self.assertFalse(client.is_ended)
        self.clock.advance(1)
        self.connector.sweep()
        self.assertEqual(client.goodbye()["code"], CloseCode.IDLE)
        self.assertFalse(patient.is_ended)


class BadInput(ConnectorCase):
    """What clients may send by mistake or on purpose."""

    def test_another_protocol_is_hung_up_on_without_a_word(self) -> None:
        client = self.client()
        client.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(client.is_ended)
        self.assertEqual(client.transport.value(), b"")

    def test_a_bad_frame_in_an_open_session_is_answered_with_a_reason(self) -> None:
        client, _ = self.online()
        client.protocol.dataReceived(b"garbage...")
        goodbye = client.goodbye()
        self.assertEqual((goodbye["code"], goodbye["retry"]), (CloseCode.BAD_FRAME, "no"))

    def test_a_signal_out_of_order_is_answered_with_a_reason(self) -> None:
        client = self.client()
        client.send(Signal.PUBLISH)
        self.assertEqual(client.goodbye()["code"], CloseCode.PROTOCOL_ERROR)

    def test_a_flood_of_frames_is_served_in_turns_and_in_order(self) -> None:
        flooding, _ = self.online()
        count = 3 * MAX_FRAMES_A_TURN + 1
        flooding.protocol.dataReceived(b"".join(encode(Signal.PING, message_id=n + 1) for n in range(count)))
        self.assertFalse(flooding.transport.reading)
        self.online()  # its turn comes before the flood is over
        answered = [frame.message_id for frame in flooding.frames()]
        self.assertEqual(answered, list(range(1, count + 1)))
        self.assertTrue(flooding.transport.reading)

    def test_frames_are_served_wherever_they_are_cut(self) -> None:
        """The second of two reads, at every place: an idle session has no decoder, and gets one when it needs it."""
        stream = encode(Signal.PING, message_id=1) + encode(Signal.PING, b'{"interval":20000}', message_id=2)
        client, _ = self.online()
        for at in range(len(stream)):
            client.protocol.dataReceived(stream[:at])
            client.protocol.dataReceived(stream[at:])
            self.assertEqual([frame.message_id for frame in client.frames()], [1, 2], at)

    def test_a_sub_with_half_a_frame_behind_it(self) -> None:
        client = self.client()
        ping = encode(Signal.PING, b'{"interval":20000}', message_id=9)
        client.protocol.dataReceived(encode(Signal.SUB) + ping[:-3])
        client.protocol.dataReceived(ping[-3:])
        self.assertEqual([frame.signal for frame in client.frames()], [Signal.SUB, Signal.PING])

    def test_larger_frames_may_come_once_the_session_is_open(self) -> None:
        """Whatever waited while it was opened."""
        large = encode(Signal.PING, b" " * 5_000 + b"{}")
        stranger = self.client()
        stranger.protocol.dataReceived(large)
        self.assertEqual(stranger.goodbye()["code"], CloseCode.TOO_LARGE)
        for behind in (b"", large[:1], large[:9]):
            client = self.client()
            client.protocol.dataReceived(encode(Signal.SUB) + behind)
            client.protocol.dataReceived(large[len(behind) :])
            self.assertEqual([frame.signal for frame in client.frames()], [Signal.SUB, Signal.PING])

    def test_half_an_acknowledgement_is_no_lone_one(self) -> None:
        """What looks like a whole one behind half a frame is the rest of that."""
        client, _ = self.online(ack=True)
        ack = encode(Signal.PUB_ACK, ID.pack(7), subsignal=SubSignal.MN)
        client.protocol.dataReceived(encode(Signal.PING, message_id=3)[:9])
        client.protocol.dataReceived(encode(Signal.PING, message_id=3)[9:] + ack)
        client.protocol.dataReceived(encode(Signal.PING, bytes(len(ack)), message_id=4)[:10])
        client.protocol.dataReceived(ack)
        ping, goodbye = client.frames()
        self.assertEqual((ping.signal, ping.message_id), (Signal.PING, 3))
        self.assertEqual(goodbye.signal, Signal.DISCONNECT)  # a body that is no JSON

    def test_garbage_on_an_open_session_is_answered_with_a_reason(self) -> None:
        """As a client that has spoken before is told why."""
        client, _ = self.online()
        client.protocol.dataReceived(b"garbage")
        self.assertEqual(client.goodbye()["code"], CloseCode.BAD_FRAME)

    def test_a_flood_that_ends_in_garbage_is_answered_up_to_it(self) -> None:
        client, _ = self.online()
        client.protocol.dataReceived(encode(Signal.PING) * 300 + b"garbage")
        signals = [frame.signal for frame in client.frames()]
        self.assertEqual(signals, [Signal.PING] * 300 + [Signal.DISCONNECT])

    def test_a_flood_of_a_client_that_leaves_is_dropped(self) -> None:
        client, _ = self.online()
        client.protocol.dataReceived(encode(Signal.PING) * 300)
        client.hang_up()
        self.clock.advance(0)
        self.assertEqual(len(self.connector.connections), 0)

    def test_whatever_comes_after_the_end_is_ignored(self) -> None:
        client, _ = self.online()
        client.send(Signal.DISCONNECT)
        self.assertTrue(client.is_ended)
        client.protocol.dataReceived(encode(Signal.PING) * 1000)
        self.assertEqual(client.frames(), [])

    def test_nothing_is_left_of_connections_that_have_gone(self) -> None:
        for _ in range(20):
            client, _token = self.online()
            client.hang_up()
            stranger = self.client()
            stranger.protocol.dataReceived(b"\0")
            stranger.hang_up()
        connections = self.connector.connections
        self.assertEqual((len(connections), connections.sessions, dict(connections.by_token)), (0, 0, {}))
        self.assertEqual(connections._by_address, {})
        self.assertEqual(self.connector._endings._closing, {})
        self.assertEqual(self.connector._openings.under_way, set())
