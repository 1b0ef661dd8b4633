"""The JSON of the HTTP API's answers, but those about messages. What is encoded here is what /openapi.json shows.

UNSET stands for a field that is left out. Imports msgspec and nothing of the project.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Milliseconds = Annotated[int, Meta(description="Milliseconds since 1970.")]


class Violation(Struct, frozen=True):
    """One thing wrong with one field of the request."""

    field: str
    message: str


class Error(Struct, frozen=True, omit_defaults=True):
    """Why a request was not done."""

    code: Annotated[int, Meta(description="The HTTP status.")]
    reason: Annotated[str, Meta(description="A constant for programs.")]
    message: Annotated[str, Meta(description="A sentence for people.")]
    field_violations: list[Violation]
    retry: Annotated[str, Meta(description='Whether trying again can help: "no", "now" or "backoff".')]
    request_id: Annotated[str, Meta(description="Also in the X-Request-Id header and in the server's log.")]
    retry_after: (
        Annotated[float, Meta(description="Seconds to wait before trying again; also in the Retry-After header.")]
        | UnsetType
    ) = UNSET


class ErrorReply(Struct, frozen=True):
    """The body of every failure."""

    error: Error


class TokenReply(Struct, frozen=True):
    """All that is known of a token."""

    token: str
    uid: str | None
    online: bool
    connector: Annotated[str | None, Meta(description="Name of the connector that holds its session.")]
    since: Annotated[Milliseconds | None, Meta(description="When the session opened, or was last renewed.")]
    device: Annotated[Raw, Meta(description="The client's description of itself, an object or null.")]
    tags: tuple[str, ...]
    created: Milliseconds


class RevokeReply(Struct, frozen=True):
    """A token is forgotten."""

    token: str
    revoked: Annotated[bool, Meta(description="Whether it was registered.")]
    kicked: Annotated[bool, Meta(description="Whether it had a session, which was closed.")]


class KickReply(Struct, frozen=True):
    """A token's session was closed."""

    token: str
    kicked: Annotated[bool, Meta(description="Whether there was a session.")]


class UserToken(Struct, frozen=True):
    """One of a user's tokens."""

    token: str
    online: bool
    connector: str | None


class UserTokensReply(Struct, frozen=True):
    """A user's tokens, oldest first; none for a user who was never seen."""

    uid: str
    tokens: list[UserToken]


class NodeEntry(Struct, frozen=True):
    """A connector."""

    address: Annotated[str, Meta(description="host:port where clients connect.")]
    name: Annotated[str, Meta(description="Unique: the address, and #N after it for a worker, which shares it.")]
    connections: Annotated[int, Meta(description="Open connections, with or without a session.")]
    sessions: int
    max_connections: int
    started: Milliseconds
    draining: Annotated[bool, Meta(description="Whether it takes no new sessions.")]
    version: str
    places: Annotated[dict[str, str], Meta(description="Wire protocol → host:port where clients connect by it.")]


class NodesReply(Struct, frozen=True):
    """The connectors, by address."""

    nodes: list[NodeEntry]
    unreachable: Annotated[list[str], Meta(description="Names of those that are listed but did not answer.")]


class Place(Struct, frozen=True):
    """Where a client may connect."""

    host: str
    port: int


class AllocateReply(Struct, frozen=True):
    """A few connectors with room, the best first."""

    nodes: list[Place]


class DrainOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """How to drain a connector."""

    drain: Annotated[bool, Meta(description="false: take sessions again.")] = True
    sessions_per_s: Annotated[
        float, Meta(gt=0, le=1_000_000, description="How many sessions are sent elsewhere in a second.")
    ] = 100.0


class DrainReply(Struct, frozen=True):
    """The connectors concerned; they are empty when `sessions` is 0."""

    nodes: list[NodeEntry]


class HistogramValue(Struct, frozen=True):
    """A histogram: one count more than bounds, for what is above."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float


class SampleEntry(Struct, frozen=True):
    """One measured value."""

    name: str
    kind: Annotated[str, Meta(description='"counter", "gauge" or "histogram".')]
    labels: dict[str, str]
    value: float | HistogramValue


class StatsReply(Struct, frozen=True, kw_only=True):
    """What this process has measured. Numbers of roles that do not run here are left out."""

    version: str
    uptime_s: float
    connections: Annotated[int, Meta(description="Open connections of clients.")] | UnsetType = UNSET
    sessions: Annotated[int, Meta(description="Open sessions.")] | UnsetType = UNSET
    tokens: Annotated[int, Meta(description="Registered tokens.")] | UnsetType = UNSET
    outbox_bytes: Annotated[int, Meta(description="Bytes that wait for clients to read.")] | UnsetType = UNSET
    delivered: Annotated[int, Meta(description="Messages handed to one connection.")] | UnsetType = UNSET
    samples: list[SampleEntry]


class WatchOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to be told."""

    token: Annotated[str, Meta(min_length=1, max_length=128, description="Of the session that looks on.")]


class WatchReply(Struct, frozen=True):
    """Numbers are being pushed."""

    interval_s: float
    seconds: Annotated[float, Meta(description="For how long, unless it is asked for again.")]


class WatchMessage(Struct, kw_only=True):
    """What is pushed, as `console` of an object."""

    time: int
    nodes: list[NodeEntry]
    unreachable: list[str]
    samples: list[SampleEntry]
    is_partial: bool = False


class AliveReply(Struct, frozen=True):
    """The process turns."""

    status: str


class CheckEntry(Struct, frozen=True):
    """One thing that must hold for a node to be ready."""

    name: str
    ok: bool
    detail: str


class ReadyReply(Struct, frozen=True):
    """Whether this node can do its work now."""

    ready: bool
    checks: list[CheckEntry]


class LegacyReply(Struct, frozen=True):
    """The answer of the older paths, also to failures: `code` is then the HTTP status."""

    code: int
    message: str


class LegacyOnlineNumber(Struct, frozen=True, rename="camel"):
    """How many sessions are open."""

    code: int
    message: str
    online_num: int


class LegacyOnlineStatus(Struct, frozen=True):
    """Whether a token has a session."""

    code: int
    message: str
    online: bool


class LegacyAddress(Struct, frozen=True):
    """Where a client may connect."""

    ip: str
    port: int


class LegacyNodes(Struct, frozen=True, rename="camel"):
    """Where clients may connect, the one with most room first."""

    code: int
    message: str
    node_infos: list[LegacyAddress]
