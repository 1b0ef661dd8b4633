"""Lines out of pieces."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.web.lines import LineBuffer


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same bytes, cut at some places."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


class LineBufferTests(SynchronousTestCase):
    """LineBuffer."""

    def lines(self, *data: bytes, limit: int = 5) -> list[bytes | None]:
        """All lines of a stream that ends."""
        buffer = LineBuffer(limit)
        for each in data:
            buffer.feed(each)
        buffer.end()
        return buffer.take(1_000)

    def test_a_line_is_there_when_its_newline_has_come(self) -> None:
        buffer = LineBuffer(5)
        buffer.feed(b"a")
        self.assertEqual(len(buffer), 0)
        buffer.feed(b"b\nc")
        self.assertEqual(buffer.take(5), [b"ab"])

    def test_what_has_no_newline_at_the_end_is_a_line(self) -> None:
        self.assertEqual(self.lines(b"a\nb"), [b"a", b"b"])

    def test_lines_of_white_space_are_none(self) -> None:
        self.assertEqual(self.lines(b"\n\r\n \t\na\n\n\n", b"\n", b" ", b"\n", b" "), [b"a"])

    def test_a_line_at_the_limit_is_kept_and_a_longer_one_is_named(self) -> None:
        for line, expected in ((b"12345", b"12345"), (b"123456", None)):
            self.assertEqual(self.lines(b"a\n" + line + b"\nb\n"), [b"a", expected, b"b"])
            self.assertEqual(self.lines(line + b"\nb"), [expected, b"b"])
            self.assertEqual(self.lines(b"b\n" + line), [b"b", expected])

    def test_an_endless_line_is_not_kept(self) -> None:
        buffer = LineBuffer(5)
        for _ in range(1_000):
            buffer.feed(b"x" * 1_000)
        self.assertEqual(len(buffer._begun), 0)
        buffer.feed(b"\nok\n")
        self.assertEqual(buffer.take(5), [None, b"ok"])

    def test_no_more_are_taken_than_asked_for(self) -> None:
        buffer = LineBuffer(5)
        buffer.feed(b"a\nb\nc\n")
        self.assertEqual([buffer.take(2), len(buffer), buffer.take(2)], [[b"a", b"b"], 1, [b"c"]])

    def test_what_is_cleared_is_gone(self) -> None:
        buffer = LineBuffer(5)
        for data in (b"a\nb", b"too long"):
            buffer.feed(data)
            buffer.clear()
            buffer.feed(b"c\n")
            self.assertEqual(buffer.take(5), [b"c"])

    @given(st.binary(max_size=60).map(lambda data: data.replace(b"\x00", b"\n")), st.lists(st.integers(0, 100)))
    def test_how_it_is_cut_makes_no_difference(self, data: bytes, cuts: list[int]) -> None:
        expected = [line if len(line) <= 5 else None for line in data.split(b"\n") if line.strip() or len(line) > 5]
        self.assertEqual(self.lines(*pieces(data, cuts)), expected)
