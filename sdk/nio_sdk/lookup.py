"""What must be known before connecting, and may take its time: where to, with what credential, at which addresses.

Blocking, but for addresses that are numbers; run as errands.
"""

import socket
import ssl
import time
from collections.abc import Callable

from nio_sdk.dial import Place
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.messages import SubRequest
from push_client.address import Address
from push_client.allocation import Allocation, AllocationAnswer
from push_client.standing import with_credential


class CredentialError(OSError):
    """Whoever gives the credential is away; `str()` is a sentence."""


def numbers(address: Address) -> list[Place] | None:
    """Where that is, if its host is a number; else None."""
    try:
        return socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError):
        return None


def looked_up(address: Address, auth: Callable[[], str] | None, request: SubRequest) -> tuple[str | None, list[Place]]:
    """The credential and the places to connect to.

    Raises:
        OSError: there is none for now; a CredentialError where it is the credential.
        Exception: whatever else `auth` raises, or a ValueError if what it gives is no credential.
    """
    credential = None
    if auth is not None:
        try:
            credential = auth()
        except OSError as error:
            raise CredentialError(f"no credential: {error}") from error
        with_credential(request, credential)
    try:
        places = numbers(address) or socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a host that cannot be a name in DNS
        raise OSError(str(error)) from None
    return credential, places


def allocated(allocation: Allocation, tls: ssl.SSLContext | None, timeout_s: float) -> tuple[NodeAddress, ...]:
    """Ask where to connect.

    Raises:
        OSError: there is no answer, or none that names a node.
    """
    end_s = time.monotonic() + timeout_s
    try:
        sock = socket.create_connection((allocation.host, allocation.port), timeout_s)
    except UnicodeError as error:
        raise OSError(str(error)) from None
    try:
        if allocation.tls:
            assert tls is not None
            sock = tls.wrap_socket(sock, server_hostname=allocation.host)
        sock.sendall(allocation.request())
        answer = AllocationAnswer()
        while True:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("no answer in time")
            sock.settimeout(left_s)
            data = sock.recv(16_384)
            if not data or answer.feed(data):
                return answer.nodes()
    finally:
        sock.close()
