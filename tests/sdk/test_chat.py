"""Groups and chat with the clients: the pure part by itself, the rest with the real server."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import aio_sdk
from push.protocols.wire.client import Answered, Notified
from push.protocols.wire.frames import Frame
from push.protocols.wire.signals import Signal, SubSignal
from push_client.chat import ChatError, Positions, place, read_answer, read_message, read_notice, request
from tests.integration.server import HOST, Server
from tests.sdk.hand_clock import GUARD_S, HandClock

_LIMIT_S = 60.0


class PositionsTests(SynchronousTestCase):
    """Which message is next."""

    def test_messages_are_handed_out_once_and_in_order(self) -> None:
        positions = Positions()
        self.assertTrue(positions.is_next("c", 1))
        self.assertFalse(positions.is_next("c", 1))
        self.assertFalse(positions.is_next("c", 3))
        self.assertTrue(positions.is_next("c", 2))
        self.assertTrue(positions.is_next("c", 3))
        self.assertTrue(positions.is_known("c", 2))
        self.assertFalse(positions.is_known("c", 4))

    def test_what_was_said_here_leaves_no_gap(self) -> None:
        positions = Positions()
        positions.said("c", 2)
        positions.said("c", 3)
        self.assertTrue(positions.is_known("c", 3))
        self.assertTrue(positions.is_next("c", 1))
        self.assertEqual((positions.handed, positions.own), ({"c": 3}, {}))
        self.assertTrue(positions.is_next("c", 4))
        positions.said("c", 2)
        self.assertEqual(positions.own, {})

    def test_what_begins_later_forgets_what_lies_before(self) -> None:
        positions = Positions()
        positions.said("c", 7)
        positions.begin("c", 6)
        self.assertEqual((positions.handed, positions.own), ({"c": 7}, {}))
        positions.begin("c", 3)
        self.assertEqual(positions.handed, {"c": 7})


class ReadingTests(SynchronousTestCase):
    """What a server sends is not trusted."""

    def test_a_place_is_said_once(self) -> None:
        self.assertEqual(place(group="g"), {"group": "g"})
        self.assertRaises(ValueError, place)
        self.assertRaises(ValueError, place, group="g", to="u")
        self.assertEqual(request({"a": 1, "b": None}), b'{"a":1}')

    def test_refusals_are_raised(self) -> None:
        self.assertEqual(read_answer(Frame(Signal.PUB_ACK, 18, 1, b'\0{"a":1}')), {"a": 1})
        body = b'\x07{"status":429,"reason":"slowly","retry_after":1.5}'
        error = self.assertRaises(ChatError, read_answer, Frame(Signal.PUB_ACK, 18, 1, body))
        self.assertEqual((error.status, error.reason, error.retry_after_s), (429, "slowly", 1.5))
        for bad in (b"", b"\0[", b"\x01", b"\x01{", b'\x01{"status":"x"}'):
            error = self.assertRaises(ChatError, read_answer, Frame(Signal.PUB_ACK, 18, 1, bad)) if bad else error
        self.assertEqual(error.status, 503)

    def test_notices_that_are_no_messages_are_left_out(self) -> None:
        good = b'{"conversation":"g.a","seq":3,"text":"x","mentions":["b",7],"time":"x","data":[],"recalls":true}'
        message = read_notice(Notified(Frame(Signal.PUBLISH, SubSignal.MN, 0, good)))
        assert message is not None
        self.assertEqual((message.seq, message.text, message.mentions, message.time_ms), (3, "x", ("b",), 0))
        self.assertEqual((message.data, message.recalls), (None, None))
        for signal, subsignal, body in (
            (Signal.CONTACT, 0, good),
            (Signal.PUBLISH, SubSignal.GMI, good),
            (Signal.PUBLISH, SubSignal.MN, b"\xff"),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":"g.a","read":3}'),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":"g.a","seq":true}'),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":7,"seq":3}'),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":"g.a","seq":0}'),
        ):
            self.assertIsNone(read_notice(Notified(Frame(signal, subsignal, 0, body))), body)
        self.assertIsNone(read_message({}))


class _ByHand:
    """A connection whose requests are answered by hand."""

    is_open = True

    def __init__(self) -> None:
        self.clock = HandClock()
        self.asked: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self.chat = aio_sdk.Chat(lambda: self, self.wait_open, clock=self.clock, max_waiting=8)
        self._number = 0

    async def wait_open(self) -> str:
        """It is open."""
        return "token"

    def request(self, subsignal: int, body: bytes) -> int:
        """See Connection."""
        self._number += 1
        self.asked.put_nowait((subsignal, json.loads(body)))
        return self._number

    async def next(self) -> tuple[int, Any]:
        """What is asked next: subsignal and body."""
        return await asyncio.wait_for(self.asked.get(), GUARD_S)

    def answer(self, body: bytes) -> None:
        """Answer the newest."""
        self.chat.take(Answered(Frame(Signal.PUB_ACK, 0, self._number, body)))


class AskingTooMuchTests(SynchronousTestCase):
    """A server that says 429 to what no application waits for."""

    refusal = b'\x07{"status":429,"reason":"too much","retry_after":1.5}'

    def test_what_was_missed_is_asked_for_again(self) -> None:
        async def talk() -> None:
            server = _ByHand()
            server.chat.opened()
            for answer in (
                b'\0{"conversations":[{"conversation":"g.a","last_seq":1,"first_seq":1,"read_seq":0}],"after":""}',
                b'\0{"conversation":"g.a","messages":[{"conversation":"g.a","seq":1,"text":"x"}],"more":false}',
            ):
                refused = await server.next()
                server.answer(self.refusal)
                await server.clock.pass_over(1.5)
                self.assertEqual(await server.next(), refused)
                server.answer(answer)
            message = await asyncio.wait_for(anext(aiter(server.chat)), GUARD_S)
            self.assertEqual(message.text, "x")
            await server.chat.close(None)

        asyncio.run(talk())

    def test_what_was_read_is_said_again(self) -> None:
        async def talk() -> None:
            server = _ByHand()
            body = b'{"conversation":"g.a","seq":1,"text":"x"}'
            server.chat.take(Notified(Frame(Signal.PUBLISH, SubSignal.MN, 0, body)))
            hearing = aiter(server.chat)
            await anext(hearing)
            waiting = asyncio.ensure_future(anext(hearing, None))
            read = (SubSignal.MN, {"conversation": "g.a", "seq": 1})
            self.assertEqual(await server.next(), read)
            server.answer(self.refusal)
            await server.clock.pass_over(1.5)
            self.assertEqual(await server.next(), read)
            server.answer(b"\0{}")
            await server.chat.close(None)
            self.assertIsNone(await waiting)

        asyncio.run(talk())

    def test_what_an_application_asks_is_refused(self) -> None:
        async def talk() -> None:
            server = _ByHand()
            asking = asyncio.ensure_future(server.chat.join("a"))
            await server.next()
            server.answer(self.refusal)
            with self.assertRaises(ChatError) as raised:
                await asking
            self.assertEqual((raised.exception.status, raised.exception.retry_after_s), (429, 1.5))

        asyncio.run(talk())


class ChatTests(SynchronousTestCase):
    """aio_sdk with the real server."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.server = Server(Path(directory.name), ["--chat-requests-per-s=1000", "--chat-messages-per-s=1000"])
        self.addCleanup(self.server.destroy)
        self.server.start()
        self.tuning = aio_sdk.Tuning(first_delay_s=0.05, max_delay_s=0.2, max_queued_messages=8)

    @asynccontextmanager
    async def client(self, uid: str, **arguments: Any) -> AsyncIterator[aio_sdk.PushClient]:
        """A client that takes part in the chat."""
        url = f"push://{HOST}:{self.server.port}"
        async with (
            asyncio.timeout(_LIMIT_S),
            aio_sdk.PushClient(url, uid=uid, tuning=self.tuning, **arguments) as client,
        ):
            assert client.chat is client.chat
            await client.wait_open()
            yield client

    async def heard(self, chat: aio_sdk.Chat, count: int) -> list[str | None]:
        """The next so many texts."""
        texts = []
        async for message in chat:
            texts.append(message.text)
            if len(texts) == count:
                break
        return texts

    def test_users_talk_in_groups_and_alone(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as alice, self.client("bob") as bob:
                made = await alice.chat.create("room", title="Room", uids=["bob"])
                self.assertEqual((made["title"], made["members"]), ("Room", 2))
                sent = await alice.chat.send_to_group("room", "hello", mentions=["bob"], type=3)
                self.assertEqual((sent.conversation, sent.group, sent.seq, sent.text), ("g.room", "room", 1, "hello"))
                heard = bob.chat.__aiter__()
                message = await anext(heard)
                self.assertEqual((message.sender, message.text, message.mentions), ("alice", "hello", ("bob",)))
                self.assertEqual((message.type, message.id, message.time_ms), (3, sent.id, sent.time_ms))
                await alice.chat.send_to_user("bob", "psst", data={"a": 1})
                message = await anext(heard)
                self.assertEqual((message.group, message.text, message.data), (None, "psst", {"a": 1}))
                await alice.chat.recall(sent)
                self.assertEqual((await anext(heard)).recalls, 1)
                (first, _) = await bob.chat.history(group="room")
                self.assertTrue(first.is_recalled)
                self.assertEqual([each["role"] for each in await bob.chat.members("room")], ["owner", "member"])
                with self.assertRaises(ChatError) as raised:
                    await bob.chat.kick("room", "alice")
                self.assertEqual(raised.exception.status, 403)
                await bob.chat.block("alice")
                with self.assertRaises(ChatError):
                    await alice.chat.send_to_user("bob", "still there?")
                self.assertEqual([each["online"] for each in await bob.chat.presence("alice", "nobody")], [True, False])
                self.assertTrue(await bob.chat.quit("room"))
                self.assertTrue(await bob.chat.join("room"))
                self.assertFalse(await bob.chat.join("room"))
                await alice.chat.modify("room", title="New")
                self.assertEqual((await bob.chat.group("room"))["title"], "New")
                self.assertEqual(await alice.chat.add("room", "carol"), 1)
                await alice.chat.dismiss("room")

        asyncio.run(talk())

    def test_who_was_away_hears_what_was_missed_from_where_one_has_read(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as alice:
                async with self.client("bob", token="bob-1") as bob:
                    await alice.chat.create("room", uids=["bob"])
                    for number in range(3):
                        await alice.chat.send_to_group("room", str(number))
                    self.assertEqual(await self.heard(bob.chat, 3), ["0", "1", "2"])
                    while (await bob.chat.conversations())[0]["read_seq"] != 2:  # the last may not be read yet
                        await asyncio.sleep(0.01)
                for number in range(3, 40):
                    await alice.chat.send_to_group("room", str(number))
                async with self.client("bob", token="bob-1") as bob:
                    self.assertEqual(await self.heard(bob.chat, 38), [str(number) for number in range(2, 40)])
                    await alice.chat.send_to_group("room", "now")
                    self.assertEqual(await self.heard(bob.chat, 1), ["now"])

        asyncio.run(talk())

    def test_nothing_is_lost_or_heard_twice_when_the_server_is_killed(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as alice, self.client("bob") as bob:
                await alice.chat.create("room", uids=["bob"])

                async def say() -> None:
                    for number in range(60):
                        await alice.chat.send_to_group("room", str(number))

                saying = asyncio.create_task(say())
                heard = asyncio.create_task(self.heard(bob.chat, 60))
                for _ in range(2):
                    await asyncio.sleep(0.3)
                    await asyncio.to_thread(self.server.stop, 9)
                    await asyncio.to_thread(self.server.start)
                await saying
                self.assertEqual(await heard, [str(number) for number in range(60)])

        asyncio.run(talk())

    def test_all_devices_hear_what_was_said_on_one(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as phone, self.client("alice") as desk, self.client("bob") as bob:
                await phone.chat.send_to_user("bob", "one")
                self.assertEqual(await self.heard(desk.chat, 1), ["one"])
                await desk.chat.send_to_user("bob", "two")
                self.assertEqual(await self.heard(phone.chat, 1), ["two"])
                self.assertEqual(await self.heard(bob.chat, 2), ["one", "two"])
                await bob.chat.send_to_user("alice", "three")
                self.assertEqual(await self.heard(phone.chat, 1), ["three"])
                self.assertEqual(await self.heard(desk.chat, 1), ["three"])

        asyncio.run(talk())

    def test_a_client_that_closes_ends_its_chat(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as alice:
                hearing = asyncio.create_task(self.heard(alice.chat, 1))
                await asyncio.sleep(0)
            self.assertEqual(await hearing, [])
            with self.assertRaises(RuntimeError):
                await alice.chat.join("room")

        asyncio.run(talk())
