"""The values that travel between the rooms: frozen, without behaviour of their own. Here those that every push meets.

Those of which there is one a message, or one a session, are msgspec structs: building a frozen dataclass
costs 0.5 to 1 µs, a struct 0.1 (measured 2026-11-23). They cannot be in reference cycles, so the collector need
not know them (gc=False). Imports nothing else of the project.

The others, by the same rules: model_subscribe.py (tokens), model_access.py (who somebody is), model_cache.py,
model_receipts.py, model_chat.py (groups and chat), model_cluster.py (nodes), model_health.py (numbers and checks).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec


class Outcome(IntEnum):
    """What became of one message for one token at a connector."""

    SENT = 0  # handed to a live connection
    OFFLINE = 1  # no session with this token here
    OVERFLOW = 2  # the client does not read, or not acknowledge: it was closed as a slow consumer
    BEHIND = 3  # its connection is still catching up: it will be pulled from the cache in its turn
    TOO_LARGE = 4  # it cannot be kept, and is larger than its connector is configured to take


class Store(IntEnum):
    """Whether a message is kept in the cache."""

    NEVER = 0  # only for those who are online now
    IF_OFFLINE = 1  # for those who are away, and until acknowledged for those who acknowledge
    ALWAYS = 2  # as IF_OFFLINE, and on disk before anybody sees it


class OnFull(IntEnum):
    """What to do where a token's cache is full."""

    REJECT = 0
    DROP_OLDEST = 1


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
        rejected: of the targets, those that will not get it: a full cache, or a connector that takes nothing so large.
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
class DeliveryReport:
    """What a connector did with a batch.

    Attributes:
        sent: how many (message, token) pairs were handed to live connections, by position in the batch.
        missed: position in the batch → (token, outcome) of those that were not.
    """

    sent: Sequence[int]
    missed: Mapping[int, Sequence[tuple[str, Outcome]]]


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
