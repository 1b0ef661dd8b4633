"""What became of messages between nodes: reports, in the order of the frames that batches.py has written.

A report is its kind (1 byte) and a number (4). Kind 0: so many consecutive frames for tokens were sent to all of them.
Kind 1: of one frame, so many tokens did not get it, and for each follow its position among them (2) and the outcome
(1). Standard library only.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from push.protocols.wire.batches import MAX_TOKENS

# The outcome of a token whose frame could not be delivered at all; the others are those of push.model.Outcome.
FAILED = 255

_REPORT = struct.Struct(">BI")
_MISSED = struct.Struct(">HB")


class AllSent(NamedTuple):
    """So many consecutive frames for tokens were sent to all of them: what nearly all reports are."""

    frames: int


class Missed(NamedTuple):
    """What became of one frame for tokens that not all of them got: (position among them, outcome)."""

    missed: tuple[tuple[int, int], ...]


def write_reports(reports: Sequence[AllSent | Missed]) -> bytes:
    """What became of frames for tokens, in their order."""
    parts = []
    for report in reports:
        if isinstance(report, AllSent):
            parts.append(_REPORT.pack(0, report.frames))
        else:
            parts.append(_REPORT.pack(1, len(report.missed)))
            parts += [_MISSED.pack(position, outcome) for position, outcome in report.missed]
    return b"".join(parts)


def read_reports(data: bytes) -> list[AllSent | Missed]:
    """Read what write_reports wrote.

    Raises:
        ValueError: it is cut off, or counts more tokens than a frame may have.
    """
    reports: list[AllSent | Missed] = []
    position = 0
    try:
        while position < len(data):
            kind, count = _REPORT.unpack_from(data, position)
            position += _REPORT.size
            if kind == 0:
                reports.append(AllSent(count))
                continue
            if kind != 1 or count > MAX_TOKENS:
                raise ValueError("a report is of no known kind, or of more tokens than a frame may have")
            reports.append(
                Missed(tuple(_MISSED.unpack_from(data, position + each * _MISSED.size) for each in range(count)))
            )
            position += count * _MISSED.size
    except struct.error:
        raise ValueError("a report is cut off") from None
    return reports
