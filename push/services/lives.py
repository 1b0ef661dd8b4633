"""The life of one message: what happened to it for which token, what may still happen, and how that is kept on disk.

There may be a hundred thousand of them, so what is most frequent is small: a message that was sent to one token at
once is that token, another one to one token is a LoneLife, and only what is left is a Life. Pure: no clock, no
store. Must not import adapters, stores or web.
"""

from collections.abc import Mapping, Sequence

import msgspec

from push.model_receipts import Event, Receipt, TokenReceipt
from push.services.ids import accepted_ms
from push.services.life_states import (
    EVENTS,
    FINAL,
    FOLLOWING,
    HANDED_CODE,
    IS_ANOTHER,
    LAST,
    NOTHING,
    add_counts,
    has_events,
    is_older_last,
    is_over,
    together,
)

# Above this, tokens are not remembered one by one.
MAX_TOKENS = 1_000
_ENDS_OF_LOGGED = (Event.EXPIRED, Event.CANCELLED, Event.DROPPED)
_TIME_SHIFT = 16
_BITS = 0xFFFF


class LoneLife(msgspec.Struct, array_like=True, tag=1, gc=False):
    """What is known of a message for one token.

    Attributes:
        token: whose.
        bits: its state, see life_states.py.
        at_ms: when the last event happened; 0: when it was accepted.
        expires_ms: until when it is kept; None where it is not.
        born: as in Life.
    """

    token: str
    bits: int
    at_ms: int = 0
    expires_ms: int | None = None
    born: int = 0


class Life(msgspec.Struct, array_like=True, tag=2, gc=False):
    """What is known of a message.

    Attributes:
        targets: how many it was addressed to.
        tokens: token → when its last event happened, << 16 | its state; None where there are too many.
        expires_ms: until when it is kept; None where it is not.
        due_ms: when it is to be sent; None for at once.
        is_logged: kept once for an audience.
        born: 0 where this is all that is known; else it is a part that is added to what was written before. Parts
            with the same number are later versions of one another.
        counts: event → for how many others it happened, that are not known one by one.
        handed: of those, how many times SENT was the end.
    """

    targets: int = 0
    tokens: dict[str, int] | None = None
    expires_ms: int | None = None
    due_ms: int | None = None
    is_logged: bool = False
    born: int = 0
    counts: dict[int, int] = {}
    handed: int = 0

    @property
    def weight(self) -> int:
        """How many messages it counts for."""
        return max(1, len(self.tokens or ()))

    def address(self, targets: int, tokens: Sequence[str] | None) -> None:
        """Say to how many further targets, and to which, it is addressed."""
        states = self.tokens
        if states is None or tokens is None:
            self.targets += targets
        else:
            known = len(states)
            for token in tokens:
                states.setdefault(token, NOTHING)
            self.targets += len(states) - known
        if self.targets > MAX_TOKENS or len(states or ()) > MAX_TOKENS:
            self._count_only()

    def happened(self, code: int, tokens: Sequence[str], at_ms: int) -> Sequence[str]:
        """Note an event, or HANDED_CODE.

        Returns:
            The tokens for which it is news: all, where they are not known one by one.
        """
        states = self.tokens
        if states is not None and len(states) + len(tokens) > MAX_TOKENS and len(states.keys() | tokens) > MAX_TOKENS:
            self._count_only()
            states = None
        if states is None:
            self.count(code, len(tokens))
            return tokens
        news = []
        for token in tokens:
            state = states.get(token, NOTHING)
            before = state & _BITS
            now = FOLLOWING[before << 4 | code]
            if now != before:
                time_ms = at_ms if (before ^ now) & IS_ANOTHER else state >> _TIME_SHIFT
                states[token] = time_ms << _TIME_SHIFT | now
                news.append(token)
        return news

    def count(self, code: int, count: int) -> None:
        """Note an event for tokens that are not known one by one."""
        if code == HANDED_CODE:
            code = Event.SENT
            self.handed += count
        self.counts = {**self.counts, int(code): self.counts.get(code, 0) + count}

    def add(self, part: "Life") -> None:
        """Take in a part that was written later."""
        self.targets = max(self.targets, part.targets)
        self.expires_ms = self.expires_ms if part.expires_ms is None else part.expires_ms
        self.due_ms = self.due_ms if part.due_ms is None else part.due_ms
        self.is_logged = self.is_logged or part.is_logged
        for event, count in part.counts.items():
            self.count(event, count)
        self.handed += part.handed
        if part.tokens is None:
            self._count_only()
        elif self.tokens is None:
            self._count_states(part.tokens)
        else:
            for token, newer in part.tokens.items():
                older = self.tokens.get(token, NOTHING)
                state = older if is_older_last(older & _BITS, newer & _BITS) else newer
                self.tokens[token] = state & ~_BITS | together(older & _BITS, newer & _BITS)
            if len(self.tokens) > MAX_TOKENS:
                self._count_only()

    def is_over(self) -> bool:
        """Whether nothing more will happen to it, as far as can be known."""
        counts = self.counts
        if self.born:
            return False
        if self.is_logged:  # who is away may come for it until it is gone
            return any(counts.get(event) for event in _ENDS_OF_LOGGED)
        states = [state & _BITS for state in (self.tokens or {}).values()]
        if self.due_ms is not None and not counts and not any(map(has_events, states)):
            return False
        is_kept = self.expires_ms is not None or Event.CACHED in counts
        if not all(is_over(bits, is_kept=is_kept) for bits in states):
            return False
        ended = self.handed + sum(counts.get(event, 0) for event in FINAL)
        return not is_kept or ended + len(states) >= self.targets

    def receipt(self, message_id: int) -> Receipt:
        """As others see it."""
        states = self.tokens or {}
        counts = dict(self.counts)
        add_counts(counts, (state & _BITS for state in states.values()))
        return Receipt(
            message_id=message_id,
            accepted_ms=accepted_ms(message_id),
            expires_ms=self.expires_ms,
            due_ms=self.due_ms,
            targets=max(self.targets, len(states)),
            counts={event: counts[event] for event in EVENTS if counts.get(event)},
            tokens=[_token_receipt(token, state) for token, state in states.items()],
            is_logged=self.is_logged,
        )

    def _count_only(self) -> None:
        if self.tokens is not None:
            self._count_states(self.tokens)
            self.tokens = None

    def _count_states(self, states: Mapping[str, int]) -> None:
        counts = dict(self.counts)
        self.handed += add_counts(counts, (state & _BITS for state in states.values()))
        self.counts = counts


AnyLife = str | LoneLife | Life


def as_life(message_id: int, life: AnyLife) -> Life:
    """Any of them as the one that can become anything."""
    if isinstance(life, Life):
        return life
    if isinstance(life, str):
        life = LoneLife(life, FOLLOWING[NOTHING << 4 | Event.SENT])
    state = (life.at_ms or accepted_ms(message_id)) << _TIME_SHIFT | life.bits
    return Life(targets=1, tokens={life.token: state}, expires_ms=life.expires_ms, born=life.born)


def encode(lives: Mapping[int, AnyLife]) -> bytes:
    """Lives by message id, as they go to disk."""
    return msgspec.msgpack.encode(lives)


def decode_one(message_id: int, lives: bytes) -> Life | None:
    """The life of one message out of many; None where it is not among them.

    Raises:
        msgspec.DecodeError: this is nothing that `encode` has made.
    """
    raw = msgspec.msgpack.decode(lives, type=dict[int, msgspec.Raw]).get(message_id)
    return None if raw is None else as_life(message_id, msgspec.msgpack.decode(raw, type=AnyLife))


def _token_receipt(token: str, state: int) -> TokenReceipt:
    last = state & LAST
    return TokenReceipt(token, None, 0) if last == NOTHING else TokenReceipt(token, EVENTS[last], state >> _TIME_SHIFT)
