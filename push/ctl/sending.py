"""What `pushctl send` says to the API: one target and one message, out of options. Standard library only.

JSON that is sent as data stays the text that was written: read and written again, 1.00 would be 1.0 and 1e400 Infinity.
"""

import base64
import datetime
import json
from collections.abc import Sequence
from typing import Any, BinaryIO

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_JSON_SPACE = " \t\n\r"  # RFC 8259, section 2


def _one_or_many(name: str, values: Sequence[str]) -> dict[str, Any]:
    return {name: values[0]} if len(values) == 1 else {f"{name}s": list(values)}


def target(
    *, tokens: Sequence[str], uids: Sequence[str], tags: Sequence[str], connector: str | None, everybody: bool
) -> dict[str, Any]:
    """The API's target.

    Raises:
        ValueError: it is not exactly one.
    """
    named: list[dict[str, Any]] = []
    if tokens:
        named.append(_one_or_many("token", tokens))
    if uids:
        named.append(_one_or_many("uid", uids))
    if tags:
        named.append({"tags": {"any": list(tags)}})
    if connector is not None:
        named.append({"connector": connector})
    if everybody:
        named.append({"all": True})
    if len(named) != 1:
        raise ValueError("say to whom with exactly one of --token, --uid, --tag, --connector and --all")
    return named[0]


def payload(text: str | None, file: BinaryIO | None, *, json_data: bool) -> bytes:
    """The API's message: the text as it is, or as the JSON that it is; of a file the very bytes.

    Returns:
        The message, as JSON in UTF-8.

    Raises:
        ValueError: there are none or two, or what should be JSON is not.
    """
    if (text is None) == (file is None):
        raise ValueError("say what to send: TEXT, - for standard input, or --file")
    content = text.encode("utf-8", "surrogateescape") if text is not None else b""
    if file is not None:
        content = file.read()
    if json_data:
        try:
            written = content.decode().strip(_JSON_SPACE)
            # Numbers stay text: int() refuses very long ones, which are JSON all the same.
            json.loads(written, parse_constant=_refuse, parse_int=str, parse_float=str)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"that is not JSON: {error}") from None
        return b'{"data": %b}' % written.encode()
    try:
        message = {"data": content.decode()}
    except UnicodeDecodeError:
        message = {"data_base64": base64.b64encode(content).decode()}
    return json.dumps(message).encode()


def options(
    *,
    ttl: int | None,
    collapse_key: str | None,
    priority: str | None,
    deliver_at: str | None,
    store: str | None,
    on_full: str | None,
    wait_s: float | None,
) -> dict[str, Any]:
    """The API's options; what is None is the server's choice.

    Raises:
        ValueError: the time is none.
    """
    named = {"ttl": ttl, "collapse_key": collapse_key, "priority": priority, "store": store, "on_full": on_full}
    found: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if deliver_at is not None:
        found["deliver_at"] = _milliseconds(deliver_at)
    if wait_s is not None:
        found |= {"wait": "delivered", "wait_timeout": wait_s}
    return found


def _milliseconds(time: str) -> int:
    """Milliseconds since 1970."""
    try:
        moment = datetime.datetime.fromisoformat(time)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"a time is written as 2027-01-31T08:00:00+01:00, not {time!r}")
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)


def body(target: dict[str, Any], message: bytes, *, options: dict[str, Any], validate_only: bool) -> bytes:
    """The whole request.

    Args:
        target: as `target` makes it.
        message: as `payload` makes it.
        options: as `options` makes them.
        validate_only: whether nothing is to be sent.

    Returns:
        JSON in UTF-8, with the message in it as it is.
    """
    rest: dict[str, Any] = {"target": target}
    if options:
        rest["options"] = options
    if validate_only:
        rest["validate_only"] = True
    return b'%b, "message": %b}' % (json.dumps(rest).encode().removesuffix(b"}"), message)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not allowed")
