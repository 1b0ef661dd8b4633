"""network_changed: what waits is tried now, and what is open is looked at."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import aio_sdk
from push.protocols.wire.signals import Signal
from tests.sdk.surroundings import Peer, SdkCase, on_every_sdk


async def open_and_stay(peer: Peer) -> None:
    """A server that opens the session and is silent."""
    await peer.open()
    await peer.eof()


async def open_and_drop(peer: Peer) -> None:
    """A server that opens the session and closes without a word."""
    await peer.open()


@contextmanager
def deaf() -> Iterator[int]:
    """A port where connections are neither made nor refused: what waits to be accepted is full."""
    with socket.socket() as listening, ExitStack() as fillers:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@on_every_sdk
class NetworkTests(SdkCase):
    """What an application says that only it can know."""

    async def test_a_client_that_waits_tries_at_once(self) -> None:
        server = await self.serve(open_and_drop, open_and_drop, open_and_stay)
        async with self.client(server) as client:
            await self.clock.pass_over(0.25)
            await self.clock.somebody_sleeps(0.5)
            client.network_changed()
            while server.accepted < 3:
                await asyncio.sleep(0)
            await client.wait_open()

    async def test_and_forgets_its_failures(self) -> None:
        server = await self.serve(open_and_drop)
        async with self.client(server) as client:
            await self.clock.pass_over(0.25)
            await self.clock.somebody_sleeps(0.5)
            client.network_changed()
            await self.clock.somebody_sleeps(0.25)

    async def test_a_session_that_was_asked_for_where_the_device_was_is_asked_for_anew(self) -> None:
        async def silent(peer: Peer) -> None:
            await peer.asked()
            heard.set()
            await peer.eof()

        heard = asyncio.Event()
        server = await self.serve(silent, open_and_stay)
        async with self.client(server) as client:
            await heard.wait()
            client.network_changed()
            await client.wait_open()
        self.assertEqual([one.reason for one in self.said(aio_sdk.Lost)], ["the network has changed"])

    async def test_a_connection_that_has_not_come_about_is_begun_anew(self) -> None:
        with deaf() as port:
            url = f"ws://127.0.0.1:{port}/push" if self.over_websocket else f"push://127.0.0.1:{port}"
            async with self.client(url) as client:
                for attempts in (1, 2):
                    while len(self.said(aio_sdk.Connecting)) < attempts:
                        await asyncio.sleep(0)
                    client.network_changed()
                while len(self.said(aio_sdk.Connecting)) < 3:
                    await asyncio.sleep(0)
        self.assertEqual([one.reason for one in self.said(aio_sdk.Lost)], 2 * ["the network has changed"])
        self.assertEqual(self.said(aio_sdk.Waiting), [])

    async def test_an_open_session_is_asked_for_a_sign_of_life_and_stays(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            await peer.pong()
            peer.push(1, b"alive")
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            await client.wait_open()
            client.network_changed()
            self.assertEqual((await anext(aiter(client))).text, "alive")
        self.assertEqual(self.said(aio_sdk.Lost), [])

    async def test_a_line_that_does_not_answer_is_given_up_without_a_lesson(self) -> None:
        intervals = []

        async def script(peer: Peer) -> None:
            intervals.append((await peer.open()).interval_ms)
            if len(intervals) == 1:
                await peer.take(Signal.PING)
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            await client.wait_open()
            client.network_changed()
            await self.clock.pass_over(20.0)
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual(intervals, [60_000, 60_000])

    async def test_on_another_network_the_session_is_opened_anew_with_the_same_token(self) -> None:
        tokens = []

        async def script(peer: Peer) -> None:
            tokens.append((await peer.open()).token)
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            token = await client.wait_open()
            client.network_changed("wifi")
            while len(tokens) < 2:
                await asyncio.sleep(0)
            await client.wait_open()
        self.assertEqual(tokens, [None, token])
        self.assertEqual(self.said(aio_sdk.Lost)[0].reason, "the network has changed")
        self.assertEqual(self.said(aio_sdk.Waiting), [])

    async def test_a_name_that_cannot_be_is_refused(self) -> None:
        server = await self.serve(open_and_stay)
        async with self.client(server) as client:
            with self.assertRaises(ValueError):
                client.network_changed("x" * 65)
            await client.wait_open()
