"""Sessions over WebSocket: what is different from other transports. The rest is in tests.testing."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.model import Delivery
from push.protocols.websocket.forms import Kind
from push.protocols.websocket.plugin import WebSocketWireProtocol
from push.protocols.websocket.protocol import MAX_FRAMES_A_TURN
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import ID, Frame, encode
from push.protocols.wire.messages import Disconnect
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from push.testing.connections import Client, make_connector
from push.testing.dialects import WebSocketDialect
from tests.protocols.websocket.masked import BINARY, CONTINUATION, PING, PONG, TEXT, close, header, masked


class Raw(Client):
    """A client whose messages a test writes and reads by hand."""

    def __init__(self, connector: Any, clock: Clock, *, asks: bool = False) -> None:
        wire, dialect = WebSocketWireProtocol(), WebSocketDialect(Kind.TEXT, asks=asks)
        super().__init__(connector, clock, wire=wire, dialect=dialect)
        self._clock = clock

    def say(self, *data: bytes) -> bytes:
        """What is written when this has come, and the turn is over."""
        self.transport.clear()
        self.protocol.dataReceived(b"".join(data))
        self._clock.advance(0)
        written: bytes = self.transport.value()
        return written

    def say_text(self, value: object) -> Any:
        """Send an object; the one that comes back."""
        answer = self.say(masked(TEXT, json.dumps(value).encode()))
        (payload,) = messages(answer)
        return json.loads(payload)


def messages(data: bytes) -> list[bytes]:
    """The payloads of unmasked whole messages and control frames."""
    found = []
    while data:
        size, start = data[1], 2
        assert data[0] & 0xF0 == 0x80, "whole, and without reserved bits"
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        found.append(data[start : start + size])
        data = data[start + size :]
    return found


class WebSocketCase(SynchronousTestCase):
    """A connector and its clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, self.subscribe, _ = make_connector(self.clock)
        self.client = Raw(self.connector, self.clock)

    def online(self) -> str:
        """Open a session with JSON text; its token."""
        answer = self.client.say_text({"signal": "SUB"})
        token: str = answer["content"]["token"]
        return token

    def kick(self, token: str) -> bytes:
        """Kick it; what is written."""
        self.client.transport.clear()
        Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "öut")))
        written: bytes = self.client.transport.value()
        return written


class Texts(WebSocketCase):
    """What a browser sees."""

    def test_a_session_as_the_document_shows_it(self) -> None:
        answer = self.client.say_text(
            {"signal": "SUB", "subSignal": "NONE", "messageId": 5, "content": {"ack": True, "token": "t"}}
        )
        self.assertEqual([answer[key] for key in ("signal", "subSignal", "messageId")], ["SUB", "NONE", 5])
        self.assertEqual((answer["content"]["status"], answer["content"]["token"]), (200, "t"))
        self.client.transport.clear()
        Deferred.fromCoroutine(self.connector.broadcast(2**60, b'{"a": "\xc3\xa9"}'))
        self.clock.pump([0, 0])
        (pushed,) = messages(self.client.transport.value())
        self.assertEqual(
            pushed.decode(),
            '{"signal":"PUSH","subSignal":"MN","messageId":0,"id":"1152921504606846976","content":{"a": "é"}}',
        )
        self.client.say(masked(TEXT, b'{"signal":"PUB_ACK","subSignal":"MN","id":"1152921504606846976"}'))
        self.assertEqual(self.connector.measures.acknowledged, 1)

    def test_text_that_is_no_json_is_a_sign_of_life_and_not_answered(self) -> None:
        self.online()
        for _ in range(10):
            self.clock.advance(300)
            self.assertEqual(self.client.say(masked(TEXT, b"heartbeat")), b"")
            self.connector.sweep()
        self.assertFalse(self.client.is_ended)

    def test_a_bad_object_is_answered_with_a_reason(self) -> None:
        goodbye, end = messages(self.client.say(masked(TEXT, b'{"signal":"HELLO"}')))
        self.assertEqual(json.loads(goodbye)["content"]["code"], 3501)
        self.assertEqual(int.from_bytes(end[:2], "big"), 3501)


class Kinds(WebSocketCase):
    """Text or binary."""

    def test_the_answer_is_of_the_kind_of_the_question(self) -> None:
        self.assertEqual(self.client.say(masked(TEXT, b'{"signal":"PING"}'))[0], 0x80 | TEXT)
        other = Raw(self.connector, self.clock)
        self.assertEqual(other.say(masked(BINARY, encode(Signal.PING)))[0], 0x80 | BINARY)

    def test_a_subprotocol_is_answered_and_obeyed(self) -> None:
        client = Raw(self.connector, self.clock, asks=True)
        assert isinstance(client.dialect, WebSocketDialect)
        self.assertEqual(client.dialect.subprotocol, "push.json")
        goodbye, _ = messages(client.say(masked(BINARY, encode(Signal.PING))))
        self.assertIn("are text", json.loads(goodbye)["content"]["reason"])

    def test_kinds_share_a_broadcast_only_with_their_own(self) -> None:
        self.online()
        binary = Raw(self.connector, self.clock)
        binary.say(masked(BINARY, encode(Signal.SUB)))
        self.assertNotEqual(self.client.protocol.form, binary.protocol.form)
        for client in (self.client, binary):
            client.transport.clear()
        Deferred.fromCoroutine(self.connector.broadcast(1, b"x"))
        self.clock.pump([0, 0])
        self.assertEqual(messages(binary.transport.value()), [encode(Signal.PUSH, b"x")])
        self.assertIn(b'"content":"x"', self.client.transport.value())


class ControlFrames(WebSocketCase):
    """Pings and pongs."""

    def test_a_ping_is_answered_with_its_payload_also_before_the_session_is_open(self) -> None:
        self.assertEqual(self.client.say(masked(PING, b"Hello")), b"\x8a\x05Hello")

    def test_a_ping_between_fragments_is_answered_before_the_message_is(self) -> None:
        text = b'{"signal":"PING"}'
        pong, answer = messages(
            self.client.say(masked(TEXT, text[:5], fin=False), masked(PING, b"1"), masked(CONTINUATION, text[5:]))
        )
        self.assertEqual((pong, json.loads(answer)["signal"]), (b"1", "PING"))

    def test_a_pong_is_a_sign_of_life_and_not_answered(self) -> None:
        self.online()
        self.clock.advance(350)
        self.assertEqual(self.client.say(masked(PONG, b"x")), b"")
        self.clock.advance(350)
        self.connector.sweep()
        self.assertFalse(self.client.is_ended)

    def test_a_flood_of_empty_fragments_is_served_in_turns(self) -> None:
        flood = masked(TEXT, fin=False) + masked(CONTINUATION, fin=False) * (2 * MAX_FRAMES_A_TURN)
        self.client.protocol.dataReceived(flood)
        self.assertFalse(self.client.transport.reading)
        self.clock.advance(0)
        self.assertTrue(self.client.transport.reading)
        self.assertEqual(self.client.say(masked(CONTINUATION), masked(PING, b"!")), b"\x8a\x01!")

    def test_pings_that_are_never_read_end_the_session(self) -> None:
        self.online()
        self.client.stop_reading()
        for _ in range(101):
            self.client.protocol.dataReceived(masked(PING, bytes(125)))
            self.clock.advance(0)
        goodbye, end = messages(self.client.transport.value())[-2:]
        self.assertEqual(json.loads(goodbye)["content"]["code"], CloseCode.SLOW_CONSUMER)
        self.assertEqual(int.from_bytes(end[:2], "big"), CloseCode.SLOW_CONSUMER)


class Closing(WebSocketCase):
    """The closing handshake, from both sides."""

    def test_the_server_says_why_twice_and_waits_for_the_client(self) -> None:
        goodbye, end = messages(self.kick(self.online()))
        self.assertEqual(json.loads(goodbye)["content"], {"code": 3504, "reason": "öut", "retry": "no"})
        self.assertEqual(end, (3504).to_bytes(2, "big") + "öut".encode())
        transport = self.client.transport
        self.assertFalse(transport.half_closed or transport.disconnecting, "the client's Close is still to come")
        self.assertEqual(self.client.say(masked(PING), masked(TEXT, b'{"signal":"PING"}')), b"")
        self.assertEqual(self.client.say(close(3504)), b"")
        self.assertTrue(transport.half_closed or transport.disconnecting)

    def test_a_client_that_never_answers_is_cut_off(self) -> None:
        self.kick(self.online())
        self.clock.advance(5)
        self.connector.sweep()
        self.assertTrue(self.client.transport.aborted)

    def test_a_client_that_goes_on_with_garbage_is_not_understood_any_more(self) -> None:
        self.kick(self.online())
        self.assertEqual(self.client.say(b"\xff" * 100), b"")
        self.assertTrue(self.client.transport.disconnecting)
        self.assertEqual(self.client.say(b"\xff" * 100), b"")

    def test_the_client_closes_and_is_answered_with_its_code(self) -> None:
        for code, answer in ((1000, b"\x88\x02\x03\xe8"), (4_321, b"\x88\x02\x10\xe1"), (None, b"\x88\x00")):
            self.client = Raw(self.connector, self.clock)
            self.online()
            self.assertEqual(self.client.say(close(code, b"" if code is None else b"bye")), answer)
            self.assertTrue(self.client.transport.disconnecting)
            self.assertEqual(self.connector.connections.sessions, 0)

    def test_what_the_client_asked_for_before_its_close_is_answered(self) -> None:
        answer, end = messages(self.client.say(masked(TEXT, b'{"signal":"PING","messageId":3}'), close()))
        self.assertEqual((json.loads(answer)["messageId"], end), (3, b"\x03\xe8"))

    def test_a_client_that_says_disconnect_gets_a_normal_close(self) -> None:
        self.online()
        self.assertEqual(self.client.say(masked(TEXT, b'{"signal":"DISCONNECT"}')), b"\x88\x02\x03\xe8")

    def test_what_is_against_the_rfc_ends_with_the_codes_of_the_rfc(self) -> None:
        for data, code in (
            (b"\x81\x00", 1002),
            (masked(TEXT, b"x", rsv=4), 1002),
            (masked(CONTINUATION), 1002),
            (masked(TEXT, b"\xff"), 1007),
        ):
            self.client = Raw(self.connector, self.clock)
            self.online()
            goodbye, end = messages(self.client.say(data))
            self.assertEqual(json.loads(goodbye)["content"]["code"], CloseCode.BAD_FRAME)
            self.assertEqual(int.from_bytes(end[:2], "big"), code)
            self.assertTrue(self.client.transport.disconnecting)

    def test_who_has_not_spoken_the_protocol_gets_the_close_alone(self) -> None:
        (end,) = messages(self.client.say(b"\x81\x00"))
        self.assertEqual(end[:2], (1002).to_bytes(2, "big"))

    def test_too_large_a_message_is_refused_by_its_header(self) -> None:
        self.online()
        goodbye, end = messages(self.client.say(header(TEXT, 1 << 40)))
        self.assertEqual(json.loads(goodbye)["content"]["code"], 3502)
        self.assertEqual(int.from_bytes(end[:2], "big"), 3502)

    def test_a_message_of_an_open_session_may_be_as_large_as_is_said(self) -> None:
        self.online()
        self.assertEqual(self.client.say(header(TEXT, 65_536)), b"")

    def test_a_long_reason_is_cut_between_characters(self) -> None:
        token = self.online()
        self.client.transport.clear()
        Deferred.fromCoroutine(self.connector.kick(token, Disconnect(CloseCode.KICKED, "€" * 100)))
        _, end = messages(self.client.transport.value())
        self.assertEqual(end[2:].decode(), "€" * 41)

    def test_the_transport_ends_without_a_close(self) -> None:
        self.online()
        self.client.hang_up()
        self.assertEqual((len(self.connector.connections), self.connector.connections.sessions), (0, 0))

    def test_acknowledgements_may_name_several(self) -> None:
        token = self.client.say_text({"signal": "SUB", "content": {"ack": True}})["content"]["token"]
        batch = [Delivery(number, b"x", [token]) for number in (1, 2, 3)]
        Deferred.fromCoroutine(self.connector.deliver(batch))
        self.clock.advance(0)
        frame = Frame(Signal.PUB_ACK, SubSignal.MN, 0, ID.pack(1) + ID.pack(2))
        self.client.protocol.dataReceived(self.client.dialect.encode(frame))
        self.assertEqual(list(self.client.protocol.unacknowledged()), [3])


class Redirects(SynchronousTestCase):
    """A client of WebSocket is sent to where that is spoken."""

    def test_who_is_one_too_many_is_told_where_else_websocket_is_spoken(self) -> None:
        clock = Clock()
        places = {"websocket": [NodeAddress("10.0.0.1", 9327)], "framed": [NodeAddress("10.0.0.1", 6790)]}
        connector, _, _ = make_connector(clock, elsewhere=lambda protocol: places[protocol or ""], max_connections=0)
        written = messages(Raw(connector, clock).say(masked(TEXT, b'{"signal":"SUB"}')))
        answer = json.loads(written[0])["content"]
        self.assertEqual((answer["status"], answer["host"], answer["port"]), (302, "10.0.0.1", 9327))
        self.assertEqual(answer["nodes"], [{"host": "10.0.0.1", "port": 9327}])

    def test_where_it_is_spoken_nowhere_else_it_has_to_come_back(self) -> None:
        clock = Clock()
        connector, _, _ = make_connector(clock, max_connections=0)
        written = messages(Raw(connector, clock).say(masked(TEXT, b'{"signal":"SUB"}')))
        answer = json.loads(written[0])["content"]
        self.assertEqual((answer["status"], answer["retry_after"]), (503, 30))
