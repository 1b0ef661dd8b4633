"""A connected socket that never blocks, with TLS or without.

Source for what a call on a TLS socket may want: the "Notes on non-blocking sockets" of Python's module ssl.
"""

import contextlib
import socket
import ssl

# What asyncio reads at once too.
READ_BYTES = 65_536


class Line:
    """One connection.

    Args:
        sock: connected, non-blocking, its handshake done.

    Attributes:
        writing_wants_read: TLS cannot go on writing before it has read.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.writing_wants_read = False

    def fileno(self) -> int:
        """What to watch."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """What has arrived: None if nothing has, b"" at the end.

        Raises:
            OSError: the line is down.
        """
        try:
            return self._socket.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, data: bytearray) -> int:
        """Send what the line takes now.

        Returns:
            How many bytes; 0: none for now.

        Raises:
            OSError: the line is down.
        """
        self.writing_wants_read = False
        try:
            with memoryview(data) as view:
                return self._socket.send(view[:READ_BYTES])
        except ssl.SSLWantReadError:
            self.writing_wants_read = True
            return 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0

    def close(self) -> None:
        """Send what the kernel holds, and let go; whoever watches it must have forgotten it."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        # What has come unread would make the kernel send a reset, which can overtake what we have just sent.
        with contextlib.suppress(OSError):
            for _ in range(16):
                if not self.read():
                    break
        self._socket.close()
