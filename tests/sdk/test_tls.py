"""pushs:// and wss://: verified names, and a context of one's own."""

import asyncio
import datetime
import secrets
import ssl
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import aio_sdk
from tests.sdk.surroundings import TOKEN, Peer, Script, ScriptedServer, SdkCase, on_every_sdk
from tests.sdk.test_reconnecting import EvilServerTests


def certificate(directory: Path, host: str) -> Path:
    """A self-signed certificate for this host and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A subject of its own, as two with the same one could not be trusted at once.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{host} {secrets.token_hex(8)}")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{host}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def open_and_stay(peer: Peer) -> None:
    """A server that opens the session and is silent."""
    await peer.open()
    peer.push(1, b"secret")
    await peer.eof()


@on_every_sdk
class TlsTests(SdkCase):
    """A client against a server with a certificate of its own."""

    async def serve_tls(
        self, host: str, script: Script = open_and_stay, *, is_http: bool = False
    ) -> tuple[ScriptedServer, Path]:
        """A server that calls itself `host`, and its certificate."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = certificate(Path(directory.name), host)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        # asyncio's own server reports each handshake that a client breaks off, as some of these tests want it to.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = ScriptedServer(script)
        server.over_websocket = self.over_websocket and not is_http
        await server.start(context)
        self._servers.append(server)
        return server, path

    def tls_client(self, server: ScriptedServer, context: ssl.SSLContext | None) -> Any:
        """A client that knows that server as localhost."""
        return self.client(self.url(server), ssl_context=context)

    def url(self, server: ScriptedServer) -> str:
        """Of that server, as localhost."""
        return f"wss://localhost:{server.port}/push" if self.over_websocket else f"pushs://localhost:{server.port}"

    async def test_a_trusted_certificate_for_the_name_is_accepted(self) -> None:
        server, path = await self.serve_tls("localhost")
        async with self.tls_client(server, ssl.create_default_context(cafile=path)) as client:
            self.assertEqual(await client.wait_open(), TOKEN)
            self.assertEqual((await anext(aiter(client))).text, "secret")

    async def test_another_name_is_refused(self) -> None:
        server, path = await self.serve_tls("example.org")
        async with self.tls_client(server, ssl.create_default_context(cafile=path)):
            await self.clock.somebody_sleeps(0.25)
        self.assertIn("ostname", self.said(aio_sdk.Lost)[0].reason)

    async def test_it_is_the_name_of_the_node_that_a_redirect_leads_to(self) -> None:
        async def redirect(peer: Peer) -> None:
            await peer.refuse(status=302, host="127.0.0.1", port=there.port)
            await peer.eof()

        there, its = await self.serve_tls("localhost")  # which is not what 127.0.0.1 must call itself
        here, path = await self.serve_tls("localhost", redirect)
        context = ssl.create_default_context(cafile=path)
        context.load_verify_locations(its)
        async with self.tls_client(here, context):
            await self.clock.somebody_sleeps(0.25)
        lost = self.said(aio_sdk.Lost)[0]
        self.assertEqual(lost.address.port, there.port)
        self.assertIn("127.0.0.1", lost.reason)

    async def test_an_unknown_certificate_is_refused_by_default(self) -> None:
        server, _ = await self.serve_tls("localhost")
        async with self.tls_client(server, None):
            await self.clock.somebody_sleeps(0.25)
        self.assertIn("certificate verify failed", self.said(aio_sdk.Lost)[0].reason)

    async def test_who_says_where_to_connect_is_verified_too(self) -> None:
        async def script(peer: Peer) -> None:
            asked.append(await peer.reader.readuntil(b"\r\n\r\n"))
            peer.writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"nodes":[{"host":"localhost","port":%d}]}' % there.port)

        asked: list[bytes] = []
        there, path = await self.serve_tls("localhost")
        for host, reasons in (("localhost", 0), ("example.org", 1)):
            says, its = await self.serve_tls(host, script, is_http=True)
            context = ssl.create_default_context(cafile=path)
            context.load_verify_locations(its)
            url = f"https://localhost:{says.port}/"
            async with self.client(self.url(there), ssl_context=context, allocation=url) as client:
                await client.wait_open()
            self.assertEqual((len(asked), len(self.said(aio_sdk.Unallocated))), (1, reasons))
        self.assertIn("ostname", self.said(aio_sdk.Unallocated)[0].reason)

    async def test_a_full_queue_stops_reading_and_nothing_stays_behind_in_the_tls_layer(self) -> None:
        total = 300
        payload = bytes(50_000)

        async def script(peer: Peer) -> None:
            await peer.open()
            for number in range(1, total + 1):
                peer.push(number, payload)
                await peer.writer.drain()
            await peer.eof()

        server, path = await self.serve_tls("localhost", script)
        context = ssl.create_default_context(cafile=path)
        tuning = aio_sdk.Tuning(max_queued_messages=3)
        async with self.client(self.url(server), ssl_context=context, tuning=tuning, auto_ack=False) as client:
            iteration = aiter(client)
            for number in range(1, total + 1):
                if number % 100 == 0:
                    await asyncio.sleep(0.05)
                self.assertEqual((await anext(iteration)).id, number)


@on_every_sdk
class EvilTlsTests(EvilServerTests):
    """The scripted evil server behind TLS: pushs:// and wss://."""

    host = "localhost"

    async def serve(self, *scripts: Script, is_http: bool = False) -> ScriptedServer:
        """Start one as localhost."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = certificate(Path(directory.name), "localhost")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        self._trusted = ssl.create_default_context(cafile=path)
        server = ScriptedServer(*scripts)
        server.over_websocket = self.over_websocket
        await server.start(context)
        self._servers.append(server)
        return server

    def client(self, server: ScriptedServer | str, **arguments: Any) -> Any:
        """A client that trusts it."""
        assert isinstance(server, ScriptedServer)
        scheme, path = ("wss", "/push") if self.over_websocket else ("pushs", "")
        url = f"{scheme}://localhost:{server.port}{path}"
        return super().client(url, ssl_context=self._trusted, **arguments)
