"""Where a server is: push:// and pushs:// URLs. Imports only the standard library."""

from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_PORT = 6789
_SCHEMES = {"push": False, "pushs": True}


@dataclass(frozen=True, slots=True)
class Address:
    """A place to connect to.

    Attributes:
        host: name or IP address, without brackets.
        port: 1-65535.
        tls: whether to speak TLS and verify `host`.
    """

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'pushs' if self.tls else 'push'}://{host}:{self.port}"


def parse_url(url: str) -> Address:
    """Parse push://host[:port] or, for TLS, pushs://host[:port].

    Raises:
        ValueError: it is something else; the sentence says what is wrong.
    """
    parts = urlsplit(url)
    tls = _SCHEMES.get(parts.scheme)
    if tls is None:
        raise ValueError(f"a server's URL begins with push:// or pushs://, not as {url!r}")
    try:
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not 1 <= port <= 65_535:
        raise ValueError(f"the port must be 1 to 65535 in {url!r}")
    if not parts.hostname:
        raise ValueError(f"there is no host in {url!r}")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("a server's URL has only a host and a port: say who you are with uid and auth")
    return Address(parts.hostname, port, tls)
