"""Messages between nodes as frames, and the reports of what became of them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire import batch_reports, batches
from push.protocols.wire.batch_reports import AllSent, Missed
from push.protocols.wire.batches import BatchReader, ToEverybody, TooLarge, ToTokens
from push.protocols.wire.frames import encode
from push.protocols.wire.signals import Signal

TOKENS = st.text("abcXYZ019._~-", min_size=1, max_size=128)
MESSAGES = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.lists(TOKENS, max_size=5), st.binary(max_size=300), st.integers(0, 3)),
    max_size=8,
)


def written(message_id: int, tokens: list[str], payload: bytes, flags: int) -> bytes:
    """One message in the way that suits its number of tokens; without any, for everybody."""
    if not tokens:
        return batches.write_to_everybody(message_id, payload, flags)
    if len(tokens) == 1:
        return batches.write_lone(message_id, tokens[0], payload, flags)
    return b"".join(batches.write_many(message_id, tokens, payload, flags))


class BatchTests(SynchronousTestCase):
    """What is written is read."""

    @given(MESSAGES, st.integers(1, 200))
    def test_what_was_written_is_read_however_it_was_cut(self, messages: list, size: int) -> None:
        data = b"".join(written(*message) for message in messages)
        reader = BatchReader(300, ToTokens)
        read = [each for start in range(0, len(data), size) for each in reader.feed(data[start : start + size])]
        self.assertIsNone(reader.error)
        self.assertEqual(len(read), len(messages))
        for (message_id, tokens, payload, flags), message in zip(messages, read, strict=True):
            if tokens:
                self.assertEqual(
                    message, ToTokens(message_id, payload, tuple(tokens), bool(flags & 1), bool(flags & 2))
                )
            else:
                self.assertEqual(message, ToEverybody(message_id, payload, bool(flags & 1), bool(flags & 2)))

    @given(st.integers(1, 200))
    def test_what_is_too_large_is_marked_and_what_follows_is_read(self, size: int) -> None:
        many = tuple(f"t{number}" for number in range(batches.MAX_TOKENS + 1))
        frames = [
            batches.write_lone(1, "t", bytes(10)),
            batches.write_lone(2, "t", bytes(11)),
            *batches.write_many(3, many, bytes(11)),
            batches.write_to_everybody(4, bytes(11), batches.LOGGED),
            batches.write_to_everybody(5, bytes(10)),
            batches.write_lone(6, "t", b""),
        ]
        data = b"".join(frames)
        size *= 50
        reader = BatchReader(10, ToTokens)
        read = [each for start in range(0, len(data), size) for each in reader.feed(data[start : start + size])]
        self.assertIsNone(reader.error)
        too_large = [isinstance(each, TooLarge) for each in read]
        self.assertEqual(too_large, [False, True, True, True, True, False, False])
        messages = [each.message if isinstance(each, TooLarge) else each for each in read]
        self.assertEqual([each.message_id for each in messages], [1, 2, 3, 3, 4, 5, 6])
        self.assertEqual({each.payload for each in messages[1:5]}, {bytes(11)})

    @given(
        st.lists(st.tuples(TOKENS, st.integers(0, 2**63 - 1)), min_size=1, max_size=5),
        st.integers(0, 2**63 - 1),
        st.integers(-1, 2**63 - 1),
        st.none() | st.text(min_size=1, max_size=128),
        st.binary(max_size=50),
        st.integers(1, 60),
    )
    def test_place_and_owner_are_read_however_it_was_cut(
        self, named: list, position: int, logged: int, owner: str | None, payload: bytes, size: int
    ) -> None:
        tokens, before = (tuple(each) for each in zip(*named, strict=True))
        frames = batches.write_many(5, tokens, payload, batches.KEPT, place=(position, before, logged), owner=owner)
        frames += batches.write_many(6, tokens, payload, 0, owner=owner)
        frames.append(batches.write_to_everybody(7, payload, batches.LOGGED, place=(position, logged)))
        frames.append(batches.write_passed_by(8, (position, logged)))
        data = b"".join(frames)
        reader = BatchReader(50, ToTokens)
        read = [each for start in range(0, len(data), size) for each in reader.feed(data[start : start + size])]
        self.assertIsNone(reader.error)
        placed = ToTokens(5, payload, tokens, True, False, (position, before, logged), owner)
        self.assertEqual(
            read,
            [
                placed,
                ToTokens(6, payload, tokens, False, False, None, owner),
                ToEverybody(7, payload, False, True, False, (position, logged)),
                ToTokens(8, None, (), True, True, (position, (), logged)),
            ],
        )

    def test_place_goes_with_its_tokens_into_several_frames(self) -> None:
        tokens = [f"t{number}" for number in range(batches.MAX_TOKENS + 2)]
        before = list(range(len(tokens)))
        reader = BatchReader(10, ToTokens)
        read = reader.feed(b"".join(batches.write_many(7, tokens, b"p", batches.KEPT, place=(9, before, 3), owner="u")))
        self.assertEqual([(each.place[0], each.payload, each.owner) for each in read], [(9, b"p", "u")] * 2)
        self.assertEqual([number for each in read for number in each.place[1]], before)
        with self.assertRaises(ValueError):
            batches.write_many(7, ["a", "b"], b"p", place=(9, [1], -1))

    def test_a_payload_for_very_many_tokens_travels_once(self) -> None:
        tokens = [f"t{number}" for number in range(3 * batches.MAX_TOKENS)]
        payload = bytes(100_000)
        frames = batches.write_many(7, tokens, payload, batches.KEPT)
        self.assertEqual(len(frames), 3)
        self.assertLess(sum(map(len, frames)), 200_000)
        reader = BatchReader(len(payload), ToTokens)
        read = reader.feed(b"".join(frames))
        self.assertIsNone(reader.error)
        self.assertEqual([token for each in read for token in each.tokens], tokens)  # type: ignore[union-attr]
        self.assertEqual({each.payload for each in read}, {payload})
        self.assertEqual({(each.is_kept, each.is_logged) for each in read}, {(True, False)})

    def test_a_vector(self) -> None:
        self.assertEqual(
            batches.write_lone(258, "ab", b"hi", 3).hex(),
            # magic, version, PUSH, length, subsignal, frame id; message id, tokens, flags; token; payload
            "f80204" + "00000010" + "00" + "0000" + "0000000000000102" + "0001" + "03" + "026162" + "6869",
        )

    def test_what_is_wrong_kills_the_reader(self) -> None:
        head = (1).to_bytes(8, "big")
        wrong = {
            "another signal": encode(Signal.PING),
            "no head": encode(Signal.PUSH, b"short"),
            "no head for everybody": encode(Signal.PUBLISH, b"short"),
            "no token": encode(Signal.PUSH, head + b"\x00\x00\x00"),
            "too many tokens": encode(Signal.PUSH, head + b"\xff\xff\x00"),
            "an empty token": encode(Signal.PUSH, head + b"\x00\x01\x00\x00x"),
            "a token cut off": encode(Signal.PUSH, head + b"\x00\x01\x00\x05abc"),
            "a missing token": encode(Signal.PUSH, head + b"\x00\x02\x00\x01a"),
            "a long token": encode(Signal.PUSH, head + b"\x00\x01\x00\x81" + b"a" * 129),
            "a token that is not ASCII": encode(Signal.PUSH, head + b"\x00\x01\x00\x01\xff"),
            "a large payload": batches.write_lone(1, "a", bytes(batches.MAX_PAYLOAD_BYTES + 1)),
            "a large payload for everybody": batches.write_to_everybody(1, bytes(batches.MAX_PAYLOAD_BYTES + 1)),
            "nothing to borrow": batches.write_lone(1, "a", b"", batches.BORROWS),
            "borrowed and brought": batches.write_lone(1, "a", b"", batches.LENDS)
            + batches.write_lone(1, "a", b"x", batches.BORROWS),
            "a place cut off": encode(Signal.PUSH, head + b"\x00\x01\x20" + bytes(7)),
            "a large place": encode(Signal.PUSH, head + b"\x00\x01\x20" + b"\xff" * 8 + b"\x01a" + bytes(8)),
            "a large place in the log": encode(Signal.PUSH, head + b"\x00\x01\x20\x80" + bytes(7) + b"\xff" * 8),
            "nobody, though not logged": encode(Signal.PUSH, head + b"\x00\x00\x20" + bytes(8)),
            "everybody, and a place cut off": encode(Signal.PUBLISH, head + b"\x20" + bytes(7)),
            "no place for a token": encode(Signal.PUSH, head + b"\x00\x01\x20" + bytes(8) + b"\x01a" + bytes(7)),
            "no length of an owner": encode(Signal.PUSH, head + b"\x00\x01\x40\x00"),
            "an owner cut off": encode(Signal.PUSH, head + b"\x00\x01\x40\x00\x05ab"),
            "a long owner": encode(Signal.PUSH, head + b"\x00\x01\x40\x10\x00" + bytes(5_000)),
            "an owner that is no text": encode(Signal.PUSH, head + b"\x00\x01\x40\x00\x01\xff\x01a"),
            "no frame": b"\x00",
            "a frame without end": encode(Signal.PUSH, b"")[:3] + b"\xff\xff\xff\xff\x00\x00\x00",
        }
        for what, data in wrong.items():
            reader = BatchReader(100, ToTokens)
            reader.feed(data)
            self.assertIsNotNone(reader.error, what)
            self.assertEqual(reader.feed(batches.write_lone(1, "a", b"")), [], what)

    def test_tokens_that_cannot_be_written_are_refused(self) -> None:
        for token in ("ä", "a" * 300):
            with self.assertRaises(ValueError):
                batches.write_lone(1, token, b"")
            with self.assertRaises(ValueError):
                batches.write_many(1, [token, "a"], b"")


class ReportTests(SynchronousTestCase):
    """What became of them."""

    @given(st.lists(st.integers(1, 2**32 - 1) | st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)))))
    def test_what_was_written_is_read(self, reports: list) -> None:
        given_ = [AllSent(each) if isinstance(each, int) else Missed(tuple(each)) for each in reports]
        self.assertEqual(batch_reports.read_reports(batch_reports.write_reports(given_)), given_)

    def test_what_is_cut_off_or_too_much_is_refused(self) -> None:
        data = batch_reports.write_reports([AllSent(7), Missed(((1, 1), (2, 1)))])
        for end in set(range(1, len(data))) - {5}:  # there the first one ends
            with self.assertRaises(ValueError):
                batch_reports.read_reports(data[:end])
        for wrong in (b"\x01\xff\xff\xff\xff", b"\x02\x00\x00\x00\x00"):
            with self.assertRaises(ValueError):
                batch_reports.read_reports(wrong)
