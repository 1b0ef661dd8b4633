"""Making a selector return, from any thread: a pair of connected sockets."""

import contextlib
import socket


class Waker:
    """Something readable from `wake` to `drain`."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._is_awake = False

    def fileno(self) -> int:
        """What to watch."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Become readable; to be called after what there is to do has been put where it is looked for."""
        if not self._is_awake:
            self._is_awake = True
            with contextlib.suppress(OSError):  # closed; or full, and then it is readable already
                self._writer.send(b"\0")

    def drain(self) -> None:
        """Become unreadable: to be called before looking for what there is to do."""
        with contextlib.suppress(OSError):
            while len(self._reader.recv(4_096)) == 4_096:
                pass
        # Only now: a byte written between this and the reading would be read away, and nobody would write another.
        self._is_awake = False

    def close(self) -> None:
        """Release both sockets."""
        self._reader.close()
        self._writer.close()
