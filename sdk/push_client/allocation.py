"""Asking over HTTP where to connect: the request, and the reading of its answer. Pure; bytes out and in.

An answer is a JSON object that names nodes, the best first: `{"nodes": [{"host": …, "port": …}]}`, or as the older
system's /manager/redirect has it, `{"nodeInfos": [{"ip": …, "port": …}]}`. HTTP/1.0 is spoken, as its answers come
unchunked and end with the connection; redirects of HTTP are not followed.
"""

from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit

from push.protocols.wire.answers import NodeAddress, parse_nodes
from push.protocols.wire.messages import BodyError, parse_object

MAX_ANSWER_BYTES = 65_536
_PORTS = {"http": 80, "https": 443}


class AllocationError(OSError):
    """Nobody said where to connect; `str()` is a sentence."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Whom to ask.

    Attributes:
        host: name or IP address, without brackets.
        port: 1-65535.
        tls: whether to speak TLS and verify `host`.
        target: path and query.
    """

    host: str
    port: int
    tls: bool
    target: str

    def request(self) -> bytes:
        """What to send."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = (
            f"GET {self.target} HTTP/1.0",
            f"Host: {host}:{self.port}",
            "Accept: application/json",
            "Connection: close",
            "User-Agent: push-client",
        )
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


class AllocationAnswer:
    """An answer as it arrives."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> bool:
        """Take what was received.

        Returns:
            Whether it is whole, which without a Content-Length only the connection's end says.

        Raises:
            AllocationError: it is too long.
        """
        self._data += data
        if len(self._data) > MAX_ANSWER_BYTES:
            raise AllocationError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return False
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                return len(body) >= int(value)
        return False

    def nodes(self) -> tuple[NodeAddress, ...]:
        """What it says.

        Raises:
            AllocationError: it names no node.
        """
        head, _, body = bytes(self._data).partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise AllocationError("the answer is not HTTP")
        if words[1] != b"200":
            raise AllocationError(f"the answer's status is {int(words[1][:4])}")
        try:
            fields = parse_object(body)
            older = fields.get("nodeInfos")
            if isinstance(older, list):
                nodes = [{"host": one.get("ip"), "port": one.get("port")} for one in older if isinstance(one, dict)]
                fields = {"nodes": nodes}
            return parse_nodes({"nodes": fields.get("nodes")})
        except BodyError as error:
            raise AllocationError(str(error)) from None


def asking_for(protocol: str, allocation: Allocation) -> Allocation:
    """The same question for a wire protocol other than the framed one, unless it names one already."""
    query = allocation.target.partition("?")[2]
    if any(name == "protocol" for name, _ in parse_qsl(query, keep_blank_values=True)):
        return allocation
    return replace(allocation, target=f"{allocation.target}{'&' if query else '?'}protocol={protocol}")


def parse_allocation(url: str) -> Allocation:
    """Parse http://host[:port]/path or https://….

    Raises:
        ValueError: it is something else.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f"the URL to ask where to connect is http://host/path or https://host/path, not {url!r}")
    try:
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not 1 <= port <= 65_535:
        raise ValueError(f"the port must be 1 to 65535 in {url!r}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (target + parts.hostname).isascii() or any(character <= " " for character in target):
        raise ValueError(f"write {url!r} with percent-encoding")
    return Allocation(parts.hostname, port, parts.scheme == "https", target)
