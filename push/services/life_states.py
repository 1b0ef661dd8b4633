"""What can happen to a message at one token, in which order, and when that is the end: one table, as sixteen bits.

Bits 0-3: the last event, 15 for none. Bit 4: SENT was the end, as nobody acknowledges. Bits 8-15: every event that
has happened. Pure. Must not import adapters, stores or web.
"""

from collections.abc import Iterable

from push.model_receipts import Event

NOTHING = 15
HANDED = 16
# In place of an event: SENT that is the end.
HANDED_CODE = 8
LAST = 15
# Where two states differ in these bits, the last event is another one, and its time counts.
IS_ANOTHER = LAST | HANDED
MASK_SHIFT = 8
EVENTS = tuple(Event)
FINAL = (Event.DELIVERED, Event.EXPIRED, Event.CANCELLED, Event.REPLACED, Event.DROPPED, Event.REJECTED)
_IS_FINAL = sum(1 << event for event in FINAL)
_SENT, _CACHED = Event.SENT.value, Event.CACHED.value
_SENT_BIT = 1 << MASK_SHIFT + _SENT
_CACHED_BIT = 1 << MASK_SHIFT + _CACHED
_MASKS = 0xFF00


def following(bits: int, code: int) -> int:
    """What an event makes of a state.

    Args:
        bits: the state; NOTHING at first.
        code: the event, or HANDED_CODE.

    Returns:
        The state then: the same where that was known already or came too late.
    """
    event, flag = (_SENT, HANDED) if code == HANDED_CODE else (code, 0)
    bit = 1 << MASK_SHIFT + event
    last = bits & LAST
    if _IS_FINAL >> last & 1:  # that it was sent is news even then: the acknowledgement may be told first
        return bits | bit if event == _SENT else bits
    if bits & bit and not flag & ~bits:
        return bits
    if event == _CACHED and last == _SENT:  # told in another order than it happened
        return bits | bit
    return bits & (_MASKS | HANDED) | bit | flag | event


class Following(dict[int, int]):
    """`following`, by bits << 4 | code, as a dict: a look-up costs a tenth of the call, and few are ever needed."""

    def __missing__(self, key: int) -> int:
        """Work it out once."""
        found = self[key] = following(key >> 4, key & 15)
        return found


FOLLOWING = Following()


def is_over(bits: int, *, is_kept: bool) -> bool:
    """Whether nothing more will be known.

    Args:
        bits: the state.
        is_kept: whether the message is kept for anybody, so that SENT waits for an acknowledgement.
    """
    last = bits & LAST
    if last in (_SENT, NOTHING):
        return bits & HANDED != 0 or not (is_kept or bits & _CACHED_BIT)
    return _IS_FINAL >> last & 1 == 1


def is_final(bits: int) -> bool:
    """Whether the last event is an end that nothing can follow but that it was sent."""
    return _IS_FINAL >> (bits & LAST) & 1 == 1


def is_older_last(older: int, newer: int) -> bool:
    """Whether the last event of two states, written one after the other, is that of the older one."""
    first, second = older & LAST, newer & LAST
    return _IS_FINAL >> first & 1 == 1 or second == NOTHING or (first == _SENT and second == _CACHED)


def together(older: int, newer: int) -> int:
    """One state of two, the newer of which may not have known the older, nor that it was the end."""
    if _IS_FINAL >> (older & LAST) & 1:
        return older | newer & _SENT_BIT
    return (older if is_older_last(older, newer) else newer) | (older | newer) & (_MASKS | HANDED)


def has_events(bits: int) -> bool:
    """Whether anything has happened."""
    return bits & _MASKS != 0


def add_counts(counts: dict[int, int], states: Iterable[int]) -> int:
    """Count what happened in many states, by event. Returns in how many SENT was the end."""
    handed = 0
    for bits in states:
        handed += bits >> 4 & 1
        for event in EVENTS:
            if bits >> MASK_SHIFT + event & 1:
                counts[event] = counts.get(event, 0) + 1
    return handed
