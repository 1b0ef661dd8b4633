"""WebSocket from the client's side: the handshake, and frames cut anywhere, whatever the server sends."""

import base64
import random
import struct
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from push.protocols.wire.frames import Frame, encode
from push.protocols.wire.signals import Signal
from push_client.address import Address, parse_url
from push_client.carrier import FramedCarrier, make_carrier
from push_client.websocket import WebSocketCarrier

# RFC 6455, section 1.3: the nonce, and what is answered to it.
NONCE = base64.b64decode("dGhlIHNhbXBsZSBub25jZQ==")
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: push.framed\r\n\r\n"
).encode()
SUB = Frame(Signal.SUB, 0, 1, b"{}")
PING = encode(Signal.PING, b'{"interval":1}', message_id=2)


def make(max_body_bytes: int = 1_000) -> WebSocketCarrier:
    """A carrier whose nonce is that of the RFC."""
    return WebSocketCarrier(Address("h", 80, False, "/ws"), max_body_bytes, lambda size: NONCE[:size])


def opened(max_body_bytes: int = 1_000) -> WebSocketCarrier:
    """One whose server has agreed, with nothing to send."""
    carrier = make(max_body_bytes)
    assert carrier.feed(ANSWER) == []
    carrier.output.clear()
    return carrier


def message(payload: bytes, opcode: int = 2, *, first: int = 0x80) -> bytes:
    """A frame of a server."""
    size = len(payload)
    if size < 126:
        return struct.pack(">BB", first | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack(">BBH", first | opcode, 126, size) + payload
    return struct.pack(">BBQ", first | opcode, 127, size) + payload


def unmasked(data: bytes) -> tuple[int, bytes]:
    """First byte and payload of a client's one frame, which must be masked."""
    assert data[1] & 0x80
    size, start = data[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(data[2:10], "big"), 10
    mask, payload = data[start : start + 4], data[start + 4 :]
    assert len(payload) == size
    return data[0], bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))


class Handshakes(TestCase):
    """Before the first frame."""

    def test_it_asks_as_the_rfc_says(self) -> None:
        lines = bytes(make().output).decode().split("\r\n")
        self.assertEqual(lines[:2], ["GET /ws HTTP/1.1", "Host: h:80"])
        self.assertIn("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", lines)
        self.assertIn("Sec-WebSocket-Protocol: push.framed", lines)
        self.assertFalse([line for line in lines if "xtensions" in line])
        self.assertEqual(lines[-2:], ["", ""])

    def test_frames_wait_until_the_server_has_agreed(self) -> None:
        carrier = make()
        request = bytes(carrier.output)
        carrier.output.clear()
        carrier.send(SUB)
        self.assertEqual((bytes(carrier.output), request[:4]), (b"", b"GET "))
        carrier.feed(ANSWER)
        self.assertEqual(unmasked(bytes(carrier.output)), (0x82, encode(Signal.SUB, b"{}", message_id=1)))

    def test_what_comes_behind_the_answer_is_read(self) -> None:
        for cut in range(len(ANSWER) + len(PING) + 2):
            data = ANSWER + message(PING)
            carrier = make()
            frames = carrier.feed(data[:cut]) + carrier.feed(data[cut:])
            self.assertEqual([frame.signal for frame in frames], [Signal.PING])

    def test_another_answer_is_told(self) -> None:
        for answer, reason in (
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403"),
            (b"HTTP/1.1 2\x1b[0m Oh\r\n\r\n", "nothing known"),
            (b"\xf8\x02\x08\r\n\r\n", "HTTP"),
            (ANSWER.replace(ACCEPT.encode(), b"AAAA"), "is not one"),
            (ANSWER.replace(b"Upgrade: websocket", b"Upgrade: h2c"), "is not one"),
            (ANSWER.replace(b"push.framed", b"push.json"), "push.framed"),
            (ANSWER[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "extension"),
        ):
            carrier = make()
            self.assertEqual(carrier.feed(answer + message(PING)), [])
            assert carrier.error is not None
            self.assertIn(reason, carrier.error.reason)
            self.assertFalse(carrier.error.peer_speaks)
            self.assertEqual(carrier.feed(message(PING)), [])

    def test_an_answer_without_end_is_not_waited_for(self) -> None:
        carrier = make()
        while carrier.error is None:
            carrier.feed(b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 100)
            self.assertLess(carrier.buffered_bytes, 20_000)


class Messages(TestCase):
    """After it."""

    @given(st.randoms(use_true_random=False))
    def test_frames_cut_into_messages_fragments_and_packets_anywhere(self, chance: random.Random) -> None:
        bodies = [chance.randbytes(chance.randrange(300)) for _ in range(chance.randrange(6))]
        stream = b"".join(encode(Signal.PUSH, body) for body in bodies)
        wire, opcode = b"", 2
        while stream:
            size = chance.randint(0, len(stream))
            is_last = chance.random() < 0.5
            wire += message(stream[:size], opcode, first=0x80 if is_last else 0)
            wire += message(b"are you there?", 9) if chance.random() < 0.3 else b""
            opcode, stream = 2 if is_last else 0, stream[size:]
        carrier, got = opened(), []
        while wire:
            size = chance.randint(1, min(50, len(wire)))
            got += carrier.feed(wire[:size])
            wire = wire[size:]
        self.assertIsNone(carrier.error)
        self.assertEqual([frame.body for frame in got], bodies)

    def test_every_form_of_length_both_ways(self) -> None:
        for size in (0, 100, 115, 116, 65_525, 65_526, 70_000):
            body = bytes(range(256)) * (size // 256 + 1)
            carrier = opened(100_000)
            (frame,) = carrier.feed(message(encode(Signal.PUSH, body[:size])))
            self.assertEqual(frame.body, body[:size])
            carrier.send(frame)
            self.assertEqual(unmasked(bytes(carrier.output)), (0x82, encode(Signal.PUSH, body[:size])))

    def test_a_ping_is_answered_with_its_payload_masked(self) -> None:
        carrier = opened()
        self.assertEqual(carrier.feed(message(b"hello", 9) + message(b"", 10)), [])
        self.assertEqual(unmasked(bytes(carrier.output)), (0x8A, b"hello"))

    def test_a_close_ends_it_with_its_code_behind_what_came_before(self) -> None:
        carrier = opened()
        (frame,) = carrier.feed(message(PING) + message(struct.pack(">H", 1001) + b"bye", 8) + message(PING))
        self.assertEqual(frame.signal, Signal.PING)
        assert carrier.error is not None
        self.assertEqual(carrier.error.reason, "the server closed the connection with code 1001")

    def test_the_end_is_said_once(self) -> None:
        carrier = opened()
        carrier.end()
        carrier.end()
        self.assertEqual(unmasked(bytes(carrier.output)), (0x88, struct.pack(">H", 1000)))

    def test_what_is_against_the_rfc_ends_it(self) -> None:
        for wrong in (
            message(PING, 1),
            message(PING, 0),
            message(PING, 3),
            message(b"", 11),
            message(b"", 9, first=0),
            message(bytes(126), 9),
            message(PING, first=0xC0),
            message(PING, first=0) + message(PING),
            bytes([0x82, 0x80, 0, 0, 0, 0]),
            bytes([0x82, 0x80 | len(PING), 0, 0, 0, 0]) + PING,
        ):
            carrier = opened()
            carrier.feed(wrong)
            assert carrier.error is not None, wrong
            self.assertEqual(carrier.error.reason, "the server does not keep to WebSocket", wrong)

    def test_too_large_a_frame_is_refused_by_its_header(self) -> None:
        carrier = opened(1_000)
        carrier.feed(message(encode(Signal.PUSH, bytes(1_001)))[:30])
        self.assertIsNotNone(carrier.error)

    @given(st.lists(st.binary(max_size=60)))
    def test_no_bytes_raise(self, pieces: list[bytes]) -> None:
        for carrier in (make(), opened()):
            for piece in pieces:
                carrier.feed(piece)


class Places(TestCase):
    """What a URL says."""

    def test_websocket_has_a_path_and_ports_of_its_own(self) -> None:
        self.assertEqual(parse_url("ws://h"), Address("h", 80, False, "/"))
        self.assertEqual(parse_url("wss://h/ws?a=b"), Address("h", 443, True, "/ws?a=b"))
        self.assertEqual(str(parse_url("wss://[::1]:9326/ws")), "wss://[::1]:9326/ws")
        self.assertEqual(parse_url("ws://h:1/x").at("i", 2), Address("i", 2, False, "/x"))
        for url in ("ws://", "ws://h/a b", "ws://h/\u00fc", "ws://u@h/", "ws://h/#a", "ws://h:0", "push://h/ws"):
            with self.subTest(url), self.assertRaises(ValueError):
                parse_url(url)

    def test_the_carrier_is_that_of_the_address(self) -> None:
        self.assertIsInstance(make_carrier(parse_url("push://h"), 1), FramedCarrier)
        one, two = (make_carrier(parse_url("ws://h"), 1) for _ in range(2))
        self.assertNotEqual(bytes(one.output), bytes(two.output), "the key is random")
