"""What waits to be written to one connection, in order. Pure; the limits are looked at by whoever fills it."""

from collections import deque


class Outbox:
    """A queue of encoded frames.

    Args:
        first: a frame that waits already, None where nothing does.

    Attributes:
        messages: messages queued; one part may carry several.
    """

    __slots__ = ("_parts", "_size_bytes", "messages")

    def __init__(self, first: bytes | None = None) -> None:
        self._parts: list[bytes] = [] if first is None else [first]
        self._size_bytes = 0 if first is None else len(first)
        self.messages = len(self._parts)

    def __len__(self) -> int:
        """How many bytes are queued."""
        return self._size_bytes

    def append(self, data: bytes, messages: int = 1) -> None:
        """Queue one part, of whole frames, behind the others."""
        self._parts.append(data)
        self._size_bytes += len(data)
        self.messages += messages

    def joined(self) -> bytes:
        """All that is queued, as one piece."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Backlog:
    """Messages of one connection that may not be queued yet, in order: kept nowhere else.

    Args:
        is_behind: whether others, which somebody else keeps, have to come first.

    Attributes:
        is_behind: the same, as it is now.
        size_bytes: bytes that wait.
    """

    __slots__ = ("_frames", "is_behind", "size_bytes")

    def __init__(self, *, is_behind: bool) -> None:
        self._frames: deque[tuple[int, bytes]] = deque()
        self.is_behind = is_behind
        self.size_bytes = 0

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._frames)

    @property
    def next_id(self) -> int:
        """The id of the oldest; there must be one."""
        return self._frames[0][0]

    def append(self, message_id: int, frame: bytes) -> None:
        """Have a message wait behind the others."""
        self._frames.append((message_id, frame))
        self.size_bytes += len(frame)

    def take(self) -> bytes:
        """Take the oldest."""
        _, frame = self._frames.popleft()
        self.size_bytes -= len(frame)
        return frame
