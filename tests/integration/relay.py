"""A TCP relay on threads of its own, which can be told to do to its connections what bad networks do."""

import contextlib
import socket
import threading
from collections.abc import Sequence

from tests.integration.server import HOST

# The nodes of a cluster say their names among the first bytes.
_BEGINNING_BYTES = 4_096


class Line:
    """One connection through a relay: two sockets.

    Attributes:
        beginning: what its client said first.
        is_swallowed: whether nothing goes through any more, in either direction, not even its end.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.beginning = b""
        self.is_swallowed = False

    def close(self) -> None:
        """End both connections."""
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Relay:
    """Between clients and a server.

    Args:
        targets: host and port of the servers; each connection goes to the next one that takes it.

    Attributes:
        port: where it listens.
    """

    def __init__(self, *targets: tuple[str, int]) -> None:
        self._targets = list(targets)
        self._turn = 0
        self._muted: Sequence[bytes] = ()
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._listener = socket.create_server((HOST, 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def passes(self, data: bytes, *, is_from_server: bool) -> bool:
        """Whether this goes through."""
        return True

    def swallow(self, name: str) -> int:
        """Let nothing through on connections whose clients have said this name, those that there are and new ones.

        Returns:
            How many there are.
        """
        with self._lock:
            self._muted = [name.encode()]
            found = [line for line in self._lines if name.encode() in line.beginning]
            for line in found:
                line.is_swallowed = True
            return len(found)

    def carries(self, name: str) -> int:
        """How many connections of clients that have said this name work."""
        with self._lock:
            return sum(name.encode() in line.beginning and not line.is_swallowed for line in self._lines)

    def heal(self) -> None:
        """New connections are as they should be. Those that were swallowed stay so, as if forgotten by a router."""
        with self._lock:
            self._muted = ()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connected()
                if server is None:
                    client.close()
                    continue
                line = Line(client, server)
                with self._lock:
                    self._lines.append(line)
                for is_from_server in (False, True):
                    threading.Thread(target=self._pass_on, args=(line, is_from_server), daemon=True).start()

    def _connected(self) -> socket.socket | None:
        for _ in self._targets:
            self._turn += 1
            with contextlib.suppress(OSError):
                server = socket.create_connection(self._targets[self._turn % len(self._targets)], timeout=5)
                server.settimeout(None)
                return server
        return None

    def _pass_on(self, line: Line, is_from_server: bool) -> None:
        source, target = (line.server, line.client) if is_from_server else (line.client, line.server)
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not is_from_server and len(line.beginning) < _BEGINNING_BYTES:
                    self._begins(line, data)
                if not line.is_swallowed and self.passes(data, is_from_server=is_from_server):
                    target.sendall(data)
        if not line.is_swallowed:
            with self._lock, contextlib.suppress(ValueError):
                self._lines.remove(line)
            line.close()
            source.close()

    def _begins(self, line: Line, data: bytes) -> None:
        with self._lock:
            line.beginning += data[:_BEGINNING_BYTES]
            if any(name in line.beginning for name in self._muted):
                line.is_swallowed = True
