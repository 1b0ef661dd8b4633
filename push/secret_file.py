"""Secrets of 32 bytes or more, out of a file or the environment: the present one, and the one before it for a while.

Part of the composition root.
"""

from collections.abc import Mapping

# RFC 2104, 3: a key shorter than the hash's output weakens it.
MIN_SECRET_BYTES = 32
# The secret, and the one before it while the others change over.
MAX_SECRETS = 2


def load_secrets(file: str, variable: str, environment: Mapping[str, str], *, missing: str) -> tuple[bytes, ...]:
    """Read secrets from a file, or where none is named from the environment.

    Args:
        file: its path; may be empty.
        variable: its name in the environment.
        environment: of this process.
        missing: what is said where there is neither.

    Raises:
        ValueError: they cannot be read; the sentence says where they were looked for.
    """
    if not file and not environment.get(variable):
        raise ValueError(missing)
    source = file or variable
    try:
        if file:
            with open(file, encoding="utf-8") as stream:
                return read_secrets(stream.read())
        return read_secrets(environment[variable])
    except OSError as error:
        raise ValueError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{source} is not text") from None
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


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
