"""The frame codec against bytes written down by hand from the protocol's table, whole and cut anywhere."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.frames import MAX_BODY_BYTES, Frame, FrameDecoder, cut, encode, lone_ack
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

# magic F8, version 02, signal, length (4 bytes), subsignal, message id (2 bytes), body
VECTORS = {
    "an empty SUB": ("f8 02 01 00000000 00 0000", Frame(1, 0, 0, b"")),
    "a SUB of {} with message id 7": ("f8 02 01 00000002 00 0007 7b7d", Frame(1, 0, 7, b"{}")),
    "a PING": ("f8 02 03 00000000 00 0000", Frame(3, 0, 0, b"")),
    "a PUSH of hi": ("f8 02 04 00000002 00 0000 6869", Frame(4, 0, 0, b"hi")),
    "a PUSH/MN with id 1 of hi": (
        "f8 02 04 0000000a 11 0000 0000000000000001 6869",
        Frame(4, 17, 0, b"\0\0\0\0\0\0\0\1hi"),
    ),
    "a PUB_ACK/MN of id 1": ("f8 02 0a 00000008 11 0000 0000000000000001", Frame(10, 17, 0, b"\0\0\0\0\0\0\0\1")),
    "a DISCONNECT": ("f8 02 08 00000002 00 0000 7b7d", Frame(8, 0, 0, b"{}")),
}

frames = st.lists(
    st.builds(
        Frame, st.sampled_from(list(Signal)[1:]), st.integers(0, 127), st.integers(0, 65535), st.binary(max_size=300)
    ),
    max_size=8,
)


def decode(decoder: FrameDecoder, pieces: list[bytes]) -> list[Frame]:
    """All frames of a stream that arrives in pieces."""
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def written(frame: Frame) -> bytes:
    """A frame as our encoder writes it."""
    return encode(frame.signal, frame.body, subsignal=frame.subsignal, message_id=frame.message_id)


class Vectors(SynchronousTestCase):
    """What the protocol's document says, byte for byte."""

    def test_encodes_as_the_document_says(self) -> None:
        for name, (text, frame) in VECTORS.items():
            self.assertEqual(written(frame).hex(), text.replace(" ", ""), name)

    def test_decodes_what_the_document_says(self) -> None:
        for name, (text, frame) in VECTORS.items():
            self.assertEqual(FrameDecoder().feed(bytes.fromhex(text)), [frame], name)

    def test_version_1_is_read_and_version_2_is_written(self) -> None:
        decoder = FrameDecoder()
        self.assertEqual(decoder.feed(bytes.fromhex("f8 01 03 00000000 00 0000")), [Frame(3, 0, 0, b"")])
        self.assertTrue(decoder.has_spoken)
        self.assertEqual(encode(3)[1], 2)

    def test_reserved_high_bits_are_ignored(self) -> None:
        self.assertEqual(FrameDecoder().feed(bytes.fromhex("f8 02 83 00000000 91 0000")), [Frame(3, 17, 0, b"")])

    def test_an_unknown_subsignal_is_a_frame_like_any_other(self) -> None:
        (frame,) = FrameDecoder().feed(bytes.fromhex("f8 02 09 00000000 7f 0001"))
        self.assertEqual(frame.subsignal, 127)


class Streams(SynchronousTestCase):
    """However the transport cuts them, the same frames come out."""

    @given(frames)
    def test_whole(self, sent: list[Frame]) -> None:
        self.assertEqual(FrameDecoder().feed(b"".join(map(written, sent))), sent)

    @given(frames)
    @settings(max_examples=30)
    def test_byte_by_byte(self, sent: list[Frame]) -> None:
        stream = b"".join(map(written, sent))
        decoder = FrameDecoder()
        self.assertEqual(decode(decoder, [stream[i : i + 1] for i in range(len(stream))]), sent)
        self.assertEqual(decoder.buffered_bytes, 0)

    @given(frames, st.data())
    def test_cut_anywhere(self, sent: list[Frame], data: st.DataObject) -> None:
        stream = b"".join(map(written, sent))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        self.assertEqual(decode(FrameDecoder(), pieces), sent)

    @given(st.binary(max_size=4000))
    def test_garbage_never_raises_and_holds_no_more_than_it_was_given(self, garbage: bytes) -> None:
        decoder = FrameDecoder(max_body_bytes=100)
        decoder.feed(garbage)
        self.assertLessEqual(decoder.buffered_bytes, 110)

    def test_a_large_body_in_small_pieces_is_decoded_in_linear_time(self) -> None:
        body = bytes(MAX_BODY_BYTES)
        stream = written(Frame(4, 0, 0, body))
        # 65,546 pieces: quadratic copying would be 2 GB and some seconds.
        self.assertEqual(decode(FrameDecoder(), [stream[i : i + 1] for i in range(len(stream))])[0].body, body)


class Cutting(SynchronousTestCase):
    """Without a decoder."""

    def test_what_is_whole_is_cut_off_and_the_rest_is_left(self) -> None:
        ping = encode(3, message_id=5)
        wrong = (b"?", b"\xf7" + ping[1:], ping[:1] + b"\3" + ping[2:], encode(127), encode(0))
        for rest in (b"", ping[:1], ping[:9], encode(4, b"hi")[:-1], *wrong):
            self.assertEqual(cut(ping + ping + rest, 100), ([Frame(3, 0, 5, b"")] * 2, 20), rest)

    def test_a_body_over_the_limit_is_left(self) -> None:
        self.assertEqual(cut(encode(4, bytes(5)), 5), ([Frame(4, 0, 0, bytes(5))], 15))
        self.assertEqual(cut(encode(4, bytes(6)), 5), ([], 0))

    @given(frames, st.integers(0, 400))
    def test_a_decoder_finds_the_same_and_takes_up_the_rest(self, sent: list[Frame], size: int) -> None:
        stream = b"".join(map(written, sent))
        first, used = cut(stream[:size], MAX_BODY_BYTES)
        decoder = FrameDecoder(has_spoken=True)
        self.assertEqual(first + decode(decoder, [stream[used:size], stream[size:]]), sent)
        self.assertIsNone(decoder.error)


ACK = bytes.fromhex(VECTORS["a PUB_ACK/MN of id 1"][0])


class LoneAcks(SynchronousTestCase):
    """The short way says what the long one would."""

    def test_one_whole_acknowledgement_of_either_version(self) -> None:
        for version in (b"\1", b"\2"):
            self.assertEqual(lone_ack(ACK[:1] + version + ACK[2:]), 1)

    def test_anything_else_is_left_to_feed(self) -> None:
        others = {
            "half": ACK[:-1],
            "two": ACK + ACK,
            "of two messages": encode(10, ACK[-8:] * 2, subsignal=17),
            "empty": b"",
            "chat": encode(10, ACK[-8:]),
            "with a message id": encode(10, ACK[-8:], subsignal=17, message_id=3),
            "version 3": ACK[:1] + b"\3" + ACK[2:],
            "another signal": encode(4, ACK[-8:], subsignal=17),
            "another length": ACK[:6] + b"\7" + ACK[7:],
        }
        for name, data in others.items():
            self.assertIsNone(lone_ack(data), name)

    @given(st.integers(0, 17), st.integers(0, 255), st.integers(0, 2**64 - 1))
    def test_it_never_says_anything_else_than_feed(self, at: int, byte: int, message_id: int) -> None:
        data = bytearray(ACK[:10] + message_id.to_bytes(8, "big"))
        data[at] = byte
        found = lone_ack(bytes(data))
        if found is not None:
            frame = Frame(Signal.PUB_ACK, SubSignal.MN, 0, found.to_bytes(8, "big"))
            self.assertEqual(FrameDecoder().feed(bytes(data)), [frame])


class Violations(SynchronousTestCase):
    """After a violation the decoder is dead, and says whether the peer deserves to be told."""

    def assertDies(self, stream: str, code: CloseCode, peer_speaks: bool, frames_before: int = 0) -> None:
        """Feed, and check what is wrong; and that it stays dead."""
        decoder = FrameDecoder(max_body_bytes=16)
        self.assertEqual(len(decoder.feed(bytes.fromhex(stream))), frames_before)
        self.assertIsNotNone(decoder.error)
        assert decoder.error is not None
        self.assertEqual((decoder.error.code, decoder.error.peer_speaks), (code, peer_speaks))
        self.assertEqual(decoder.feed(encode(Signal.PING)), [])
        self.assertEqual(decoder.buffered_bytes, 0)

    def test_wrong_magic_is_known_from_one_byte_and_not_answered(self) -> None:
        self.assertDies("47", CloseCode.BAD_FRAME, peer_speaks=False)

    def test_wrong_magic_after_a_good_frame_is_answered(self) -> None:
        self.assertDies("f8 02 03 00000000 00 0000 47", CloseCode.BAD_FRAME, peer_speaks=True, frames_before=1)

    def test_signal_none(self) -> None:
        self.assertDies("f8 02 00 00000000 00 0000", CloseCode.BAD_FRAME, peer_speaks=True)

    def test_a_signal_that_does_not_exist(self) -> None:
        self.assertDies("f8 02 0b 00000000 00 0000", CloseCode.BAD_FRAME, peer_speaks=True)

    def test_a_version_that_does_not_exist(self) -> None:
        self.assertDies("f8 03 03 00000000 00 0000", CloseCode.BAD_FRAME, peer_speaks=True)

    def test_a_length_over_the_limit_is_refused_before_any_body_is_kept(self) -> None:
        self.assertDies("f8 02 03 00000011 00 0000", CloseCode.TOO_LARGE, peer_speaks=True)
        self.assertDies("f8 02 03 ffffffff 00 0000 00", CloseCode.TOO_LARGE, peer_speaks=True)

    def test_a_length_at_the_limit_is_taken(self) -> None:
        self.assertEqual(len(FrameDecoder(max_body_bytes=16).feed(encode(4, bytes(16)))), 1)

    def test_frames_before_a_violation_are_not_lost(self) -> None:
        decoder = FrameDecoder()
        self.assertEqual(decoder.feed(encode(Signal.PING, message_id=3) + b"HTTP"), [Frame(3, 0, 3, b"")])

    def test_the_limit_may_change_between_frames(self) -> None:
        decoder = FrameDecoder(max_body_bytes=1)
        decoder.feed(encode(Signal.SUB))
        decoder.max_body_bytes = 100
        self.assertEqual(len(decoder.feed(encode(Signal.PUSH, bytes(100)))), 1)


class Numbers(SynchronousTestCase):
    """Numbers are only ever appended."""

    def test_signals_and_subsignals_have_the_numbers_of_the_document(self) -> None:
        self.assertEqual([signal.value for signal in Signal], list(range(11)))
        self.assertEqual([subsignal.value for subsignal in SubSignal], list(range(36)))
        self.assertEqual((Signal.PUB_ACK, SubSignal.MN, SubSignal.GD, SubSignal.FALS), (10, 17, 33, 35))
