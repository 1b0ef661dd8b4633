"""What waits to be written to one connection: bounded in bytes and in messages, kept in order. Pure.

An empty outbox holds no list, so that an idle connection pays for none.
"""


class Outbox:
    """A queue of encoded frames.

    Attributes:
        parts: what is queued, None while nothing is.
        size_bytes: bytes queued.
        messages: messages queued; one part may carry several.
    """

    __slots__ = ("messages", "parts", "size_bytes")

    def __init__(self) -> None:
        self.parts: list[bytes] | None = None
        self.size_bytes = 0
        self.messages = 0

    def has_room(self, data_bytes: int, messages: int, *, max_bytes: int, max_messages: int) -> bool:
        """Whether a part would stay within the limits; an empty outbox takes any one part."""
        if self.parts is None:
            return True
        return self.size_bytes + data_bytes <= max_bytes and self.messages + messages <= max_messages

    def append(self, data: bytes, messages: int = 1) -> None:
        """Queue one part, of whole frames, behind the others."""
        if self.parts is None:
            self.parts = [data]
            self.size_bytes = len(data)
            self.messages = messages
        else:
            self.parts.append(data)
            self.size_bytes += len(data)
            self.messages += messages

    def take(self) -> bytes:
        """Empty the outbox.

        Returns:
            All that was queued, joined; b"" where nothing was.
        """
        parts = self.parts
        if parts is None:
            return b""
        self.parts = None
        self.size_bytes = 0
        self.messages = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)
