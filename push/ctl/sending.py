"""What `pushctl send` says to the API: one target and one message, out of options. Standard library only."""

import base64
import json
from collections.abc import Sequence
from typing import Any, BinaryIO


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


def payload(text: str | None, file: BinaryIO | None, *, json_data: bool) -> dict[str, Any]:
    """The API's message: the text as it is, or as the JSON that it is; of a file the very bytes.

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
            return {"data": json.loads(content, parse_constant=_refuse)}
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"that is not JSON: {error}") from None
    try:
        return {"data": content.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(content).decode()}


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not allowed")
