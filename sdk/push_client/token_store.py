"""Where a client keeps its token between runs, and beside it what belongs to it: a file, or two functions of yours.

What is kept is a short text. Its first line is the token; a second one, if there is one, is a JSON object: the ids of
the messages last handled, what was learned about heartbeats, and the node that was good last. The token alone is
a valid text. Blocking; standard library and wire core.

Source of the order of writing: a rename within one directory is atomic (POSIX, rename()); what it replaces
with must be on disk before.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from push.protocols.wire.answers import NodeAddress, parse_nodes
from push.protocols.wire.messages import is_token, parse_object
from push_client.errors import TokenFileError
from push_client.intervals import parse_known
from push_client.receipts import MAX_KEPT_IDS

# A token, 1,024 ids of at most 20 digits and 16 networks are less than 30 KiB.
MAX_TEXT_CHARS = 65_536


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept.

    Attributes:
        token: of the device.
        handled: ids of the messages last handled.
        intervals: what was learned about heartbeats, see push_client.intervals.
        good: where the last session was opened.
    """

    token: str
    handled: tuple[int, ...] = ()
    intervals: Mapping[str, list[float]] = field(default_factory=dict)
    good: NodeAddress | None = None


class TokenStore(Protocol):
    """Somewhere to keep a text. Both may block; a client calls them one at a time, and `save` in another thread."""

    def load(self) -> str | None:
        """The text that was saved last, None if there is none.

        Raises:
            TokenFileError: it cannot be read.
        """
        ...

    def save(self, text: str) -> None:
        """Keep a text in place of the one before.

        Raises:
            TokenFileError: it cannot be kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file, readable by its owner only, which always holds the old text or the new one."""

    path: Path

    def load(self) -> str | None:
        """Read it."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_TEXT_CHARS + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TokenFileError(f"cannot read the token file {self.path}: {error.strerror}") from error
        try:
            text = content.decode("ascii")
            if text.strip():
                parse_kept(text)
        except ValueError:
            what = f"{self.path} holds no token: name another file, or delete this one to get a new token"
            raise TokenFileError(what) from None
        return text

    def save(self, text: str) -> None:
        """Write it."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with open(descriptor, "wb") as file:
                    file.write(text.encode("ascii"))
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    draft.unlink()
                raise
        except OSError as error:
            raise TokenFileError(f"cannot write the token file {self.path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class TokenCallbacks:
    """Two functions of the application, for a keychain, preferences or a database.

    Whatever they raise ends the client as a TokenFileError, except that a failure to save how far the client has
    got, once the token is kept, is passed over and tried again.

    Attributes:
        load_text: gives the text saved last, None or "" if there is none.
        save_text: keeps a text of at most 64 KiB, ASCII.
    """

    load_text: Callable[[], str | None]
    save_text: Callable[[str], object]

    def load(self) -> str | None:
        """Ask for it."""
        try:
            return self.load_text()
        except Exception as error:  # the application's own, whatever it is
            raise TokenFileError(f"the token cannot be loaded: {type(error).__name__}") from error

    def save(self, text: str) -> None:
        """Hand it over."""
        try:
            self.save_text(text)
        except Exception as error:  # the application's own, whatever it is
            raise TokenFileError(f"the token cannot be saved: {type(error).__name__}") from error


def load(store: TokenStore) -> Kept | None:
    """Read what is kept.

    Returns:
        It; None where there is nothing yet.

    Raises:
        TokenFileError: it cannot be read, or is something else.
    """
    text = store.load()
    if not text or not text.strip():
        return None
    try:
        return parse_kept(text)
    except ValueError as error:
        raise TokenFileError(f"what was kept is no token: {error}") from None


def write_kept(kept: Kept) -> str:
    """The text to keep."""
    more: dict[str, Any] = {}
    if kept.handled:
        more["handled"] = [str(message_id) for message_id in kept.handled]
    if kept.intervals:
        more["intervals"] = dict(kept.intervals)
    if kept.good is not None:
        more["good"] = {"host": kept.good.host, "port": kept.good.port}
    return f"{kept.token}\n" + (f"{json.dumps(more)}\n" if more else "")


def parse_kept(text: str) -> Kept:
    """Read such a text.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"it is not a text of at most {MAX_TEXT_CHARS} characters")
    token, _, rest = text.strip().partition("\n")
    if not is_token(token.rstrip()):
        raise ValueError("its first line is not 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    more = parse_object(rest.strip().encode())
    good = more.get("good")
    if good is not None and not isinstance(good, dict):
        raise ValueError("good is not an object")
    return Kept(
        token.rstrip(),
        _ids(more.get("handled", [])),
        parse_known(more.get("intervals", {})),
        None if good is None else parse_nodes(good)[0],
    )


def _ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one.isdecimal() for one in value):
        raise ValueError("handled is not a list of ids")
    return tuple(int(one) for one in value[-MAX_KEPT_IDS:])
