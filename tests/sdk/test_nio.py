"""What nio_sdk alone does: threads, loops of other people's, and locks that nobody meets."""

import asyncio
import json
import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from unittest import IsolatedAsyncioTestCase, TestCase

import nio_sdk
from nio_sdk.dial import Dial
from nio_sdk.handover import Handover
from nio_sdk.life import MAX_FORGOTTEN
from nio_sdk.line import Line
from nio_sdk.traffic import Traffic
from nio_sdk.waker import Waker
from nio_sdk.watch import Watch
from push.protocols.wire.frames import encode
from push.protocols.wire.signals import Signal, SubSignal
from push_client.backlog import Backlog, data_bytes
from tests.sdk.hand_clock import GUARD_S
from tests.sdk.surroundings import TOKEN, Peer, ScriptedServer, SdkCase
from tests.sdk.test_link import OPENED
from tests.sdk.test_link import make as make_link

T = TypeVar("T")


async def open_and_stay(peer: Peer) -> None:
    """A server that opens the session and is silent."""
    await peer.open()
    await peer.eof()


def pushing(*payloads: bytes) -> Callable[[Peer], Awaitable[None]]:
    """A server that opens the session and pushes these."""

    async def script(peer: Peer) -> None:
        await peer.open()
        for number, payload in enumerate(payloads, 1):
            peer.push(number, payload)
        await peer.eof()

    return script


def refusing(status: int) -> Callable[[Peer], Awaitable[None]]:
    """A server that refuses."""

    async def script(peer: Peer) -> None:
        await peer.refuse(status=status, reason="no")
        await peer.eof()

    return script


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def open_and_do_not_read(peer: Peer) -> None:
    """A server that opens the session and takes nothing more from the line."""
    await peer.open()
    await asyncio.Event().wait()


def narrow(client: nio_sdk.PushClient) -> None:
    """Make the line of an open client hold little."""
    assert client._life is not None
    assert client._life._traffic is not None
    client._life._traffic._line._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)


async def away(call: Callable[..., T], *arguments: Any) -> T:
    """Call something that blocks while the test's server goes on."""
    return await asyncio.to_thread(call, *arguments)


async def until(condition: Callable[[], object]) -> None:
    """Wait for other threads."""
    while not condition():
        await asyncio.sleep(0.005)


class ThreadCase(SdkCase, IsolatedAsyncioTestCase):
    """Clients in threads, which must all have ended."""

    async def asyncSetUp(self) -> None:
        """Remember what there is."""
        await super().asyncSetUp()
        self.threads_before = set(threading.enumerate())

    async def asyncTearDown(self) -> None:
        """See that it is as before."""
        await super().asyncTearDown()
        left = [one for one in threading.enumerate() if one.name.startswith("nio_sdk") and one.is_alive()]
        for one in left:
            await away(one.join, GUARD_S)
        self.assertEqual([one for one in left if one.is_alive()], [])

    def make(self, server: ScriptedServer, **arguments: Any) -> nio_sdk.PushClient:
        """A client on the real clock."""
        return nio_sdk.PushClient(server.url, **{"on_status": self.statuses.append, **arguments})


class OwnThreadTests(ThreadCase):
    """A client with a thread of its own."""

    async def test_it_is_five_lines(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"one")
            peer.push(2, b"two")
            acknowledged.extend(await peer.acknowledged())
            peer.disconnect(3504, "kicked")

        def listen() -> None:
            with self.make(server) as client:
                texts.extend(message.text for message in client)

        acknowledged: list[int] = []
        texts: list[str] = []
        server = await self.serve(script)
        with self.assertRaises(nio_sdk.Disconnected):
            await away(listen)
        self.assertEqual(texts, ["one", "two"])
        self.assertIn(acknowledged, ([1], [1, 2]))  # the second may have been in time

    async def test_a_callback_is_called_in_the_loops_thread_and_acknowledges_by_returning(self) -> None:
        acknowledged = []

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"one")
            acknowledged.append(await peer.acknowledged())
            await peer.eof()

        names = []
        server = await self.serve(script)
        client = self.make(server, on_message=lambda message: names.append(threading.current_thread().name)).start()
        await until(lambda: acknowledged)
        self.assertRaisesRegex(RuntimeError, "on_message", client.get, 0)
        await away(client.close)
        self.assertEqual((names, acknowledged), (["nio_sdk.ClientThread"], [[1]]))

    async def test_a_callback_that_raises_costs_the_acknowledgement_and_nothing_else(self) -> None:
        acknowledged = []

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"bad")
            peer.push(2, b"good")
            acknowledged.append(await peer.acknowledged())
            await peer.eof()

        def take(message: nio_sdk.Message) -> None:
            if message.text == "bad":
                raise ZeroDivisionError

        server = await self.serve(script)
        with self.assertLogs("nio_sdk") as logs:
            client = self.make(server, on_message=take).start()
            await until(lambda: acknowledged)
        await away(client.close)
        self.assertEqual(acknowledged, [[2]])
        self.assertIn("ZeroDivisionError", logs.output[0])
        self.assertEqual(self.said(nio_sdk.Lost), [])

    async def test_a_callback_that_returns_acknowledges_nothing_where_the_application_does(self) -> None:
        acknowledged = []

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"later")
            peer.push(2, b"now")
            acknowledged.append(await peer.acknowledged())
            await peer.eof()

        def take(message: nio_sdk.Message) -> None:
            if message.text == "now":
                message.ack()

        server = await self.serve(script)
        client = self.make(server, on_message=take, auto_ack=False).start()
        await until(lambda: acknowledged)
        await away(client.close)
        self.assertEqual(acknowledged, [[2]])

    async def test_a_status_callback_that_raises_costs_nothing(self) -> None:
        def tell(status: nio_sdk.Status) -> None:
            raise ZeroDivisionError

        server = await self.serve(open_and_stay)
        with self.assertLogs("nio_sdk"):
            client = self.make(server, on_status=tell).start()
            self.assertEqual(await away(client.wait_open, GUARD_S), TOKEN)
            await away(client.close)

    async def test_closing_wakes_whoever_waits_for_messages(self) -> None:
        server = await self.serve(open_and_stay)
        client = self.make(server).start()
        waiting = [asyncio.ensure_future(away(client.get)) for _ in range(3)]
        await away(client.wait_open, GUARD_S)
        await away(client.close)
        self.assertEqual(await asyncio.gather(*waiting), [None] * 3)
        self.assertRaisesRegex(RuntimeError, "closed", client.wait_open)
        client.close()

    async def test_closing_in_a_callback_returns_at_once_and_ends_the_client_behind_it(self) -> None:
        for name in ("on_message", "on_status"):
            server = await self.serve(pushing(b"one", b"two"))
            got: list[object] = []
            clients: list[nio_sdk.PushClient] = []

            def close(what: object, got: list[object] = got, clients: list[nio_sdk.PushClient] = clients) -> None:
                got.append(what)
                clients[0].close()

            clients.append(nio_sdk.PushClient(server.url, **{name: close}))
            clients[0].start()
            await until(lambda clients=clients: clients[0].has_ended)  # type: ignore[misc]
            self.assertEqual(len(got), 1 if name == "on_message" else 2)  # the end is a status too

    async def test_a_client_that_has_given_up_needs_no_closing(self) -> None:
        server = await self.serve(refusing(403))
        client = self.make(server).start()
        with self.assertRaises(nio_sdk.Refused):
            await away(client.get, GUARD_S)
        with self.assertRaises(nio_sdk.Refused):
            client.wait_open(GUARD_S)
        self.assertTrue(client.has_ended)

    async def test_a_wait_can_be_bounded(self) -> None:
        server = await self.serve(open_and_stay)
        client = self.make(server).start()
        await away(client.wait_open, GUARD_S)
        with self.assertRaises(TimeoutError):
            await away(client.get, 0.01)
        self.assertIsNone(client.poll())
        await away(client.close)

    async def test_closing_takes_no_longer_than_it_may_where_the_line_takes_nothing(self) -> None:
        server = await self.serve(open_and_do_not_read)
        client = self.make(server, tuning=nio_sdk.Tuning(close_timeout_s=0.1)).start()
        await away(client.wait_open, GUARD_S)
        narrow(client)
        for _ in range(30):
            client.chat.history(group="x" * 60_000)
        closing = threading.Thread(target=client.close, daemon=True)
        closing.start()
        await away(closing.join, GUARD_S)
        self.assertFalse(closing.is_alive())
        self.assertTrue(client.has_ended)

    async def test_each_thread_acknowledges_what_it_has_handled_itself(self) -> None:
        acknowledged: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.open()
            for number in (1, 2):
                peer.push(number, b"x")
            acknowledged.extend(await peer.acknowledged())
            await peer.eof()

        server = await self.serve(script)
        client = self.make(server).start()
        slow = await away(client.get, GUARD_S)
        loop_thread = threading.Thread(target=lambda: [client.get(GUARD_S), client.poll()])
        loop_thread.start()
        await away(loop_thread.join)
        await until(lambda: acknowledged)
        assert slow is not None
        self.assertEqual((slow.id, acknowledged), (1, [2]))
        await away(client.close)

    async def test_no_lock_is_held_while_something_is_called(self) -> None:
        server = await self.serve(pushing(b"x"))
        hung: list[str] = []
        tried: list[str] = []

        def try_all(what: object) -> None:
            for name, call in (
                ("poll", lambda: client.poll()),
                ("get", lambda: client.get(0)),
                ("network_changed", lambda: client.network_changed()),
                ("wait_open", lambda: client.wait_open(0)),
                ("close", lambda: other.close()),
            ):

                def run(call: Callable[[], object] = call) -> None:
                    with suppress(TimeoutError, RuntimeError):
                        call()

                thread = threading.Thread(target=run)
                thread.start()
                thread.join(GUARD_S)
                tried.append(name)
                if thread.is_alive():
                    hung.append(name)

        other = self.make(server)
        client = nio_sdk.PushClient(server.url, on_message=try_all, on_status=try_all)
        client.start()
        await until(lambda: len(tried) >= 15)
        await away(client.close)
        self.assertEqual(hung, [])

    async def test_a_token_that_cannot_be_read_is_said_when_starting_and_leaves_nothing(self) -> None:
        def fail() -> str:
            raise LookupError

        before = descriptors()
        for begin in ("start", "fileno", "on_timer"):
            client = nio_sdk.PushClient("push://h", token_store=nio_sdk.TokenCallbacks(fail, print))
            with self.assertRaises(nio_sdk.TokenFileError):
                getattr(client, begin)()
            client.close()
        self.assertEqual(descriptors(), before)

    async def test_it_is_used_once(self) -> None:
        server = await self.serve(open_and_stay)
        client = self.make(server)
        self.assertRaisesRegex(RuntimeError, "start", client.get)
        client.start()
        self.assertRaisesRegex(RuntimeError, "once", client.start)
        self.assertRaisesRegex(RuntimeError, "has a thread", client.fileno)
        await away(client.close)
        never = self.make(server)
        never.close()
        self.assertRaisesRegex(RuntimeError, "once", never.start)
        self.assertIsNone(never.poll())


class SharedThreadTests(ThreadCase):
    """One thread for many clients."""

    async def test_many_clients_need_one_thread(self) -> None:
        async def script(peer: Peer) -> None:
            request = await peer.open()
            peer.push(1, f"for {request.uid}".encode())
            await peer.eof()

        server = await self.serve(script)
        got: list[str] = []
        before = descriptors()
        thread = nio_sdk.ClientThread()
        clients = [
            nio_sdk.PushClient(server.url, uid=f"u{number}", on_message=lambda message: got.append(message.text))
            for number in range(50)
        ]
        for client in clients:
            client.start(thread)
        await until(lambda: len(got) == 50)
        self.assertEqual(sorted(got), sorted(f"for u{number}" for number in range(50)))
        self.assertEqual(len([one for one in threading.enumerate() if one.name.startswith("nio_sdk")]), 1)
        await away(clients[0].close)
        self.assertFalse(clients[1].has_ended)
        await away(thread.close)
        self.assertTrue(all(client.has_ended for client in clients))
        self.assertRaisesRegex(RuntimeError, "closed", self.make(server).start, thread)
        await until(lambda: descriptors() <= before)

    async def test_a_credential_that_takes_its_time_holds_up_nobody_else(self) -> None:
        server = await self.serve(open_and_stay)
        gate = threading.Event()

        def credential() -> str:
            gate.wait(GUARD_S)
            return "jwt"

        with nio_sdk.ClientThread() as thread:
            slow = self.make(server, auth=credential).start(thread)
            quick = self.make(server).start(thread)
            await away(quick.wait_open, GUARD_S)
            with self.assertRaises(TimeoutError):
                slow.wait_open(0)
            gate.set()
            await away(slow.wait_open, GUARD_S)
            await away(thread.close)

    async def test_a_network_that_changes_all_the_time_leaves_few_look_ups_behind(self) -> None:
        async def silent(peer: Peer) -> None:
            await peer.reader.read()

        home = await self.serve(open_and_stay)
        asked = await self.serve(silent, is_http=True)
        changes = 10
        client = self.make(home, allocation=f"http://127.0.0.1:{asked.port}/v1/allocate")
        with nio_sdk.ClientThread() as thread:
            client.start(thread)
            for number in range(changes):
                await until(lambda number=number: asked.accepted == min(number, MAX_FORGOTTEN) + 1)
                client.network_changed()
            moved = self.said(nio_sdk.Lost)
            self.assertEqual([one.reason for one in moved], ["the network has changed"] * MAX_FORGOTTEN)
            await asked.stop()  # all of them end, and so does the one that is waited for
            await away(client.wait_open, GUARD_S)
            await away(thread.close)

    async def test_a_credential_is_fetched_once_at_a_time_whatever_the_network_does(self) -> None:
        server = await self.serve(open_and_stay)
        gate, begun = threading.Event(), []

        def credential() -> str:
            begun.append(1)
            gate.wait(GUARD_S)
            return "jwt"

        with nio_sdk.ClientThread() as thread:
            client = self.make(server, auth=credential).start(thread)
            await until(lambda: begun)
            client.network_changed()
            turned = threading.Event()
            client._life.post(turned.set)  # type: ignore[union-attr]
            await away(turned.wait, GUARD_S)
            gate.set()
            await away(client.wait_open, GUARD_S)
            await away(thread.close)
        self.assertEqual(len(begun), 1)

    async def test_a_client_that_gives_up_leaves_the_others_alone(self) -> None:
        good = await self.serve(pushing(b"x"))
        bad = await self.serve(refusing(401))
        with nio_sdk.ClientThread() as thread:
            refused = self.make(bad).start(thread)
            client = self.make(good).start(thread)
            with self.assertRaises(nio_sdk.Refused):
                await away(refused.get, GUARD_S)
            message = await away(client.get, GUARD_S)
            self.assertEqual(message and message.text, "x")
            await away(thread.close)

    async def test_a_client_that_fails_leaves_the_others_alone(self) -> None:
        async def drop(peer: Peer) -> None:
            await peer.open()

        def broken() -> float:
            raise ZeroDivisionError

        good, bad = await self.serve(pushing(b"x")), await self.serve(drop)
        with nio_sdk.ClientThread() as thread, self.assertLogs("nio_sdk"):
            failing = self.make(bad, surroundings=nio_sdk.Surroundings(random=broken)).start(thread)
            with self.assertRaises(ZeroDivisionError):
                await away(failing.get, GUARD_S)
            client = self.make(good).start(thread)
            message = await away(client.get, GUARD_S)
            self.assertEqual(message and message.text, "x")
            await away(thread.close)

    async def test_a_thread_without_clients_can_be_closed(self) -> None:
        before = descriptors()
        thread = nio_sdk.ClientThread()
        thread.close()
        thread.close()
        self.assertEqual(descriptors(), before)


class CallersLoopTests(ThreadCase):
    """A loop of the caller's, in the thread that it chooses."""

    def spin(self, client: nio_sdk.PushClient, is_done: Callable[[], object], how: str = "selectors") -> None:
        """The whole of such a loop."""
        end_s = time.monotonic() + GUARD_S
        selector = selectors.DefaultSelector()
        selector.register(client.fileno(), selectors.EVENT_READ)
        with selector:
            while not is_done():
                self.assertLess(time.monotonic(), end_s)
                due_s = client.next_timer_s()
                wait_s = 1.0 if due_s is None else min(1.0, due_s)
                if how == "select":
                    writers = [client.fileno()] if client.want_write() else []
                    readable, writable, _ = select.select([client.fileno()], writers, [], wait_s)
                    if writable:
                        client.on_writable()
                else:
                    readable = selector.select(wait_s)
                if readable:
                    client.on_readable()
                if client.next_timer_s() == 0:
                    client.on_timer()

    def spin_and_close(self, client: nio_sdk.PushClient, *arguments: Any) -> None:
        """In one thread, as a program would have it."""
        self.spin(client, *arguments)
        client.close()

    async def test_select_and_selectors_do(self) -> None:
        for how in ("select", "selectors"):
            server = await self.serve(pushing(b"one", b"two"))
            got: list[nio_sdk.Message] = []
            client = self.make(server, on_message=got.append)
            await away(self.spin_and_close, client, lambda got=got: len(got) == 2, how)
            self.assertTrue(client.has_ended)
            self.assertEqual([one for one in threading.enumerate() if one.name.startswith("nio_sdk")], [])

    async def test_the_descriptor_stays_while_connections_come_and_go(self) -> None:
        async def drop(peer: Peer) -> None:
            await peer.open()

        server = await self.serve(drop, drop, open_and_stay)
        before = descriptors()
        client = self.make(server, tuning=nio_sdk.Tuning(first_delay_s=0.01))
        number = client.fileno()
        numbers = []
        await away(
            self.spin_and_close,
            client,
            lambda: numbers.append(client.fileno()) or len(self.said(nio_sdk.Open)) == 3,
        )
        self.assertEqual(set(numbers), {number})
        await until(lambda: descriptors() <= before)

    async def test_what_other_threads_say_wakes_the_loop(self) -> None:
        acknowledged: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"x")
            acknowledged.extend(await peer.acknowledged())
            await peer.take(Signal.DISCONNECT)

        server = await self.serve(script)
        got: list[nio_sdk.Message] = []
        client = self.make(server, on_message=got.append, auto_ack=False)
        loop = asyncio.ensure_future(away(self.spin, client, lambda: client.has_ended))
        await until(lambda: got)
        got[0].ack()
        await until(lambda: acknowledged)
        await away(client.close)
        await loop
        self.assertEqual(acknowledged, [1])

    async def test_a_turn_within_a_turn_does_nothing(self) -> None:
        server = await self.serve(pushing(b"one", b"two"))
        got: list[str] = []

        def take(message: nio_sdk.Message) -> None:
            got.append(message.text)
            client.on_readable()

        client = self.make(server, on_message=take)
        await away(self.spin_and_close, client, lambda: len(got) == 2)
        self.assertEqual(got, ["one", "two"])

    async def test_the_loops_thread_cannot_wait_for_itself(self) -> None:
        client = nio_sdk.PushClient("push://127.0.0.1:1")
        client.on_timer()
        self.assertRaisesRegex(RuntimeError, "poll", client.get)
        self.assertRaisesRegex(RuntimeError, "poll", client.wait_open, 1.0)
        self.assertRaisesRegex(RuntimeError, "once", client.start)
        client.close()
        self.assertIsNone(client.next_timer_s())
        self.assertIsNone(client.get())

    def clog(self, client: nio_sdk.PushClient) -> None:
        """Open it, and have it send more than its line takes, to a server that does not read."""
        chat = client.chat
        self.spin(client, lambda: self.said(nio_sdk.Open))
        self.assertFalse(client.want_write())
        narrow(client)
        for _ in range(30):
            chat.history(group="x" * 60_000)
            client.on_readable()
        self.assertTrue(client.want_write())

    async def test_it_says_when_bytes_wait_for_the_line(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            await reading.wait()
            await peer.eof()

        def run() -> None:
            self.clog(client)
            loop.call_soon_threadsafe(reading.set)
            self.spin(client, lambda: not client.want_write(), "select")
            client.close()

        reading, loop = asyncio.Event(), asyncio.get_running_loop()
        client = self.make(await self.serve(script))
        await away(run)

    async def test_closing_in_the_loop_does_not_wait_for_a_line_that_takes_nothing(self) -> None:
        def run() -> None:
            self.clog(client)
            client.close()

        server = await self.serve(open_and_do_not_read)
        before = descriptors()
        client = self.make(server)
        await away(run)
        self.assertTrue(client.has_ended)
        await server.stop()
        self.assertLessEqual(descriptors(), before)

    async def test_closing_from_elsewhere_does_not_wait_for_ever_for_a_loop_that_does_not_run(self) -> None:
        client = nio_sdk.PushClient("push://127.0.0.1:1", tuning=nio_sdk.Tuning(close_timeout_s=0.01))
        await away(client.on_timer)  # in the thread of its loop
        closing = threading.Thread(target=client.close)
        closing.start()
        await away(closing.join, GUARD_S)
        self.assertFalse(closing.is_alive())
        self.assertFalse(client.has_ended)

        def run() -> None:
            client.on_timer()
            client.close()

        await away(run)
        self.assertTrue(client.has_ended)

    async def test_closing_in_the_loop_sends_what_is_due(self) -> None:
        last: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"x")
            last.extend(await peer.acknowledged())
            await peer.take(Signal.DISCONNECT)
            last.append(0)

        server = await self.serve(script)
        client = self.make(server)

        def run() -> None:
            self.spin(client, lambda: len(got) == 1 or got.extend(filter(None, [client.poll()])))
            got[0].ack()
            client.close()

        got: list[nio_sdk.Message] = []
        await away(run)
        await until(lambda: len(last) == 2)
        self.assertEqual(last, [1, 0])


class ChatAnswerTests(ThreadCase):
    """Answers of the chat: waited for in any thread but one, told without a lock."""

    async def test_the_loops_own_thread_does_not_wait_for_itself(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            peer.push(1, b"go")
            await peer.eof()

        def on_message(message: nio_sdk.Message) -> None:
            answer = client.chat.join("a")
            for wait in (answer.result, answer.exception, client.chat.get):
                try:
                    wait()
                except RuntimeError as error:
                    refused.append(str(error))
            try:
                answer.result(0)
            except TimeoutError:
                refused.append("late")
            done.set()

        refused: list[str] = []
        done = threading.Event()
        server = await self.serve(script)
        client = self.make(server, on_message=on_message)
        client.start()
        await away(done.wait, GUARD_S)
        await away(client.close)
        self.assertEqual([text.split(",")[0] for text in refused], 3 * ["this is the loop's own thread"] + ["late"])

    async def test_callbacks_are_called_in_the_loops_thread_and_may_ask_more(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            for _ in range(3):
                frame = await peer.take(Signal.PUBLISH)
                body = b'\0{"conversations":[],"after":""}' if frame.subsignal == SubSignal.MP else b'\0{"changed":1}'
                peer.send(Signal.PUB_ACK, body, subsignal=frame.subsignal, message_id=frame.message_id)
            await peer.eof()

        def joined(answer: nio_sdk.Answer[bool]) -> None:
            names.append(threading.current_thread().name)
            client.chat.join("b").add_done_callback(lambda _: done.set())

        names: list[str] = []
        done = threading.Event()
        server = await self.serve(script)
        client = self.make(server)
        with self.assertRaisesRegex(RuntimeError, "start"):
            client.chat.join("a")
        client.start()
        client.chat.join("a").add_done_callback(joined)
        self.assertTrue(await away(done.wait, GUARD_S))
        await away(client.close)
        self.assertEqual(names, ["nio_sdk.ClientThread"])

    async def test_no_lock_is_held_while_something_of_the_chat_is_called(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            frame = await peer.take(Signal.PUBLISH)
            while frame.subsignal == SubSignal.MP:
                peer.send(Signal.PUB_ACK, b'\0{"conversations":[],"after":""}', message_id=frame.message_id)
                frame = await peer.take(Signal.PUBLISH)
            peer.send(Signal.PUB_ACK, b'\0{"changed":1}', subsignal=frame.subsignal, message_id=frame.message_id)
            for subsignal, body in (
                (SubSignal.MN, b'{"conversation":"g.a","seq":1}'),
                (SubSignal.GD, b'{"group":"a"}'),
            ):
                peer.send(Signal.PUBLISH, body, subsignal=subsignal)
            await peer.eof()

        def try_all(what: object) -> None:
            for call in (
                lambda: client.chat.poll(),
                lambda: client.chat.join("b").cancel(),
                lambda: client.chat.join("b"),
                lambda: client.poll(),
                lambda: client.network_changed(),
            ):

                def run(call: Callable[[], object] = call) -> None:
                    with suppress(RuntimeError):
                        call()

                thread = threading.Thread(target=run)
                thread.start()
                thread.join(GUARD_S)
                tried.append(type(what).__name__)
                if thread.is_alive():
                    hung.append(type(what).__name__)

        hung: list[str] = []
        tried: list[str] = []
        server = await self.serve(script)
        client = self.make(server, on_chat=try_all, on_notice=try_all).start()
        client.chat.join("a").add_done_callback(try_all)
        await until(lambda: {"Answer", "ChatMessage", "ChatNotice"} <= set(tried))
        await away(client.close)
        self.assertEqual(hung, [])

    async def test_a_message_whose_callback_raises_does_not_count_as_read(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            frame = await peer.take(Signal.PUBLISH)
            peer.send(Signal.PUB_ACK, b'\0{"conversations":[],"after":""}', message_id=frame.message_id)
            for group in (b"bad", b"good"):
                said = b'{"conversation":"g.%b","group":"%b","seq":1}' % (group, group)
                peer.send(Signal.PUBLISH, said, subsignal=SubSignal.MN)
            while (frame := await peer.frame()).signal == Signal.PUBLISH:
                read.append(json.loads(frame.body)["conversation"])
                peer.send(Signal.PUB_ACK, b"\0{}", subsignal=frame.subsignal, message_id=frame.message_id)

        def on_chat(message: nio_sdk.ChatMessage) -> None:
            if message.group == "bad":
                raise ZeroDivisionError

        read: list[str] = []
        server = await self.serve(script)
        with self.assertLogs("nio_sdk") as logs:
            client = self.make(server, on_chat=on_chat).start()
            await until(lambda: read)
        await away(client.close)
        await server.stop()
        self.assertEqual(set(read), {"g.good"})  # and again while it is closed, if the answer has not come by then
        self.assertIn("ZeroDivisionError", logs.output[0])

    async def test_a_callback_for_notices_that_raises_costs_nothing(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            peer.send(Signal.PUBLISH, b'{"group":"a"}', subsignal=SubSignal.GD)
            peer.push(1, b"still here")
            await peer.eof()

        def on_notice(notice: nio_sdk.ChatNotice) -> None:
            raise ZeroDivisionError

        server = await self.serve(script)
        with self.assertLogs("nio_sdk"):
            client = self.make(server, on_notice=on_notice).start()
            message = await away(client.get, GUARD_S)
            await away(client.close)  # the message may come to another thread before the notice has come to its own
        self.assertEqual(message and message.text, "still here")
        self.assertEqual(self.said(nio_sdk.Ended), [nio_sdk.Ended("the client was closed")])

    async def test_what_is_not_taken_is_bounded_and_comes_when_there_is_room(self) -> None:
        total = 40

        def page(after: int) -> bytes:
            seqs = range(after + 1, min(after + 5, total) + 1)
            messages = b",".join(b'{"conversation":"g.a","seq":%d}' % seq for seq in seqs)
            return b'\0{"messages":[%b],"more":%b}' % (messages, b"true" if after + 5 < total else b"false")

        async def script(peer: Peer) -> None:
            await peer.open()
            frame = await peer.take(Signal.PUBLISH)
            peer.send(Signal.PUB_ACK, b'\0{"conversations":[],"after":""}', message_id=frame.message_id)
            for seq in range(1, total + 1):
                peer.send(Signal.PUBLISH, b'{"conversation":"g.a","seq":%d}' % seq, subsignal=SubSignal.MN)
            peer.push(1, b"all is said")
            while True:
                frame = await peer.frame()
                if frame.signal == Signal.PUBLISH:
                    answer = b"\0{}"
                    if frame.subsignal == SubSignal.MP:
                        asked.append(json.loads(frame.body)["after"])
                        answer = page(asked[-1])
                    peer.send(Signal.PUB_ACK, answer, subsignal=frame.subsignal, message_id=frame.message_id)

        asked: list[int] = []
        server = await self.serve(script)
        client = self.make(server, tuning=nio_sdk.Tuning(max_queued_messages=4))
        chat = client.chat
        client.start()
        message = await away(client.get, GUARD_S)
        assert message is not None
        for _ in range(10):  # in the time of each of which one more page could come
            await away(chat.group("a").result, GUARD_S)
        self.assertLess(max(asked, default=0), 20)  # the queues hold no more
        got = [await away(chat.get, GUARD_S) for _ in range(total)]
        self.assertEqual([each.seq for each in got if each is not None], list(range(1, total + 1)))
        await away(client.close)

    async def test_who_goes_on_asking_a_client_that_has_ended_costs_nothing(self) -> None:
        server = await self.serve(open_and_stay)
        client = self.make(server).start()
        await away(client.wait_open)
        await away(client.close)
        for number in range(100):
            self.assertIsInstance(client.chat.join(str(number)).exception(0), RuntimeError)
            client.network_changed()
        self.assertIsNone(client.chat.get(GUARD_S))
        assert client._life is not None
        self.assertEqual(len(client._life._orders), 0)

    async def test_the_end_of_the_client_comes_to_all_answers_and_to_who_waits_for_messages(self) -> None:
        server = await self.serve(open_and_stay)
        client = self.make(server).start()
        answers = [client.chat.join(str(number)) for number in range(3)]
        getting = asyncio.ensure_future(away(client.chat.get))
        await away(client.wait_open)
        await away(client.close)
        self.assertIsNone(await getting)
        answers.append(client.chat.join("late"))
        for answer in answers:
            self.assertIsInstance(answer.exception(0), RuntimeError)
        self.assertIsNone(client.chat.poll())

    async def test_why_the_client_was_refused_comes_to_all_answers(self) -> None:
        server = await self.serve(refusing(403))
        client = self.make(server)
        client.start()
        answer = client.chat.join("a")
        with self.assertRaises(nio_sdk.Refused):
            await away(answer.result, GUARD_S)
        with self.assertRaises(nio_sdk.Refused):
            client.chat.poll()
        await away(client.close)


class WakerTests(TestCase):
    """Waking a selector."""

    def test_whoever_wakes_it_in_the_middle_of_draining_does_not_put_it_to_sleep_for_ever(self) -> None:
        waker = Waker()
        self.addCleanup(waker.close)
        reader = waker._reader

        class WokenWhileRead:
            """The reading end, with another thread in the middle of it."""

            def recv(self, count: int) -> bytes:
                waker.wake()
                return reader.recv(count)

        waker.wake()
        waker._reader = WokenWhileRead()  # type: ignore[assignment]
        waker.drain()
        waker._reader = reader
        waker.wake()
        self.assertEqual(select.select([waker], [], [], 0)[0], [waker])

    def test_it_is_readable_once_however_often_it_was_woken(self) -> None:
        waker = Waker()
        self.addCleanup(waker.close)
        for _ in range(100_000):  # more than the kernel would hold
            waker.wake()
        waker.drain()
        self.assertEqual(select.select([waker], [], [], 0)[0], [])


class HandoverTests(TestCase):
    """Room in the queue."""

    def test_once_full_it_takes_no_more_until_half_of_it_is_empty(self) -> None:
        handover = Handover(Backlog(4, 1_000, data_bytes))
        for number in range(4):
            self.assertFalse(handover.is_full)
            handover.put(nio_sdk.Message(b"x", number))
        states = [handover.is_full]
        rooms = []
        for _ in range(3):
            rooms.append(handover.take(0)[1])
            states.append(handover.is_full)
        self.assertEqual((states, rooms), ([True, True, False, False], [False, True, False]))

    def test_closing_drops_what_is_queued_and_giving_up_comes_behind_it(self) -> None:
        for error in (None, ZeroDivisionError()):
            handover = Handover(Backlog(4, 1_000, data_bytes))
            handover.put(nio_sdk.Message(b"x", 1))
            handover.ended(error)
            if error is None:
                self.assertIsNone(handover.take(0)[0])
            else:
                self.assertIsNotNone(handover.take(0)[0])
                self.assertRaises(ZeroDivisionError, handover.take, 0)


class TrafficTests(TestCase):
    """One connection among those of a thread."""

    def test_a_line_that_never_ends_leaves_the_others_their_turn(self) -> None:
        class Endless(Line):
            """Something comes whenever it is asked for; but a test must end."""

            reads = 0

            def read(self) -> bytes | None:
                self.reads += 1
                if self.reads > 1_000:
                    return None
                return OPENED if self.reads == 1 else encode(Signal.CONTACT, b"{}")

        near, far = socket.socketpair()
        selector = selectors.DefaultSelector()
        for one in (selector, near, far):
            self.addCleanup(one.close)
        near.setblocking(False)
        line = Endless(near)
        traffic = Traffic(
            line, make_link(), watch=Watch(selector, None), accepts=lambda: True, take=lambda _: None, clock=lambda: 0.0
        )
        traffic.turn()
        self.assertLess(line.reads, 100)
        self.assertTrue(traffic.is_hasty)  # or what TLS holds already would wait for more to come


class DialTests(TestCase):
    """Connecting to one of several places."""

    @contextmanager
    def listening(self, backlog: int = 8) -> Iterator[socket.socket]:
        """A socket that listens."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen(backlog)
            yield sock

    def dial(self, *ports: int, timeout_s: float = 10.0) -> tuple[Dial, selectors.DefaultSelector]:
        """Begin, at a time of 0."""
        selector = selectors.DefaultSelector()
        self.addCleanup(selector.close)
        places = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]
        return Dial(places, "h", None, watch=Watch(selector, None), now_s=0.0, timeout_s=timeout_s), selector

    def test_a_place_that_refuses_is_passed_over(self) -> None:
        with self.listening() as dead:
            dead_port = dead.getsockname()[1]
        with self.listening() as alive:
            dial, selector = self.dial(dead_port, alive.getsockname()[1])
            line = dial.step(0.0)
            while line is None:
                self.assertTrue(selector.select(GUARD_S))
                line = dial.step(0.0)
            line.close()

    def test_a_place_that_swallows_what_it_gets_has_its_share_of_the_time(self) -> None:
        with self.listening(0) as full, self.listening() as alive:
            fillers = [socket.socket() for _ in range(4)]
            for one in fillers:
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            dial, selector = self.dial(full.getsockname()[1], alive.getsockname()[1])
            self.assertIsNone(dial.step(0.0))
            self.assertEqual(dial.due_s, 5.0)
            line = dial.step(5.0)
            while line is None:
                self.assertTrue(selector.select(GUARD_S))
                line = dial.step(5.0)
            line.close()
            for one in fillers:
                one.close()

    def test_when_none_is_left_it_says_why(self) -> None:
        with self.listening() as dead:
            port = dead.getsockname()[1]
        dial, selector = self.dial(port)
        with self.assertRaises(ConnectionRefusedError):
            while dial.step(0.0) is None:
                selector.select(GUARD_S)
