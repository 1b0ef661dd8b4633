"""What is said first on each connection to Redis, and how one is found through Sentinel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import txredisapi
from OpenSSL.crypto import Error as OpenSSLError
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from push.errors import StartError, Unavailable
from push.stores.redis.address import Login, RedisAddress
from push.stores.redis.errors import refusal
from push.stores.redis.protocol import PlainProtocol

# The ways in which a Sentinel does not answer; then the next one is asked.
_NO_ANSWER = (Unavailable, txredisapi.RedisError, TimeoutError, ConnectError, ConnectionClosed, OSError, ValueError)

_END = "-----END CERTIFICATE-----"


async def greet(protocol: PlainProtocol, address: RedisAddress) -> None:
    """Log in, choose the database, and make sure that this is a server that works, and the master if there is one.

    Raises:
        Unavailable: it is not.
        RedisError: the connection was lost.
    """
    await _log_in(protocol, address.login)
    if address.db:
        await ask(protocol, "SELECT", address.db)
    if address.master is None:
        if await ask(protocol, "PING") != b"PONG":
            raise Unavailable("what answers is no Redis")
        return
    role = await ask(protocol, "ROLE")
    if role[0] != b"master":
        raise Unavailable("Sentinel named a server that is a replica")


async def ask(protocol: PlainProtocol, *command: str | int) -> Any:
    """One command of a greeting.

    Raises:
        Unavailable: Redis answered with an error.
        RedisError: the connection was lost.
    """
    try:
        return await protocol.send(hiredis.pack_command(command))  # type: ignore[arg-type]
    except txredisapi.ResponseError as error:
        raise refusal(error) from None


async def _log_in(protocol: PlainProtocol, login: Login) -> None:
    if login.password is not None:
        await ask(protocol, "AUTH", *([login.user] if login.user else []), login.password)


def endpoint_of(address: RedisAddress, reactor: IReactorTime, timeout_s: float) -> IStreamClientEndpoint:
    """How to connect.

    Args:
        address: to what.
        reactor: connects and has the time.
        timeout_s: for an attempt.

    Raises:
        StartError: a certificate cannot be read. Files are read now, which blocks.
    """
    if address.socket is not None:
        return UNIXClientEndpoint(reactor, address.socket, timeout=timeout_s)
    secured = _Secured(address)
    if address.master is None:
        return secured.endpoint(reactor, *address.hosts[0], timeout_s)
    return SentinelEndpoint(address, reactor, secured, timeout_s)


class _Secured:
    """Makes endpoints, with TLS where it is wanted: certificates are verified against the host's name."""

    def __init__(self, address: RedisAddress) -> None:
        self._is_tls = address.is_tls
        try:
            self._trust = (
                platformTrust() if address.ca is None else trustRootFromCertificates(_certificates(address.ca))
            )
            self._ours = None if address.cert is None else _private(address.cert, address.key or address.cert)
        except OSError as error:
            raise StartError(f"cannot read {error.filename} for Redis: {error.strerror}") from None
        except (OpenSSLError, ValueError):
            raise StartError("a certificate or key for Redis is not in PEM form, or has a passphrase") from None

    def endpoint(self, reactor: IReactorTime, host: str, port: int, timeout_s: float) -> IStreamClientEndpoint:
        # That all addresses refuse is noticed this much later (Twisted 26.4), by default 0.3 s.
        plain = HostnameEndpoint(reactor, host, port, timeout=timeout_s, attemptDelay=0.05)
        if not self._is_tls:
            return plain
        options = optionsForClientTLS(host, trustRoot=self._trust, clientCertificate=self._ours)
        return wrapClientTLS(options, plain)


def _certificates(path: str) -> list[Certificate]:
    found = [part + _END for part in Path(path).read_text(encoding="ascii").split(_END)[:-1]]
    if not found:
        raise ValueError("no certificate")
    return [Certificate.loadPEM(part.encode()) for part in found]


def _private(cert: str, key: str) -> PrivateCertificate:
    parts = dict.fromkeys([Path(key).read_text(encoding="ascii"), Path(cert).read_text(encoding="ascii")])
    loaded: PrivateCertificate = PrivateCertificate.loadPEM("\n".join(parts).encode())
    return loaded


@implementer(IStreamClientEndpoint)
class SentinelEndpoint:
    """Connects to whom a Sentinel calls the master now. The next attempt asks the next Sentinel first.

    Sentinels are asked anew for each attempt, one after the other: one that is frozen or cut off costs its part of the
    time, and does not stand in the way of the others for ever.

    Args:
        address: of the Sentinels.
        reactor: connects and has the time.
        secured: makes endpoints.
        timeout_s: for everything together.
    """

    def __init__(self, address: RedisAddress, reactor: IReactorTime, secured: _Secured, timeout_s: float) -> None:
        self._address = address
        self._reactor = reactor
        self._secured = secured
        self._step_s = timeout_s / (len(address.hosts) + 1)
        self._first = 0

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See IStreamClientEndpoint."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        hosts = self._address.hosts
        order = [hosts[(self._first + at) % len(hosts)] for at in range(len(hosts))]
        self._first = (self._first + 1) % len(hosts)
        host, port = await self._master(order)
        protocol: IProtocol = await self._secured.endpoint(self._reactor, host, port, self._step_s).connect(factory)
        return protocol

    async def _master(self, order: Sequence[tuple[str, int]]) -> tuple[str, int]:
        for host, port in order:
            until_s = self._reactor.seconds() + self._step_s
            asking = Deferred.fromCoroutine(self._ask(host, port))
            try:
                return await asking.addTimeout(self._step_s, self._reactor)
            except _NO_ANSWER:
                continue
            except ConnectingCancelledError:
                # It took too long, or nobody wants it any more.
                if self._reactor.seconds() < until_s:
                    raise
        raise Unavailable(f"no Sentinel of {len(order)} says where {self._address.master} is")

    async def _ask(self, host: str, port: int) -> tuple[str, int]:
        factory = Factory.forProtocol(lambda: PlainProtocol(lambda protocol: None))
        factory.noisy = False
        connecting: Deferred[Any] = self._secured.endpoint(self._reactor, host, port, self._step_s).connect(factory)
        protocol: PlainProtocol = await connecting
        try:
            await _log_in(protocol, self._address.sentinel_login)
            found = await ask(protocol, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master or "")
        finally:
            protocol.transport.abortConnection()
        if not found:
            raise Unavailable("a Sentinel does not know the server")
        return found[0].decode("ascii"), int(found[1])
