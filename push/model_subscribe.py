"""The values of tokens: what is known of one, and where several are. Imports only push.model."""

from collections.abc import Mapping
from dataclasses import dataclass

from push.model import Registration


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """All that is known of a token.

    Attributes:
        token: the token.
        uid: its user, or None.
        device: its description as JSON text, or None.
        tags: what it can be addressed by, in the client's order.
        created_ms: when it was first seen, milliseconds since 1970.
        session: where it is online, or None.
    """

    token: str
    uid: str | None
    device: str | None
    tags: tuple[str, ...]
    created_ms: int
    session: Registration | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Where tokens are.

    Attributes:
        online: token → its session, for those online.
        unknown: tokens that are not registered.
    """

    online: Mapping[str, Registration]
    unknown: frozenset[str]
