"""What clients of WebSocket send: whole, cut anywhere, fragmented, too large, and wrong in every way the RFC names.

The cases of the Autobahn test suite's sections 1 to 7 that say anything about a server are here: payloads of every form
of length, pings between fragments, reserved bits and opcodes, fragmentation, UTF-8 and the closing handshake.
"""

import json
import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.websocket.forms import Kind
from push.protocols.websocket.inbound import Event, Fault, Inbound, PeerCloses, Ping, Quiet
from push.protocols.wire.frames import Frame, encode
from push.protocols.wire.json_frames import max_text_bytes, write_frame
from push.protocols.wire.signals import CloseCode, Signal
from tests.protocols.websocket.masked import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    close,
    header,
    masked,
)

LIMIT = 4_096
PING_TEXT = b'{"signal":"PING"}'
PING_FRAME = Frame(Signal.PING, 0, 0, b"")


def read(*pieces: bytes, kind: Kind | None = None, limit: int = LIMIT) -> list[Event]:
    """What comes of these bytes, without what means nothing."""
    return events(Inbound(limit, kind), *pieces)


def events(inbound: Inbound, *pieces: bytes) -> list[Event]:
    """What comes of these bytes, without what means nothing."""
    found: list[Event] = []
    for piece in pieces:
        inbound.feed(piece)
        while (event := inbound.next()) is not None:
            if event is not Quiet.QUIET:
                found.append(event)
    return found


def bytewise(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[position : position + 1] for position in range(len(data))]


class Messages(SynchronousTestCase):
    """Frames of the session in messages."""

    def test_text_is_json(self) -> None:
        self.assertEqual(read(masked(TEXT, PING_TEXT)), [PING_FRAME])

    def test_the_example_of_the_rfc(self) -> None:
        """Section 5.7: a single-frame masked text message that contains "Hello"; here, a sign of life."""
        inbound = Inbound(LIMIT, None)
        inbound.feed(bytes.fromhex("818537fa213d7f9f4d5158"))
        self.assertIs(inbound.next(), Quiet.QUIET)
        self.assertIsNone(inbound.next())
        self.assertIsNone(inbound.kind, "it says nothing of what the messages are")

    def test_binary_is_a_frame_or_several(self) -> None:
        one, two = encode(Signal.PING, message_id=1), encode(Signal.SUB, b"{}", message_id=2)
        expected = [Frame(3, 0, 1, b""), Frame(1, 0, 2, b"{}")]
        self.assertEqual(read(masked(BINARY, one), masked(BINARY, two)), expected)
        self.assertEqual(read(masked(BINARY, one + two)), expected)
        self.assertEqual(read(masked(BINARY, b"") + masked(BINARY, one)), expected[:1])

    def test_byte_by_byte(self) -> None:
        text = write_frame(Frame(Signal.SUB, 0, 1, '{"uid":"é€𝄞"}'.encode()))
        data = masked(TEXT, text) + masked(PING, b"?") + masked(TEXT, text) + close()
        whole = read(data)
        self.assertEqual(len(whole), 4)
        self.assertEqual(read(*bytewise(data)), whole)

    def test_every_form_of_length(self) -> None:
        for size in (0, 1, 125 - 10, 126 - 10, 127, 128, 65_535 - 10, 65_536 - 10, 65_536, 131_072):
            data = masked(BINARY, encode(Signal.CONTACT, bytes(size)))
            self.assertEqual(read(data, limit=131_072), [Frame(5, 0, 0, bytes(size))], size)
            self.assertEqual(read(data[:5], data[5:9], data[9:], limit=131_072), [Frame(5, 0, 0, bytes(size))], size)

    @given(st.lists(st.binary(max_size=60), max_size=6), st.data())
    def test_fragments_cut_anywhere_with_pings_between_them(self, bodies: list[bytes], data: st.DataObject) -> None:
        for kind in Kind:
            sent = b""
            pings = 0
            for body in bodies:
                frame = Frame(Signal.CONTACT, 0, 1, body)
                payload = write_frame(frame) if kind is Kind.TEXT else encode(Signal.CONTACT, body, message_id=1)
                cuts = sorted(data.draw(st.lists(st.integers(0, len(payload)), max_size=4)))
                edges = [0, *cuts, len(payload)]
                for number, (start, end) in enumerate(pairwise(edges)):
                    opcode = int(kind) if number == 0 else CONTINUATION
                    sent += masked(opcode, payload[start:end], fin=end is edges[-1] and number == len(edges) - 2)
                    sent += masked(PING, b"x") + masked(PONG)
                    pings += 1
            cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
            edges = [0, *cuts, len(sent)]
            came = read(*[sent[start:end] for start, end in pairwise(edges)])
            self.assertEqual([each for each in came if isinstance(each, Ping)], [Ping(b"x")] * pings)
            frames = [each for each in came if isinstance(each, Frame)]
            self.assertEqual(len(frames) + pings, len(came))
            for frame, body in zip(frames, bodies, strict=True):
                if frame.body != body:  # JSON is written anew
                    self.assertEqual(json.loads(frame.body), json.loads(body))

    def test_what_a_connection_carries_is_what_it_began_with(self) -> None:
        ping = masked(BINARY, encode(Signal.PING))
        (_, fault) = read(masked(TEXT, PING_TEXT), ping)
        self.assertEqual(fault, Fault(CloseCode.BAD_FRAME, "messages of this connection are text", 3501))
        (_, fault) = read(ping, masked(TEXT, PING_TEXT))
        self.assertEqual(fault, Fault(CloseCode.BAD_FRAME, "messages of this connection are binary", 3501))
        (fault,) = read(ping, kind=Kind.TEXT)
        self.assertIsInstance(fault, Fault)

    def test_any_text_is_a_sign_of_life_also_between_binary_messages(self) -> None:
        ping = masked(BINARY, encode(Signal.PING))
        self.assertEqual(read(ping + masked(TEXT, b"ping") + ping), [PING_FRAME, PING_FRAME])

    def test_frames_before_a_bad_one_are_taken_first(self) -> None:
        came = read(masked(BINARY, encode(Signal.PING) * 3 + b"garbage"))
        self.assertEqual(came[:3], [PING_FRAME] * 3)
        fault = came[3]
        assert isinstance(fault, Fault)
        self.assertEqual((fault.code, fault.close_code), (CloseCode.BAD_FRAME, 3501))

    def test_a_frame_does_not_go_on_in_the_next_message(self) -> None:
        data = encode(Signal.PING)
        (fault,) = read(masked(BINARY, data[:4]), masked(BINARY, data[4:]))
        self.assertEqual(fault, Fault(CloseCode.BAD_FRAME, "a message ends within a frame", 3501))

    def test_an_object_that_is_no_frame_is_a_fault(self) -> None:
        (fault,) = read(masked(TEXT, b'{"signal":"?"}'))
        assert isinstance(fault, Fault)
        self.assertEqual((fault.code, fault.close_code), (CloseCode.BAD_FRAME, 3501))


class Sizes(SynchronousTestCase):
    """What is too large is refused before any of it is taken."""

    def assertTooLarge(self, came: list[Event]) -> None:
        """The only event is that fault."""
        (fault,) = came
        assert isinstance(fault, Fault), fault
        self.assertEqual((fault.code, fault.close_code), (CloseCode.TOO_LARGE, 3502))

    def test_by_the_header_alone(self) -> None:
        for opcode, most in ((TEXT, max_text_bytes(LIMIT)), (BINARY, LIMIT + 10)):
            self.assertEqual(read(header(opcode, most)), [])
            self.assertTooLarge(read(header(opcode, most + 1)))
        self.assertTooLarge(read(header(TEXT, (1 << 63) - 1)))

    def test_a_header_that_comes_in_pieces_counts_once(self) -> None:
        payload = encode(Signal.CONTACT, bytes(LIMIT))
        came = read(*bytewise(masked(BINARY, payload)))
        self.assertEqual(came, [Frame(5, 0, 0, bytes(LIMIT))])

    def test_fragments_are_added_up(self) -> None:
        inbound = Inbound(LIMIT, None)
        part = masked(CONTINUATION, bytes(1_000), fin=False)
        self.assertEqual(events(inbound, masked(BINARY, bytes(106), fin=False), *[part] * 4), [])
        self.assertEqual(events(inbound, masked(PING)), [Ping(b"")], "control frames do not count")
        self.assertTooLarge(events(inbound, header(CONTINUATION, 1)))

    def test_each_message_is_counted_for_itself(self) -> None:
        data = masked(BINARY, encode(Signal.CONTACT, bytes(LIMIT)))
        self.assertEqual(len(read(data * 5)), 5)

    def test_the_limit_rises_when_the_session_is_open(self) -> None:
        inbound = Inbound(10, None)
        self.assertEqual(len(events(inbound, masked(BINARY, encode(Signal.SUB, bytes(10))))), 1)
        inbound.max_body_bytes = 20
        self.assertEqual(len(events(inbound, masked(BINARY, encode(Signal.CONTACT, bytes(20))))), 1)
        self.assertTooLarge(events(inbound, masked(BINARY, encode(Signal.CONTACT, bytes(21)))))

    def test_the_body_in_a_text_has_the_same_limit(self) -> None:
        for size, is_good in ((LIMIT, True), (LIMIT + 1, False)):
            (event,) = read(masked(TEXT, b'{"signal":"SUB","content":"%s"}' % (b"x" * size)))
            self.assertEqual(isinstance(event, Frame), is_good)
            if not is_good:
                self.assertTooLarge([event])

    def test_a_message_that_drips_in_costs_what_it_is_long(self) -> None:
        inbound = Inbound(65_536, None)
        for _ in range(20_000):
            inbound.feed(masked(TEXT if not _ else CONTINUATION, "é".encode(), fin=False))
            inbound.next()
        assert inbound._parts is not None
        self.assertLess(inbound._parts.__sizeof__(), 60_000)


class Violations(SynchronousTestCase):
    """What RFC 6455 forbids ends the connection with its codes."""

    def assertFails(self, close_code: int, *pieces: bytes) -> None:
        """The last event is a fault with this code, and nothing is read behind it."""
        inbound = Inbound(LIMIT, None)
        fault = events(inbound, *pieces)[-1]
        assert isinstance(fault, Fault), fault
        self.assertEqual((fault.code, fault.close_code), (CloseCode.BAD_FRAME, close_code))
        self.assertEqual(events(inbound, masked(PING), close()), [])

    def test_unmasked(self) -> None:
        self.assertFails(1002, b"\x81\x02hi")

    def test_reserved_bits(self) -> None:
        """The first is what a compressed message has: nothing was agreed upon, and nothing is inflated."""
        for rsv in range(1, 8):
            for opcode in (TEXT, BINARY, PING, CLOSE):
                self.assertFails(1002, masked(opcode, b"", rsv=rsv))

    def test_reserved_opcodes(self) -> None:
        for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF):
            self.assertFails(1002, masked(opcode))

    def test_control_frames_that_are_long_or_fragmented(self) -> None:
        for opcode in (CLOSE, PING, PONG):
            self.assertFails(1002, masked(opcode, bytes(126)))
            self.assertFails(1002, masked(opcode, fin=False))

    def test_a_ping_may_have_125_bytes(self) -> None:
        self.assertEqual(read(masked(PING, bytes(125))), [Ping(bytes(125))])

    def test_a_continuation_of_nothing(self) -> None:
        self.assertFails(1002, masked(CONTINUATION, b"x"))
        self.assertFails(1002, masked(TEXT, b"x"), masked(CONTINUATION, b"x", fin=False))

    def test_a_message_within_a_message(self) -> None:
        for opcode in (TEXT, BINARY):
            self.assertFails(1002, masked(TEXT, b"x", fin=False), masked(opcode, b"x"))

    def test_lengths_that_are_longer_than_need_be(self) -> None:
        self.assertFails(1002, b"\x82\xfe\x00\x7d" + MASK)
        self.assertFails(1002, b"\x82\xff" + struct.pack(">Q", 0xFFFF) + MASK)
        self.assertFails(1002, b"\x82\xff" + struct.pack(">Q", 1 << 63) + MASK)

    def test_text_that_is_no_utf_8(self) -> None:
        for text in ("ff", "c080", "c1bf", "e08080", "eda080", "edbfbf", "f4908080", "f8888080", "cebae1bdb9cf83eda0"):
            data = bytes.fromhex(text)
            self.assertFails(1007, masked(TEXT, data))
            for cut in range(len(data)):
                self.assertFails(1007, masked(TEXT, data[:cut], fin=False), masked(CONTINUATION, data[cut:]))

    def test_text_that_ends_within_a_character(self) -> None:
        for text in ("c3", "e282", "f09d84"):
            self.assertFails(1007, masked(TEXT, bytes.fromhex(text)))

    def test_wrong_text_is_known_before_the_message_ends(self) -> None:
        self.assertFails(1007, masked(TEXT, b"\xff", fin=False))

    def test_binary_may_be_anything(self) -> None:
        (frame,) = read(masked(BINARY, encode(Signal.CONTACT, b"\xff")))
        self.assertEqual(frame, Frame(5, 0, 0, b"\xff"))


class Closing(SynchronousTestCase):
    """The client's Close."""

    def test_codes_that_may_be_sent(self) -> None:
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
            self.assertEqual(read(close(code, b"bye")), [PeerCloses(code)])

    def test_none(self) -> None:
        self.assertEqual(read(close(None)), [PeerCloses(None)])

    def test_codes_that_may_not(self) -> None:
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
            (fault,) = read(close(code))
            assert isinstance(fault, Fault), (code, fault)
            self.assertEqual(fault.close_code, 1002)

    def test_half_a_code_and_a_reason_that_is_no_utf_8(self) -> None:
        self.assertEqual([each.close_code for each in read(masked(CLOSE, b"\3")) if isinstance(each, Fault)], [1002])
        self.assertEqual([each.close_code for each in read(close(1000, b"\xff")) if isinstance(each, Fault)], [1007])

    def test_nothing_is_read_behind_it(self) -> None:
        self.assertEqual(read(close() + masked(PING) + masked(TEXT, PING_TEXT), masked(PING)), [PeerCloses(1000)])

    def test_between_fragments(self) -> None:
        self.assertEqual(read(masked(TEXT, b"x", fin=False) + close()), [PeerCloses(1000)])


class Garbage(SynchronousTestCase):
    """Nothing that comes raises."""

    @given(st.lists(st.binary(max_size=50), max_size=10))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        read(*pieces)

    @given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 8, 9, 10]), st.binary(max_size=30), st.booleans())))
    def test_any_frames(self, frames: list[tuple[int, bytes, bool]]) -> None:
        read(b"".join(masked(opcode, payload, fin=fin) for opcode, payload, fin in frames))
