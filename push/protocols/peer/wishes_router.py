"""What an API asks of a router elsewhere, and of what is known of messages.

As in envelopes.py: typed, checked, fields only ever appended with defaults. Imports no Twisted.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from push.errors import PushError
from push.model import (
    PLAIN,
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
from push.protocols.peer.envelopes import MAX_TOKENS, Number, Seconds, Tag, Token, Tokens, Uid
from push.protocols.peer.errors import Trouble, error_of, trouble_of

MAX_REQUESTS = 100_000
_TagsNamed = Annotated[tuple[Tag, ...], Meta(max_length=1_000)]


class Named(msgspec.Struct, frozen=True, array_like=True, tag="tokens", gc=False):
    """ToTokens."""

    tokens: Tokens
    single: bool = False


class Users(msgspec.Struct, frozen=True, array_like=True, tag="uids", gc=False):
    """ToUids."""

    uids: Annotated[tuple[Uid, ...], Meta(max_length=MAX_TOKENS)]
    single: bool = False


class Tagged(msgspec.Struct, frozen=True, array_like=True, tag="tags"):
    """ToTags."""

    any: _TagsNamed
    all: _TagsNamed
    none: _TagsNamed


class At(msgspec.Struct, frozen=True, array_like=True, tag="connector"):
    """ToConnector."""

    address: Annotated[str, Meta(min_length=1, max_length=512)]


class InGroup(msgspec.Struct, frozen=True, array_like=True, tag="group"):
    """ToGroup."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]


class Everywhere(msgspec.Struct, frozen=True, array_like=True, tag="all"):
    """ToAll."""


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A PushRequest; `options` is None where they are PLAIN, as nearly always."""

    target: Named | Users | Tagged | At | InGroup | Everywhere
    payload: bytes
    ttl_s: Number | None = None
    validate_only: bool = False
    options: Options | None = None

    @classmethod
    def of(cls, request: PushRequest) -> "Request":
        """Of a PushRequest."""
        options = None if request.options is PLAIN or request.options == PLAIN else request.options
        return cls(_sent(request.target), request.payload, request.ttl_s, request.validate_only, options)

    @property
    def request(self) -> PushRequest:
        """As a PushRequest."""
        return PushRequest(_read(self.target), self.payload, self.ttl_s, self.validate_only, self.options or PLAIN)


class Result(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of a request: a PushResult, or what went wrong."""

    message_id: Number
    targets: Number
    sent: Number
    cached: Number = 0
    unknown: tuple[str, ...] = ()
    rejected: Number = 0
    is_logged: bool = False
    due_ms: Number | None = None
    delivered: Number | None = None
    trouble: Trouble | None = None

    @classmethod
    def of(cls, result: PushResult | PushError) -> "Result":
        """Of what a router answers."""
        if isinstance(result, PushError):
            return cls(0, 0, 0, trouble=trouble_of(result))
        return cls(
            result.message_id,
            result.targets,
            result.sent,
            result.cached,
            result.unknown,
            result.rejected,
            result.is_logged,
            result.due_ms,
            result.delivered,
        )

    @property
    def result(self) -> PushResult | PushError:
        """As a router answers."""
        if self.trouble is not None:
            return error_of(self.trouble)
        return PushResult(
            self.message_id,
            self.targets,
            self.sent,
            self.cached,
            self.unknown,
            self.rejected,
            self.is_logged,
            self.due_ms,
            self.delivered,
        )


class PushMany(msgspec.Struct, frozen=True, array_like=True, tag="push", gc=False):
    """See IRouter.push. The answer is as many Results."""

    requests: Annotated[tuple[Request, ...], Meta(max_length=MAX_REQUESTS)]


# Each for the method of IMessages of the same name.


class ReceiptOf(msgspec.Struct, frozen=True, array_like=True, tag="receipt"):
    """See IMessages.receipt."""

    message_id: Number


class TakeBack(msgspec.Struct, frozen=True, array_like=True, tag="take_back"):
    """See IMessages.cancel."""

    message_id: Number


class ForgetToken(msgspec.Struct, frozen=True, array_like=True, tag="forget_token"):
    """See IMessages.forget."""

    token: Token


class Explain(msgspec.Struct, frozen=True, array_like=True, tag="explain"):
    """See IMessages.explain."""

    message_id: Number
    token: Token


# Each for the method of IReceipts of the same name.


class Find(msgspec.Struct, frozen=True, array_like=True, tag="find"):
    """See IReceipts.find."""

    message_id: Number


class Delivered(msgspec.Struct, frozen=True, array_like=True, tag="delivered"):
    """See IReceipts.delivered."""

    message_id: Number
    timeout_s: Seconds


RouterWish = PushMany | ReceiptOf | TakeBack | ForgetToken | Explain | Find | Delivered


def _sent(target: Target) -> Named | Users | Tagged | At | InGroup | Everywhere:
    if type(target) is ToTokens:
        return Named(tuple(target.tokens), target.single)
    if isinstance(target, ToUids):
        return Users(tuple(target.uids), target.single)
    if isinstance(target, ToTags):
        return Tagged(target.query.any, target.query.all, target.query.none)
    if isinstance(target, ToGroup):
        return InGroup(target.name)
    return At(target.address) if isinstance(target, ToConnector) else Everywhere()


def _read(target: Named | Users | Tagged | At | InGroup | Everywhere) -> Target:
    if type(target) is Named:
        return ToTokens(target.tokens, target.single)
    if isinstance(target, Users):
        return ToUids(target.uids, target.single)
    if isinstance(target, Tagged):
        return ToTags(TagQuery(target.any, target.all, target.none))
    if isinstance(target, InGroup):
        return ToGroup(target.name)
    return ToConnector(target.address) if isinstance(target, At) else ToAll()
