"""The token file: what is kept, how it is written, and what is refused."""

import os
import stat
import tempfile
from pathlib import Path
from unittest import TestCase, mock

import aio_sdk
from push_client.token_store import Kept, TokenFile, load
from tests.sdk.surroundings import TOKEN, Peer, SdkCase, on_every_sdk


class FileCase:
    """A directory that goes away with the test."""

    def setUp(self) -> None:
        """Make it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "token"


class TokenFileTests(FileCase, TestCase):
    """The two functions."""

    def test_what_is_saved_is_loaded(self) -> None:
        TokenFile(self.path).save(TOKEN)
        self.assertEqual(load(TokenFile(self.path)), Kept(TOKEN))
        TokenFile(self.path).save("other")
        self.assertEqual(load(TokenFile(self.path)), Kept("other"))

    def test_only_the_owner_may_read_it_whatever_the_umask(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        TokenFile(self.path).save(TOKEN)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_all_of_it_is_on_the_disk_before_it_takes_the_place_of_the_old(self) -> None:
        def synced(descriptor: int) -> None:
            seen.append((os.fstat(descriptor).st_size, self.path.read_text()))
            fsync(descriptor)

        fsync, seen = os.fsync, []
        self.path.write_text("old")
        with mock.patch("os.fsync", synced):
            TokenFile(self.path).save(TOKEN)
        self.assertEqual(seen, [(len(TOKEN), "old")])
        self.assertEqual(self.path.read_text(), TOKEN)

    def test_nothing_else_is_left_in_the_directory(self) -> None:
        TokenFile(self.path).save(TOKEN)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def test_no_file_and_an_empty_file_are_no_token(self) -> None:
        self.assertIsNone(load(TokenFile(self.path)))
        self.path.write_text("\n")
        self.assertIsNone(load(TokenFile(self.path)))

    def test_something_else_is_refused_and_not_overwritten(self) -> None:
        for content in (b"two words", b"\xff\xfe", b"x" * 2_000, b"token\nmore", b'token\n{"handled": [1]}'):
            self.path.write_bytes(content)
            with self.assertRaisesRegex(aio_sdk.TokenFileError, "holds no token"):
                load(TokenFile(self.path))
            self.assertEqual(self.path.read_bytes(), content)

    def test_what_cannot_be_written_says_so_and_leaves_the_old_file(self) -> None:
        missing = self.path.parent / "missing" / "token"
        with self.assertRaisesRegex(aio_sdk.TokenFileError, "No such file"):
            TokenFile(missing).save(TOKEN)
        self.path.mkdir()
        with self.assertRaisesRegex(aio_sdk.TokenFileError, "cannot write"):
            TokenFile(self.path).save(TOKEN)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])
        with self.assertRaisesRegex(aio_sdk.TokenFileError, "cannot read"):
            load(TokenFile(self.path))


@on_every_sdk
class ClientTokenFileTests(SdkCase, FileCase):
    """A client with such a file."""

    async def test_the_token_survives_the_client(self) -> None:
        tokens = []

        async def script(peer: Peer) -> None:
            tokens.append((await peer.open()).token)
            await peer.eof()

        server = await self.serve(script)
        for _ in range(2):
            async with self.client(server, token_file=self.path) as client:
                self.assertEqual(await client.wait_open(), TOKEN)
        self.assertEqual(tokens, [None, TOKEN])

    async def test_a_token_that_is_given_goes_before_the_file_and_into_it(self) -> None:
        self.path.write_text("old\n")

        async def script(peer: Peer) -> None:
            await peer.open()
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, token="new", token_file=str(self.path)) as client:
            self.assertEqual(await client.wait_open(), "new")
        self.assertEqual(self.path.read_text(), "new\n")

    async def test_a_file_that_cannot_be_read_is_said_when_entering(self) -> None:
        self.path.write_text("two words")
        server = await self.serve()
        with self.assertRaises(aio_sdk.TokenFileError):
            await self.client(server, token_file=self.path).__aenter__()
        self.assertEqual(server.accepted, 0)

    async def test_a_token_that_cannot_be_kept_ends_the_client(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, token_file=self.path.parent / "missing" / "token") as client:
            with self.assertRaises(aio_sdk.TokenFileError):
                await anext(aiter(client))
