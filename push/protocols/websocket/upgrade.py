"""The opening handshake of WebSocket: who may come in, and the answer (RFC 6455, section 4.2).

Pure: reads the head of a request, wherever that came from. Must not import services, stores or web.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from wsproto.utilities import generate_accept_token

from push import endpoint_text
from push.errors import InvalidRequest, PermissionDenied, UpgradeRequired
from push.protocols.websocket.forms import Kind

# What a client may ask for in Sec-WebSocket-Protocol, and what its messages have to be then.
SUBPROTOCOLS: Mapping[str, Kind] = {"push.json": Kind.TEXT, "push.framed": Kind.BINARY}
ANY_ORIGIN = "*"

_VERSION = b"13"
_KEY_BYTES = 16
_HTTP_1_0 = b"HTTP/1.0"

Headers = Iterable[tuple[bytes, bytes]]


class Accepted(NamedTuple):
    """A client may come in.

    Attributes:
        response: the head of the answer, whole.
        kind: what its messages have to be; None where it did not say.
    """

    response: bytes
    kind: Kind | None


def accept(method: bytes, version: bytes, headers: Headers, *, origins: Sequence[str]) -> Accepted:
    """Read a request to change to WebSocket.

    Args:
        method: of the request.
        version: as in its request line, e.g. b"HTTP/1.1".
        headers: all of them, in any case.
        origins: of web pages that may connect besides those of this machine; "*" for all.

    Raises:
        UpgradeRequired: it is no such request, or of another version of WebSocket.
        InvalidRequest: it is not a well-formed one.
        PermissionDenied: it comes from a web page that may not.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    if method != b"GET" or version == _HTTP_1_0 or not _has_token(values, b"upgrade", "websocket"):
        raise UpgradeRequired("This is a place for WebSocket: connect with ws:// or wss://.")
    if not _has_token(values, b"connection", "upgrade"):
        raise InvalidRequest("The header `Connection: Upgrade` is missing.")
    if len(values.get(b"host", ())) != 1:
        raise InvalidRequest("There must be one Host header.")
    if values.get(b"sec-websocket-version") != [_VERSION]:
        raise UpgradeRequired("Version 13 of WebSocket is spoken here.")
    key = _key(values.get(b"sec-websocket-key", []))
    _check_origin(values.get(b"origin", []), origins)
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + generate_accept_token(key),
    ]
    # No extension is accepted, so nothing that comes is compressed. Of subprotocols, the first that is known here.
    offered = _tokens(values, b"sec-websocket-protocol")
    chosen = next((name for name in offered if name in SUBPROTOCOLS), None)
    if chosen is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + chosen.encode())
    return Accepted(b"\r\n".join([*lines, b"", b""]), None if chosen is None else SUBPROTOCOLS[chosen])


def is_known_origin(origin: str, origins: Sequence[str]) -> bool:
    """Whether a web page may connect.

    Args:
        origin: as a browser says it: scheme, host and perhaps port; or "null".
        origins: that are allowed besides those of this machine; "*" for all.
    """
    if ANY_ORIGIN in origins or origin.lower() in (each.lower() for each in origins):
        return True
    try:
        parts = urlsplit(origin)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    return host.endswith(".localhost") or endpoint_text.is_loopback(host)


def _check_origin(values: Sequence[bytes], origins: Sequence[str]) -> None:
    """Refuse what a page of somebody else makes a browser do; programs that are no browsers send no Origin."""
    if not values:
        return
    if len(values) > 1 or not is_known_origin(values[0].decode("latin-1"), origins):
        raise PermissionDenied(
            "Pages of this origin may not connect: only those of this machine, and those named by --allowed-origin."
        )


def _key(values: Sequence[bytes]) -> bytes:
    try:
        if len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == _KEY_BYTES:
            return values[0]
    except binascii.Error:
        pass
    raise InvalidRequest("Sec-WebSocket-Key must be 16 bytes in base64.")


def _tokens(values: Mapping[bytes, Sequence[bytes]], name: bytes) -> list[str]:
    """The items of a header that is a list."""
    return [token.strip() for value in values.get(name, ()) for token in value.decode("latin-1").split(",")]


def _has_token(values: Mapping[bytes, Sequence[bytes]], name: bytes, wanted: str) -> bool:
    return wanted in (token.lower() for token in _tokens(values, name))
