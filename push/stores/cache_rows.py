"""What the rows of the cache look like where they are stored: messages, answers and requests as msgpack, and back.

Each begins with the number of its format. A new format is a new struct with the next number beside the old one, which
stays for as long as files may hold it. What is stored has names of its own here, so that to move something in
push.model or push.model_cache cannot change it by the way; of Options, Once and PushResult, which are stored by the
names of their fields, a field may be added with a default, and none renamed. Knows no SQL and no Redis.
"""

from typing import Any, TypeVar

import msgspec

from push.model import (
    Options,
    PushRequest,
    PushResult,
    TagQuery,
    Target,
    ToAll,
    ToConnector,
    ToGroup,
    ToTags,
    ToTokens,
    ToUids,
)
from push.model_cache import Everybody, StoredMessage

Row = TypeVar("Row")


class UnknownRow(Exception):
    """A row cannot be read; `str()` says what is wrong with it."""


class _All(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="all"):
    """Everybody, or ToAll."""


class _Tags(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="tags"):
    """A TagQuery, or ToTags."""

    any: tuple[str, ...]
    all: tuple[str, ...]
    none: tuple[str, ...]


class _Tokens(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="tokens"):
    """ToTokens."""

    tokens: tuple[str, ...]
    single: bool


class _Uids(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="uids"):
    """ToUids."""

    uids: tuple[str, ...]
    single: bool


class _Connector(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="connector"):
    """ToConnector."""

    address: str


class _Message(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """A StoredMessage without its position and payload; nearly all have one token and nothing after it."""

    message_id: int
    expires_ms: int
    size_bytes: int
    tokens: str | tuple[str, ...]
    is_high: bool = False
    collapse_key: str = ""
    audience: _All | _Tags | None = None
    owner: str | None = None


class _Reply(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """A StoredReply without its key and expiry."""

    fingerprint: bytes
    result: PushResult


class _Request(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """A PushRequest."""

    target: _Tokens | _Uids | _Tags | _Connector | _All
    payload: bytes
    ttl_s: int | None
    validate_only: bool
    options: Options


_encode = msgspec.msgpack.Encoder().encode
_messages = msgspec.msgpack.Decoder(list[_Message])
_replies = msgspec.msgpack.Decoder(list[_Reply])
_requests = msgspec.msgpack.Decoder(list[_Request])


def encode_message(message: StoredMessage) -> bytes:
    """All of a message but its position and payload."""
    tokens, audience = message.tokens, message.audience
    return _encode(
        _Message(
            message.message_id,
            message.expires_ms,
            message.size_bytes,
            tokens[0] if len(tokens) == 1 else tuple(tokens),
            message.is_high,
            message.collapse_key,
            audience if audience is None else _All() if isinstance(audience, Everybody) else _tags(audience),
            message.owner,
        )
    )


def decode_messages(positions: list[int], rows: bytes) -> list[StoredMessage]:
    """Messages out of their positions and their concatenated rows.

    Raises:
        UnknownRow: one of them cannot be read.
    """
    return [
        StoredMessage(
            position,
            row.message_id,
            row.expires_ms,
            row.size_bytes,
            row.is_high,
            row.collapse_key,
            (row.tokens,) if type(row.tokens) is str else row.tokens,
            row.audience if row.audience is None else _audience(row.audience),
            owner=row.owner,
        )
        for position, row in zip(positions, _decode(_messages, len(positions), rows), strict=True)
    ]


def encode_reply(fingerprint: bytes, result: PushResult) -> bytes:
    """An answer, and what it answers."""
    return _encode(_Reply(fingerprint, result))


def decode_replies(count: int, rows: bytes) -> list[tuple[bytes, PushResult]]:
    """Fingerprints and answers out of their concatenated rows.

    Raises:
        UnknownRow: one of them cannot be read.
    """
    return [(row.fingerprint, row.result) for row in _decode(_replies, count, rows)]


def encode_request(request: PushRequest) -> bytes:
    """A request."""
    return _encode(
        _Request(_stored_target(request.target), request.payload, request.ttl_s, request.validate_only, request.options)
    )


def decode_requests(count: int, rows: bytes) -> list[PushRequest]:
    """Requests out of their concatenated rows.

    Raises:
        UnknownRow: one of them cannot be read.
    """
    return [
        PushRequest(_target(row.target), row.payload, row.ttl_s, row.validate_only, row.options)
        for row in _decode(_requests, count, rows)
    ]


def _decode(decoder: msgspec.msgpack.Decoder[list[Row]], count: int, rows: bytes) -> list[Row]:
    # An array of so many, as msgpack begins one: https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family
    array = b"\xdd" + count.to_bytes(4, "big") + rows
    try:
        return decoder.decode(array)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownRow(_what_is_wrong(array, error)) from None


def _what_is_wrong(array: bytes, error: Exception) -> str:
    try:
        formats = {row[0] for row in msgspec.msgpack.decode(array, type=list[list[Any]]) if row}
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
        formats = set()
    unknown = [number for number in formats if type(number) is int and number != 1]
    return f"its format is {min(unknown)}, the newest known here is 1" if unknown else str(error)


def _tags(query: TagQuery) -> _Tags:
    return _Tags(query.any, query.all, query.none)


def _audience(row: _All | _Tags) -> Everybody | TagQuery:
    return Everybody() if isinstance(row, _All) else TagQuery(row.any, row.all, row.none)


def _stored_target(target: Target) -> _Tokens | _Uids | _Tags | _Connector | _All:
    match target:
        case ToTokens(tokens, single):
            return _Tokens(tokens, single)
        case ToUids(uids, single):
            return _Uids(uids, single)
        case ToTags(query):
            return _tags(query)
        case ToConnector(address):
            return _Connector(address)
        case ToGroup():
            raise ValueError("a message for a group is kept for its members' tokens")
        case ToAll():
            return _All()


def _target(row: _Tokens | _Uids | _Tags | _Connector | _All) -> Target:
    match row:
        case _Tokens(tokens, single):
            return ToTokens(tokens, single)
        case _Uids(uids, single):
            return ToUids(uids, single)
        case _Tags():
            return ToTags(TagQuery(row.any, row.all, row.none))
        case _Connector(address):
            return ToConnector(address)
        case _All():
            return ToAll()
