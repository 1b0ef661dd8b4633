"""Part of the composition root: how nodes of a cluster reach one another, and by what they know one another."""

import os
from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import Error as TlsError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory

from push.cluster_settings import peer_address
from push.config import Config
from push.connecting import advertised
from push.secret_file import load_secrets
from push.settings import SettingError

SECRET_VARIABLE = "PUSH_PEER_SECRET"  # noqa: S105 - the name of a variable


def own_name(config: Config) -> str:
    """The name of this node: of a connector its address, of others where they are reached.

    Raises:
        SettingError: the settings do not say it.
    """
    if "connector" not in config.roles:
        return own_peer(config)
    name = advertised(config)
    if not name:
        raise SettingError(
            "--advertise: a connector of a cluster is known by the address that clients reach it at: "
            "set it, or a port in --listen"
        )
    return name


def own_peer(config: Config) -> str:
    """Where other nodes reach this one; "" where they need not."""
    return config.peer_advertise or (peer_address(config.peer) or "" if config.peer else "")


def secrets_of(config: Config) -> tuple[bytes, ...]:
    """The secret of the cluster, and the one before it while it is being changed.

    Raises:
        SettingError: there is none, or none that would do.
    """
    try:
        return load_secrets(
            config.peer_secret_file,
            SECRET_VARIABLE,
            os.environ,
            missing=f"nodes of a cluster know one another by a secret: set this, or {SECRET_VARIABLE} "
            "(`openssl rand -hex 32` makes one)",
        )
    except ValueError as error:
        raise SettingError(f"--peer-secret-file: {error}") from None


class Tls:
    """TLS between nodes, where it is wanted: both sides show a certificate that the same authority has signed.

    Args:
        config: all settings.
        reactor: connects.

    Raises:
        SettingError: a file cannot be used.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        self._reactor = reactor
        self._own: PrivateCertificate | None = None
        if config.peer_tls_cert:
            read = _reading("--peer-tls-cert", config.peer_tls_cert)
            key = _reading("--peer-tls-key", config.peer_tls_key)
            self._own = _usable(
                "--peer-tls-key", lambda: PrivateCertificate.loadPEM(read + b"\n" + key), config.peer_tls_key
            )
            authority = _reading("--peer-tls-ca", config.peer_tls_ca)
            self._roots = _usable("--peer-tls-ca", lambda: _authorities(authority), config.peer_tls_ca)

    def served(self, factory: IProtocolFactory) -> IProtocolFactory:
        """What listens, for a factory."""
        if self._own is None:
            return factory
        options = CertificateOptions(
            privateKey=self._own.privateKey.original, certificate=self._own.original, trustRoot=self._roots
        )
        wrapped: IProtocolFactory = TLSMemoryBIOFactory(options, False, factory, self._reactor)
        return wrapped

    def endpoint(self, address: str) -> IStreamClientEndpoint:
        """How to connect to "host:port"; a certificate must be for that host."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        endpoint = HostnameEndpoint(self._reactor, host.encode(), int(port))
        if self._own is None:
            return endpoint
        options = optionsForClientTLS(host, trustRoot=self._roots, clientCertificate=self._own)
        wrapped: IStreamClientEndpoint = wrapClientTLS(options, endpoint)
        return wrapped


def _authorities(pem: bytes) -> Any:
    begin = b"-----BEGIN CERTIFICATE-----"
    parts = pem.split(begin)[1:]
    if not parts:
        raise ValueError("there is no certificate in it")
    return trustRootFromCertificates([Certificate.loadPEM(begin + part) for part in parts])


def _reading(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise SettingError(f"{option}: cannot read {path}: {error.strerror}") from None


def _usable(option: str, load: Callable[[], Any], path: str) -> Any:
    try:
        return load()
    except (TlsError, ValueError, TypeError):
        raise SettingError(f"{option}: {path} has not, in PEM, what is needed here") from None
