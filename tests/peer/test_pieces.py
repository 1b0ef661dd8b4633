"""The sending end of a stream: pieces, a window, one break."""

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread.banana import SIZE_LIMIT
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.peer.pieces import PIECE_BYTES, WINDOW, Pieces


class PiecesTests(SynchronousTestCase):
    """A stream whose calls are answered by hand."""

    def setUp(self) -> None:
        self.calls: list[tuple[bytes, Deferred[bytes]]] = []
        self.answers: list[bytes] = []
        self.breaks: list[Failure] = []
        self.pieces = Pieces(self.send, answered=self.answers.append, broken=self.breaks.append)

    def send(self, data: bytes) -> "Deferred[bytes]":
        """One call."""
        self.calls.append((data, Deferred()))
        return self.calls[-1][1]

    def test_a_lone_frame_leaves_at_once(self) -> None:
        self.pieces.put(b"frame")
        self.assertEqual([data for data, _ in self.calls], [b"frame"])
        self.assertEqual(self.pieces.waiting_bytes, 0)

    def test_what_accumulates_while_the_window_is_full_travels_together(self) -> None:
        for number in range(WINDOW + 20):
            self.pieces.put(b"%02d" % number)
        self.assertEqual(len(self.calls), WINDOW)
        self.assertEqual(self.pieces.waiting_bytes, 40)
        self.calls[0][1].callback(b"")
        self.assertEqual(len(self.calls), WINDOW + 1)
        self.assertEqual(self.calls[-1][0], b"".join(b"%02d" % number for number in range(WINDOW, WINDOW + 20)))
        self.assertEqual(self.pieces.waiting_bytes, 0)

    def test_answers_are_taken_in_the_order_of_the_pieces(self) -> None:
        for number in range(3):
            self.pieces.put(b"%d" % number)
        for position in (2, 0, 1):
            self.calls[position][1].callback(b"answer %d" % position)
        self.assertEqual(self.answers, [b"answer 0", b"answer 1", b"answer 2"])
        self.assertEqual(self.pieces.calls, 0)

    def test_frames_are_cut_only_where_they_are_longer_than_a_piece(self) -> None:
        for number in range(WINDOW):
            self.pieces.put(b"%d" % number)
        half = PIECE_BYTES * 2 // 3
        frames = [bytes([number]) * size for number, size in enumerate((half, half, 3 * PIECE_BYTES + 5, 7))]
        for frame in frames:
            self.pieces.put(frame)
        position = 0
        while position < len(self.calls):
            self.calls[position][1].callback(b"")
            position += 1
        sent = [data for data, _ in self.calls[WINDOW:]]
        self.assertEqual(b"".join(sent), b"".join(frames))
        self.assertLessEqual(max(map(len, sent)), PIECE_BYTES)
        self.assertLess(PIECE_BYTES, SIZE_LIMIT)
        self.assertEqual(sent[0], frames[0])
        self.assertEqual(sent[1], frames[1])
        self.assertEqual(sent[-1], frames[2][-5:] + frames[3])
        self.assertTrue(all(type(data) is bytes for data in sent))
        self.assertEqual(self.pieces.waiting_bytes, 0)

    def test_a_call_that_fails_breaks_the_stream_once(self) -> None:
        for _ in range(WINDOW + 1):
            self.pieces.put(b"x")
        for _, call in self.calls:
            call.errback(ValueError("a test"))
        self.pieces.put(b"more")
        self.assertEqual(len(self.breaks), 1)
        self.assertEqual(len(self.calls), WINDOW)
        self.assertEqual((self.answers, self.pieces.waiting_bytes), ([], 0))
