"""The file that a client keeps its token in: one line, readable by its owner only. Blocking; standard library.

Source of the order of writing: a rename within one directory is atomic (POSIX, rename()); what it replaces
with must be on disk before.
"""

import contextlib
import os
import secrets
from pathlib import Path

from aio_sdk.errors import TokenFileError
from push.protocols.wire.messages import is_token

_MAX_FILE_BYTES = 1_024


def load(path: Path) -> str | None:
    """Read the token.

    Returns:
        The token; None where there is no file yet, or an empty one.

    Raises:
        TokenFileError: it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TokenFileError(f"cannot read the token file {path}: {error.strerror}") from error
    token = content.decode("ascii", "replace").strip()
    if not token:
        return None
    if not is_token(token):
        raise TokenFileError(f"{path} holds no token: name another file, or delete this one to get a new token")
    return token


def save(path: Path, token: str) -> None:
    """Write the token so that, whatever happens, the file holds the old one or the new one.

    Raises:
        TokenFileError: it cannot be written; the old file is as it was.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(f"{token}\n".encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
    except OSError as error:
        raise TokenFileError(f"cannot write the token file {path}: {error.strerror}") from error
