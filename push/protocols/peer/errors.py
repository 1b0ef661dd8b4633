"""Failures between nodes: those of push.errors as Perspective Broker carries them, and those of the link itself."""

from collections.abc import Mapping

import msgspec
from twisted.cred.error import UnauthorizedLogin
from twisted.spread import pb

from push import errors
from push.errors import PushError, Unanswered, Unavailable

_MAX_MESSAGE_CHARS = 500

# What a node may say of a call, by the reason that it gives; one with a newer reason counts as PushError. A class
# without a reason of its own is a matter of this process, and arrives as the one that it is a kind of.
_BY_REASON: Mapping[str, type[PushError]] = {
    each.reason: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, PushError) and "reason" in vars(each)
}


class Trouble(msgspec.Struct, frozen=True):
    """An error of push.errors on its way; violations stay behind, as only requests from outside have them."""

    reason: str
    message: str
    retry_after_s: float | None = None


class CallFailed(pb.Error):
    """A call failed as calls may: with an error of push.errors, in JSON."""


class CallMalformed(pb.Error):
    """A call's argument is not what the call takes: the caller is another version, or broken."""


class Incompatible(pb.Error):
    """The peer speaks another major version."""


class NotWelcome(pb.Error):
    """A call that is not due: before the greeting, a second greeting, or after the end."""


class NotAdmitted(pb.Error, UnauthorizedLogin):
    """No node of this name may log in now, or not with this secret. As a pb.Error, Twisted logs no traceback of it."""


class LinkLost(Unavailable):
    """The peer is gone, or does not answer: what was asked of it may have been done."""


class NoLink(LinkLost):
    """There is no link, so nothing was asked."""


def undecided(error: LinkLost) -> Unavailable:
    """What a lost link means to whoever has sent something: it may have been done, unless nothing was asked."""
    if isinstance(error, NoLink):
        return error
    return Unanswered(
        "a node was lost before it answered: this may have been done; a message that has an Idempotency-Key, or a "
        "client_id, can be repeated",
        retry_after_s=error.retry_after_s,
    )


_OF_THE_LINK = frozenset(each.__name__ for each in (CallMalformed, Incompatible, NotWelcome, NotAdmitted))


def trouble_of(error: PushError) -> Trouble:
    """An error as it travels."""
    return Trouble(error.reason, str(error)[:_MAX_MESSAGE_CHARS], error.retry_after_s)


def error_of(trouble: Trouble) -> PushError:
    """What arrived, as the error that it was."""
    kind = _BY_REASON.get(trouble.reason, PushError)
    return kind(trouble.message[:_MAX_MESSAGE_CHARS], retry_after_s=trouble.retry_after_s)


def as_call_failed(error: PushError) -> CallFailed:
    """An error as Perspective Broker carries it."""
    return CallFailed(msgspec.json.encode(trouble_of(error)).decode())


def from_remote(kind: str, value: str) -> PushError:
    """What a remote call raised, as an error of this side.

    Args:
        kind: the full name of the class that was raised there.
        value: its text.
    """
    name = kind.rpartition(".")[2]
    if name == CallFailed.__name__:
        try:
            return error_of(msgspec.json.decode(value, type=Trouble))
        except msgspec.DecodeError:
            return PushError("a node answered with an error that cannot be read")
    if name in _OF_THE_LINK:  # their texts are ours, and made for people
        return PushError(f"a node refused a call: {value[:_MAX_MESSAGE_CHARS]}")
    return PushError(f"a node failed: {name[:100]}")  # its text may hold anything, and is in that node's log
