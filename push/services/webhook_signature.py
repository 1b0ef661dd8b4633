"""How a receiver knows that a webhook's request is ours, and recent: HMAC-SHA256 over its time and its body.

Pure. Must not import adapters, stores or web.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence

SECRET_VARIABLE = "PUSH_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
# RFC 2104, 3: a key shorter than the hash's output weakens it.
MIN_SECRET_BYTES = 32
# The secret, and the one before it while receivers change over.
MAX_SECRETS = 2


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Read secrets: one a line, the present one first.

    Args:
        text: of a file or a variable.

    Raises:
        ValueError: there is none, too many, or one is too short; the sentence repeats nothing of it.
    """
    secrets = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
    if not secrets:
        raise ValueError("there is no secret in it: make one with `openssl rand -hex 32`")
    if len(secrets) > MAX_SECRETS:
        raise ValueError(f"there are {len(secrets)} lines in it: at most {MAX_SECRETS} secrets, one a line")
    if min(map(len, secrets)) < MIN_SECRET_BYTES:
        raise ValueError(
            f"a secret has at least {MIN_SECRET_BYTES} bytes, and this one less: make one with `openssl rand -hex 32`"
        )
    return secrets


def load_secrets(file: str, environment: Mapping[str, str]) -> tuple[bytes, ...]:
    """Read the secrets from a file, or where none is named from the environment.

    Raises:
        ValueError: they cannot be read; the sentence says where they were looked for.
    """
    if not file and not environment.get(SECRET_VARIABLE):
        raise ValueError(f"its requests must be signed: set --webhook-secret-file, or {SECRET_VARIABLE}")
    source = file or SECRET_VARIABLE
    try:
        if file:
            with open(file, encoding="utf-8") as stream:
                return read_secrets(stream.read())
        return read_secrets(environment[SECRET_VARIABLE])
    except OSError as error:
        raise ValueError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{source} is not text") from None
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


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
