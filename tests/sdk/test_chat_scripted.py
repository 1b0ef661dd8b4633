"""Both SDKs' chat against a scripted server: silence, refusals, garbage, connections that break; one suite."""

import asyncio
import json
from typing import Any

import aio_sdk
from aio_sdk import ChatError
from push.protocols.wire.frames import Frame
from push.protocols.wire.signals import Signal, SubSignal
from tests.sdk.surroundings import Peer, SdkCase, on_every_sdk

NOTHING = b'\0{"conversations":[],"after":""}'


async def asked(peer: Peer) -> Frame:
    """The next request but for what was missed, which is nothing."""
    while True:
        frame = await peer.take(Signal.PUBLISH)
        if frame.subsignal != SubSignal.MP or json.loads(frame.body).get("conversation"):
            return frame
        answer(peer, frame, NOTHING)


def answer(peer: Peer, frame: Frame, body: bytes) -> None:
    """Answer a request."""
    peer.send(Signal.PUB_ACK, body, subsignal=frame.subsignal, message_id=frame.message_id)


def say(peer: Peer, body: bytes, subsignal: int = SubSignal.MN) -> None:
    """Say something unasked."""
    peer.send(Signal.PUBLISH, body, subsignal=subsignal)


async def status_of(work: Any) -> int:
    """With what it is refused."""
    try:
        await work
    except ChatError as error:
        return error.status
    raise AssertionError("it was not refused")


@on_every_sdk
class ChatTests(SdkCase):
    """What becomes of what a client asks."""

    async def test_a_server_that_does_not_answer_is_given_up(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            await asked(peer)
            heard.set()
            await peer.eof()

        heard = asyncio.Event()
        server = await self.serve(script)
        async with self.client(server) as client:
            dismissing = asyncio.ensure_future(status_of(client.chat.dismiss("a")))
            await heard.wait()
            await self.clock.pass_over(20.0)
            self.assertEqual(await dismissing, 503)

    async def test_a_server_that_cannot_now_is_asked_again_when_it_says(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            answer(peer, await asked(peer), b'\x08{"status":503,"reason":"not now","retry_after":3}')
            answer(peer, await asked(peer), b'\0{"changed":1}')
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            joining = asyncio.ensure_future(client.chat.join("a"))
            await self.clock.pass_over(3.0)
            self.assertTrue(await joining)

    async def test_when_the_connection_breaks_it_is_asked_again_where_that_does_no_harm(self) -> None:
        async def breaks(peer: Peer) -> None:
            await peer.open()
            await asked(peer)
            await asked(peer)
            peer.writer.close()

        async def answers(peer: Peer) -> None:
            await peer.open()
            frame = await asked(peer)
            bodies.append(json.loads(frame.body))
            answer(peer, frame, b'\0{"conversation":"g.a","seq":1,"id":"7","time":5}')
            await peer.eof()

        bodies: list[Any] = []
        server = await self.serve(breaks, answers)
        async with self.client(server) as client:
            chat = client.chat
            saying = asyncio.ensure_future(chat.send_to_group("a", "once", client_id="c-1"))
            dismissing = asyncio.ensure_future(status_of(chat.dismiss("a")))
            self.assertEqual(await dismissing, 503)
            await self.clock.pass_over(0.25)
            self.assertEqual((await saying).seq, 1)
        self.assertEqual([(each["text"], each["client_id"]) for each in bodies], [("once", "c-1")])

    async def test_garbage_is_an_error_and_ends_nothing(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            for notice in (b"", b"[]", b"\xff", b'{"conversation":7,"seq":1}', b'{"conversation":"g.a","seq":-1}'):
                say(peer, notice)
            for name in (b"\\ud800", 70_000 * b"x"):  # what could not be asked for
                say(peer, b'{"conversation":"%b","seq":7}' % name)
            say(peer, b"{}", subsignal=127)
            answer(peer, await asked(peer), b"\0nonsense")
            answer(peer, await asked(peer), b"")
            answer(peer, await asked(peer), b'\0{"members":[{"uid":"bob"},7],"after":""}')
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            self.assertEqual(await status_of(client.chat.dismiss("a")), 503)
            self.assertEqual(await status_of(client.chat.dismiss("a")), 503)
            self.assertEqual(await client.chat.members("a"), [{"uid": "bob"}])
        self.assertEqual(len(self.said(aio_sdk.Open)), 1)

    async def test_an_answer_to_nothing_costs_the_session_and_not_the_request(self) -> None:
        async def lies(peer: Peer) -> None:
            await peer.open()
            frame = await asked(peer)
            peer.send(Signal.PUB_ACK, b"\0{}", subsignal=frame.subsignal, message_id=frame.message_id + 1_000)
            await peer.eof()

        async def answers(peer: Peer) -> None:
            await peer.open()
            answer(peer, await asked(peer), b'\0{"changed":0}')
            await peer.eof()

        server = await self.serve(lies, answers)
        async with self.client(server) as client:
            joining = asyncio.ensure_future(client.chat.join("a"))
            await self.clock.pass_over(0.25)
            self.assertFalse(await joining)
        self.assertEqual([one.code for one in self.said(aio_sdk.Lost)], [3505])

    async def test_what_nobody_waits_for_any_more_harms_nothing(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            first = await asked(peer)
            heard.set()
            await going_on.wait()
            answer(peer, first, b'\0{"changed":1}')
            answer(peer, await asked(peer), b'\0{"changed":1}')
            await peer.eof()

        heard, going_on = asyncio.Event(), asyncio.Event()
        server = await self.serve(script)
        async with self.client(server) as client:
            joining = asyncio.ensure_future(client.chat.join("a"))
            await heard.wait()
            joining.cancel()
            await asyncio.wait([joining])
            self.assertTrue(joining.cancelled())
            going_on.set()
            self.assertTrue(await client.chat.join("b"))

    async def test_who_closes_ends_what_waits(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            await asked(peer)
            heard.set()
            await peer.eof()

        heard = asyncio.Event()
        client = self.client(await self.serve(script))
        async with client:
            joining = asyncio.ensure_future(client.chat.join("a"))
            await heard.wait()
        with self.assertRaisesRegex(RuntimeError, "closed"):
            await joining
        with self.assertRaisesRegex(RuntimeError, "closed"):
            await client.chat.join("b")
