"""Cuts what comes in pieces into lines. Pure: no HTTP, no JSON. Imports nothing of the project."""

from collections import deque

NDJSON = "application/x-ndjson"
# Nobody has registered a type for it; these are in use.
LINE_TYPES = (NDJSON, "application/ndjson", "application/jsonl")


class LineBuffer:
    """The lines of a stream that have come and have not been taken yet.

    Lines end with a newline; those of nothing but white space are left out. No byte is looked at twice.

    Args:
        max_line_bytes: of a longer line only the fact is kept.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._lines: deque[bytes | None] = deque()
        self._begun = bytearray()
        self._is_too_long = False

    def __len__(self) -> int:
        return len(self._lines)

    def feed(self, data: bytes) -> None:
        """More has come."""
        first, *others = data.split(b"\n")
        self._continue(first)
        if others:
            self._end_line()
            last = others.pop()
            max_bytes = self._max_line_bytes
            self._lines += [
                line if len(line) <= max_bytes else None
                for line in others
                if (line and not line.isspace()) or len(line) > max_bytes
            ]
            self._continue(last)

    def end(self) -> None:
        """Nothing more will come: what has no newline is a line, too."""
        self._end_line()

    def take(self, count: int) -> list[bytes | None]:
        """Take the next lines, at most `count`; None stands for one that was too long."""
        lines = self._lines
        return [lines.popleft() for _ in range(min(count, len(lines)))]

    def clear(self) -> None:
        """Drop everything."""
        self._lines.clear()
        self._begun.clear()
        self._is_too_long = False

    def _continue(self, data: bytes) -> None:
        if len(self._begun) + len(data) > self._max_line_bytes:
            self._is_too_long = True
            self._begun.clear()
        elif not self._is_too_long:
            self._begun += data

    def _end_line(self) -> None:
        if self._is_too_long:
            self._lines.append(None)
        elif self._begun and not self._begun.isspace():
            self._lines.append(bytes(self._begun))
        self._begun.clear()
        self._is_too_long = False
