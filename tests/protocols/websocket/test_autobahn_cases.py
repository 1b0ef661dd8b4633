"""The cases of Autobahn's test suite for WebSocket servers, 1 to 7, 9 and 10, against an echo made of our own code.

The suite itself runs on Python 2 only: its cases are written out here, by its numbers. How it was run itself, and with
what outcome, is in docs/protocol.md. Left out are those of compression (12, 13), which is never agreed upon.
"""

import struct

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.testing.connections import Transport, make_connector
from tests.protocols.websocket.echo import ROOMY, EchoInbound, EchoProtocol
from tests.protocols.websocket.masked import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, masked

HELLO = b"Hello, world!"
GREEK = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
PROTOCOL_ERROR = (CLOSE, struct.pack(">H", 1002))
NOT_TEXT = (CLOSE, struct.pack(">H", 1007))


def written(data: bytes) -> list[tuple[int, bytes]]:
    """(opcode, payload) of each frame that a server wrote; of a Close frame, the code alone."""
    found = []
    at = 0
    while at < len(data):
        opcode, size, start = data[at] & 0xF, data[at + 1], at + 2
        assert data[at] & 0xF0 == 0x80, "whole, and without reserved bits"
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        at = start + size
        payload = data[start:at]
        found.append((opcode, payload[:2] if opcode == CLOSE else payload))
    return found


class AutobahnCase(SynchronousTestCase):
    """Frames go in, and what comes out is compared."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, _, _ = make_connector(self.clock, **ROOMY)

    def answers(self, *frames: bytes, chop: int = 0) -> list[tuple[int, bytes]]:
        """What a new connection answers.

        Args:
            frames: that it is sent.
            chop: in pieces of so many bytes; 0 for all at once.
        """
        protocol = EchoProtocol(self.connector, EchoInbound(ROOMY["max_body_bytes"], None))
        transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        protocol.makeConnection(transport)
        data = b"".join(frames)
        for position in range(0, len(data), chop or len(data)):
            protocol.dataReceived(data[position : position + (chop or len(data))])
            self.clock.pump([0, 0])
        while not transport.reading:  # what came at once is served in several turns
            self.clock.pump([0, 0])
        return written(transport.value())

    def assertEchoed(self, opcode: int, payload: bytes, *frames: bytes, chop: int = 0) -> None:
        """These frames are a message that comes back."""
        self.assertEqual(self.answers(*frames, chop=chop), [(opcode, payload)])


class Framing(AutobahnCase):
    """1: every form of length."""

    def test_1_1_and_1_2_sizes(self) -> None:
        for opcode, filler in ((TEXT, b"*"), (BINARY, b"\xfe")):
            for size in (0, 125, 126, 127, 128, 65_535, 65_536):
                payload = filler * size
                self.assertEchoed(opcode, payload, masked(opcode, payload))

    def test_1_1_8_and_1_2_8_chopped(self) -> None:
        for opcode, filler in ((TEXT, b"*"), (BINARY, b"\xfe")):
            self.assertEchoed(opcode, filler * 65_536, masked(opcode, filler * 65_536), chop=997)


class Pings(AutobahnCase):
    """2: pings and pongs."""

    def test_2_1_to_2_4_and_2_6_payloads(self) -> None:
        for payload in (b"", HELLO, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125):
            self.assertEqual(self.answers(masked(PING, payload)), [(PONG, payload)])
            self.assertEqual(self.answers(masked(PING, payload), chop=1), [(PONG, payload)])

    def test_2_5_too_long(self) -> None:
        self.assertEqual(self.answers(masked(PING, b"\xfe" * 126)), [PROTOCOL_ERROR])

    def test_2_7_to_2_9_unsolicited_pongs(self) -> None:
        pongs = masked(PONG) + masked(PONG, b"unsolicited pong payload")
        self.assertEqual(self.answers(pongs, masked(PING, b"ping payload")), [(PONG, b"ping payload")])

    def test_2_10_and_2_11_ten_pings(self) -> None:
        payloads = [b"payload-%d" % number for number in range(10)]
        for chop in (0, 1):
            answers = self.answers(*(masked(PING, payload) for payload in payloads), chop=chop)
            self.assertEqual(answers, [(PONG, payload) for payload in payloads])


class Reserved(AutobahnCase):
    """3 and 4: bits and opcodes without meaning."""

    def test_3_reserved_bits(self) -> None:
        for bits in range(1, 8):
            for chop in (0, 1):
                for opcode in (TEXT, BINARY, PING, CLOSE):
                    frames = masked(TEXT, HELLO) + masked(opcode, b"", rsv=bits) + masked(PING)
                    self.assertEqual(self.answers(frames, chop=chop), [(TEXT, HELLO), PROTOCOL_ERROR], (bits, opcode))

    def test_4_1_reserved_opcodes(self) -> None:
        for opcode in (3, 4, 5, 6, 7):
            for payload in (b"", HELLO):
                frames = masked(TEXT, HELLO) + masked(opcode, payload) + masked(PING)
                self.assertEqual(self.answers(frames), [(TEXT, HELLO), PROTOCOL_ERROR])

    def test_4_2_reserved_control_opcodes(self) -> None:
        for opcode in (11, 12, 13, 14, 15):
            for payload in (b"", HELLO):
                frames = masked(TEXT, HELLO) + masked(opcode, payload) + masked(PING)
                self.assertEqual(self.answers(frames, chop=1), [(TEXT, HELLO), PROTOCOL_ERROR])


class Fragments(AutobahnCase):
    """5 and 10: messages in several frames."""

    one = masked(TEXT, b"fragment1", fin=False)
    two = masked(CONTINUATION, b"fragment2")
    both = b"fragment1fragment2"

    def test_5_1_and_5_2_control_frames_are_never_fragmented(self) -> None:
        for opcode in (PING, PONG):
            frames = masked(opcode, b"fragment1", fin=False) + self.two
            self.assertEqual(self.answers(frames), [PROTOCOL_ERROR])

    def test_5_3_to_5_5_two_fragments(self) -> None:
        for chop in (0, 19, 1):
            self.assertEchoed(TEXT, self.both, self.one, self.two, chop=chop)

    def test_5_6_to_5_8_a_ping_between_them(self) -> None:
        for chop in (0, 1):
            answers = self.answers(self.one, masked(PING, b"ping payload"), self.two, chop=chop)
            self.assertEqual(answers, [(PONG, b"ping payload"), (TEXT, self.both)])

    def test_5_9_to_5_14_nothing_to_continue(self) -> None:
        for fin in (True, False):
            for chop in (0, 1):
                frames = masked(CONTINUATION, b"non-continuation payload", fin=fin) + masked(TEXT, HELLO)
                self.assertEqual(self.answers(frames, chop=chop), [PROTOCOL_ERROR])

    def test_5_15_nothing_to_continue_after_a_message(self) -> None:
        frames = masked(CONTINUATION, b"fragment3", fin=False) + masked(TEXT, b"fragment4")
        self.assertEqual(self.answers(self.one, self.two, frames), [(TEXT, self.both), PROTOCOL_ERROR])

    def test_5_16_and_5_17_again_and_again(self) -> None:
        for fin in (True, False):
            frames = masked(CONTINUATION, b"fragment1", fin=fin) + masked(TEXT, b"fragment2", fin=False) + self.two
            self.assertEqual(self.answers(frames * 2), [PROTOCOL_ERROR])

    def test_5_18_a_message_within_a_message(self) -> None:
        self.assertEqual(self.answers(self.one, masked(TEXT, b"fragment2")), [PROTOCOL_ERROR])

    def test_5_19_and_5_20_five_fragments_and_two_pings(self) -> None:
        middle = [masked(CONTINUATION, b"fragment%d" % number, fin=number == 5) for number in (2, 3, 4, 5)]
        pings = [masked(PING, b"pongme 1!"), masked(PING, b"pongme 2!")]
        frames = [self.one, middle[0], pings[0], middle[1], middle[2], pings[1], middle[3]]
        whole = b"".join(b"fragment%d" % number for number in (1, 2, 3, 4, 5))
        for chop in (0, 1):
            answers = self.answers(*frames, chop=chop)
            self.assertEqual(answers, [(PONG, b"pongme 1!"), (PONG, b"pongme 2!"), (TEXT, whole)])

    def test_10_1_1_a_long_message_in_fragments_of_1300(self) -> None:
        payload = b"*" * 65_536
        parts = [payload[position : position + 1_300] for position in range(0, len(payload), 1_300)]
        frames = [masked(TEXT, parts[0], fin=False), *(masked(CONTINUATION, part, fin=False) for part in parts[1:-1])]
        self.assertEchoed(TEXT, payload, *frames, masked(CONTINUATION, parts[-1]))


# What UTF-8 is and is not: the sections of Markus Kuhn's UTF-8-test.txt that the suite's 6.5 to 6.23 go through.
VALID = (
    *(b"hello$world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld", b"hello\xf0\xa4\xad\xa2world", GREEK),
    *(b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"),  # first of a length
    *(b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"),  # last of a length
    *(b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xef\xbf\xbe"),  # boundaries, and no characters
    *(b"\xf0\x9f\xbf\xbe", b"\xf1\x8f\xbf\xbf", b"\xf2\xaf\xbf\xbe", b"\xf3\xbf\xbf\xbf"),
)
INVALID = (
    *(b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),  # lengths that there are not
    *(b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf", b"\xf4\x90\x80\x80"),
    *(b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80\xbf\x80\xbf", bytes(range(0x80, 0xBF))),  # nothing to continue
    *(b" ".join(bytes([first]) for first in range(low, high)) for low, high in ((0xC0, 0xDF), (0xE0, 0xEF))),
    *(b" ".join(bytes([first]) for first in range(low, high)) for low, high in ((0xF0, 0xF7), (0xF8, 0xFD))),
    *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf"),  # the last byte is missing
    b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xdf\xef\xbf",
    *(b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"),  # impossible
    *(b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf"),  # overlong
    *(b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80"),
    *(
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbf\xbf",
    ),  # surrogates
    *(b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf"),
)


class Utf8(AutobahnCase):
    """6: text is UTF-8, and what is not is known at once."""

    def test_6_1_empty_fragments(self) -> None:
        for parts in ((b"", b"", b""), (b"", b"middle frame payload", b"")):
            first, second, third = parts
            frames = [masked(TEXT, first, fin=False), masked(CONTINUATION, second, fin=False)]
            self.assertEchoed(TEXT, second, *frames, masked(CONTINUATION, third))

    def test_6_2_characters_cut_anywhere(self) -> None:
        text = "Hello-µ@ßöäüàá-UTF-8!!".encode()
        for at in range(len(text) + 1):
            frames = masked(TEXT, text[:at], fin=False) + masked(CONTINUATION, text[at:])
            self.assertEchoed(TEXT, text, frames)
        every = [masked(CONTINUATION, bytes([byte]), fin=False) for byte in text[1:]]
        frames = b"".join([masked(TEXT, text[:1], fin=False), *every, masked(CONTINUATION)])
        self.assertEchoed(TEXT, text, frames, chop=1)

    def test_6_3_and_6_4_what_is_wrong_is_known_before_the_end(self) -> None:
        for wrong in (b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
            begun = masked(TEXT, GREEK, fin=False) + masked(CONTINUATION, wrong, fin=False)
            self.assertEqual(self.answers(begun), [NOT_TEXT])
            self.assertEqual(self.answers(masked(TEXT, GREEK + wrong + b"edited")), [NOT_TEXT])

    def test_6_5_to_6_23_what_is_utf_8(self) -> None:
        for text in VALID:
            self.assertEchoed(TEXT, text, masked(TEXT, text))
            self.assertEchoed(TEXT, text, masked(TEXT, text), chop=1)

    def test_6_6_to_6_21_what_is_not(self) -> None:
        for data in (*INVALID, *(GREEK[:cut] for cut in (1, 3, 4, 6, 8, 10))):
            self.assertEqual(self.answers(masked(TEXT, data)), [NOT_TEXT], data)
            self.assertEqual(self.answers(masked(TEXT, data), chop=1), [NOT_TEXT], data)


class Limits(AutobahnCase):
    """9: large messages, in one frame and in many, in few pieces and in many; and many messages."""

    def echoes(self, size: int, *, fragment: int = 0, chop: int = 0) -> None:
        """A text and a binary message of so many bytes come back."""
        for opcode, filler in ((TEXT, b"*"), (BINARY, b"\xfe")):
            payload = filler * size
            parts = [payload[at : at + (fragment or size)] for at in range(0, size, fragment or size)]
            frames = [
                masked(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
                for number, part in enumerate(parts)
            ]
            self.assertTrue(self.answers(*frames, chop=chop) == [(opcode, payload)], (opcode, size, fragment, chop))

    def test_9_1_and_9_2_large_messages(self) -> None:
        for kibibytes in (64, 256, 1_024, 4_096, 8_192, 16_384):
            self.echoes(kibibytes << 10)

    def test_9_3_and_9_4_large_messages_in_fragments(self) -> None:
        for fragment in (64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304):
            self.echoes(4 << 20, fragment=fragment)

    def test_9_5_and_9_6_large_messages_in_pieces(self) -> None:
        for chop in (64, 128, 256, 512, 1_024, 2_048):
            self.echoes(1 << 20, chop=chop)

    def test_9_7_and_9_8_a_thousand_messages(self) -> None:
        for opcode, filler in ((TEXT, b"*"), (BINARY, b"\xfe")):
            for size in (0, 16, 64, 256, 1_024, 4_096):
                found = self.answers(*[masked(opcode, filler * size)] * 1_000)
                self.assertEqual(found, [(opcode, filler * size)] * 1_000)


class Closing(AutobahnCase):
    """7: the end."""

    def closed(self, code: int) -> tuple[int, bytes]:
        """A Close frame with a code."""
        return CLOSE, struct.pack(">H", code)

    def test_7_1_1_a_message_and_then_the_end(self) -> None:
        self.assertEqual(self.answers(masked(TEXT, HELLO), close()), [(TEXT, HELLO), self.closed(1000)])

    def test_7_1_2_to_7_1_4_nothing_is_answered_after_the_end(self) -> None:
        for later in (close(), masked(PING), masked(TEXT, HELLO)):
            self.assertEqual(self.answers(close(), later), [self.closed(1000)])

    def test_7_1_5_an_end_within_a_message(self) -> None:
        frames = masked(TEXT, b"fragment1", fin=False) + close() + masked(CONTINUATION, b"fragment2")
        self.assertEqual(self.answers(frames), [self.closed(1000)])

    def test_7_1_6_a_long_message_before_the_end(self) -> None:
        long = b"BAsd7&jh23" * 26_214
        answers = self.answers(masked(TEXT, long), masked(TEXT, HELLO), close(), masked(PING))
        self.assertEqual(answers, [(TEXT, long), (TEXT, HELLO), self.closed(1000)])

    def test_7_3_bodies_of_close_frames(self) -> None:
        self.assertEqual(self.answers(close(None)), [(CLOSE, b"")])
        self.assertEqual(self.answers(masked(CLOSE, b"a")), [PROTOCOL_ERROR])
        self.assertEqual(self.answers(close(1000)), [self.closed(1000)])
        self.assertEqual(self.answers(close(1000, b"Hello World!")), [self.closed(1000)])
        self.assertEqual(self.answers(close(1000, b"*" * 123)), [self.closed(1000)])
        self.assertEqual(self.answers(close(1000, b"*" * 124)), [PROTOCOL_ERROR])

    def test_7_5_1_a_reason_that_is_no_utf_8(self) -> None:
        self.assertIn(self.answers(close(1000, GREEK + b"\xed\xa0\x80edited")), [[PROTOCOL_ERROR], [NOT_TEXT]])

    def test_7_7_valid_codes(self) -> None:
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
            self.assertIn(self.answers(close(code)), [[self.closed(code)], [self.closed(1000)]])

    def test_7_9_and_7_13_codes_that_may_not_be_sent(self) -> None:
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535):
            self.assertEqual(self.answers(close(code)), [PROTOCOL_ERROR], code)
