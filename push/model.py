"""The values that travel between the rooms: frozen, without behaviour of their own.

Those of which there is one a message, or one a session, are msgspec structs: building a frozen dataclass
costs 0.5 to 1 µs, a struct 0.1 (measured 2026-11-23). They cannot be in reference cycles, so the collector need
not know them (gc=False). Imports nothing else of the project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

# The wire protocol that is spoken where nothing else is said.
FRAMED = "framed"


class Outcome(IntEnum):
    """What became of one message for one token at a connector."""

    SENT = 0  # handed to a live connection
    OFFLINE = 1  # no session with this token here
    OVERFLOW = 2  # the client does not read, or not acknowledge: it was closed as a slow consumer
    BEHIND = 3  # its connection is still catching up: it will be pulled from the cache in its turn


class Store(IntEnum):
    """Whether a message is kept in the cache."""

    NEVER = 0  # only for those who are online now
    IF_OFFLINE = 1  # for those who are away, and until acknowledged for those who acknowledge
    ALWAYS = 2  # as IF_OFFLINE, and on disk before anybody sees it


class OnFull(IntEnum):
    """What to do where a token's cache is full."""

    REJECT = 0
    DROP_OLDEST = 1


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


class Registration(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A session that is open: the token, where it is, and which of the token's sessions it is.

    Attributes:
        token: the client's token.
        uid: its user, or None.
        connector: unique name of the connector that holds the connection.
        epoch: grows with each session of the token; what names an older epoch may not undo a newer one. In
            microseconds since 1970, give or take what it takes to grow.
        acks: whether the client acknowledges.
        expires_s: when the credential that it was opened with is over, seconds since 1970; 0: never. Only its
            connector need know.
    """

    token: str
    uid: str | None
    connector: str
    epoch: int
    acks: bool = False
    expires_s: int = 0

    @property
    def since_ms(self) -> int:
        """When it opened, milliseconds since 1970."""
        return self.epoch // 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is, as its credential proves.

    Attributes:
        uid: the user; None where no credential is demanded.
        expires_s: when the credential is over, seconds since 1970; 0: never.
    """

    uid: str | None
    expires_s: int = 0


class Opening(msgspec.Struct, frozen=True, gc=False):
    """A session that has been opened, and the one that it replaced, if there was one."""

    session: Registration
    replaced: Registration | None


@dataclass(frozen=True, slots=True)
class Lease:
    """A name that one node has for a while.

    Attributes:
        name: what it has.
        number: greater than that of every earlier lease, of whatever name: what carries a lesser one comes too late.
        details: what the node wants others to know, any bytes.
    """

    name: str
    number: int
    details: bytes


class BusPlace(msgspec.Struct, frozen=True, gc=False):
    """Where something stands among all that is published on a bus.

    Attributes:
        epoch: since when it is counted; another one, where what was counted is lost.
        number: counted from 1 in each epoch, without gaps; 0 for nothing yet.
    """

    epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """All that is known of a token.

    Attributes:
        token: the token.
        uid: its user, or None.
        device: its description as JSON text, or None.
        tags: what it can be addressed by, in the client's order.
        created_ms: when it was first seen, milliseconds since 1970.
        session: where it is online, or None.
    """

    token: str
    uid: str | None
    device: str | None
    tags: tuple[str, ...]
    created_ms: int
    session: Registration | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Where tokens are.

    Attributes:
        online: token → its session, for those online.
        unknown: tokens that are not registered.
    """

    online: Mapping[str, Registration]
    unknown: frozenset[str]


@dataclass(frozen=True, slots=True)
class TagQuery:
    """Which tags a token must have: at least one of `any` (if given), every one of `all`, none of `none`."""

    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


class ToTokens(msgspec.Struct, frozen=True, gc=False):
    """To these tokens. `single`: the sender named one token, so that an unknown one is an error."""

    tokens: tuple[str, ...]
    single: bool = False


class ToUids(msgspec.Struct, frozen=True, gc=False):
    """To every token of these users."""

    uids: tuple[str, ...]
    single: bool = False


@dataclass(frozen=True, slots=True)
class ToTags:
    """To every token that matches."""

    query: TagQuery


@dataclass(frozen=True, slots=True)
class ToConnector:
    """To every session on the connectors of an address: "ip" or "ip:port"."""

    address: str


@dataclass(frozen=True, slots=True)
class ToAll:
    """To every session on every connector."""


@dataclass(frozen=True, slots=True)
class ToGroup:
    """To every token of the members of a group, as they are when it is accepted."""

    name: str


Target = ToTokens | ToUids | ToTags | ToConnector | ToAll | ToGroup


class Once(msgspec.Struct, frozen=True, gc=False):
    """By what a request is known when it is made again.

    Attributes:
        key: the sender's name for it, with the sender's own name in front.
        fingerprint: SHA-256 of what was asked for: the same key with another one is an error.
    """

    key: str
    fingerprint: bytes


class Options(msgspec.Struct, frozen=True, gc=False):
    """How a message is to be brought to its targets.

    Attributes:
        store: whether it is kept.
        is_high: comes before others when a token returns.
        collapse_key: replaces what is undelivered and has the same key, for the same token; "" for none.
        on_full: what to do where a token's cache is full.
        deliver_at_ms: not before this time, milliseconds since 1970; None: now.
        wait_s: answer only when it is delivered, or after so many seconds; 0: answer when it is accepted.
        once: how to tell a repetition of this request; None: there is no telling.
    """

    store: Store = Store.IF_OFFLINE
    is_high: bool = False
    collapse_key: str = ""
    on_full: OnFull = OnFull.REJECT
    deliver_at_ms: int | None = None
    wait_s: float = 0.0
    once: Once | None = None


# Nearly all messages have these; the router takes the shortest way for them.
PLAIN = Options()


class PushRequest(msgspec.Struct, frozen=True, gc=False):
    """One message to be pushed.

    Attributes:
        target: to whom.
        payload: what clients get, as bytes.
        ttl_s: how long it is worth keeping, in seconds; None: the default of its target. With 0 it is never kept.
        validate_only: resolve and count, but send nothing.
        options: how.
    """

    target: Target
    payload: bytes
    ttl_s: int | None = None
    validate_only: bool = False
    options: Options = PLAIN


class PushResult(msgspec.Struct, frozen=True, gc=False):
    """What became of an accepted request when it was answered.

    Attributes:
        message_id: unique, growing with the order of acceptance; 0 for validate_only.
        targets: tokens (or, for a connector and all: sessions) that it was addressed to.
        sent: of these, handed to a live connection.
        cached: of these, not sent now but kept: until acknowledged, handed over (where nobody acknowledges) or expired.
        unknown: named tokens that are not registered.
        rejected: of the targets, those whose cache was full: they will not get it.
        is_logged: kept once for all who are addressed, instead of for each of them.
        due_ms: when it will be sent, milliseconds since 1970; None for now.
        delivered: of the targets, acknowledged until the answer; None where nobody waited for that.
    """

    message_id: int
    targets: int
    sent: int
    cached: int = 0
    unknown: tuple[str, ...] = ()
    rejected: int = 0
    is_logged: bool = False
    due_ms: int | None = None
    delivered: int | None = None


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a message that is kept stands among all others, and what it comes after.

    Attributes:
        position: grows in the order in which messages were kept.
        before: for each token that it is for, the position of the latest message that it was still to get then; 0 for
            none. Where `logged` is not said, the latest that was logged for everybody counts, too.
        logged: the position of the latest message in the log of broadcasts then: of those for everybody, or of any if
            the message is in the log itself. 0 for none, -1 where it is not said.
    """

    position: int
    before: Sequence[int]
    logged: int = -1


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to tokens of one connector.

    Attributes:
        message_id: its id.
        payload: what clients get; None: it is pulled from the cache when it is on disk, in its turn.
        tokens: whose.
        is_kept: the cache has it for these tokens, so that one who cannot take it now pulls it later.
        is_logged: it is in the log of broadcasts. Without tokens: it has been brought to all whom it is for.
        place: where it stands, if it is kept and calls may overtake one another: a session that lacks what comes before
            it pulls both, in order. None: the caller keeps the order.
        owner: the user that it is meant for: a session of another does not get it; None: whoever has the token.
        is_keepable: it is not kept, but can be: where a session has to get something else before it, it is BEHIND, and
            to be kept.
    """

    message_id: int
    payload: bytes | None
    tokens: Sequence[str]
    is_kept: bool = False
    is_logged: bool = False
    place: Place | None = None
    owner: str | None = None
    is_keepable: bool = False


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


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What a connector did with a batch.

    Attributes:
        sent: how many (message, token) pairs were handed to live connections, by position in the batch.
        missed: position in the batch → (token, outcome) of those that were not.
    """

    sent: Sequence[int]
    missed: Mapping[int, Sequence[tuple[str, Outcome]]]


@dataclass(frozen=True, slots=True)
class Node:
    """A connector as others see it.

    Attributes:
        address: its unique name: "host:port" that it advertises, and "#N" after it where it shares that with others.
        connections: open connections, with or without a session.
        sessions: open sessions.
        max_connections: its limit.
        started_ms: when it started, milliseconds since 1970.
        draining: whether it takes no new sessions.
        version: of its software.
        places: (wire protocol, "host:port"): where clients connect by each, as far as others can reach that.
    """

    address: str
    connections: int
    sessions: int
    max_connections: int
    started_ms: int
    draining: bool
    version: str
    places: tuple[tuple[str, str], ...] = ()

    @property
    def public_address(self) -> str:
        """Where clients connect: "host:port"."""
        return self.address.partition("#")[0]

    def place_of(self, protocol: str) -> str:
        """Where clients connect by a wire protocol: "host:port"; "" where they cannot."""
        if not self.places:  # a node of 0.1.0 does not say
            return self.public_address if protocol == FRAMED else ""
        return dict(self.places).get(protocol, "")


class Numbers(msgspec.Struct, frozen=True):
    """What a node of a cluster tells the others of what it has measured since it started.

    Attributes:
        taken_ms: when, milliseconds since 1970 on its clock.
        counted: name of a sample → the sum of those that are meant.
        timed: likewise, of histograms.
    """

    taken_ms: int
    counted: dict[str, float]
    timed: dict[str, "Histogram"]


class Member(msgspec.Struct, frozen=True):
    """A node of a cluster, as it says of itself.

    Attributes:
        name: unique: of a connector its address, of others where they are reached.
        roles: what runs there.
        peer: "host:port" where other nodes reach it; "" where none does.
        major: of the version that it speaks between nodes; another one is not understood.
        minor: likewise; any is.
        version: of its software.
        connector: how its connector is, if it has one.
        numbers: what it has measured; None: it does not say.
    """

    name: str
    roles: tuple[str, ...]
    peer: str = ""
    major: int = 1
    minor: int = 0
    version: str = ""
    connector: Node | None = None
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connector allows. Each is a setting of the same name (docs/configuration.md)."""

    max_connections: int
    max_connections_per_address: int
    max_subs_per_s: float
    max_body_bytes: int
    max_body_before_open_bytes: int
    handshake_timeout_s: float
    default_interval_ms: int
    idle_grace_s: float
    max_outbox_bytes: int
    max_outbox_messages: int
    max_node_outbox_bytes: int
    ack_window: int
    close_timeout_s: float
    allowed_origins: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound, as Prometheus has them but not yet cumulated.

    Attributes:
        bounds_s: upper bounds in seconds, growing; one more count than bounds, for what is above.
        counts: how many fell under each bound and over the one before it.
        total_s: the sum of all values, in seconds.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value.

    Attributes:
        name: as Prometheus wants it, e.g. "push_messages_total".
        kind: "counter", "gauge" or "histogram".
        help: one sentence.
        labels: (name, value) pairs.
        value: a number, or a Histogram for that kind.
    """

    name: str
    kind: str
    help: str
    value: float | Histogram
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold for a node to be ready; `detail` says why it does not."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the HTTP API: never the key itself, only its hash.

    Attributes:
        name: to tell keys apart in logs and limits.
        rights: of "push", "read", "manage".
        sha256: of the key's UTF-8 bytes. Keys carry 256 random bits, so a fast hash is enough.
    """

    name: str
    rights: frozenset[str]
    sha256: bytes
