"""The rules that a wire protocol must keep, as tests: mix them into a TestCase, and say how a client speaks.

    class MyRules(SessionRules, SynchronousTestCase):
        def make_wire(self):
            return MyWireProtocol()

        def make_dialect(self):
            return MyDialect()

Works with the TestCases of unittest and of trial. What they stand for: docs/protocol.md.
"""

import json
import random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from push.ipush import IConnection, IWireProtocol
from push.model import Delivery
from push.protocols.wire.frames import ID
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from push.testing.connections import Client, make_connector
from push.testing.dialects import Dialect

if TYPE_CHECKING:
    from unittest import TestCase
else:  # were they TestCases themselves, importing them would run them
    TestCase = object

# Every kind of payload: nothing, text, JSON, what is no text, what looks like the end of something.
PAYLOADS = (
    b"",
    b"hello",
    "é€𝄞".encode(),
    b'{"a":[1,"b"]}',
    b"[1]",
    b'"a"',
    b"1",
    b"null",
    bytes(range(256)),
    b"\r\n\0",
)
# More than any protocol should serve in one turn of the reactor.
_FLOOD = 2_000


class Rules(TestCase):
    """A connector, and clients of it that speak the protocol under test. Has no tests itself."""

    def make_wire(self) -> IWireProtocol:
        """The protocol under test."""
        raise NotImplementedError

    def make_dialect(self) -> Dialect:
        """The client's side of a new connection."""
        raise NotImplementedError

    def connect(self, host: str = "127.0.0.1", **limits: Any) -> Client:
        """A new connection. The first one makes the connector, with these limits."""
        if not hasattr(self, "connector"):
            self.clock = Clock()
            self.connector, self.subscribe, self.store = make_connector(self.clock, **limits)
        return Client(self.connector, self.clock, wire=self.make_wire(), dialect=self.make_dialect(), host=host)

    def online(self, client: Client | None = None, **fields: Any) -> tuple[Client, str]:
        """A client with a session, and its token."""
        client = client or self.connect()
        answer = client.sub(**fields)
        self.assertEqual(answer["status"], 200, answer)
        return client, answer["token"]

    def deliver(self, token: str, *messages: tuple[int, bytes]) -> None:
        """Deliver messages to a token, and let the turn end."""
        batch = [Delivery(message_id, payload, [token]) for message_id, payload in messages]
        work = Deferred.fromCoroutine(self.connector.deliver(batch))
        self.clock.pump([0, 0])
        self.assertTrue(work.called)

    def assertEnded(self, client: Client, code: int) -> None:
        """The client is told why, and the server ends the connection: at once, or when its time is over."""
        self.assertEqual(client.goodbye().get("code"), code)
        self.assertTrue(client.is_ended)


class SessionRules(Rules):
    """Opening, heartbeats, messages, and the end."""

    def test_what_is_built_has_the_interfaces(self) -> None:
        client = self.connect()
        verifyObject(IWireProtocol, self.make_wire())
        verifyObject(IProtocolFactory, self.make_wire().factory(self.connector))
        verifyObject(IConnection, client.protocol)
        verifyObject(IPushProducer, client.protocol)

    def test_a_session_is_opened_and_the_answer_has_the_id_of_the_question(self) -> None:
        client = self.connect()
        client.send(Signal.SUB, b'{"token":"my-own.token~1"}', message_id=7)
        (answer,) = client.frames()
        self.assertEqual((answer.signal, answer.subsignal, answer.message_id), (Signal.SUB, 0, 7))
        body = json.loads(answer.body)
        self.assertEqual((body["status"], body["token"]), (200, "my-own.token~1"))

    def test_an_empty_sub_gets_a_new_token(self) -> None:
        _, token = self.online()
        self.assertRegex(token, r"\A[0-9a-f]{32}\Z")

    def test_chat_clients_open_with_connect(self) -> None:
        client = self.connect()
        client.send(Signal.CONNECT, b'{"userName":"alice","clientIdentifier":"phone"}', message_id=1)
        (answer,) = client.frames()
        self.assertEqual((answer.signal, answer.subsignal), (Signal.CONNECT_ACK, SubSignal.CONNECTION_ACCEPTED))

    def test_bytes_may_come_one_at_a_time(self) -> None:
        client = self.connect()
        data = client.encoded(Signal.SUB, b'{"ack":true}', message_id=1) + client.encoded(Signal.PING, message_id=2)
        for position in range(len(data)):
            client.protocol.dataReceived(data[position : position + 1])
        first, second = client.frames()
        self.assertEqual([(each.signal, each.message_id) for each in (first, second)], [(1, 1), (3, 2)])

    def test_what_comes_behind_a_sub_is_answered_behind_it(self) -> None:
        client = self.connect()
        client.protocol.dataReceived(client.encoded(Signal.SUB) + client.encoded(Signal.PING, message_id=3))
        self.assertEqual([frame.signal for frame in client.frames()], [Signal.SUB, Signal.PING])

    def test_a_refused_sub_may_be_corrected(self) -> None:
        client = self.connect()
        self.assertEqual(client.sub(token="not a token")["status"], 400)
        self.assertEqual(client.sub(token="a-token")["status"], 200)

    def test_a_ping_is_answered_with_the_interval_in_force(self) -> None:
        client, _ = self.online(interval=60_000)
        client.send(Signal.PING, message_id=9)
        (answer,) = client.frames()
        self.assertEqual((answer.signal, answer.message_id), (Signal.PING, 9))
        self.assertEqual(json.loads(answer.body), {"interval": 60_000})

    def test_every_payload_arrives_as_it_was_pushed(self) -> None:
        client, token = self.online()
        self.deliver(token, *enumerate(PAYLOADS, 1))
        frames = client.frames()
        self.assertEqual([frame.body for frame in frames], list(PAYLOADS))
        self.assertEqual({(frame.signal, frame.subsignal) for frame in frames}, {(Signal.PUSH, SubSignal.NONE)})

    def test_every_payload_arrives_with_its_id_at_who_acknowledges(self) -> None:
        client, token = self.online(ack=True)
        for number, payload in enumerate(PAYLOADS, (1 << 64) - 100):
            self.deliver(token, (number, payload))
            (frame,) = client.frames()
            self.assertEqual((frame.signal, frame.subsignal), (Signal.PUSH, SubSignal.MN))
            self.assertEqual(frame.body, ID.pack(number) + payload)
            client.send(Signal.PUB_ACK, ID.pack(number), subsignal=SubSignal.MN)
        self.assertEqual(self.connector.measures.acknowledged, len(PAYLOADS))

    def test_a_broadcast_is_written_once_for_all_clients_of_a_kind(self) -> None:
        one, two = self.online()[0], self.online()[0]
        with_id = self.online(ack=True)[0]
        self.assertIs(one.protocol.form, two.protocol.form)
        self.assertIsNot(one.protocol.form, with_id.protocol.form)
        Deferred.fromCoroutine(self.connector.broadcast(5, b"x"))
        self.clock.pump([0, 0, 0])
        self.assertEqual([one.pushes(), two.pushes(), with_id.pushes()], [[b"x"], [b"x"], [ID.pack(5) + b"x"]])

    def test_what_has_no_room_in_the_window_waits_for_acknowledgements(self) -> None:
        client, token = self.online(self.connect(ack_window=2), ack=True)
        self.deliver(token, *((number, b"x") for number in range(1, 6)))
        self.assertEqual(client.pushes(), [ID.pack(number) + b"x" for number in (1, 2)])
        client.send(Signal.PUB_ACK, ID.pack(2) + ID.pack(1), subsignal=SubSignal.MN)
        self.assertEqual(client.pushes(), [ID.pack(number) + b"x" for number in (3, 4)])

    def test_a_renewed_sub_can_begin_to_acknowledge(self) -> None:
        client, token = self.online()
        self.assertEqual(client.sub(ack=True)["token"], token)
        self.deliver(token, (5, b"x"))
        self.assertEqual(client.pushes(), [ID.pack(5) + b"x"])

    def test_a_signal_that_is_not_legal_ends_the_session(self) -> None:
        client = self.connect()
        client.send(Signal.PUBLISH)
        self.assertEnded(client, CloseCode.PROTOCOL_ERROR)
        client, _ = self.online()
        client.send(Signal.CONNECT_ACK)
        self.assertEnded(client, CloseCode.PROTOCOL_ERROR)

    def test_a_chat_signal_that_is_not_served_is_answered(self) -> None:
        client, _ = self.online()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.GQ, message_id=4)
        (answer,) = client.frames()
        self.assertEqual((answer.signal, answer.subsignal, answer.message_id), (Signal.PUB_ACK, SubSignal.GQ, 4))
        self.assertEqual(json.loads(answer.body[1:])["status"], 501)

    def test_who_is_replaced_is_told(self) -> None:
        first, token = self.online()
        second, _ = self.online(token=token)
        self.assertEnded(first, CloseCode.REPLACED)
        self.deliver(token, (1, b"x"))
        self.assertEqual(second.pushes(), [b"x"])
        first.hang_up()
        self.assertEqual(self.connector.connections.sessions, 1)

    def test_what_is_queued_goes_before_the_end(self) -> None:
        client, token = self.online()
        batch = [Delivery(1, b"last", [token])]
        Deferred.fromCoroutine(self.connector.deliver(batch))
        Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "out")))
        push, goodbye = client.frames()
        self.assertEqual((push.body, json.loads(goodbye.body)["code"]), (b"last", CloseCode.KICKED))

    def test_a_client_that_says_goodbye_is_let_go(self) -> None:
        client, _ = self.online()
        client.send(Signal.DISCONNECT)
        self.assertEqual(self.connector.connections.sessions, 0)
        self.assertEqual(client.goodbye(), {}, "who says so itself need not be told")
        self.assertTrue(client.is_ended)

    def test_nothing_is_answered_after_the_end(self) -> None:
        client, _ = self.online()
        later = client.encoded(Signal.PING) * 10
        client.send(Signal.DISCONNECT)
        client.frames()
        client.protocol.dataReceived(later)
        self.assertEqual(client.frames(), [])

    def test_nothing_is_left_of_who_has_gone(self) -> None:
        for _ in range(3):
            client, token = self.online()
            self.deliver(token, (1, b"x"))
            client.hang_up()
            self.connect().hang_up()
        connections = self.connector.connections
        self.assertEqual((len(connections), connections.sessions, dict(connections.by_token)), (0, 0, {}))
        self.assertIsNone(client.protocol.registration)
        self.deliver(token, (2, b"y"))


class LimitRules(Rules):
    """Everything that could grow or last."""

    def test_a_client_that_does_not_read_is_closed(self) -> None:
        client, token = self.online()
        client.stop_reading()
        for number in range(1, 20):
            self.deliver(token, (number, bytes(1_000)))
        self.assertEqual(self.connector.connections.sessions, 0)
        goodbye = client.goodbye()
        self.assertEqual((goodbye["code"], goodbye["retry"]), (CloseCode.SLOW_CONSUMER, "backoff"))
        client.hang_up()
        self.assertEqual(self.outbox_bytes(), 0)

    def test_what_waits_is_counted_and_sent_when_there_is_room(self) -> None:
        client, token = self.online()
        client.stop_reading()
        self.deliver(token, (1, bytes(1_000)))
        self.assertEqual(client.pushes(), [])
        self.assertGreaterEqual(self.outbox_bytes(), 1_000)
        client.read_on()
        self.assertEqual(self.outbox_bytes(), 0)
        self.assertEqual(client.pushes(), [bytes(1_000)])

    def test_pings_of_a_client_that_does_not_read_end_its_session(self) -> None:
        client, _ = self.online()
        client.stop_reading()
        for _ in range(200):
            client.send(Signal.PING)
            self.clock.advance(0)
        self.assertEqual(client.goodbye()["code"], CloseCode.SLOW_CONSUMER)

    def test_a_flood_is_served_in_turns_and_in_order(self) -> None:
        client, _ = self.online(self.connect(max_outbox_bytes=1 << 20, max_outbox_messages=_FLOOD + 1))
        other = self.connect()
        flood = b"".join(client.encoded(Signal.PING, message_id=number) for number in range(1, _FLOOD + 1))
        client.protocol.dataReceived(flood)
        self.assertFalse(client.transport.reading, "nothing more is read until this has been served")
        self.online(other)
        answered = [frame.message_id for frame in client.frames()]
        self.assertEqual(answered, list(range(1, _FLOOD + 1)))
        self.assertTrue(client.transport.reading)

    def test_bodies_are_limited_before_and_after_the_session_is_open(self) -> None:
        client = self.connect()
        client.send(Signal.SUB, b'{"auth":"%s"}' % (b"x" * 4_096))
        self.assertEnded(client, CloseCode.TOO_LARGE)
        client, _ = self.online()
        client.send(Signal.CONTACT, b'{"m":"%s"}' % (b"x" * 60_000))
        self.assertEqual(client.goodbye(), {})
        client.send(Signal.CONTACT, b'{"m":"%s"}' % (b"x" * 65_536))
        self.assertEnded(client, CloseCode.TOO_LARGE)

    def test_who_opens_no_session_is_closed_in_time(self) -> None:
        client = self.connect()
        self.clock.advance(19)
        self.connector.sweep()
        self.assertFalse(client.is_ended)
        self.clock.advance(1)
        self.connector.sweep()
        self.assertEnded(client, CloseCode.IDLE)

    def test_who_is_silent_for_too_long_is_closed(self) -> None:
        client, _ = self.online(interval=10_000)
        self.clock.advance(69)
        client.send(Signal.PING)
        self.clock.advance(69)
        self.connector.sweep()
        self.assertEqual(client.goodbye(), {}, "every sign of life counts")
        self.clock.advance(1)
        self.connector.sweep()
        self.assertEnded(client, CloseCode.IDLE)

    def test_a_client_that_never_leaves_is_cut_off(self) -> None:
        client, token = self.online()
        Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "out")))
        self.clock.advance(5)
        self.connector.sweep()
        self.assertTrue(client.transport.aborted)

    def test_who_is_one_too_many_is_told(self) -> None:
        client = self.connect(max_connections=0)
        client.send(Signal.SUB)
        answer, goodbye = client.frames()
        self.assertEqual(json.loads(answer.body)["status"], 503)
        self.assertEqual(json.loads(goodbye.body)["code"], CloseCode.OVERLOAD)
        self.assertTrue(client.is_ended)

    def test_no_bytes_raise(self) -> None:
        chance = random.Random(7)
        for _ in range(200):
            client = self.online()[0] if chance.random() < 0.5 else self.connect()
            for _ in range(5):
                client.protocol.dataReceived(chance.randbytes(chance.randrange(1, 40)))
                self.clock.advance(0)
            client.hang_up()
        self.assertEqual((len(self.connector.connections), self.outbox_bytes()), (0, 0))

    def outbox_bytes(self) -> int:
        """What waits, by the gauge."""
        return int(next(float(s.value) for s in self.connector.samples() if s.name == "push_outbox_bytes"))  # type: ignore[arg-type]
