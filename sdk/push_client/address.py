"""Where a server is: push://, pushs://, ws:// and wss:// URLs. Imports only the standard library."""

from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlsplit


class _Scheme(NamedTuple):
    """What a URL's beginning means."""

    tls: bool
    is_websocket: bool
    default_port: int


# Of WebSocket: RFC 6455, section 3.
_SCHEMES = {
    "push": _Scheme(False, False, 6789),
    "pushs": _Scheme(True, False, 6789),
    "ws": _Scheme(False, True, 80),
    "wss": _Scheme(True, True, 443),
}


@dataclass(frozen=True, slots=True)
class Address:
    """A place to connect to.

    Attributes:
        host: name or IP address, without brackets.
        port: 1-65535.
        tls: whether to speak TLS and verify `host`.
        path: for WebSocket, what to ask for there; "" for the framed protocol on the bare line.
    """

    host: str
    port: int
    tls: bool
    path: str = ""

    @property
    def authority(self) -> str:
        """Host and port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> "Address":
        """The same at another place: a redirect changes neither how it is spoken nor whether it is encrypted."""
        return replace(self, host=host, port=port)

    def __str__(self) -> str:
        name = ("wss" if self.tls else "ws") if self.path else ("pushs" if self.tls else "push")
        return f"{name}://{self.authority}{self.path}"


def parse_url(url: str) -> Address:
    """Parse push://host[:port] or ws://host[:port][/path]; pushs:// and wss:// for TLS.

    Raises:
        ValueError: it is something else; the sentence says what is wrong.
    """
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise ValueError(f"a server's URL begins with push://, pushs://, ws:// or wss://, not as {url!r}")
    try:
        port = scheme.default_port if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not 1 <= port <= 65_535:
        raise ValueError(f"the port must be 1 to 65535 in {url!r}")
    if not parts.hostname:
        raise ValueError(f"there is no host in {url!r}")
    has_path = parts.path not in ("", "/") or bool(parts.query)
    if parts.username is not None or parts.fragment or (has_path and not scheme.is_websocket):
        raise ValueError("a server's URL has only a host and a port: say who you are with uid and auth")
    if not scheme.is_websocket:
        return Address(parts.hostname, port, scheme.tls)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise ValueError(f"the path must be of ASCII characters, the others percent-encoded, in {url!r}")
    return Address(parts.hostname, port, scheme.tls, path)
