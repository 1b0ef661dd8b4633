"""The values of what became of messages, in memory and on disk. Imports nothing else of the project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Event(IntEnum):
    """What can happen to a message on its way to one token, after it was accepted."""

    SENT = 0  # handed to a live connection
    DELIVERED = 1  # acknowledged
    EXPIRED = 2
    CANCELLED = 3
    REPLACED = 4  # by a newer one with the same collapse key
    DROPPED = 5  # to make room in the token's cache, as the newer message demanded
    CACHED = 6  # kept, until one of the others
    REJECTED = 7  # the token's cache was full


@dataclass(frozen=True, slots=True)
class TokenReceipt:
    """What happened to a message for one token: the last event and when, milliseconds since 1970.

    Nothing has happened yet where `event` is None: it is on its way, or was not to be kept and the token was away.
    """

    token: str
    event: Event | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The life of a message.

    Attributes:
        message_id: its id.
        accepted_ms: when it was accepted, milliseconds since 1970.
        expires_ms: until when it is kept; None where it is not.
        due_ms: when it is or was to be sent, None for at once.
        targets: how many tokens or sessions it was addressed to.
        counts: how often each event has happened.
        tokens: one by one, for up to 1,000 targets; none for more.
        is_logged: kept once for an audience.
    """

    message_id: int
    accepted_ms: int
    expires_ms: int | None
    due_ms: int | None
    targets: int
    counts: Mapping[Event, int]
    tokens: Sequence[TokenReceipt]
    is_logged: bool = False


@dataclass(frozen=True, slots=True)
class StoredLives:
    """What changed in the lives of messages in a short time, as it goes to disk.

    Attributes:
        ids: of these messages.
        weight: how many they count for: one a message, and one more for every further token.
        at_ms: when it is written, milliseconds since 1970.
        lives: their lives, encoded.
    """

    ids: Sequence[int]
    weight: int
    at_ms: int
    lives: bytes
