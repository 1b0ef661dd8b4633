"""What is done with bare descriptors."""

import _socket
import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from push.transports.descriptor import ListeningSocket


class RawAcceptTests(SynchronousTestCase):
    """Accepting with and without CPython's undocumented short cut."""

    def accepts(self) -> tuple[bool, str]:
        """Whether what is accepted is non-blocking, and who it is from."""
        with ListeningSocket(socket.AF_INET, socket.SOCK_STREAM) as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            with socket.create_connection(listening.getsockname()) as client:
                descriptor, host, port = listening.accept_descriptor()
                self.assertEqual((host, port), client.getsockname())
                try:
                    return os.get_blocking(descriptor), host
                finally:
                    os.close(descriptor)

    def test_with_it(self) -> None:
        self.assertEqual(self.accepts(), (False, "127.0.0.1"))

    def test_without_it(self) -> None:
        self.patch(ListeningSocket, "_accept", None)
        self.patch(ListeningSocket, "accept", plain_accept)
        self.assertEqual(self.accepts(), (False, "127.0.0.1"))


def plain_accept(listening: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
    """socket.accept() as it would be where it is not built on _accept."""
    descriptor, address = _socket.socket._accept(listening)  # type: ignore[attr-defined]
    return socket.socket(fileno=descriptor), address
