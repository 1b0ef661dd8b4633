"""What waits to be written to one connection: bounded in bytes and in messages, kept in order. Pure.

An empty outbox holds no list, so that an idle connection pays for none.
"""


class Outbox:
    """A queue of encoded frames.

    Attributes:
        size_bytes: bytes queued.
        messages: messages queued; one part may carry several.
    """

    __slots__ = ("_parts", "messages", "size_bytes")

    def __init__(self) -> None:
        self._parts: list[bytes] | None = None
        self.size_bytes = 0
        self.messages = 0

    def has_room(self, data_bytes: int, messages: int, *, max_bytes: int, max_messages: int) -> bool:
        """Whether a part would stay within the limits; an empty outbox takes any one part."""
        if self._parts is None:
            return True
        return self.size_bytes + data_bytes <= max_bytes and self.messages + messages <= max_messages

    def append(self, data: bytes, messages: int = 1) -> bool:
        """Queue one part behind the others.

        Args:
            data: whole frames.
            messages: how many.

        Returns:
            True where the outbox was empty before.
        """
        self.size_bytes += len(data)
        self.messages += messages
        if self._parts is None:
            self._parts = [data]
            return True
        self._parts.append(data)
        return False

    def take(self) -> bytes:
        """Empty the outbox.

        Returns:
            All that was queued, joined; b"" where nothing was.
        """
        parts = self._parts
        if parts is None:
            return b""
        self._parts = None
        self.size_bytes = 0
        self.messages = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)
