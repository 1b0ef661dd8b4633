"""The one tree of errors that the server's rooms raise at one another and show to its users.

Each knows its HTTP status, a constant reason for machines and whether trying again can help. Messages are
sentences for people: what is wrong and what to do, never a payload, a whole token or a secret.
Imports nothing of the project.
"""

from dataclasses import dataclass
from typing import ClassVar

RETRY_NO = "no"
RETRY_NOW = "now"
RETRY_BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing wrong with one field of a request, e.g. ("options.ttl", "must be 0 to 2592000 seconds")."""

    field: str
    message: str


class PushError(Exception):
    """Base of all. `str(error)` is the sentence.

    Args:
        message: the sentence.
        violations: which fields are wrong, where it is a request that is wrong.
        retry_after_s: the least time to wait before trying again, in seconds, where that is known.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "INTERNAL"
    retry: ClassVar[str] = RETRY_BACKOFF

    def __init__(
        self, message: str, *, violations: tuple[FieldViolation, ...] = (), retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.violations = violations
        self.retry_after_s = retry_after_s


class InvalidRequest(PushError):
    """The request cannot be right, whoever sends it."""

    status = 400
    reason = "INVALID_ARGUMENT"
    retry = RETRY_NO


class Unauthenticated(PushError):
    """No credential, or one that is not known."""

    status = 401
    reason = "UNAUTHENTICATED"
    retry = RETRY_NO


class PermissionDenied(PushError):
    """A known credential without the right."""

    status = 403
    reason = "PERMISSION_DENIED"
    retry = RETRY_NO


class NotFound(PushError):
    """There is nothing of that name."""

    status = 404
    reason = "NOT_FOUND"
    retry = RETRY_NO


class Unregistered(NotFound):
    """The token is not known: it was never issued here, or has been revoked."""

    reason = "UNREGISTERED"


class MethodNotAllowed(PushError):
    """The path exists, the method does not."""

    status = 405
    reason = "METHOD_NOT_ALLOWED"
    retry = RETRY_NO


class Conflict(PushError):
    """The key of this request was used for another one: with a new key it would be accepted."""

    status = 409
    reason = "KEY_REUSED"
    retry = RETRY_NO


class NowhereElse(PushError):
    """No other connector takes sessions."""

    status = 409
    reason = "NOWHERE_ELSE"
    retry = RETRY_BACKOFF


class TooLarge(PushError):
    """The request, or the message in it, is over a limit."""

    status = 413
    reason = "TOO_LARGE"
    retry = RETRY_NO


class UpgradeRequired(PushError):
    """Nothing but WebSocket is spoken here."""

    status = 426
    reason = "UPGRADE_REQUIRED"
    retry = RETRY_NO


class RateLimited(PushError):
    """Too many requests in too short a time."""

    status = 429
    reason = "RATE_LIMITED"
    retry = RETRY_BACKOFF


class CacheFull(PushError):
    """The token's cache is full, and the message was not to take the place of older ones."""

    status = 429
    reason = "CACHE_FULL"
    retry = RETRY_BACKOFF


class GroupConflict(PushError):
    """The group is so already, or cannot become so."""

    status = 409
    reason = "CONFLICT"
    retry = RETRY_NO


class NotImplementedHere(PushError):
    """This server does not do that."""

    status = 501
    reason = "NOT_IMPLEMENTED"
    retry = RETRY_NO


class Unavailable(PushError):
    """Something that is needed is away, or full; nothing was accepted."""

    status = 503
    reason = "UNAVAILABLE"
    retry = RETRY_BACKOFF


class Unreachable(Unavailable):
    """The node that is needed cannot be reached from here now: nothing was done there."""


class Unanswered(Unavailable):
    """A node was lost before it answered: what was asked for may have been accepted, or may be yet."""

    status = 504
    reason = "UNANSWERED"


class Superseded(Unavailable):
    """Another node does this by now, or what this one knew is gone; nothing was accepted."""


class Unheard(Unavailable):
    """A broadcast that is to have come over the bus did not: its sender has it."""

    reason = "UNHEARD"
    retry = RETRY_NOW


class StartError(Exception):
    """The server cannot start, e.g. a port is taken; `str()` says what and how to mend it."""
