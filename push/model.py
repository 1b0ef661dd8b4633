"""The values that travel between the rooms: frozen, without behaviour of their own.

Those of which there is one a message, or one a session, are msgspec structs: building a frozen dataclass
costs 0.5 to 1 µs, a struct 0.1 (measured 2026-11-23). They cannot be in reference cycles, so the collector need
not know them (gc=False). Imports nothing else of the project.
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


class Registration(msgspec.Struct, frozen=True, gc=False):
    """A session that is open: the token, where it is, and which of the token's sessions it is.

    Attributes:
        token: the client's token.
        uid: its user, or None.
        connector: address "host:port" of the connector that holds the connection.
        epoch: grows with each session of the token; what names an older epoch may not undo a newer one. In
            microseconds since 1970, give or take what it takes to grow.
    """

    token: str
    uid: str | None
    connector: str
    epoch: int

    @property
    def since_ms(self) -> int:
        """When it opened, milliseconds since 1970."""
        return self.epoch // 1000


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
        connectors: token → connector address, for those online.
        unknown: tokens that are not registered.
    """

    connectors: Mapping[str, str]
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


Target = ToTokens | ToUids | ToTags | ToConnector | ToAll


class PushRequest(msgspec.Struct, frozen=True, gc=False):
    """One message to be pushed.

    Attributes:
        target: to whom.
        payload: what clients get, as bytes.
        ttl_s: how long it is worth keeping, in seconds; None: the default of its target.
        validate_only: resolve and count, but send nothing.
    """

    target: Target
    payload: bytes
    ttl_s: int | None = None
    validate_only: bool = False


class PushResult(msgspec.Struct, frozen=True, gc=False):
    """What became of an accepted request when it was answered.

    Attributes:
        message_id: unique, growing with the order of acceptance; 0 for validate_only.
        targets: tokens (or, for a connector and all: sessions) that it was addressed to.
        sent: of these, handed to a live connection.
        cached: of these, kept until they come.
        unknown: named tokens that are not registered.
    """

    message_id: int
    targets: int
    sent: int
    cached: int = 0
    unknown: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to tokens of one connector."""

    message_id: int
    payload: bytes
    tokens: Sequence[str]


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
        address: "host:port" that it advertises.
        connections: open connections, with or without a session.
        sessions: open sessions.
        max_connections: its limit.
        started_ms: when it started, milliseconds since 1970.
        draining: whether it takes no new sessions.
        version: of its software.
    """

    address: str
    connections: int
    sessions: int
    max_connections: int
    started_ms: int
    draining: bool
    version: str


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
