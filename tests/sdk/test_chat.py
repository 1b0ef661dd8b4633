"""Groups and chat with both SDKs and the real server, as a process of its own: the same behaviour, written once."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import aio_sdk
from push_client.chat import ChatError, ChatNotice
from tests.integration.server import HOST, Server
from tests.sdk.chat_faces import LoopedClient, ThreadedClient

_LIMIT_S = 60.0


class ChatTests(SynchronousTestCase):
    """aio_sdk."""

    make: Callable[..., Any] = staticmethod(aio_sdk.PushClient)
    # Up to where three messages are read, when the third is in hand.
    read_of_three = 2

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.server = Server(
            Path(directory.name),
            ["--chat-requests-per-s=1000", "--chat-messages-per-s=1000", "--presence-debounce-s=0.2"],
        )
        self.addCleanup(self.server.destroy)
        self.server.start()
        self.tuning = aio_sdk.Tuning(first_delay_s=0.05, max_delay_s=0.2, max_queued_messages=8)

    @asynccontextmanager
    async def client(self, uid: str, **arguments: Any) -> AsyncIterator[Any]:
        """A client that takes part in the chat."""
        url = f"push://{HOST}:{self.server.port}"
        async with (
            asyncio.timeout(_LIMIT_S),
            self.make(url, uid=uid, tuning=self.tuning, **arguments) as client,
        ):
            assert client.chat is client.chat
            await client.wait_open()
            yield client

    async def heard(self, chat: Any, count: int) -> list[str | None]:
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
                for too_large in ("x" * 20_000, "x" * 70_000):  # for the server's limit; for any frame
                    with self.assertRaises(ChatError) as raised:
                        await alice.chat.send_to_user("bob", too_large)
                    self.assertEqual(raised.exception.status, 413)
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
                    while (await bob.chat.conversations())[0]["read_seq"] != self.read_of_three:
                        await asyncio.sleep(0.01)
                for number in range(3, 40):
                    await alice.chat.send_to_group("room", str(number))
                async with self.client("bob", token="bob-1") as bob:
                    expected = [str(number) for number in range(self.read_of_three, 40)]
                    self.assertEqual(await self.heard(bob.chat, len(expected)), expected)
                    await alice.chat.send_to_group("room", "now")
                    self.assertEqual(await self.heard(bob.chat, 1), ["now"])

        asyncio.run(talk())

    def test_nothing_is_lost_or_heard_twice_when_the_server_is_killed(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as alice, self.client("bob") as bob:
                await alice.chat.create("room", uids=["bob"])
                said: list[int] = []

                async def say() -> None:
                    for number in range(60):
                        await alice.chat.send_to_group("room", str(number))
                        said.append(number)

                saying = asyncio.create_task(say())
                heard = asyncio.create_task(self.heard(bob.chat, 60))
                for count in (15, 35):
                    while len(said) < count:
                        await asyncio.sleep(0.001)
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

    def test_what_is_said_beside_messages_is_told(self) -> None:
        async def talk() -> None:
            notices: asyncio.Queue[ChatNotice] = asyncio.Queue()
            loop = asyncio.get_running_loop()

            def tell(notice: ChatNotice) -> None:
                loop.call_soon_threadsafe(notices.put_nowait, notice)
                raise ZeroDivisionError  # which must cost nothing

            with self.assertLogs():
                async with self.client("alice") as alice, self.client("bob", on_notice=tell) as bob:
                    await alice.chat.create("room", uids=["bob"], receipts=True)
                    await alice.chat.modify("room", title="New")
                    await bob.chat.presence("carol", watch=True)
                    async with self.client("carol"):
                        found = [await notices.get() for _ in range(3)]
                    await alice.chat.kick("room", "bob")
                    found += [await notices.get() for _ in range(2)]
            self.assertEqual([each.kind for each in found[:3]], ["added", "changed", "presence"])
            self.assertEqual((found[1].fields["title"], found[2].fields["online"]), ("New", True))
            self.assertEqual({each.kind for each in found[3:]}, {"presence", "removed"})

        asyncio.run(talk())

    def test_what_cannot_be_is_said_at_once(self) -> None:
        async def talk() -> None:
            async with self.client("alice") as alice:
                for wrong in (
                    lambda: alice.chat.history(),
                    lambda: alice.chat.history(group="a", to="b"),
                    lambda: alice.chat.add("room"),
                    lambda: alice.chat.create("room", uids="bob"),
                    lambda: alice.chat.send_to_group("room", data={"a": object()}),
                ):
                    with self.assertRaises((TypeError, ValueError)):
                        await wrong()

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


class ThreadedChatTests(ChatTests):
    """nio_sdk in a thread of its own, its messages taken from the queue."""

    make = staticmethod(ThreadedClient)


class LoopedChatTests(ChatTests):
    """nio_sdk in a loop of its caller's, its messages given to a callback."""

    make = staticmethod(LoopedClient)
    read_of_three = 3
