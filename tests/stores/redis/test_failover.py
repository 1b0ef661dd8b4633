"""Tests of connections to Redis over TLS and through Sentinel, with real servers."""

import datetime
import ipaddress
import subprocess
from functools import partial
from pathlib import Path
from unittest import SkipTest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint

from push.errors import StartError
from push.stores.redis.address import RedisAddress, parse_address
from push.stores.redis.bus import BroadcastBus
from push.stores.redis.client import Redis
from push.stores.redis.connection import Connection
from push.stores.redis.greeting import greet
from tests.redis_server import RedisServer, free_port, program
from tests.redis_watched import WatchedRedis
from tests.stores.contract_cluster import Heard
from tests.stores.redis.test_connection import ServerCase


class Authority:
    """Makes certificates in a directory.

    Args:
        directory: where.
        name: of the authority, and of its file.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = directory / f"{name}.pem"
        directory.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None)))

    def issue(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        cert_path, key_path = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        cert_path.write_bytes(self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, names))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert_path, key_path

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class TlsTests(ServerCase):
    """Certificates are verified, on both sides."""

    def setUp(self) -> None:
        if b"tls" not in subprocess.run(["ldd", program()], capture_output=True, check=False).stdout.replace(
            b"libssl", b"tls"
        ):
            raise SkipTest("this Redis is built without TLS")
        self.authority = Authority(Path(self.mktemp()))

    def serve(self, address: str = "127.0.0.1", clients: str = "no") -> str:
        """A server with a certificate for an address; its URL."""
        cert, key = (str(path.resolve()) for path in self.authority.issue("server", address))
        port = free_port()
        options = ["--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key]
        options += ["--tls-ca-cert-file", str(self.authority.path.resolve()), "--tls-auth-clients", clients]
        self.make_server(*options)
        return f"rediss://127.0.0.1:{port}"

    async def test_server_that_the_authority_vouches_for_is_used(self) -> None:
        redis = self.connect(f"{self.serve()}?ca={self.authority.path}")
        await redis.writes.call("SET", "k", bytes(1_000_000))
        self.assertEqual(len(await redis.reads.call("GET", "k")), 1_000_000)

    async def test_server_of_another_authority_or_another_name_is_refused_and_the_reason_said(self) -> None:
        other = Authority(Path(self.mktemp()), "other")
        for url in (
            f"{self.serve()}?ca={other.path}",
            self.serve(),
            f"{self.serve(address='127.0.0.9')}?ca={self.authority.path}",
        ):
            error = await self.trouble(self.connect(url).writes.call("PING"))
            self.assertRegex(str(error), "(?i)certificate|verif", url)

    async def test_certificate_is_shown_to_a_server_that_asks_for_one(self) -> None:
        url = f"{self.serve(clients='yes')}?ca={self.authority.path}"
        cert, key = self.authority.issue("client")
        redis = self.connect(f"{url}&cert={cert}&key={key}")
        self.assertEqual(await redis.writes.call("PING"), b"PONG")
        await self.trouble(self.connect(url).writes.call("PING"))

    async def test_frozen_server_fails_in_time_and_stopping_does_not_wait_for_it(self) -> None:
        url = self.serve()
        redis = self.connect(f"{url}?ca={self.authority.path}")
        await redis.writes.call("PING")
        self.server.freeze()
        await self.trouble(redis.writes.call("PING"))
        await redis.stop()

    def test_files_that_cannot_be_read_are_said(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "no.pem").write_text("nothing")
        cert, key = self.authority.issue("client")
        for options, reason in (
            (f"ca={directory}/missing.pem", "missing.pem"),
            (f"ca={directory}/no.pem", "PEM"),
            (f"cert={cert}&key={directory}/no.pem", "PEM"),
            (f"cert={key}", "PEM"),
        ):
            address = parse_address(f"rediss://127.0.0.1?{options}")
            error = self.assertRaises(StartError, Redis, address, reactor=reactor)
            self.assertIn(reason, str(error))

    def make_server(self, *options: str, **more: object) -> RedisServer:
        """As above, and remembered."""
        self.server = super().make_server(*options, **more)
        return self.server


class SentinelTests(ServerCase):
    """Two servers and three Sentinels."""

    timeout = 90

    async def watched(self) -> str:
        """Start them; the URL."""
        watched = WatchedRedis()
        self.addCleanup(watched.remove)
        self.master, self.replica = watched.servers
        self.sentinels = watched.sentinels
        return watched.url

    async def moved(self, redis: Redis) -> None:
        """Wait until the connection is to what was the replica."""
        for _ in range(1_000):
            if redis.writes.is_up:
                info = await redis.writes.call("INFO", "server")
                if b"tcp_port:%d\r" % self.replica.port in info:
                    return
            await self.later(0.03)
        self.fail("there was no failover")

    async def test_master_that_dies_is_replaced(self) -> None:
        redis = self.connect(await self.watched())
        bus, listener = BroadcastBus(redis), Heard()
        bus.listen(listener)
        await redis.writes.call("SET", "k", "v")
        self.assertEqual(await redis.writes.call("WAIT", 1, 400), 1)
        await self.until(lambda: bus.is_listening)
        self.master.kill()
        await self.until(lambda: not redis.writes.is_up)
        self.sentinels[0].freeze()
        await self.trouble(redis.writes.call("GET", "k"))
        self.sentinels[0].thaw()
        await self.moved(redis)
        self.assertEqual(await redis.writes.call("GET", "k"), b"v")
        await self.until(lambda: bus.is_listening)
        await redis.writes.call("SET", "k", "w")
        await bus.publish(b"heard")
        await self.until(lambda: listener.told[-1] == b"heard")
        self.assertEqual(listener.told, ["resumed", "interrupted", "resumed", b"heard"])

    async def test_master_that_freezes_is_replaced_and_is_a_replica_when_it_goes_on(self) -> None:
        redis = self.connect(await self.watched())
        await redis.writes.call("SET", "k", "v")
        self.master.freeze()
        await self.trouble(redis.writes.call("GET", "k"))
        # One of the Sentinels is gone for good: the others are enough.
        self.sentinels[0].kill()
        await self.moved(redis)
        await redis.writes.call("SET", "k", "w")
        self.master.thaw()
        await self.later(1.0)
        self.assertEqual(await redis.writes.call("GET", "k"), b"w")

    async def test_replica_that_is_named_as_the_master_is_not_used(self) -> None:
        master = self.make_server()
        replica = self.make_server("--replicaof", f"127.0.0.1 {master.port}")
        address = RedisAddress((), master="main")
        for server, is_used in ((master, True), (replica, False)):
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)
            connection = Connection("test", endpoint, partial(greet, address=address), clock=reactor)
            self.addCleanup(connection.stop)
            connection.start()
            if is_used:
                self.assertEqual(await connection.call("PING"), b"PONG")
            else:
                self.assertIn("replica", str(await self.trouble(connection.call("PING"))))

    async def test_sentinel_that_names_a_server_that_is_gone_does_not_stand_in_the_way_of_the_others(self) -> None:
        right = self.make_server()
        sentinels = [
            self.make_server(f"sentinel monitor main 127.0.0.1 {port} 1", is_sentinel=True)
            for port in (free_port(), right.port)
        ]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        redis = self.connect(f"redis+sentinel://{hosts}/main")
        await self.back(redis)
        self.assertIn(b"tcp_port:%d\r" % right.port, await redis.writes.call("INFO", "server"))

    async def test_no_sentinel_or_none_that_knows_the_name_is_said(self) -> None:
        sentinel = self.make_server(is_sentinel=True)
        for url in (
            f"redis+sentinel://127.0.0.1:{sentinel.port}/main",
            f"redis+sentinel://127.0.0.1:{free_port()}/main",
        ):
            error = await self.trouble(self.connect(url).writes.call("PING"))
            self.assertIn("Sentinel", str(error))
