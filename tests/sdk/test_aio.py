"""What aio_sdk alone does: tasks, asynchronous callbacks, streams that do not open or close."""

import asyncio
import json
import tempfile
from pathlib import Path
from unittest import IsolatedAsyncioTestCase

import aio_sdk
from aio_sdk import PushClient
from push.protocols.wire.signals import Signal, SubSignal
from tests.sdk.surroundings import Peer, ScriptedServer, SdkCase
from tests.sdk.test_chat_scripted import NOTHING, answer, say


async def open_and_stay(peer: Peer) -> None:
    """A server that opens the session and is silent."""
    await peer.open()
    await peer.eof()


async def first_of(client: PushClient) -> list[aio_sdk.Message]:
    """The next message, if there is one."""
    async for message in client:
        return [message]
    return []


class AioTests(SdkCase, IsolatedAsyncioTestCase):
    """The asyncio side of it."""

    async def test_a_callable_for_the_credential_may_be_asynchronous(self) -> None:
        seen = []

        async def script(peer: Peer) -> None:
            seen.append((await peer.open()).auth)
            await peer.eof()

        async def credential() -> str:
            await asyncio.sleep(0)
            return "later"

        server = await self.serve(script)
        async with self.client(server, auth=credential) as client:
            await client.wait_open()
        self.assertEqual(seen, ["later"])

    async def test_only_one_iteration_at_a_time_may_wait(self) -> None:
        server = await self.serve(open_and_stay)
        async with self.client(server) as client:
            first = asyncio.ensure_future(first_of(client))
            await asyncio.sleep(0)
            with self.assertRaisesRegex(RuntimeError, "one task at a time"):
                await first_of(client)
            first.cancel()
            await asyncio.wait([first])
            second = asyncio.ensure_future(first_of(client))
            await asyncio.sleep(0)
            self.assertFalse(second.done())
            await client.aclose()
            self.assertEqual(await second, [])

    async def test_it_can_be_cancelled_at_any_moment_and_leaves_no_task(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            for number in range(1, 100):
                peer.push(number, b"x")
                await peer.writer.drain()
            await peer.eof()

        async def application(path: Path) -> None:
            async with PushClient(server.url, token_file=path, auth=credential) as client:
                async for _ in client:
                    await asyncio.sleep(0)

        async def credential() -> str:
            await asyncio.sleep(0)
            return "jwt"

        server = await self.serve(script)
        with tempfile.TemporaryDirectory() as directory:
            for turns in range(80):
                task = asyncio.ensure_future(application(Path(directory) / "token"))
                for _ in range(turns):
                    await asyncio.sleep(0.0005)
                task.cancel()
                await asyncio.wait([task])
                self.assertTrue(task.cancelled())
                left = [one for one in asyncio.all_tasks() if "aio_sdk" in repr(one) or "to_thread" in repr(one)]
                self.assertEqual(left, [])

    async def test_a_mistake_in_on_status_costs_no_connection(self) -> None:
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

        def callback(status: aio_sdk.Status) -> None:
            raise ZeroDivisionError

        server = await self.serve(open_and_stay)
        async with self.client(server, on_status=callback) as client:
            await client.wait_open()
        self.assertEqual([type(error) for error in reported], [ZeroDivisionError] * 3)

    async def test_a_mistake_in_on_notice_costs_no_connection(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            peer.send(Signal.PUBLISH, b'{"group":"a"}', subsignal=SubSignal.GD)
            peer.push(1, b"still here")
            await peer.eof()

        def callback(notice: aio_sdk.ChatNotice) -> None:
            raise ZeroDivisionError

        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
        server = await self.serve(script)
        async with self.client(server, on_notice=callback) as client:
            (message,) = await first_of(client)
        self.assertEqual(message.text, "still here")
        self.assertEqual([type(error) for error in reported], [ZeroDivisionError])

    async def test_closing_while_connecting_leaves_no_socket(self) -> None:
        asked = asyncio.Event()

        async def connect(host: str, port: int, *, ssl: object) -> aio_sdk.settings.Streams:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        surroundings = aio_sdk.Surroundings(clock=self.clock, connect=connect)
        async with PushClient("push://127.0.0.1", surroundings=surroundings):
            await asked.wait()

    async def test_it_is_used_once_and_only_when_entered(self) -> None:
        server = await self.serve(open_and_stay)
        client = self.client(server)
        self.assertRaisesRegex(RuntimeError, "enter", aiter, client)
        with self.assertRaisesRegex(RuntimeError, "enter"):
            await client.wait_open()
        async with client:
            pass
        with self.assertRaisesRegex(RuntimeError, "once"):
            await client.__aenter__()

    async def test_a_connection_that_does_not_come_about_is_given_up(self) -> None:
        async def connect(host: str, port: int, *, ssl: object) -> aio_sdk.settings.Streams:
            await asyncio.Event().wait()
            raise AssertionError

        surroundings = aio_sdk.Surroundings(clock=self.clock, random=lambda: 0.5, connect=connect)
        client = aio_sdk.PushClient("push://h", surroundings=surroundings, on_status=self.statuses.append)
        async with client:
            await self.clock.pass_over(10.0)
            await self.clock.somebody_sleeps(0.25)
        self.assertEqual(self.said(aio_sdk.Lost)[0].reason, "cannot connect: no answer in time")


class StuckCloseTests(SdkCase, IsolatedAsyncioTestCase):
    """A line that does not end by itself."""

    async def stuck(self) -> tuple[PushClient, list[asyncio.StreamWriter]]:
        """An open client, and what it writes to."""
        writers: list[asyncio.StreamWriter] = []

        class Stuck(asyncio.StreamWriter):
            def close(self) -> None:
                """As TLS does it while the other side does not answer: nothing happens."""

        async def connect(host: str, port: int, *, ssl: object) -> aio_sdk.settings.Streams:
            reader, writer = await asyncio.open_connection(host, port)
            writers.append(writer)  # which would close the line if it were collected
            return reader, Stuck(writer.transport, writer.transport.get_protocol(), reader, asyncio.get_running_loop())

        server = await self.serve(open_and_stay)
        client = PushClient(server.url, surroundings=aio_sdk.Surroundings(clock=self.clock, connect=connect))
        await client.__aenter__()
        await client.wait_open()
        return client, writers

    async def test_closing_can_be_cancelled_and_leaves_neither_task_nor_line_nor_who_waits(self) -> None:
        client, writers = await self.stuck()
        waiting = asyncio.ensure_future(anext(aiter(client.chat), None))
        closing = asyncio.ensure_future(client.aclose())
        await self.clock.somebody_sleeps(2.0)
        closing.cancel()
        await asyncio.wait([closing])
        self.assertTrue(closing.cancelled())
        self.assertEqual([one for one in asyncio.all_tasks() if "aio_sdk" in repr(one) and one is not waiting], [])
        self.assertTrue(writers[0].transport.is_closing())
        async with asyncio.timeout(1.0):
            self.assertIsNone(await waiting)

    async def test_it_is_cut_after_the_time_for_closing(self) -> None:
        client, writers = await self.stuck()
        closing = asyncio.ensure_future(client.aclose())
        await self.clock.somebody_sleeps(2.0)
        self.assertFalse(closing.done())
        self.clock.advance(2.0)
        await closing
        self.assertTrue(writers[0].transport.is_closing())


class ChatIterationTests(SdkCase, IsolatedAsyncioTestCase):
    """Several iterations over one chat."""

    async def talking(self, messages: int) -> tuple[ScriptedServer, asyncio.Queue[int]]:
        """A server with so many messages of one conversation; and the numbers that it is told were read."""
        read: asyncio.Queue[int] = asyncio.Queue()

        async def script(peer: Peer) -> None:
            await peer.open()
            survey = await peer.take(Signal.PUBLISH)
            answer(peer, survey, NOTHING)
            for seq in range(1, messages + 1):
                say(peer, b'{"conversation":"g.a","seq":%d}' % seq)
            while (frame := await peer.frame()).signal == Signal.PUBLISH:
                self.assertEqual(frame.subsignal, SubSignal.MN)
                read.put_nowait(json.loads(frame.body)["seq"])
                answer(peer, frame, b"\0{}")

        return await self.serve(script), read

    async def test_each_reads_what_it_was_given(self) -> None:
        server, read = await self.talking(3)
        async with self.client(server) as client:
            first, second = aiter(client.chat), aiter(client.chat)
            self.assertEqual((await anext(first)).seq, 1)
            self.assertEqual((await anext(second)).seq, 2)
            self.assertEqual((await anext(second)).seq, 3)
            self.assertEqual(await read.get(), 2)
            waiting = asyncio.ensure_future(anext(first))
            await asyncio.sleep(0)
            with self.assertRaisesRegex(RuntimeError, "one task at a time"):
                await anext(second)
            while await read.get() != 3:
                pass  # 1, unless 2 was still being said
            waiting.cancel()

    async def test_what_an_iteration_that_was_left_gave_is_read_when_another_goes_on(self) -> None:
        server, read = await self.talking(3)
        async with self.client(server) as client:
            async for message in client.chat:
                self.assertEqual(message.seq, 1)
                break
            for seq in (2, 3):
                self.assertEqual((await anext(aiter(client.chat))).seq, seq)
                self.assertEqual(await read.get(), seq - 1)
