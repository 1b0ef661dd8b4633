"""The values that say who a client or an application is; no credential is among them.

Imports nothing else of the project.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is, as its credential proves.

    Attributes:
        uid: the user; None where no credential is demanded.
        expires_s: when the credential is over, seconds since 1970; 0: never.
    """

    uid: str | None
    expires_s: int = 0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the HTTP API: never the key itself, only its hash.

    Attributes:
        name: to tell keys apart in logs and limits.
        rights: of "push", "read", "manage".
        sha256: of the key's UTF-8 bytes. Keys carry 256 random bits, so a fast hash is enough.
    """

    name: str
    rights: frozenset[str]
    sha256: bytes
