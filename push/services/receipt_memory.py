"""The lives of the latest messages in memory, and which of them the next chunk for the disk must have.

Knows no store and no clock. Must not import adapters, stores or web.
"""

from collections import deque
from collections.abc import Collection

from push.model import StoredLives
from push.services.lives import AnyLife, Life, as_life, encode

# Messages a chunk: to write so many into it and to forget as many takes under a millisecond (measured 2026-11-23).
CHUNK = 2_048
# A life with more tokens is not written again as a whole each time something happens to one of them.
SMALL = 16


class ReceiptMemory:
    """Lives by message id, and a ring of what has been written, from which the oldest are forgotten.

    Args:
        max_weight: how many are remembered; one for several tokens counts once for each.

    Attributes:
        known: what there is.
        fresh: ids of those that the next chunk must have as they are by then, each once.
        weight: of all that is remembered, about.
    """

    def __init__(self, *, max_weight: int) -> None:
        self.known: dict[int, AnyLife] = {}
        self.fresh: dict[int, None] = {}
        self.weight = 0
        self._max_weight = max_weight
        # Of large lives that are in a chunk already: what has changed since.
        self._parts: dict[int, Life] = {}
        self._further_tokens = 0
        self._ring: deque[tuple[list[int], int]] = deque()
        self._born = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time for a chunk."""
        return len(self.fresh) + self._further_tokens >= CHUNK

    def get(self, message_id: int) -> Life | None:
        """All that is remembered of a message; made for the answer, where in `known` it is not a Life."""
        life = self.known.get(message_id)
        return None if life is None else as_life(message_id, life)

    def new(self, message_id: int) -> Life:
        """The life of a message that was accepted now: what was told of it before is all that there can be."""
        life = self.get(message_id) or Life(tokens={})
        life.born = 0
        self.adopt(message_id, life)
        return life

    def grew(self, tokens: int) -> None:
        """Count further tokens for the next chunk."""
        self._further_tokens += tokens

    def to_change(self, message_id: int, now_ms: int) -> tuple[Life, Life | None]:
        """The life of a message that is about to change.

        Returns:
            The life; and, where that is large and in a chunk already, the part to which the same change is to be made.
        """
        life = self.get(message_id)
        if life is None:  # forgotten, or of an earlier run: this will be added to what was written
            life = Life(tokens={}, born=self.birth(now_ms))
        if life.tokens is not None and len(life.tokens) > SMALL:
            part = self._parts.get(message_id)
            if part is None:
                part = self._parts[message_id] = Life(tokens={}, born=self.birth(now_ms))
            return life, part
        self.adopt(message_id, life)
        return life, None

    def adopt(self, message_id: int, life: Life) -> None:
        """Remember a life, and have it written."""
        self.known[message_id] = life
        self.fresh[message_id] = None

    def fold(self, now_ms: int, pinned: Collection[int]) -> StoredLives | None:
        """Make the next chunk, and forget what is over the limit.

        Args:
            now_ms: milliseconds since 1970.
            pinned: ids of those that may not be forgotten now.

        Returns:
            What changed since the last chunk; None where nothing has.
        """
        known = self.known
        chunk = {message_id: known[message_id] for message_id in self.fresh if message_id in known}
        weight = len(chunk)
        for life in chunk.values():
            if type(life) is Life and life.tokens:
                weight += len(life.tokens) - 1
        if chunk:
            self._ring.append((list(chunk), weight))
            self.weight += weight
        for message_id, part in self._parts.items():
            if message_id not in chunk:
                chunk[message_id] = part
                weight += part.weight
        self.fresh.clear()
        self._parts.clear()
        self._further_tokens = 0
        stored = StoredLives(list(chunk), weight, now_ms, encode(chunk)) if chunk else None
        self._forget(pinned)
        return stored

    def _forget(self, pinned: Collection[int]) -> None:
        kept: list[int] = []
        while self.weight > self._max_weight and len(self._ring) > 1:
            ids, weight = self._ring.popleft()
            self.weight -= weight
            for message_id in ids:
                if message_id in pinned:
                    kept.append(message_id)
                else:
                    self.known.pop(message_id, None)
        if kept:
            self._ring[-1][0].extend(kept)

    def birth(self, now_ms: int) -> int:
        """A number for a new part."""
        self._born = born = now_ms if now_ms > self._born else self._born + 1
        return born
