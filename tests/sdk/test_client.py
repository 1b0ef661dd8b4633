"""Both SDKs against a scripted server: opening, messages, acknowledgement, closing."""

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import Any
from unittest import TestCase

import aio_sdk
import nio_sdk
from aio_sdk import Message, Tuning
from push.protocols.wire.signals import Signal, SubSignal
from push_client.address import parse_url
from tests.sdk.surroundings import TOKEN, Peer, SdkCase, on_every_sdk


async def take(client: Any, count: int) -> list[Message]:
    """The next messages, without asking for the one behind them."""
    messages: list[Message] = []
    async for message in client:
        messages.append(message)
        if len(messages) == count:
            break
    return messages


async def open_and_stay(peer: Peer) -> None:
    """A server that opens the session and is silent."""
    await peer.open()
    await peer.eof()


@on_every_sdk
class OpeningTests(SdkCase):
    """What a client asks for, and what it gets."""

    async def test_it_asks_for_what_it_was_given(self) -> None:
        requests = []

        async def script(peer: Peer) -> None:
            requests.append(await peer.open())
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, uid="alice", auth="jwt", tags=["a", "b"], device={"os": "x"}) as client:
            self.assertEqual(await client.wait_open(), TOKEN)
        (request,) = requests
        self.assertEqual((request.uid, request.auth, request.ack), ("alice", "jwt", True))
        self.assertTrue(request.missed)  # as somebody listens to statuses
        self.assertEqual((request.tags, request.device, request.interval_ms), (("a", "b"), '{"os":"x"}', 60_000))
        self.assertEqual(client.token, TOKEN)

    async def test_it_tells_where_it_stands(self) -> None:
        server = await self.serve(open_and_stay)
        async with self.client(server) as client:
            await client.wait_open()
        address = parse_url(server.url)
        self.assertEqual(
            self.statuses,
            [aio_sdk.Connecting(address), aio_sdk.Open(address, TOKEN, 60.0), aio_sdk.Ended("the client was closed")],
        )

    async def test_a_callable_gives_the_credential_of_each_attempt(self) -> None:
        credentials = iter(["first", "second"])
        seen = []

        async def script(peer: Peer) -> None:
            seen.append((await peer.open()).auth)
            if len(seen) == 1:
                return
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, auth=lambda: next(credentials)) as client:
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual(seen, ["first", "second"])

    async def test_an_os_error_of_the_callable_is_a_failed_attempt(self) -> None:
        answers = iter([ConnectionRefusedError("no login server"), "jwt"])

        def credential() -> str:
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        server = await self.serve(open_and_stay)
        async with self.client(server, auth=credential) as client:
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertIn("no login server", self.said(aio_sdk.Lost)[0].reason)

    async def test_another_error_of_the_callable_ends_the_iteration(self) -> None:
        def credential() -> str:
            raise LookupError("nobody is logged in")

        server = await self.serve(open_and_stay)
        async with self.client(server, auth=credential) as client:
            with self.assertRaisesRegex(LookupError, "nobody"):
                await take(client, 1)
            with self.assertRaises(LookupError):
                await client.wait_open()


@on_every_sdk
class MessageTests(SdkCase):
    """Messages and their acknowledgement."""

    async def test_messages_arrive_in_order_and_are_acknowledged_when_the_next_is_asked_for(self) -> None:
        acknowledged: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.open()
            for number in (1, 2, 3):
                peer.push(number, b"%d" % number)
            while len(acknowledged) < 2:
                acknowledged.extend(await peer.acknowledged())
            await peer.take(Signal.DISCONNECT)

        server = await self.serve(script)
        async with self.client(server) as client:
            messages = await take(client, 3)
        self.assertEqual([(m.id, m.text) for m in messages], [(1, "1"), (2, "2"), (3, "3")])
        while len(acknowledged) < 2:
            await asyncio.sleep(0)
        self.assertEqual(acknowledged, [1, 2])

    async def test_without_auto_ack_the_application_acknowledges(self) -> None:
        done = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.open()
            for number in (1, 2, 3):
                peer.push(number, b"x")
            self.assertEqual(await peer.acknowledged(), [2])
            done.set()
            await peer.take(Signal.DISCONNECT)

        server = await self.serve(script)
        async with self.client(server, auto_ack=False) as client:
            messages = await take(client, 3)
            messages[1].ack()
            messages[1].ack()
            await done.wait()

    async def test_closing_sends_the_acknowledgements_that_are_due(self) -> None:
        got: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(7, b"x")
            got.extend(await peer.acknowledged())
            await peer.take(Signal.DISCONNECT)

        server = await self.serve(script)
        async with self.client(server) as client:
            (message,) = await take(client, 1)
            message.ack()
        while not got:
            await asyncio.sleep(0)
        self.assertEqual(got, [7])

    async def test_what_is_sent_again_is_dropped_and_acknowledged_again(self) -> None:
        acknowledged = []

        async def first(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"one")
            peer.push(2, b"two")
            await peer.acknowledged()

        async def again(peer: Peer) -> None:
            await peer.open()
            for number in (1, 2, 3):
                peer.push(number, b"again")
            acknowledged.append(await peer.acknowledged())
            await peer.eof()

        server = await self.serve(first, again)
        async with self.client(server) as client:
            iteration = aiter(client)
            self.assertEqual([(await anext(iteration)).text for _ in range(2)], ["one", "two"])
            await self.clock.pass_over(0.25)
            while not acknowledged:
                await asyncio.sleep(0)
            # 1 was handled, 2 is still in the application's hands.
            self.assertEqual(acknowledged, [[1]])
            self.assertEqual((await anext(iteration)).id, 3)

    async def test_without_ack_messages_have_no_id(self) -> None:
        async def script(peer: Peer) -> None:
            self.assertFalse((await peer.open()).ack)
            peer.send(Signal.PUSH, b"bare")
            peer.send(Signal.PUSH, b"bare")
            await peer.take(Signal.DISCONNECT)

        server = await self.serve(script)
        async with self.client(server, ack=False) as client:
            messages = await take(client, 2)
        messages[0].ack()
        self.assertEqual([(m.id, m.data) for m in messages], [(None, b"bare")] * 2)

    async def test_a_cancelled_wait_loses_no_message(self) -> None:
        gate = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.open()
            await gate.wait()
            peer.push(1, b"late")
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            iteration = aiter(client)
            for _ in range(3):
                waiting = asyncio.ensure_future(anext(iteration))
                await asyncio.sleep(0)
                waiting.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await waiting
            gate.set()
            self.assertEqual((await anext(iteration)).text, "late")

    async def test_chat_is_passed_over(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            peer.send(Signal.CONTACT, b"{}")
            peer.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MN)
            peer.push(1, b"push")
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            self.assertEqual((await take(client, 1))[0].text, "push")

    async def stops_reading(self, tuning: Tuning) -> None:
        """Push more than any socket buffer holds, and see that it waits for the application."""
        payload = bytes(60_000)
        total = 400
        written = 0

        async def script(peer: Peer) -> None:
            nonlocal written
            await peer.open()
            for number in range(1, total + 1):
                peer.push(number, payload)
                await peer.writer.drain()
                written = number
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, tuning=tuning, auto_ack=False) as client:
            await client.wait_open()
            before = -1
            while written != before:  # until nothing moves any more
                before = written
                for _ in range(200):
                    await asyncio.sleep(0)
            self.assertLess(written, total)
            self.assertEqual([m.id for m in await take(client, total)], list(range(1, total + 1)))

    async def test_a_full_queue_stops_reading_until_the_application_takes(self) -> None:
        await self.stops_reading(Tuning(max_queued_messages=4))

    async def test_the_queue_is_bounded_in_bytes_too(self) -> None:
        await self.stops_reading(Tuning(max_queued_messages=10_000, max_queued_bytes=200_000))


@on_every_sdk
class ClosingTests(SdkCase):
    """The end of a client; that no task is left is asked after every test."""

    async def test_it_says_goodbye(self) -> None:
        said = []

        async def script(peer: Peer) -> None:
            await peer.open()
            said.append(json.loads((await peer.take(Signal.DISCONNECT)).body))

        server = await self.serve(script)
        async with self.client(server) as client:
            await client.wait_open()
        while not said:
            await asyncio.sleep(0)
        self.assertEqual(said[0]["code"], 3000)

    async def test_an_iteration_ends_when_the_client_is_closed(self) -> None:
        server = await self.serve(open_and_stay)
        async with self.client(server) as client:
            await client.wait_open()
            waiting = asyncio.ensure_future(take(client, 1))
            await asyncio.sleep(0)
            await client.aclose()
            self.assertEqual(await waiting, [])
            with self.assertRaisesRegex(RuntimeError, "closed"):
                await client.wait_open()
            await client.aclose()

    async def test_closing_does_not_wait_for_a_server_that_does_not_read(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            await asyncio.Event().wait()

        server = await self.serve(script)
        client = self.client(server)
        async with client:
            await client.wait_open()

    async def test_cancelling_the_application_closes_the_client(self) -> None:
        server = await self.serve(open_and_stay)
        opened = asyncio.Event()

        async def application() -> None:
            async with self.client(server) as client:
                await client.wait_open()
                opened.set()
                async for _ in client:
                    pass

        task = asyncio.ensure_future(application())
        await opened.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task


class ArgumentTests(TestCase):
    """What cannot be is said at once."""

    make: Callable[..., object] = staticmethod(aio_sdk.PushClient)

    def test_bad_arguments_are_named(self) -> None:
        bad = [
            ({"uid": ""}, "uid"),
            ({"uid": "a\x00b"}, "uid"),
            ({"uid": "\ud800"}, ""),
            ({"token": "a b"}, "token"),
            ({"tags": "abc"}, "tags"),
            ({"tags": ["x"] * 33}, "tags"),
            ({"device": {"x": "y" * 1_024}}, "device"),
            ({"device": {"x": float("nan")}}, "device must be of what JSON has"),
            ({"device": "phone"}, "device must be a dict, not str"),
            ({"device": [("os", "x")]}, "device must be a dict, not list"),
            ({"device": {"x": b"y"}}, "device must be of what JSON has"),
            ({"ssl_context": ssl.create_default_context()}, "pushs"),
        ]
        for arguments, reason in bad:
            with self.subTest(arguments), self.assertRaisesRegex(ValueError, reason):
                self.make("push://h", **arguments)

    def test_bad_tuning_is_named(self) -> None:
        for arguments in ({"interval_s": 5}, {"pong_timeout_s": 0}, {"max_delay_s": float("inf")}):
            with self.subTest(arguments), self.assertRaisesRegex(ValueError, next(iter(arguments))):
                Tuning(**arguments)

    def test_urls(self) -> None:
        for url, host, port, tls in (
            ("push://h", "h", 6789, False),
            ("pushs://h.example:443/", "h.example", 443, True),
            ("push://[::1]:5", "::1", 5, False),
        ):
            address = parse_url(url)
            self.assertEqual((address.host, address.port, address.tls), (host, port, tls))
            self.assertEqual(parse_url(str(address)), address)
        for url in ("h:1", "http://h", "push://", "push://h:0", "push://h:x", "push://u@h", "push://h/x", "push://h?x"):
            with self.subTest(url), self.assertRaises(ValueError):
                parse_url(url)

    def test_each_status_is_a_sentence(self) -> None:
        here, there = aio_sdk.Address("h", 1, False), aio_sdk.Address("::1", 2, True, "/ws")
        for status, sentence in (
            (aio_sdk.Connecting(here), "connecting to push://h:1"),
            (aio_sdk.Open(here, "t", 60.0), "open at push://h:1"),
            (aio_sdk.Waiting(3.2499), "waiting 3.2 s"),
            (aio_sdk.Redirected(here, there), "redirected to wss://[::1]:2/ws"),
            (aio_sdk.Rejected(here, 401, "who are you?"), "refused: 401 who are you?"),
            (aio_sdk.Rejected(here, 503, ""), "refused: 503"),
            (aio_sdk.Lost(here, "it is down", 3001), "no connection to push://h:1: it is down"),
            (aio_sdk.Unallocated("no answer in time"), "nobody says where to connect: no answer in time"),
            (aio_sdk.Missed(here, "some were lost"), "push://h:1: some were lost"),
            (aio_sdk.Ended("the client was closed"), "ended: the client was closed"),
        ):
            self.assertEqual(str(status), sentence)

    def test_a_message_shows_its_data_in_three_ways(self) -> None:
        message = Message(b'{"a": "\xc3\xa4"}')
        self.assertEqual((message.text, message.json()), ('{"a": "ä"}', {"a": "ä"}))
        with self.assertRaises(ValueError):
            _ = Message(b"\xff").text
        self.assertEqual(Message(b"", 5), Message(b"", 5, print))


class NioArgumentTests(ArgumentTests):
    """The same of the other."""

    make = staticmethod(nio_sdk.PushClient)
