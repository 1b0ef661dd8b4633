"""How CONTACT and PUBLISH are answered: status bytes and the JSON behind them. Standard library only.

What the bodies of requests mean is not known here: the group role reads them.

Source: docs/protocol.md, sections "CONTACT" and "CONNECT, PUBLISH, PUB_ACK".
"""

from push.protocols.wire.messages import write_json
from push.protocols.wire.signals import Signal

# docs/protocol.md, "Status bytes": what an HTTP status is in one byte.
STATUS_BYTES = {200: 0, 400: 1, 401: 2, 403: 3, 404: 4, 409: 5, 413: 6, 429: 7, 503: 8, 501: 9}
UNAVAILABLE = STATUS_BYTES[503]
SUCCESS = b"\0"


def write_refusal(signal: int, status: int, reason: str, retry_after_s: float | None = None) -> bytes:
    """The body of a PUB_ACK that says why it was not done.

    Args:
        signal: CONTACT or PUBLISH.
        status: as HTTP has it.
        reason: a sentence for the client.
        retry_after_s: the least time to wait before trying again, where that is known.
    """
    fields: dict[str, object] = {"status": status, "reason": reason}
    if retry_after_s is not None:
        fields["retry_after"] = retry_after_s
    body = write_json(fields)
    if signal == Signal.CONTACT:
        return body
    return bytes([STATUS_BYTES.get(status, UNAVAILABLE)]) + body
