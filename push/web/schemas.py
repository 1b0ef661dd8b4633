"""The JSON of the HTTP API, in and out. What validates here is also what /openapi.json shows.

Bodies name their unknown fields; UNSET tells a field that was left out from one that is null. Imports
msgspec and nothing of the project.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

MAX_TTL_S = 30 * 24 * 3600

# Not the pattern of a token: what cannot be a token is a token that nobody has, and is answered so.
Token = Annotated[str, Meta(min_length=1, max_length=128, description="A client's token.")]
# Without control characters, as in SUB (docs/protocol.md, "Opening a session").
Uid = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*(?![\\s\\S])",  # not "$", before which Python allows a newline
        description="A user, who may have many tokens.",
    ),
]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=100)]
Milliseconds = Annotated[int, Meta(description="Milliseconds since 1970.")]

_EXACTLY_ONE = {"minProperties": 1, "maxProperties": 1}


class TagSelection(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Tokens with at least one tag of `any`, every tag of `all` and none of `none`. One list at least has a tag."""

    any: Tags = ()
    all: Tags = ()
    none: Tags = ()


class Target(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """To whom: exactly one of these."""

    token: Token | UnsetType = UNSET
    tokens: Annotated[tuple[Token, ...], Meta(min_length=1)] | UnsetType = UNSET
    uid: Uid | UnsetType = UNSET
    uids: Annotated[tuple[Uid, ...], Meta(min_length=1)] | UnsetType = UNSET
    tags: TagSelection | UnsetType = UNSET
    connector: (
        Annotated[str, Meta(min_length=1, max_length=255, description='A connector: "ip" or "ip:port".')] | UnsetType
    ) = UNSET
    all: Annotated[bool, Meta(description="Everybody online. Must be true.")] | UnsetType = UNSET


class Message(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What clients get: exactly one of these."""

    data: (
        Annotated[Raw, Meta(description="Text goes to clients as it is, any other JSON as compact UTF-8 JSON.")]
        | UnsetType
    ) = UNSET
    data_base64: Annotated[bytes, Meta(description="Bytes, in standard base64 with padding.")] | UnsetType = UNSET


class Options(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """How it is sent."""

    ttl: (
        Annotated[
            int, Meta(ge=0, le=MAX_TTL_S, description="Seconds that the message is kept for those not reached now.")
        ]
        | UnsetType
    ) = UNSET


class SendRequest(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One message to be pushed."""

    target: Annotated[Target, Meta(extra_json_schema=_EXACTLY_ONE)]
    message: Annotated[Message, Meta(extra_json_schema=_EXACTLY_ONE)]
    options: Options | UnsetType = UNSET
    validate_only: Annotated[bool, Meta(description="Resolve and count the targets, but send nothing.")] = False


class BatchSendRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Many messages, each to its own target, sent in order."""

    requests: tuple[SendRequest, ...]


class BatchEntries(Struct, frozen=True, forbid_unknown_fields=True):
    """The same, with entries yet to be looked at, for a batch with a bad one in it."""

    requests: tuple[Raw, ...]


class SendReply(Struct, frozen=True, gc=False):
    """What became of a message."""

    id: Annotated[str, Meta(description='Unique and growing with time; "0" with validate_only.')]
    targets: Annotated[int, Meta(description="Tokens (or sessions) that it was addressed to.")]
    sent: Annotated[int, Meta(description="Of these, handed to a live connection.")]
    cached: Annotated[int, Meta(description="Of these, kept until they come.")]
    unknown: Annotated[tuple[str, ...], Meta(description="Named tokens that are not registered.")]


class BatchSendReply(Struct, frozen=True):
    """What became of each message of a batch, in its order."""

    results: Annotated[
        list[Any],
        Meta(
            extra_json_schema={
                "items": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/SendReply"},
                        {"$ref": "#/components/schemas/ErrorReply"},
                    ]
                }
            }
        ),
    ]


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
    connector: Annotated[str | None, Meta(description="host:port of the connector that holds its session.")]
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

    address: str
    connections: Annotated[int, Meta(description="Open connections, with or without a session.")]
    sessions: int
    max_connections: int
    started: Milliseconds
    draining: Annotated[bool, Meta(description="Whether it takes no new sessions.")]
    version: str


class NodesReply(Struct, frozen=True):
    """The connectors, by address."""

    nodes: list[NodeEntry]
    unreachable: Annotated[list[str], Meta(description="Addresses of those that are listed but did not answer.")]


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
