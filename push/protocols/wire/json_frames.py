"""Frames as JSON text, for transports of text: names instead of numbers, bodies as JSON where they are JSON.

Pure. What is read is checked as strictly as the header of a binary frame is; what a body has to be is for the
session to say. Reasons never repeat the peer's values.

Source: docs/protocol.md, section WebSocket.
"""

import binascii
import json
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

from push.protocols.wire.frames import ID, ID_BYTES, MAX_MESSAGE_ID, Frame, FrameError
from push.protocols.wire.messages import write_json
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

# A body as text is longer than the body: "\u00e9" and base64 take up to three bytes for one. And what is around it.
_TEXT_FACTOR = 3
_ENVELOPE_CHARS = 1_024

_BASE64 = "base64"
_MAX_ID = (1 << 64) - 1
_MAX_STATUS = 0xFF
# 2**64 - 1 has this many digits; int() of very many digits would raise or take long.
_MAX_ID_DIGITS = 20


class _BadFrame(Exception):
    """What is wrong, as a sentence; `code` says what that means for the connection."""

    code = CloseCode.BAD_FRAME


class _TooLarge(_BadFrame):
    code = CloseCode.TOO_LARGE


class _Body(NamedTuple):
    """A body in its parts: what has a place of its own beside `content`, and what `content` says."""

    extra: bytes
    content: bytes


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def max_text_bytes(max_body_bytes: int) -> int:
    """How long the text of a frame may be, in UTF-8, for bodies of at most so many bytes."""
    return _TEXT_FACTOR * max_body_bytes + _ENVELOPE_CHARS


def write_frame(frame: Frame) -> bytes:
    """A frame as JSON text, in UTF-8."""
    body = _split(frame)
    return b'{"signal":"%s","subSignal":%s,"messageId":%d%s,"content":%s}' % (
        Signal(frame.signal).name.encode(),
        _sub_signal_name(frame.subsignal),
        frame.message_id,
        body.extra,
        body.content,
    )


def write_push(message_id: int | None, payload: bytes) -> bytes:
    """A PUSH as JSON text.

    Args:
        message_id: for a client that acknowledges; else None, and the id is not sent.
        payload: any bytes.
    """
    if message_id is None:
        return b'{"signal":"PUSH","subSignal":"NONE","messageId":0,"content":%s}' % write_content(payload)
    return b'{"signal":"PUSH","subSignal":"MN","messageId":0,"id":"%d","content":%s}' % (
        message_id,
        write_content(payload),
    )


def write_content(body: bytes) -> bytes:
    """A body as JSON: an object or a list as it is, other text as a string, what is no text as base64."""
    if body[:1] in (b"{", b"[") and _is_plain(body):
        return body
    try:
        return write_json(body.decode())
    except UnicodeDecodeError:
        return b'{"base64":"%s"}' % b64encode(body)


def read_frame(text: str, max_body_bytes: int) -> Frame | FrameError | None:
    """Read a frame.

    Args:
        text: of one message.
        max_body_bytes: the largest body that it may have.

    Returns:
        The frame; why it is none; or None for text that is no JSON object, which is only a sign of life.
    """
    fields = _object(text)
    if fields is None:
        return None
    try:
        frame = Frame(_signal(fields), _sub_signal(fields), _message_id(fields), _join(fields))
        if len(frame.body) > max_body_bytes:
            raise _TooLarge(f"body of {len(frame.body)} bytes is over the limit of {max_body_bytes}")
    except _BadFrame as error:
        return FrameError(error.code, str(error), True)
    return frame


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_plain(body: bytes) -> bool:
    """Whether a body is JSON, and cannot be mistaken for what stands for bytes that are no text."""
    try:
        value = _DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        return False
    return not (isinstance(value, dict) and value.keys() == {_BASE64})


def _sub_signal_name(number: int) -> bytes:
    try:
        return b'"%s"' % SubSignal(number).name.encode()
    except ValueError:  # from a newer peer
        return b"%d" % number


def _split(frame: Frame) -> _Body:
    body = frame.body
    if frame.signal == Signal.PUSH and frame.subsignal == SubSignal.MN and len(body) >= ID_BYTES:
        return _Body(b',"id":"%d"' % ID.unpack_from(body)[0], write_content(body[ID_BYTES:]))
    if frame.signal == Signal.PUB_ACK:
        if body[1:2] == b"{" and body[0] < ord(" ") and _is_plain(body[1:]):
            return _Body(b',"status":%d' % body[0], body[1:])
        if frame.subsignal == SubSignal.MN and body and len(body) % ID_BYTES == 0:
            return _Body(b"", write_json({"ids": [str(number) for (number,) in ID.iter_unpack(body)]}))
    return _Body(b"", write_content(body))


def _signal(fields: dict[str, Any]) -> int:
    name = fields.get("signal")
    signal = Signal.__members__.get(name) if isinstance(name, str) else None
    if not signal:  # NONE is no signal that may be sent
        raise _BadFrame("signal must be the name of a signal")
    return signal


def _sub_signal(fields: dict[str, Any]) -> int:
    name = fields.get("subSignal")
    if name is None:
        return SubSignal.NONE
    sub_signal = SubSignal.__members__.get(name) if isinstance(name, str) else None
    if sub_signal is None:
        raise _BadFrame("subSignal must be the name of a subsignal")
    return sub_signal


def _message_id(fields: dict[str, Any]) -> int:
    return _number(fields, "messageId", MAX_MESSAGE_ID) or 0


def _number(fields: dict[str, Any], key: str, most: int) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _BadFrame(f"{key} must be a whole number of 0 to {most}")
    return value


def _join(fields: dict[str, Any]) -> bytes:
    """The body of a binary frame that says the same."""
    content = fields.get("content")
    is_notice = fields.get("subSignal") == SubSignal.MN.name
    if fields["signal"] == Signal.PUSH.name and is_notice and fields.get("id") is not None:
        return _id(fields["id"]) + _bytes(content)
    if fields["signal"] == Signal.PUB_ACK.name:
        status = _number(fields, "status", _MAX_STATUS)
        if status is not None:
            return bytes((status,)) + _bytes(content)
        if is_notice and fields.get("id") is not None:
            return _id(fields["id"])
        if is_notice and isinstance(content, dict) and "ids" in content:
            if not isinstance(content["ids"], list):
                raise _BadFrame("ids must be a list of ids")
            return b"".join([_id(each) for each in content["ids"]])
    return _bytes(content)


def _id(value: object) -> bytes:
    """An id of a message. Numbers are not taken: JavaScript's are not exact beyond 2**53."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_ID_DIGITS:
        number = int(value)
        if number <= _MAX_ID:
            return ID.pack(number)
    raise _BadFrame("an id must be a string of digits, below 2**64")


def _bytes(content: object) -> bytes:
    if content is None:
        return b""
    try:
        if isinstance(content, str):
            return content.encode()
        if isinstance(content, dict) and content.keys() == {_BASE64}:
            return b64decode(content[_BASE64], validate=True)
        if isinstance(content, dict | list):
            return _json(content)
    except (binascii.Error, TypeError, ValueError, RecursionError):
        raise _BadFrame("content cannot be read") from None
    raise _BadFrame("content must be an object, a list or a string")


def _json(value: object) -> bytes:
    try:
        return write_json(value)
    except UnicodeEncodeError:  # lone surrogates: left escaped, for the session to refuse
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
