"""What a router asks of the cache elsewhere, each for the method of ICache of the same name.

As in envelopes.py: typed, checked, fields only ever appended with defaults. Imports no Twisted.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from push.model import PLAIN, Options, Place, TagQuery
from push.model_cache import Everybody, Keep, StoredMessage, StoredReply
from push.protocols.peer.envelopes import MAX_TOKENS, Number, Tag, Token, Tokens, Uid
from push.protocols.peer.wishes_router import Request

# Of one `keep`; what is more goes in several.
MAX_KEEPS = 100_000
Key = Annotated[str, Meta(min_length=1, max_length=1_024)]
Address = Annotated[str, Meta(min_length=1, max_length=512)]
_Tags = Annotated[tuple[Tag, ...], Meta(max_length=1_000)]


class All(msgspec.Struct, frozen=True, array_like=True, tag="all", gc=False):
    """Everybody."""


class Tags(msgspec.Struct, frozen=True, array_like=True, tag="tags"):
    """A TagQuery."""

    any: _Tags
    all: _Tags
    none: _Tags


class KeepOne(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Keep; `options` is None where they are PLAIN, as nearly always."""

    message_id: Number
    payload: bytes
    tokens: Tokens
    expires_ms: Number
    options: Options | None = None
    audience: All | Tags | None = None
    is_ahead: bool = False
    owner: Uid | None = None

    @classmethod
    def of(cls, keep: Keep) -> "KeepOne":
        """Of a Keep."""
        options = None if keep.options is PLAIN or keep.options == PLAIN else keep.options
        audience = None if keep.audience is None else _sent(keep.audience)
        return cls(
            keep.message_id,
            keep.payload,
            tuple(keep.tokens),
            keep.expires_ms,
            options,
            audience,
            keep.is_ahead,
            keep.owner,
        )

    @property
    def keep(self) -> Keep:
        """As a Keep."""
        return Keep(
            self.message_id,
            self.payload,
            self.tokens,
            self.expires_ms,
            self.options or PLAIN,
            None if self.audience is None else _read(self.audience),
            self.is_ahead,
            self.owner,
        )


class KeptOne(msgspec.Struct, frozen=True, array_like=True):
    """A StoredMessage without its payload."""

    position: Number
    message_id: Number
    expires_ms: Number
    size_bytes: Number
    is_high: bool
    collapse_key: str
    tokens: Tokens
    audience: All | Tags | None
    owner: Uid | None = None

    @classmethod
    def of(cls, message: StoredMessage) -> "KeptOne":
        """Of a StoredMessage."""
        return cls(
            message.position,
            message.message_id,
            message.expires_ms,
            message.size_bytes,
            message.is_high,
            message.collapse_key,
            tuple(message.tokens),
            None if message.audience is None else _sent(message.audience),
            message.owner,
        )

    @property
    def message(self) -> StoredMessage:
        """As a StoredMessage."""
        audience = None if self.audience is None else _read(self.audience)
        return StoredMessage(
            self.position,
            self.message_id,
            self.expires_ms,
            self.size_bytes,
            self.is_high,
            self.collapse_key,
            self.tokens,
            audience,
            None,
            self.owner,
        )


class KeepingTold(msgspec.Struct, frozen=True, array_like=True):
    """A Keeping."""

    ticket: Number
    refused: dict[int, Tokens]
    places: tuple[Place, ...] = ()


class KeepMany(msgspec.Struct, frozen=True, array_like=True, tag="keep", gc=False):
    """See ICache.keep. The answer is a KeepingTold."""

    batch: Annotated[tuple[KeepOne, ...], Meta(max_length=MAX_KEEPS)]


class Committed(msgspec.Struct, frozen=True, array_like=True, tag="committed", gc=False):
    """See ICache.committed. The answer is a Trouble or nothing."""

    ticket: Number


class Recall(msgspec.Struct, frozen=True, array_like=True, tag="recall"):
    """See ICache.recall."""

    tokens: Tokens
    connectors: Annotated[tuple[Address, ...], Meta(max_length=10_000)] = ()


class KeptOf(msgspec.Struct, frozen=True, array_like=True, tag="kept"):
    """See ICache.kept. The answer is a KeptOne or nothing."""

    message_id: Number


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """See ICache.cancel."""

    message_id: Number


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """See ICache.forget."""

    token: Token


class Replies(msgspec.Struct, frozen=True, array_like=True, tag="replies"):
    """See ICache.replies."""

    keys: Annotated[tuple[Key, ...], Meta(max_length=MAX_TOKENS)]


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="answered"):
    """See ICache.answered."""

    reply: StoredReply


class Schedule(msgspec.Struct, frozen=True, array_like=True, tag="schedule"):
    """See ICache.schedule."""

    message_id: Number
    due_ms: Number
    request: Request


class Unschedule(msgspec.Struct, frozen=True, array_like=True, tag="unschedule"):
    """See ICache.unschedule."""

    message_id: Number


CacheWish = KeepMany | Committed | Recall | KeptOf | Cancel | Forget | Replies | Answered | Schedule | Unschedule


def _sent(audience: Everybody | TagQuery) -> All | Tags:
    return Tags(audience.any, audience.all, audience.none) if isinstance(audience, TagQuery) else All()


def _read(audience: All | Tags) -> Everybody | TagQuery:
    return TagQuery(audience.any, audience.all, audience.none) if isinstance(audience, Tags) else Everybody()
