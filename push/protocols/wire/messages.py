"""The JSON bodies of the protocol: parsed strictly, written compactly. Standard library only.

Everything that a peer may send is checked here for type, length and characters, so that what comes out can
be stored and compared without another look. Reasons never repeat the peer's values.

Source: docs/protocol.md, sections "Opening a session", "PING", "CONTACT", "CONNECT, PUBLISH, …".
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from push.protocols.wire.signals import CloseCode

MAX_UID_CHARS = 128
MAX_AUTH_CHARS = 4_096
MAX_DEVICE_BYTES = 1_024
MAX_TAGS = 32
MAX_TAG_CHARS = 64

TOKEN_PATTERN = re.compile(r"[A-Za-z0-9._~-]{1,128}\Z")
# Control characters and lone surrogates: the first garble logs and terminals, the second cannot be encoded.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

RETRY_NO = "no"
RETRY_NOW = "now"
RETRY_BACKOFF = "backoff"


class BodyError(ValueError):
    """A body that the protocol does not allow; `str()` is a sentence fit for the peer."""


class SubRequest(NamedTuple):
    """What a client asked for when opening a session; None where it said nothing.

    Attributes:
        token: the token that it brings, well-formed.
        uid: the user that the device belongs to, 1-128 characters.
        auth: its credential, a JWT where the server demands one.
        ack: whether it acknowledges; None: it did not say.
        interval_ms: the heartbeat that it promises, as sent.
        device: its free-form description as compact JSON text, at most 1 KiB.
        tags: at most 32 strings of 1-64 characters, without repetition.
        missed: whether it is to be told when messages were lost on the way to it; None: it did not say.
    """

    token: str | None = None
    uid: str | None = None
    auth: str | None = None
    ack: bool | None = None
    interval_ms: int | None = None
    device: str | None = None
    tags: tuple[str, ...] | None = None
    missed: bool | None = None


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Why a connection ends, and whether to come back.

    Attributes:
        code: a CloseCode, or a number from a newer peer.
        reason: a sentence.
        retry: "no", "now" or "backoff".
        retry_after_s: the least time to stay away, in seconds, or None.
    """

    code: int
    reason: str
    retry: str = RETRY_NO
    retry_after_s: float | None = None


def default_retry(code: int) -> str:
    """What `retry` says where only the code is known: 3500-3999 stay away, others come back, unreadable ones too."""
    return RETRY_NO if CloseCode.REPLACED <= code <= 3999 else RETRY_BACKOFF


def _refuse_constant(name: str) -> None:
    raise BodyError(f"{name} is not JSON")


# Made once: json.loads and json.dumps would make new ones at every call with these options.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_json(value: object) -> bytes:
    """Encode compactly, in UTF-8, without escaping what need not be."""
    return _ENCODER.encode(value).encode()


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be a JSON object, or empty.

    Args:
        body: at most the limit of the frame decoder.

    Returns:
        The object; {} for an empty body.

    Raises:
        BodyError: it is not UTF-8, not JSON, nested too deeply, or not an object.
    """
    if not body:
        return {}
    try:
        # Decoded strictly: json.loads would take UTF-16, a byte order mark and encoded surrogates too.
        text = body.decode()
        # Two searches for white space cost as much as a small object: they are left to texts that have any around them.
        value, end = _DECODER.raw_decode(text) if text[0] == "{" else (None, 0)
        if end != len(text):
            value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise BodyError("the body is not UTF-8") from None
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except BodyError:
        raise
    except ValueError:
        raise BodyError("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BodyError("the body is not a JSON object")
    return value


def is_token(value: str) -> bool:
    """Whether a string is well-formed as a token: 1-128 of the characters A-Z a-z 0-9 . _ ~ and -."""
    return TOKEN_PATTERN.match(value) is not None


def check_text(value: str, name: str, max_chars: int) -> str:
    """Check a string that is going to be stored and compared (a uid, a tag).

    Raises:
        BodyError: it is empty, too long, or has control characters or lone surrogates.
    """
    if not 1 <= len(value) <= max_chars:
        raise BodyError(f"{name} must have 1 to {max_chars} characters")
    if _FORBIDDEN.search(value):
        raise BodyError(f"{name} must not contain control characters")
    return value


def _text(fields: dict[str, Any], key: str, max_chars: int) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BodyError(f"{key} must be a string")
    return check_text(value, key, max_chars)


def _token(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is None or value == "":  # older SDKs send "" when they have none yet
        return None
    if not isinstance(value, str) or not is_token(value):
        raise BodyError(f"{key} must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return value


def parse_interval(fields: dict[str, Any]) -> int | None:
    """The promised heartbeat of a SUB or PING body, in milliseconds, as sent.

    Raises:
        BodyError: it is not a whole number.
    """
    value = fields.get("interval")
    if value is None:
        return None
    # bool is an int in Python, but not in JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise BodyError("interval must be a whole number of milliseconds")
    return int(value)


def _device(fields: dict[str, Any]) -> str | None:
    value = fields.get("device")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BodyError("device must be an object")
    try:
        text = write_json(value).decode()
    except UnicodeEncodeError:
        raise BodyError("device must not contain lone surrogates") from None
    except RecursionError:
        raise BodyError("device is nested too deeply") from None
    except ValueError:  # 1e999 has become infinite, which JSON cannot say
        raise BodyError("device must not contain numbers that are too large") from None
    if len(text.encode()) > MAX_DEVICE_BYTES:
        raise BodyError(f"device must be at most {MAX_DEVICE_BYTES} bytes of JSON")
    return text


def _tags(fields: dict[str, Any]) -> tuple[str, ...] | None:
    value = fields.get("tags")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise BodyError(f"tags must be a list of at most {MAX_TAGS} strings")
    for tag in value:
        if not isinstance(tag, str):
            raise BodyError("every tag must be a string")
        check_text(tag, "a tag", MAX_TAG_CHARS)
    return tuple(dict.fromkeys(value))


def parse_sub(body: bytes) -> SubRequest:
    """Parse the body of a SUB.

    Raises:
        BodyError: with a sentence that names the key.
    """
    if not body:
        return SubRequest()
    fields = parse_object(body)
    ack = fields.get("ack")
    if ack is not None and not isinstance(ack, bool):
        raise BodyError("ack must be true or false")
    missed = fields.get("missed")
    if missed is not None and not isinstance(missed, bool):
        raise BodyError("missed must be true or false")
    # Most clients say one or two of these, and to ask is a third of the cost of a call.
    return SubRequest(
        _token(fields, "token") if "token" in fields else None,
        _text(fields, "uid", MAX_UID_CHARS) if fields.get("uid", "") != "" else None,
        _text(fields, "auth", MAX_AUTH_CHARS) if "auth" in fields else None,
        ack,
        parse_interval(fields) if "interval" in fields else None,
        _device(fields) if "device" in fields else None,
        _tags(fields) if "tags" in fields else None,
        missed,
    )


def parse_connect(body: bytes) -> SubRequest:
    """Parse the body of a CONNECT, the chat form of SUB: a password with two dots is a JWT, another is a token.

    Raises:
        BodyError: with a sentence that names the key.
    """
    fields = parse_object(body)
    password = _text(fields, "password", MAX_AUTH_CHARS)
    is_jwt = password is not None and password.count(".") == 2
    client = _text(fields, "clientIdentifier", MAX_UID_CHARS)
    return SubRequest(
        token=None if is_jwt else _token(fields, "password"),
        uid=_text(fields, "userName", MAX_UID_CHARS),
        auth=password if is_jwt else None,
        device=None if client is None else write_json({"client": client}).decode(),
    )


def write_sub(request: SubRequest) -> bytes:
    """The body of a client's SUB: only what was said."""
    fields: dict[str, object] = {}
    if request.token is not None:
        fields["token"] = request.token
    if request.uid is not None:
        fields["uid"] = request.uid
    if request.auth is not None:
        fields["auth"] = request.auth
    if request.ack is not None:
        fields["ack"] = request.ack
    if request.interval_ms is not None:
        fields["interval"] = request.interval_ms
    if request.device is not None:
        fields["device"] = json.loads(request.device)
    if request.tags is not None:
        fields["tags"] = list(request.tags)
    if request.missed is not None:
        fields["missed"] = request.missed
    return write_json(fields) if fields else b""


def write_disconnect(disconnect: Disconnect) -> bytes:
    """The body of a DISCONNECT."""
    fields: dict[str, object] = {
        "code": int(disconnect.code),
        "reason": disconnect.reason,
        "retry": disconnect.retry,
    }
    if disconnect.retry_after_s is not None:
        fields["retry_after"] = disconnect.retry_after_s
    return write_json(fields)


def parse_disconnect(body: bytes) -> Disconnect:
    """Parse a DISCONNECT leniently: whatever it says, the connection ends.

    Returns:
        What it said; code 0 where it said nothing readable, `retry` from the code where it gave none.
    """
    try:
        fields = parse_object(body)
    except BodyError:
        fields = {}
    code = fields.get("code")
    reason = fields.get("reason")
    retry = fields.get("retry")
    after = fields.get("retry_after")
    code = code if isinstance(code, int) and not isinstance(code, bool) else 0
    is_seconds = isinstance(after, int | float) and not isinstance(after, bool) and 0 <= after < 1e9
    return Disconnect(
        code=code,
        reason=reason[:200] if isinstance(reason, str) else "",
        retry=retry if retry in (RETRY_NO, RETRY_NOW, RETRY_BACKOFF) else default_retry(code),
        retry_after_s=float(after) if is_seconds and after is not None else None,
    )
