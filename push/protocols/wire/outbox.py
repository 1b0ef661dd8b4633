"""What waits to be written to one connection: bounded in bytes and in messages, kept in order. Pure."""


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

    def has_room(self, data_bytes: int, messages: int, *, max_bytes: int, max_messages: int) -> bool:
        """Whether a part would stay within the limits; an empty outbox takes any one part."""
        if not self._parts:
            return True
        return self._size_bytes + data_bytes <= max_bytes and self.messages + messages <= max_messages

    def append(self, data: bytes, messages: int = 1) -> None:
        """Queue one part, of whole frames, behind the others."""
        self._parts.append(data)
        self._size_bytes += len(data)
        self.messages += messages

    def joined(self) -> bytes:
        """All that is queued, as one piece."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)
