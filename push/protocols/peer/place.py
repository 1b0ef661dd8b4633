"""Where nodes on one machine meet: a unix socket that nobody else can reach.

Must not import services, stores or web.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from push.errors import StartError

_NAME = "peer.sock"
# sun_path has 108 bytes on Linux, 104 elsewhere, with a zero at the end (unix(7)).
_MAX_PATH_BYTES = 100


class ShortPath:
    """A path that fits into a socket's address: the path itself, or one through a descriptor of its directory (Linux).

    Args:
        path: of a socket, in a directory that exists.

    Attributes:
        text: the path to use, by this process and until `close`.

    Raises:
        OSError: the directory cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self.text = str(path)
        if len(os.fsencode(path)) > _MAX_PATH_BYTES:
            self._descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            self.text = f"/proc/self/fd/{self._descriptor}/{path.name}"

    def close(self) -> None:
        """The path is not needed any more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class MeetingPlace:
    """A socket in a directory of mode 0700.

    Args:
        directory: of the socket; made where it is missing.
        factory: serves what connects.
        reactor: listens.

    Attributes:
        path: of the socket.
    """

    def __init__(self, directory: Path, factory: IProtocolFactory, *, reactor: Any) -> None:
        self.path = directory / _NAME
        self._factory = factory
        self._reactor = reactor
        self._short: ShortPath | None = None
        self._port: IListeningPort | None = None

    def open(self) -> None:
        """Listen. What an earlier process left there is removed: the data directory is ours.

        Raises:
            StartError: the socket cannot be made.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.parent.chmod(0o700)
            with suppress(FileNotFoundError):
                self.path.unlink()
            self._short = ShortPath(self.path)
            self._port = self._reactor.listenUNIX(self._short.text, self._factory, mode=0o600)
        except (OSError, CannotListenError) as error:
            reason = getattr(getattr(error, "socketError", error), "strerror", None) or str(error)
            raise StartError(f"cannot make a socket for workers at {self.path}: {reason}") from None

    def close(self) -> "Deferred[None]":
        """Listen no more, and leave nothing behind."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        if self._short is not None:
            self._short.close()
