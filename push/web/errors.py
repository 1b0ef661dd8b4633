"""Failures as HTTP says them: status, headers and the one JSON shape that all of them have."""

import math
import re

import msgspec

from push.errors import (
    RETRY_BACKOFF,
    RETRY_NO,
    FieldViolation,
    InvalidRequest,
    MethodNotAllowed,
    PushError,
    Unavailable,
    UpgradeRequired,
)
from push.web import schemas

_AT = re.compile(r"\A(.*) - at `\$\.?(.*)`\Z", re.DOTALL)
_NAMED = re.compile(r"\AObject (?:contains unknown|missing required) field `(.*)`\Z", re.DOTALL)
# What a request calls its fields comes back in the answer, and must not make that long.
_MAX_ECHO_CHARS = 200


class UnsupportedMediaType(PushError):
    """The body is not of a type that this route reads."""

    status = 415
    reason = "UNSUPPORTED_MEDIA_TYPE"
    retry = RETRY_NO


class RequestTimeout(PushError):
    """The request did not arrive in time."""

    status = 408
    reason = "REQUEST_TIMEOUT"
    retry = RETRY_BACKOFF


class HeadTooLarge(PushError):
    """There are more headers, or longer ones, than are read (RFC 6585, 5)."""

    status = 431
    reason = "HEAD_TOO_LARGE"
    retry = RETRY_NO


class NoSuchMethodHere(MethodNotAllowed):
    """The path exists, the method does not.

    Args:
        method: that was asked for.
        allowed: those that there are.
    """

    def __init__(self, method: str, allowed: frozenset[str]) -> None:
        super().__init__(f"{method[:20]} is not served at this path, only {', '.join(sorted(allowed))}.")
        self.allowed = allowed


class Stopping(Unavailable):
    """The server is stopping."""

    def __init__(self) -> None:
        super().__init__("The server is stopping.", retry_after_s=1.0)


class Internal(PushError):
    """Something that should not have happened; the log has it, under the request id."""

    def __init__(self) -> None:
        super().__init__("An unexpected error happened. The server's log has it under this request id.")


def invalid(field: str, message: str) -> InvalidRequest:
    """An error about one field."""
    return InvalidRequest(f"{field}: {message}.", violations=(FieldViolation(field, message),))


def from_validation(error: msgspec.ValidationError, what: str) -> InvalidRequest:
    """Name the field that msgspec did not accept; `what` is all of what it read."""
    text = str(error)
    path = ""
    if found := _AT.match(text):
        text, path = found.groups()
    if named := _NAMED.match(text):
        name = named.group(1)
        text = "unknown field" if text.startswith("Object contains") else "required field is missing"
        path = f"{path}.{name}" if path else name
    elif " matching regex " in text:  # all patterns of requests forbid the same
        text = "must not contain control characters"
    else:
        text = text[:1].lower() + text[1:]
    path = path[:_MAX_ECHO_CHARS]
    return InvalidRequest(f"{path or what}: {text}.", violations=(FieldViolation(path, text),))


def up_to_ms(wait_s: float) -> float:
    """A wait as it is said: in whole milliseconds, at least one, and never too short."""
    # What a float has too much, such as 70.00000000000001 ms, is no millisecond.
    return max(1, math.ceil(round(wait_s * 1_000, 6))) / 1_000


def entry(error: PushError, request_id: str) -> schemas.ErrorReply:
    """The JSON of a failure."""
    after_s = error.retry_after_s
    return schemas.ErrorReply(
        schemas.Error(
            code=error.status,
            reason=error.reason,
            message=str(error),
            field_violations=[schemas.Violation(violation.field, violation.message) for violation in error.violations],
            retry=error.retry,
            request_id=request_id,
            retry_after=msgspec.UNSET if after_s is None else up_to_ms(after_s),
        )
    )


def body(error: PushError, request_id: str, *, legacy: bool = False) -> bytes:
    """The JSON body of a failure.

    Args:
        error: what happened.
        request_id: of the request that failed.
        legacy: whether to say it as the older paths do.
    """
    if legacy:
        return msgspec.json.encode(schemas.LegacyReply(error.status, str(error)))
    return msgspec.json.encode(entry(error, request_id))


def headers(error: PushError) -> list[tuple[bytes, bytes]]:
    """The headers that a failure brings besides."""
    found: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        # Whole seconds (RFC 9110, 10.2.3), and never 0, which says to try again at once.
        found.append((b"Retry-After", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if error.status == 401:
        found.append((b"WWW-Authenticate", b'Bearer realm="push"'))
    if isinstance(error, NoSuchMethodHere):
        found.append((b"Allow", ", ".join(sorted(error.allowed)).encode()))
    if isinstance(error, UpgradeRequired):
        found += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Version", b"13")]
    return found
