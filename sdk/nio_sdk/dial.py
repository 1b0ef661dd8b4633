"""Connecting without blocking: one address after another, then the TLS handshake."""

import contextlib
import errno
import os
import selectors
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from nio_sdk.line import Line
from nio_sdk.watch import Watch

# As socket.getaddrinfo gives it: family, type, protocol, canonical name, address.
Place = tuple[Any, Any, int, str, Any]
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EINTR)
_WOULD_BLOCK_WINDOWS = 10_035


class Dial:
    """One attempt to connect.

    Args:
        places: where to, the best first; not empty.
        host: the name that TLS verifies.
        tls: for TLS.
        watch: told what is being waited for.
        now_s: the time.
        timeout_s: for all of it; each place has its share.
    """

    def __init__(
        self,
        places: Sequence[Place],
        host: str,
        tls: ssl.SSLContext | None,
        *,
        watch: Watch,
        now_s: float,
        timeout_s: float,
    ) -> None:
        self._places = list(places)
        self._host = host
        self._tls = tls
        self._watch = watch
        self._deadline_s = now_s + timeout_s
        self.due_s = now_s
        self._socket: socket.socket | None = None
        self._is_connected = False
        self._error: OSError = TimeoutError("no answer in time")

    def step(self, now_s: float) -> Line | None:
        """Do what can be done now.

        Returns:
            The line when there is one; None: call again when what is watched is ready, or at `due_s`.

        Raises:
            OSError: none of the places will have us.
        """
        while True:
            try:
                if self._socket is None:
                    self._begin(now_s)
                elif now_s >= self.due_s:
                    raise TimeoutError("no answer in time")
                if self._goes_on():
                    assert self._socket is not None
                    line, self._socket = Line(self._socket), None
                    return line
                return None
            except (OSError, ValueError) as error:  # ValueError: a host that TLS cannot have as a name
                self.close()
                self._error = error if isinstance(error, OSError) else OSError(str(error))
                if not self._places or now_s >= self._deadline_s:
                    raise self._error from None

    def close(self) -> None:
        """Give up."""
        self._watch.forget()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _begin(self, now_s: float) -> None:
        # Divided among those that are left: one that swallows packets must not cost the others their turn.
        self.due_s = now_s + (self._deadline_s - now_s) / len(self._places)
        family, kind, protocol, _, address = self._places.pop(0)
        self._is_connected = False
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._socket.connect_ex(address)
        if code not in _UNDER_WAY and code != _WOULD_BLOCK_WINDOWS:
            raise OSError(code, os.strerror(code))

    def _goes_on(self) -> bool:
        """Whether the line is there."""
        assert self._socket is not None
        if not self._is_connected:
            self._watch.set(self._socket.fileno(), selectors.EVENT_WRITE)
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            try:
                self._socket.getpeername()
            except OSError as error:
                if error.errno in (errno.ENOTCONN, errno.EINVAL):
                    return False
                raise
            self._is_connected = True
            if self._tls is not None:
                self._socket = self._tls.wrap_socket(
                    self._socket, server_hostname=self._host, do_handshake_on_connect=False
                )
        return not isinstance(self._socket, ssl.SSLSocket) or self._shakes_hands(self._socket)

    def _shakes_hands(self, sock: ssl.SSLSocket) -> bool:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch.set(sock.fileno(), selectors.EVENT_READ)
            return False
        except ssl.SSLWantWriteError:
            self._watch.set(sock.fileno(), selectors.EVENT_WRITE)
            return False
        return True
