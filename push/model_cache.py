"""The values of the cache: what is given to it, what is pulled, the rows on disk, its limits.

Imports only push.model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from push.model import PLAIN, Once, Options, Place, PushRequest, PushResult, TagQuery


@dataclass(frozen=True, slots=True)
class Everybody:
    """All tokens that are registered when a message is accepted."""


class Keep(msgspec.Struct, frozen=True, gc=False):
    """One message for the cache.

    Attributes:
        message_id: its id.
        payload: what clients get.
        tokens: for whom; none where `audience` says so.
        expires_ms: until when, milliseconds since 1970 on the clock of message ids.
        options: of the request.
        audience: kept once, in the log of broadcasts, for all of these; None: for `tokens`.
        is_ahead: nobody may see it before it is on disk.
        owner: the user that it is meant for: a token that is another's by the time of the pull does not get it, and
            it is forgotten for that token as cancelled; None: whoever has the token. A message to several users is
            several of these with the same id.
    """

    message_id: int
    payload: bytes
    tokens: Sequence[str]
    expires_ms: int
    options: Options = PLAIN
    audience: Everybody | TagQuery | None = None
    is_ahead: bool = False
    owner: str | None = None


class Keeping(msgspec.Struct, frozen=True, gc=False):
    """What the cache says at once of messages that it was given.

    Attributes:
        ticket: to ask by whether they are on disk.
        refused: position in the batch → tokens whose cache is full.
        places: of each of the batch, where others keep messages here too: deliveries carry it. Empty where nobody does.
    """

    ticket: int
    refused: Mapping[int, Sequence[str]]
    places: Sequence[Place] = ()


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A message out of the cache, for one token.

    Attributes:
        message_id: its id.
        payload: what the client gets.
        is_logged: from the log of broadcasts.
        position: its place in the log, if it is from there.
    """

    message_id: int
    payload: bytes
    is_logged: bool = False
    position: int = 0


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """Up to where a session has pulled: places in the orders of urgent, other, and logged messages.

    `log` is -1 in a session that has just begun: the cache knows where its token was.
    """

    high: int = 0
    normal: int = 0
    log: int = -1


@dataclass(frozen=True, slots=True)
class Page:
    """What a pull brought.

    Attributes:
        messages: in the order in which they are to be sent.
        cursor: to pull what comes after them.
        has_more: whether anything did when they were read.
        position: up to where the session has everything, with these messages, if nothing did.
    """

    messages: Sequence[Kept]
    cursor: Cursor
    has_more: bool
    position: int = 0


class StoredMessage(msgspec.Struct, frozen=True, gc=False):
    """A row of the cache on disk.

    Attributes:
        position: its place in the order of delivery, unique and growing.
        message_id: its id.
        expires_ms: as in Keep.
        size_bytes: of its payload.
        is_high: as in Options.
        collapse_key: as in Options.
        tokens: for whom; none where there is an audience.
        audience: as in Keep.
        payload: None where it was not asked for.
        owner: as in Keep.
    """

    position: int
    message_id: int
    expires_ms: int
    size_bytes: int
    is_high: bool
    collapse_key: str
    tokens: Sequence[str]
    audience: Everybody | TagQuery | None
    payload: bytes | None = None
    owner: str | None = None


class StoredReply(msgspec.Struct, frozen=True, gc=False):
    """What a request with a key was answered.

    Attributes:
        once: its key and what it asked for.
        result: the answer.
        expires_ms: when it may be forgotten, milliseconds since 1970.
    """

    once: Once
    result: PushResult
    expires_ms: int


class StoredDue(msgspec.Struct, frozen=True, gc=False):
    """A message that is to be sent later."""

    message_id: int
    due_ms: int
    request: PushRequest


@dataclass(slots=True)
class CacheChanges:
    """What goes to disk in one transaction: all of it or nothing.

    Attributes:
        messages: new rows, with payloads.
        done: (position, token): one of several tokens of a message needs it no more.
        finished: positions of rows that nobody needs any more.
        log_positions: token → place in the log of broadcasts up to which it has everything.
        replies: new, or in the place of those with the same key.
        due: new.
        undue: message ids of those that have been sent or cancelled.
    """

    messages: list[StoredMessage] = field(default_factory=list)
    done: list[tuple[int, str]] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    log_positions: dict[str, int] = field(default_factory=dict)
    replies: list[StoredReply] = field(default_factory=list)
    due: list[StoredDue] = field(default_factory=list)
    undue: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """What the cache keeps. Each is a setting of the same name (docs/configuration.md)."""

    max_cached_messages: int = 1_000_000
    max_cached_bytes: int = 4_294_967_296
    max_cached_messages_per_token: int = 1_000
    max_cached_bytes_per_token: int = 16_777_216
    max_logged_broadcasts: int = 10_000
    idempotency_s: int = 86_400
    max_scheduled: int = 100_000
