"""New keys of the HTTP API. Standard library only."""

import hashlib
import re
import secrets
from collections.abc import Iterable

RIGHTS = ("push", "read", "manage")
NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# As many random bits as the hash has; it is why a fast hash is enough.
_KEY_BYTES = 32


def make_key() -> str:
    """Make a random key: "pk_" and 43 characters of URL-safe base64."""
    return "pk_" + secrets.token_urlsafe(_KEY_BYTES)


def setting(name: str, rights: Iterable[str], key: str) -> str:
    """What the server is told of a key: NAME:RIGHTS:SHA256HEX.

    Args:
        name: matches NAME_PATTERN.
        rights: of RIGHTS, any number but none.
        key: the key itself, which the setting does not show.
    """
    return f"{name}:{'+'.join(rights)}:{hashlib.sha256(key.encode()).hexdigest()}"
