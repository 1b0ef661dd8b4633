"""The lives of the latest messages in memory, and which of them the next chunk for the disk must have.

What was sent to one token at once, as nearly all, stands apart: it comes and goes with its chunk as a whole, and costs
no step for each message. So does what is also kept and then acknowledged, which costs one step. Once such are in a
chunk, only numbers without objects of their own are left of them: a hundred thousand objects that live for two seconds
among others that do not would spread what is used next over more memory than the processor's cache has (1 µs of 20
for each message, 2026-11-23). Knows no store and no clock. Must not import adapters, stores or web.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from push.model_receipts import Event, StoredLives
from push.services.life_states import FOLLOWING, NOTHING, is_final
from push.services.lives import AnyLife, Life, LoneLife, as_life, encode
from push.services.receipt_columns import Ended, Sent

# Messages a chunk: to write so many into it and to forget as many takes 3 ms. What is acknowledged before its chunk is
# full is in one only; with 2,048 that costs 1 to 2 µs more for each at full speed (measured 2026-11-23).
CHUNK = 8_192
# A life with more tokens is not written again as a whole each time something happens to one of them.
SMALL = 16
# Small chunks in the ring are put together up to this part of it: 100,000 with one message each took 26 ms for each
# question (measured 2026-11-23).
_PARTS = 16
_SENT = FOLLOWING[NOTHING << 4 | Event.SENT]
_DELIVERED = FOLLOWING[_SENT << 4 | Event.DELIVERED]

# (message id, token, until when it is kept)
Told = tuple[int, str, int | None]


@dataclass(frozen=True, slots=True)
class Folded:
    """What the ring has of one chunk, or of several small ones.

    Attributes:
        ids: of those in `known`.
        sent: messages that were sent, and of which nothing else was told.
        ended: messages that are over.
        weight: of all.
        first_id: the least in `sent` and `ended`.
        last_id: the greatest.
    """

    ids: list[int]
    sent: Sent
    ended: Ended
    weight: int
    first_id: int
    last_id: int

    @classmethod
    def of(cls, ids: list[int], sent: Mapping[int, str], ended: Mapping[int, LoneLife], weight: int) -> "Folded":
        """Put together what is not in `known`."""
        aside = [*sent, *ended] or [0]
        return cls(ids, Sent(sent), Ended(ended), weight, min(aside), max(aside))

    @property
    def columned(self) -> int:
        """How many are not in `known`."""
        return len(self.sent) + len(self.ended)


class ReceiptMemory:
    """Lives by message id, and a ring of what has been written, from which the oldest are forgotten.

    Args:
        max_weight: how many are remembered; one for several tokens counts once for each.

    Attributes:
        known: what there is, without what is in what follows or was there.
        sent: message id → token, for messages for one token that were sent at once, and of which nothing else was told;
            the next chunk has all of them.
        awaited: message id → what was told, for messages for one token that are kept and were sent at once, and of
            which nothing else was told yet: nearly all of them are acknowledged before a chunk needs them.
        ended: those that were acknowledged; the next chunk has all of them.
        fresh: ids of those that the next chunk must have as they are by then, each once.
        weight: of all that is remembered, about.
    """

    def __init__(self, *, max_weight: int) -> None:
        self.known: dict[int, AnyLife] = {}
        self.sent: dict[int, str] = {}
        self.awaited: dict[int, Told] = {}
        self.ended: dict[int, LoneLife] = {}
        self.fresh: dict[int, None] = {}
        self.weight = 0
        self._max_weight = max_weight
        # Of large lives that are in a chunk already: what has changed since.
        self._parts: dict[int, Life] = {}
        self._further_tokens = 0
        # As `awaited`; the next chunk has what is left of them.
        self._long_awaited: dict[int, Told] = {}
        # None in `awaited` or `ended` is newer, nor any that was there; none that is in the ring and not in `known`.
        self._newest_id = self._newest_in_columns = 0
        self._ring: deque[Folded] = deque()
        # How many in it are not in `known`.
        self._columned = 0
        self._born = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time for a chunk."""
        count = len(self.fresh) + len(self.sent) + len(self.ended) + self._further_tokens
        return count >= CHUNK or len(self.awaited) >= CHUNK

    @property
    def unwritten(self) -> int:
        """How many messages are in no chunk as they are now, about."""
        waiting = len(self.awaited) + len(self._long_awaited)
        return waiting + len(self.fresh) + len(self.sent) + len(self.ended)

    def get(self, message_id: int) -> Life | None:
        """All that is remembered of a message; made for the answer, where in `known` it is not a Life."""
        life = self.known.get(message_id) or self._aside(message_id)
        return None if life is None else as_life(message_id, life)

    def has_aside(self, message_id: int) -> bool:
        """Whether a message is remembered, though it is not in `known`."""
        return self._aside(message_id) is not None

    def _aside(self, message_id: int) -> AnyLife | None:
        told = self.awaited.get(message_id) or self._long_awaited.get(message_id)
        if told is not None:
            return _waiting(told)
        return self.ended.get(message_id) or self.sent.get(message_id) or self._in_columns(message_id)

    def _in_columns(self, message_id: int) -> LoneLife | str | None:
        if self._columned and message_id <= self._newest_in_columns:
            for folded in reversed(self._ring):
                if folded.first_id <= message_id <= folded.last_id:
                    life = folded.ended.get(message_id) or folded.sent.get(message_id)
                    if life is not None:
                        return life
        return None

    def await_each(self, messages: Sequence[Told]) -> bool:
        """Remember messages that are kept, and were sent at once; False where something was told of any before."""
        ids = [told[0] for told in messages]
        if not self.known.keys().isdisjoint(ids):
            return False
        oldest_id = min(ids)
        if oldest_id <= self._newest_id:
            aside = (self.awaited, self._long_awaited, self.ended)
            if oldest_id <= self._newest_in_columns or not all(each.keys().isdisjoint(ids) for each in aside):
                return False
        self._newest_id = max(max(ids), self._newest_id)
        self.awaited.update(zip(ids, messages, strict=True))
        return True

    def end_each(self, messages: Sequence[tuple[int, str]], now_ms: int) -> Sequence[tuple[int, str]]:
        """Messages were acknowledged: (message id, token). Returns those that are not in `awaited`."""
        others: list[tuple[int, str]] = []
        awaited, long_awaited, ended = self.awaited.pop, self._long_awaited.pop, self.ended
        for each in messages:
            message_id, token = each
            told = awaited(message_id, None) or long_awaited(message_id, None)
            if told is not None and told[1] == token:
                ended[message_id] = LoneLife(token, _DELIVERED, now_ms, told[2])
                continue
            if told is not None:
                self.awaited[message_id] = told
            others.append(each)
        return others

    def recall(self, message_id: int) -> LoneLife | None:
        """Have a message in `known` of which more is told than that it was sent and acknowledged."""
        if message_id > self._newest_id:
            return None
        told = self.awaited.pop(message_id, None) or self._long_awaited.pop(message_id, None)
        life = self.ended.pop(message_id, None) if told is None else _waiting(told)
        if life is None:
            found = self._in_columns(message_id)
            life = None if isinstance(found, str) else found
        if life is not None:
            self.known[message_id] = life
            self.fresh[message_id] = None
        return life

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
        self.recall(message_id)
        self.known[message_id] = life
        self.fresh[message_id] = None

    def fold(self, now_ms: int, pinned: Collection[int], *, is_due: bool) -> StoredLives | None:
        """Make the next chunk, and forget what is over the limit.

        Args:
            now_ms: milliseconds since 1970.
            pinned: ids of those that may not be forgotten now.
            is_due: whether all there is must be in it; else what is awaited has until the chunk after the next.

        Returns:
            What changed since the last chunk; None where nothing has.
        """
        self._give_up_waiting(is_due=is_due)
        known, ended = self.known, self.ended
        chunk: dict[int, AnyLife] = {}
        ids: list[int] = []
        weight = 0
        for message_id in self.fresh:
            life = known.get(message_id)
            if life is None:
                continue
            chunk[message_id] = life
            if type(life) is LoneLife and not life.born and is_final(life.bits) and message_id not in pinned:
                del known[message_id]
                ended[message_id] = life
                continue
            ids.append(message_id)
            weight += life.weight if type(life) is Life else 1
        sent, self.sent = self.sent, {}
        self.ended = {}
        weight += len(sent) + len(ended)
        if weight:
            self._append(Folded.of(ids, sent, ended, weight))
            self._newest_in_columns = max(self._newest_in_columns, self._ring[-1].last_id)
            self._newest_id = max(self._newest_id, self._newest_in_columns)
            self.weight += weight
            chunk = {**sent, **ended, **chunk}
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

    def _give_up_waiting(self, *, is_due: bool) -> None:
        """What is awaited for long is written as it is."""
        awaited, long_awaited = self.awaited, self._long_awaited
        self.awaited, self._long_awaited = {}, {} if is_due else awaited
        for told in chain(long_awaited.values(), awaited.values() if is_due else ()):
            self.known[told[0]] = _waiting(told)
            self.fresh[told[0]] = None

    def _append(self, folded: Folded) -> None:
        """Put it at the end of the ring, with what is there of about its weight: each question looks at all."""
        ring, most = self._ring, self._max_weight // _PARTS
        while ring and ring[-1].weight <= 2 * folded.weight and ring[-1].weight + folded.weight <= most:
            last = ring.pop()
            self._columned -= last.columned
            folded = _together(last, folded)
        ring.append(folded)
        self._columned += folded.columned

    def _forget(self, pinned: Collection[int]) -> None:
        kept: list[int] = []
        while self.weight > self._max_weight and len(self._ring) > 1:
            folded = self._ring.popleft()
            self._columned -= folded.columned
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


def _waiting(told: Told) -> LoneLife:
    return LoneLife(told[1], _SENT, 0, told[2])


def _together(older: Folded, newer: Folded) -> Folded:
    sent = dict([*older.sent.items(), *newer.sent.items()])
    ended = dict([*older.ended.items(), *newer.ended.items()])
    return Folded.of(older.ids + newer.ids, sent, ended, older.weight + newer.weight)
