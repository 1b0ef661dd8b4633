"""How a receiver knows that a webhook's request is ours, and recent: HMAC-SHA256 over its time and its body.

Pure. Must not import adapters, stores or web.
"""

import hashlib
import hmac
from collections.abc import Sequence


def signature(secrets: Sequence[bytes], time_s: int, body: bytes) -> str:
    """The value of the header Push-Signature.

    Args:
        secrets: any of which the receiver may verify with.
        time_s: when this is sent, seconds since 1970.
        body: of the request.
    """
    signed = f"{time_s}.".encode() + body
    parts = [hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={time_s}", *(f"v1={part}" for part in parts)])
