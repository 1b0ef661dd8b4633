"""What is kept with the token: handled ids, so that what is sent again after a restart is not handled again."""

import asyncio
import tempfile
import threading
from pathlib import Path
from unittest import TestCase

import aio_sdk
from push.protocols.wire.answers import NodeAddress
from push_client.receipts import MAX_KEPT_IDS, Receipts
from push_client.token_store import Kept, parse_kept, write_kept
from tests.sdk.hand_clock import GUARD_S
from tests.sdk.surroundings import TOKEN, Peer, SdkCase, on_every_sdk

TOO_LONG = "{" + 65_536 * " " + "}"


class ReceiptsTests(TestCase):
    """What of many ids is known, and for how long."""

    def test_the_last_4_096_are_dropped_when_they_come_again(self) -> None:
        receipts = Receipts()
        ids = range(1, 5_001)
        self.assertTrue(all(receipts.received(number) for number in ids))
        self.assertFalse(any(receipts.received(number) for number in ids[-4_096:]))

    def test_as_many_are_acknowledged_after_a_time_without_connection(self) -> None:
        receipts = Receipts()
        for number in range(1, 5_001):
            receipts.received(number)
            receipts.handled(number)
        self.assertEqual(receipts.take(), list(range(905, 5_001)))
        self.assertFalse(receipts.wanting)


class KeptTextTests(TestCase):
    """The text that is kept."""

    def test_what_is_written_is_read(self) -> None:
        for kept in (
            Kept(TOKEN),
            Kept(TOKEN, (1, 2**64 - 1), {"": [30.0], "wifi ü": [90.0, 200.0]}, NodeAddress("::1", 6789)),
        ):
            self.assertEqual(parse_kept(write_kept(kept)), kept)
        self.assertEqual(write_kept(Kept(TOKEN)), f"{TOKEN}\n")

    def test_it_stays_small(self) -> None:
        ids = tuple(range(2**64 - 2_000, 2**64))
        text = write_kept(Kept(TOKEN, ids[-MAX_KEPT_IDS:], {f"{n:>064}": [1 / 3, 1 / 7] for n in range(16)}))
        self.assertLess(len(text), 32_768)
        self.assertEqual(parse_kept(write_kept(Kept(TOKEN, ids))).handled, ids[-MAX_KEPT_IDS:])

    def test_something_else_is_refused(self) -> None:
        for rest in (
            "x",
            "[]",
            '{"handled": [1]}',
            '{"handled": ["-1"]}',
            '{"good": {"host": "h"}}',
            '{"good": 1}',
            TOO_LONG,
        ):
            with self.subTest(rest), self.assertRaises(ValueError):
                parse_kept(f"{TOKEN}\n{rest}\n")


@on_every_sdk
class KeptTests(SdkCase):
    """Two runs."""

    async def asyncSetUp(self) -> None:
        """Make a directory."""
        await super().asyncSetUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)  # type: ignore[attr-defined]
        self.path = Path(directory.name) / "token"

    async def test_a_message_that_was_handled_before_a_restart_is_acknowledged_and_not_given_again(self) -> None:
        acknowledged = []

        async def first(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"one")
            peer.push(2, b"two")
            await peer.eof()

        async def again(peer: Peer) -> None:
            self.assertEqual((await peer.open()).token, TOKEN)
            for number in (1, 2, 3):
                peer.push(number, b"again %d" % number)
            acknowledged.append(await peer.acknowledged())
            await peer.eof()

        server = await self.serve(first, again)
        async with self.client(server, token_file=self.path, auto_ack=False) as client:
            (await anext(aiter(client))).ack()
        async with self.client(server, token_file=self.path, auto_ack=False) as client:
            iteration = aiter(client)
            self.assertEqual([(await anext(iteration)).id for _ in range(2)], [2, 3])
            while not acknowledged:
                await asyncio.sleep(0)
        self.assertEqual(acknowledged, [[1]])

    async def test_where_home_is_away_the_next_run_tries_the_last_good_node(self) -> None:
        async def redirect(peer: Peer) -> None:
            await peer.refuse(status=302, host="127.0.0.1", port=there.port)
            await peer.eof()

        async def stay(peer: Peer) -> None:
            await peer.open()
            await peer.eof()

        there = await self.serve(stay)
        home = await self.serve(redirect)
        async with self.client(home, token_file=self.path) as client:
            await client.wait_open()
        await home.stop()
        self._servers.remove(home)
        self.statuses.clear()
        async with self.client(home, token_file=self.path) as client:
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual([one.address.port for one in self.said(aio_sdk.Connecting)], [home.port, there.port])

    async def test_ids_are_written_down_while_it_runs_but_not_for_each_message(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            for number in range(1, 21):
                peer.push(number, b"x")
            await peer.eof()

        texts: list[str] = []
        store = aio_sdk.TokenCallbacks(lambda: None, texts.append)
        server = await self.serve(script)
        async with self.client(server, token_store=store) as client:
            iteration = aiter(client)
            for _ in range(20):
                await anext(iteration)
            await self.clock.pass_over(5.0)
            while len(texts) < 2:
                await asyncio.sleep(0)
            self.assertEqual(parse_kept(texts[-1]).handled, tuple(range(1, 20)))
        self.assertEqual(texts[0], f"{TOKEN}\n")
        self.assertEqual(len(texts), 2)

    async def test_a_token_that_callbacks_keep_is_used(self) -> None:
        tokens = []

        async def script(peer: Peer) -> None:
            tokens.append((await peer.open()).token)
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, token_store=aio_sdk.TokenCallbacks(lambda: "kept", print)) as client:
            self.assertEqual(await client.wait_open(), "kept")
        self.assertEqual(tokens, ["kept"])

    async def test_nothing_is_handed_out_before_the_token_is_kept(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"x")
            await peer.writer.drain()
            pushed.set()
            await peer.eof()

        def save(text: str) -> None:
            if not events:
                gate.wait(GUARD_S)
            events.append("kept")

        def tell(status: aio_sdk.Status) -> None:
            if isinstance(status, aio_sdk.Open):
                events.append("open")

        events: list[str] = []
        gate, pushed = threading.Event(), asyncio.Event()
        server = await self.serve(script)
        store = aio_sdk.TokenCallbacks(lambda: None, save)
        async with self.client(server, token_store=store, on_status=tell) as client:
            taking = asyncio.ensure_future(anext(aiter(client)))
            try:
                await pushed.wait()
                for _ in range(200):
                    await asyncio.sleep(0)
                self.assertEqual((events, taking.done()), ([], False))
            finally:
                gate.set()
            self.assertEqual((await taking).text, "x")
            self.assertEqual(events, ["kept", "open"])

    async def test_callbacks_that_fail_end_the_client(self) -> None:
        def fail(*_: object) -> None:
            raise LookupError("no keychain")

        async def script(peer: Peer) -> None:
            await peer.open()
            await peer.eof()

        server = await self.serve(script)
        with self.assertRaisesRegex(aio_sdk.TokenFileError, "cannot be loaded: LookupError"):
            await self.client(server, token_store=aio_sdk.TokenCallbacks(fail, print)).__aenter__()
        async with self.client(server, token_store=aio_sdk.TokenCallbacks(lambda: None, fail)) as client:
            with self.assertRaisesRegex(aio_sdk.TokenFileError, "cannot be saved: LookupError"):
                await anext(aiter(client))

    async def test_a_failure_to_write_down_ids_costs_nothing(self) -> None:
        texts: list[str] = []

        def save(text: str) -> None:
            texts.append(text)
            if len(texts) > 1:
                raise OSError("disk full")

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"x")
            await peer.acknowledged()
            while len(texts) < 2:
                await asyncio.sleep(0)
            peer.push(2, b"y")
            await peer.eof()

        server = await self.serve(script)
        store = aio_sdk.TokenCallbacks(lambda: None, save)
        async with self.client(server, token_store=store, auto_ack=False) as client:
            iteration = aiter(client)
            (await anext(iteration)).ack()
            await self.clock.pass_over(5.0)
            self.assertEqual((await anext(iteration)).id, 2)
        self.assertEqual(self.said(aio_sdk.Lost), [])
