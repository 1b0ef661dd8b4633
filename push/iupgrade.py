"""The seam between HTTP and the protocols that one of its connections can change to. The rules of push.ipush hold here.

Imports nothing else of the project.
"""

from collections.abc import Iterable

from twisted.internet.interfaces import IProtocol
from zope.interface import Interface


class IUpgrade(Interface):
    """A protocol that a connection of HTTP/1.1 can change to (RFC 9110, section 7.8)."""

    def upgrade(method: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, IProtocol]:
        """Accept a request to change.

        Args:
            method: of the request.
            version: as in its request line, e.g. b"HTTP/1.1".
            headers: all of them, as they came.

        Returns:
            The head of the answer, to be written first; then the protocol that the transport is to be given to.

        Raises:
            PushError: it is to be answered with that.
        """
