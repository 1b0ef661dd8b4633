"""The lives of the latest messages in memory, and which of them the next chunk for the disk must have.

What was sent to one token at once, as nearly all, stands apart: it comes and goes with its chunk as a whole, and costs
no step for each message. Once that is in a chunk, only numbers without objects of their own are left of it: a hundred
thousand objects that live for two seconds among others that do not would spread what is used next over more memory
than the processor's cache has (1 µs of 20 for each message, 2026-11-23). Knows no store and no clock. Must not import
adapters, stores or web.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from push.model import StoredLives
from push.services.lives import AnyLife, Life, as_life, encode

# Messages a chunk: to write so many into it and to forget as many takes 3 ms. What is acknowledged before its chunk is
# full is in one only; with 2,048 that costs 1 to 2 µs more for each at full speed (measured 2026-11-23).
CHUNK = 8_192
# A life with more tokens is not written again as a whole each time something happens to one of them.
SMALL = 16
# Small chunks in the ring are put together up to this part of it: 100,000 with one message each took 26 ms for each
# question (measured 2026-11-23).
_PARTS = 16


class Sent:
    """Messages that were sent to one token each, and of which nothing else was told; no more are added.

    Args:
        messages: message id → token. Tokens had better be the texts that others have as well.
    """

    __slots__ = ("_ids", "_tokens")

    def __init__(self, messages: Mapping[int, str]) -> None:
        ids = sorted(messages)
        self._ids = array("Q", ids)
        self._tokens = [messages[message_id] for message_id in ids]

    def __len__(self) -> int:
        return len(self._ids)

    def items(self) -> Iterable[tuple[int, str]]:
        """All, in the order of ids."""
        return zip(self._ids, self._tokens, strict=True)

    def get(self, message_id: int) -> str | None:
        """The token of a message, None where it is not here."""
        at = bisect_left(self._ids, message_id)
        return self._tokens[at] if at < len(self._ids) and self._ids[at] == message_id else None


@dataclass(frozen=True, slots=True)
class Folded:
    """What the ring has of one chunk, or of several small ones.

    Attributes:
        ids: of those in `known`.
        sent: the others.
        weight: of all.
    """

    ids: list[int]
    sent: Sent
    weight: int


class ReceiptMemory:
    """Lives by message id, and a ring of what has been written, from which the oldest are forgotten.

    Args:
        max_weight: how many are remembered; one for several tokens counts once for each.

    Attributes:
        known: what there is, without what is in `sent` or was there.
        sent: message id → token, for messages for one token that were sent at once, and of which nothing else was told;
            the next chunk has all of them.
        fresh: ids of those that the next chunk must have as they are by then, each once.
        weight: of all that is remembered, about.
    """

    def __init__(self, *, max_weight: int) -> None:
        self.known: dict[int, AnyLife] = {}
        self.sent: dict[int, str] = {}
        self.fresh: dict[int, None] = {}
        self.weight = 0
        self._max_weight = max_weight
        # Of large lives that are in a chunk already: what has changed since.
        self._parts: dict[int, Life] = {}
        self._further_tokens = 0
        self._ring: deque[Folded] = deque()
        self._sent_before = 0
        self._born = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time for a chunk."""
        return len(self.fresh) + len(self.sent) + self._further_tokens >= CHUNK

    def get(self, message_id: int) -> Life | None:
        """All that is remembered of a message; made for the answer, where in `known` it is not a Life."""
        life = self.known.get(message_id) or self.sent_to(message_id)
        return None if life is None else as_life(message_id, life)

    def sent_to(self, message_id: int) -> str | None:
        """The token that a message was sent to, where that is all that was told of it, or was told first."""
        token = self.sent.get(message_id)
        if token is None and self._sent_before:
            for folded in self._ring:
                token = folded.sent.get(message_id)
                if token is not None:
                    break
        return token

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
        sent, self.sent = self.sent, {}
        weight += len(sent)
        if chunk or sent:
            self._append(Folded(list(chunk), Sent(sent), weight))
            self.weight += weight
            chunk = {**sent, **chunk}
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

    def _append(self, folded: Folded) -> None:
        """Put it at the end of the ring, with what is there of about its weight: each question looks at all."""
        ring, most = self._ring, self._max_weight // _PARTS
        while ring and ring[-1].weight <= 2 * folded.weight and ring[-1].weight + folded.weight <= most:
            last = ring.pop()
            self._sent_before -= len(last.sent)
            folded = _together(last, folded)
        ring.append(folded)
        self._sent_before += len(folded.sent)

    def _forget(self, pinned: Collection[int]) -> None:
        kept: list[int] = []
        while self.weight > self._max_weight and len(self._ring) > 1:
            folded = self._ring.popleft()
            self._sent_before -= len(folded.sent)
            self.weight -= folded.weight
            for message_id in folded.ids:
                if message_id in pinned:
                    kept.append(message_id)
                else:
                    self.known.pop(message_id, None)
        if kept:
            self._ring[-1].ids.extend(kept)

    def birth(self, now_ms: int) -> int:
        """A number for a new part."""
        self._born = born = now_ms if now_ms > self._born else self._born + 1
        return born


def _together(older: Folded, newer: Folded) -> Folded:
    sent = Sent(dict([*older.sent.items(), *newer.sent.items()]))
    return Folded(older.ids + newer.ids, sent, older.weight + newer.weight)
