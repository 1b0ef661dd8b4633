"""The rules that a wire protocol must keep, as tests: mix them into a TestCase, and say how a client speaks.

    class MyRules(SessionRules, LimitRules, SynchronousTestCase):
        def make_wire(self):
            return MyWireProtocol()

        def make_dialect(self):
            return MyDialect()

Works with the TestCases of unittest and of trial. What they stand for: docs/protocol.md.
"""

import json

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from zope.interface.verify import verifyObject

from push.ipush import IConnection, IWireProtocol
from push.model import Delivery
from push.protocols.wire.frames import ID
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from push.testing.rules import Rules

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
