"""What a client reads in the answer to its SUB: parsed strictly, as a server is not trusted; and redirects, written.

Standard library only.

Reasons are kept as the server wrote them, but short; who shows them escapes what a terminal would obey.

Source: docs/protocol.md, section "Opening a session".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from push.protocols.wire.liveness import held_interval_ms
from push.protocols.wire.messages import BodyError, check_text, is_token, parse_interval, parse_object, write_json

MAX_REASON_CHARS = 200
# Of a SUB that comes unasked: messages were lost.
MISSED = 205
# Names in DNS have at most 253 characters (RFC 1035, section 2.3.4, without the root's dot).
MAX_HOST_CHARS = 253
# As many nodes as a client may sensibly try before asking again.
MAX_NODES = 16
MAX_RETRY_AFTER_S = 1e9


class NodeAddress(NamedTuple):
    """Where a node is reached."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SubAnswer:
    """What a server said to a SUB; which fields mean something depends on `status`.

    Attributes:
        status: 200, 205, 302, or 400-599.
        token: with 200, the client's token, well-formed.
        interval_ms: with 200, the heartbeat in force, between 10 s and 30 min.
        server_time_ms: with 200, milliseconds since 1970.
        nodes: with 302, where to connect instead, the best first; never empty, no address twice.
        reason: a sentence, at most 200 characters, perhaps empty.
        retry_after_s: the least time to wait, in seconds, or None.
    """

    status: int
    token: str = ""
    interval_ms: int = 0
    server_time_ms: int = 0
    nodes: tuple[NodeAddress, ...] = ()
    reason: str = ""
    retry_after_s: float | None = None


def write_redirect(nodes: Sequence[NodeAddress], retry_after_s: float) -> bytes:
    """The body of a SUB that sends a client elsewhere.

    Args:
        nodes: where, the best first; at least one. Those after the first 16 are left out.
        retry_after_s: the least time to wait before that, in seconds.
    """
    listed = [{"host": node.host, "port": node.port} for node in nodes[:MAX_NODES]]
    return write_json({"status": 302, **listed[0], "nodes": listed, "retry_after": retry_after_s})


def write_missed() -> bytes:
    """The body of a SUB that says that messages were lost."""
    return write_json({"status": MISSED, "reason": "messages to all that are not kept may have been missed"})


def parse_sub_answer(body: bytes) -> SubAnswer:
    """Parse the body of a server's SUB.

    Args:
        body: at most the limit of the frame decoder.

    Returns:
        The answer. An interval outside the protocol's bounds is moved to the nearer bound, and nodes after
        the first 16 are left out.

    Raises:
        BodyError: a key that the status needs is missing or of a wrong type.
    """
    fields = parse_object(body)
    status = _whole(fields, "status")
    retry_after_s = _seconds(fields.get("retry_after"))
    reason = fields.get("reason")
    reason = reason[:MAX_REASON_CHARS] if isinstance(reason, str) else ""
    if status == 200:
        token = fields.get("token")
        if not isinstance(token, str) or not is_token(token):
            raise BodyError("token must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
        interval_ms = parse_interval(fields)
        if interval_ms is None:
            raise BodyError("interval is missing")
        return SubAnswer(200, token, held_interval_ms(interval_ms), _whole(fields, "server_time"))
    if status == 302:
        return SubAnswer(302, nodes=parse_nodes(fields), reason=reason, retry_after_s=retry_after_s)
    if status != MISSED and not 400 <= status <= 599:
        raise BodyError("status must be 200, 205, 302 or 400 to 599")
    return SubAnswer(status, reason=reason, retry_after_s=retry_after_s)


def _whole(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BodyError(f"{key} must be a whole number")
    return value


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < MAX_RETRY_AFTER_S:
        raise BodyError("retry_after must be a number of seconds")
    return float(value)


def _node(value: dict[str, Any]) -> NodeAddress:
    host, port = value.get("host"), _whole(value, "port")
    if not isinstance(host, str):
        raise BodyError("host must be a string")
    if not 1 <= port <= 65_535:
        raise BodyError("port must be 1 to 65535")
    return NodeAddress(check_text(host, "host", MAX_HOST_CHARS), port)


def parse_nodes(fields: dict[str, Any]) -> tuple[NodeAddress, ...]:
    """The addresses that an object names: its own `host` and `port`, then those of its `nodes`.

    Returns:
        At least one and at most 16, no address twice.

    Raises:
        BodyError: there is none, or one of them cannot be.
    """
    listed = fields.get("nodes")
    if listed is None:
        listed = []
    if not isinstance(listed, list) or not all(isinstance(node, dict) for node in listed):
        raise BodyError("nodes must be a list of objects")
    if fields.get("host") is not None:
        listed = [fields, *listed]
    if not listed:
        raise BodyError("a redirect must name a node")
    return tuple(dict.fromkeys(_node(node) for node in listed[:MAX_NODES]))
