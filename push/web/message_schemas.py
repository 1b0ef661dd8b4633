"""The JSON of messages, in and out. What validates here is also what /openapi.json shows.

Bodies name their unknown fields; UNSET tells a field that was left out from one that is null. Imports
msgspec, and of the project only push.web.schemas.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from push.web.schemas import Milliseconds

MAX_TTL_S = 30 * 24 * 3600
MAX_WAIT_S = 60
# Long enough for a client on a phone network to answer, short enough for who holds a request open.
DEFAULT_WAIT_S = 10.0
MAX_KEY_CHARS = 128
# What asks for an earlier time means seconds: those since 1970 stay below this for 30,000 years more.
LEAST_DELIVER_AT_MS = 10**12

_NO_CONTROLS = "^[^\\u0000-\\u001f\\u007f-\\u009f]*(?![\\s\\S])"  # not "$", before which Python allows a newline

# Not the pattern of a token: what cannot be a token is a token that nobody has, and is answered so.
Token = Annotated[str, Meta(min_length=1, max_length=128, description="A client's token.")]
# Without control characters, as in SUB (docs/protocol.md, "Opening a session").
Uid = Annotated[
    str,
    Meta(min_length=1, max_length=128, pattern=_NO_CONTROLS, description="A user, who may have many tokens."),
]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=100)]
MessageId = Annotated[str, Meta(description="A message's id, in decimal digits.")]

_EXACTLY_ONE = {"minProperties": 1, "maxProperties": 1}
_ONE_DATA = {"oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}]}


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
    all: Annotated[bool, Meta(description="Everybody. Must be true.")] | UnsetType = UNSET
    group: Annotated[str, Meta(min_length=1, max_length=64, description="The members of a group.")] | UnsetType = UNSET


class Message(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What clients get: exactly one of data and data_base64."""

    data: (
        Annotated[Raw, Meta(description="Text goes to clients as it is, any other JSON as compact UTF-8 JSON.")]
        | UnsetType
    ) = UNSET
    data_base64: Annotated[bytes, Meta(description="Bytes, in standard base64 with padding.")] | UnsetType = UNSET
    id: (
        Annotated[
            str,
            Meta(
                description="Your own name for it: the same message with the same name is sent once. "
                "Goes before the header Idempotency-Key.",
                extra_json_schema={"minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[!-~]*$"},
            ),
        ]
        | UnsetType
    ) = UNSET


def _word(default: str, other: tuple[str, ...], description: str) -> Meta:
    # What is not one of them is refused by name in push.web.options: msgspec would repeat it, however long it is.
    return Meta(description=description, extra_json_schema={"enum": [default, *other], "default": default})


class Options(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """How it is sent."""

    ttl: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=MAX_TTL_S,
                description="Seconds that it is kept for those whom it has not reached. Left out: 86400 for tokens, "
                "uids and group, 0 for tags, connector and all.",
            ),
        ]
        | UnsetType
    ) = UNSET
    collapse_key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=64,
                pattern=_NO_CONTROLS,
                description="Takes the place of what is undelivered and has the same key, for the same token.",
            ),
        ]
        | UnsetType
    ) = UNSET
    priority: (
        Annotated[str, _word("normal", ("high",), "What is high comes first when a client returns.")] | UnsetType
    ) = UNSET
    deliver_at: (
        Annotated[
            int,
            Meta(
                ge=LEAST_DELIVER_AT_MS,
                description="Not before this time, in milliseconds since 1970; one that is past means now.",
            ),
        ]
        | UnsetType
    ) = UNSET
    store: (
        Annotated[
            str,
            _word(
                "if_offline",
                ("always", "never"),
                "Whether it is kept. if_offline: for those who are away, or have not acknowledged it. always: for "
                "all, and on disk before anybody gets it. never: for nobody.",
            ),
        ]
        | UnsetType
    ) = UNSET
    on_full: (
        Annotated[str, _word("reject", ("drop_oldest",), "What gives way where a token's cache is full.")] | UnsetType
    ) = UNSET
    wait: (
        Annotated[
            str,
            _word(
                "accepted",
                ("delivered",),
                "When the answer comes. delivered: only to tokens and uids, not in batches.",
            ),
        ]
        | UnsetType
    ) = UNSET
    wait_timeout: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=MAX_WAIT_S,
                description="With wait delivered: seconds after which the answer comes all the same.",
                extra_json_schema={"default": DEFAULT_WAIT_S},
            ),
        ]
        | UnsetType
    ) = UNSET


class SendRequest(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One message to be pushed."""

    target: Annotated[Target, Meta(extra_json_schema=_EXACTLY_ONE)]
    message: Annotated[Message, Meta(extra_json_schema=_ONE_DATA)]
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
    cached: Annotated[int, Meta(description="Of these, kept, and not sent yet.")]
    unknown: Annotated[tuple[str, ...], Meta(description="Named tokens that are not registered.")]
    rejected: (
        Annotated[
            int,
            Meta(
                description="Of these, those that will not get it: their cache is full, or their connector takes "
                "nothing so large."
            ),
        ]
        | UnsetType
    ) = UNSET
    logged: Annotated[bool, Meta(description="True where it is kept once, for all who are addressed.")] | UnsetType = (
        UNSET
    )
    due: Annotated[Milliseconds, Meta(description="When it will be sent, where not now.")] | UnsetType = UNSET
    delivered: (
        Annotated[int, Meta(description="Of the targets, acknowledged by now; where that was waited for.")] | UnsetType
    ) = UNSET


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


class EventCounts(Struct, frozen=True, kw_only=True):
    """For how many targets each has happened."""

    sent: Annotated[int, Meta(description="Handed to a live connection.")]
    delivered: Annotated[int, Meta(description="Acknowledged.")]
    expired: Annotated[int, Meta(description="Not delivered within its ttl.")]
    cancelled: Annotated[int, Meta(description="Taken back by DELETE.")]
    replaced: Annotated[int, Meta(description="By a newer one with the same collapse key.")]
    dropped: Annotated[int, Meta(description="To make room in the token's cache for a newer one.")]
    cached: Annotated[int, Meta(description="Kept until one of the others happened.")]
    rejected: Annotated[int, Meta(description="The token's cache was full.")]


class TokenState(Struct, frozen=True):
    """What has become of a message for one token."""

    token: str
    state: Annotated[
        str, Meta(description='The last that happened: one of the names of counts, or "accepted" where nothing has.')
    ]
    at: Annotated[Milliseconds, Meta(description="When.")]


class ReceiptReply(Struct, frozen=True, kw_only=True):
    """The life of a message."""

    id: MessageId
    accepted: Annotated[Milliseconds, Meta(description="When it was accepted.")]
    expires: Annotated[Milliseconds, Meta(description="Until when it is kept, where it is.")] | UnsetType = UNSET
    due: Annotated[Milliseconds, Meta(description="When it is or was to be sent, where not at once.")] | UnsetType = (
        UNSET
    )
    logged: Annotated[bool, Meta(description="True where it is kept once, for all who are addressed.")]
    targets: Annotated[int, Meta(description="Tokens (or sessions) that it was addressed to.")]
    counts: EventCounts
    tokens: Annotated[list[TokenState], Meta(description="One by one, for up to 1000 targets; none for more.")]


class CancelReply(Struct, frozen=True):
    """A message was taken back."""

    id: MessageId
    cancelled: Annotated[int, Meta(description="For how many tokens; 0 where all had it. 1 where it was logged.")]


class ExplainReply(Struct, frozen=True):
    """Why a message has or has not arrived at a token."""

    id: MessageId
    token: str
    explanation: Annotated[list[str], Meta(description="Sentences, the most telling first.")]
