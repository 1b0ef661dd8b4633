"""What an application says about a client, checked once, for both SDKs: who it is and where it goes. Frozen."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from push.protocols.wire.messages import SubRequest, parse_sub, write_json, write_sub
from push_client.address import Address, parse_url
from push_client.allocation import Allocation, asking_for, parse_allocation
from push_client.token_store import TokenFile, TokenStore
from push_client.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Profile:
    """What was said.

    Attributes:
        home: the server.
        request: the SUB; the credential of a callable comes later, and the interval as it is learned.
        tuning: times and limits.
        store: where the token is kept.
        allocation: whom to ask where to connect.
    """

    home: Address
    request: SubRequest
    tuning: Tuning
    store: TokenStore | None
    allocation: Allocation | None


def make_profile(
    url: str,
    *,
    uid: str | None,
    auth: object,
    tags: Iterable[str] | None,
    device: Mapping[str, Any] | None,
    token: str | None,
    token_file: str | os.PathLike[str] | None,
    token_store: TokenStore | None,
    allocation: str | None,
    ack: bool,
    tuning: Tuning | None,
    has_context: bool,
    wants_missed: bool = False,
) -> Profile:
    """Check what an SDK's client was made with; what its arguments mean is said there.

    Raises:
        ValueError: something cannot be; the sentence names it.
    """
    if uid == "":
        raise ValueError("uid must have 1 to 128 characters; for a device without a user, leave it out")
    if isinstance(tags, str):
        raise ValueError("tags must be a list of strings, not one string")
    if token_file is not None and token_store is not None:
        raise ValueError("the token is kept in one place: give token_file or token_store, not both")
    home = parse_url(url)
    asked = None if allocation is None else parse_allocation(allocation)
    if asked and home.path:
        asked = asking_for("websocket", asked)
    if has_context and not (home.tls or (asked and asked.tls)):
        raise ValueError("an ssl_context makes no sense with push:// or ws://: use pushs:// or wss://")
    request = SubRequest(
        token=token,
        uid=uid,
        auth=auth if isinstance(auth, str) else None,
        ack=ack,
        device=None if device is None else _device(device),
        tags=None if tags is None else tuple(tags),
        missed=wants_missed or None,
    )
    store = TokenFile(Path(token_file)) if token_file is not None else token_store
    return Profile(home, checked(request), tuning or Tuning(), store, asked)


def checked(request: SubRequest) -> SubRequest:
    """The request as a server will understand it, or a ValueError that names what is wrong."""
    return parse_sub(write_sub(request))


def _device(device: Mapping[str, Any]) -> str:
    if not isinstance(device, Mapping):
        raise ValueError(f"device must be a dict, not {type(device).__name__}")
    try:
        return write_json(dict(device)).decode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"device must be of what JSON has: {error}") from None
