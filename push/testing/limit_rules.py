"""The limits that a wire protocol must keep, as tests: mixed into a TestCase beside those of session_rules."""

import json
import random

from twisted.internet.defer import Deferred

from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode, Signal
from push.testing.rules import Rules

# More than any protocol should serve in one turn of the reactor.
_FLOOD = 2_000


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
