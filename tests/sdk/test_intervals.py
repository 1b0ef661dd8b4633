"""The heartbeat that learns: by itself, and as a server sees it."""

import asyncio
import json
import math
from unittest import TestCase

import aio_sdk
from push.protocols.wire.signals import Signal
from push_client.intervals import MAX_NETWORKS, Intervals, parse_known
from push_client.pulse import Pulse
from tests.sdk.surroundings import Peer, SdkCase, on_every_sdk


class IntervalsTests(TestCase):
    """What is learned from what."""

    def test_it_grows_while_it_succeeds_up_to_the_limit(self) -> None:
        intervals = Intervals(60.0, 300.0)
        grown = []
        for _ in range(6):
            intervals.succeeded(intervals.interval_s)
            grown.append(intervals.interval_s)
        self.assertEqual(grown, [90.0, 135.0, 202.5, 300.0, 300.0, 300.0])

    def test_a_success_after_less_silence_proves_nothing(self) -> None:
        intervals = Intervals(60.0, 300.0)
        intervals.succeeded(30.0)
        self.assertEqual(intervals.interval_s, 60.0)

    def test_a_loss_halves_it_but_not_below_what_the_protocol_has(self) -> None:
        intervals = Intervals(60.0, 300.0)
        halved = []
        for _ in range(4):
            intervals.lost()
            halved.append(intervals.interval_s)
        self.assertEqual(halved, [30.0, 15.0, 10.0, 10.0])

    def test_it_does_not_grow_again_to_what_failed(self) -> None:
        intervals = Intervals(200.0, 300.0)
        intervals.lost()
        for _ in range(10):
            intervals.succeeded(intervals.interval_s)
        self.assertEqual(intervals.interval_s, 160.0)

    def test_until_it_has_been_good_for_long(self) -> None:
        intervals = Intervals(200.0, 300.0)
        intervals.lost()
        for _ in range(60):
            intervals.succeeded(intervals.interval_s)
        self.assertEqual(intervals.interval_s, 300.0)

    def test_a_line_closed_twice_after_the_same_silence_is_one_that_a_proxy_ends(self) -> None:
        intervals = Intervals(60.0, 300.0)
        for silent_s in (59.0, 20.0, 59.0, 5.0, 5.1, 40.0):  # servers that die, at any time, and at once
            intervals.cut(silent_s)
            self.assertEqual(intervals.interval_s, 60.0)
        intervals.cut(58.0)
        intervals.cut(60.0)
        self.assertEqual(intervals.interval_s, 30.0)
        for _ in range(10):
            intervals.succeeded(intervals.interval_s)
        self.assertEqual(intervals.interval_s, 48.0)

    def test_a_device_that_slept_learns_nothing_and_what_is_known_can_be_read_back(self) -> None:
        for first_s, silent_s, left_s in ((60.0, 7_200.0, 60.0), (1_800.0, 1_900.0, 900.0)):
            intervals = Intervals(first_s, 1_800.0)
            intervals.cut(silent_s)
            intervals.cut(silent_s)
            self.assertEqual(intervals.interval_s, left_s)
            parse_known(intervals.known())

    def test_each_network_has_its_own(self) -> None:
        intervals = Intervals(60.0, 300.0)
        intervals.lost()
        intervals.use("wifi")
        self.assertEqual(intervals.interval_s, 60.0)
        intervals.succeeded(60.0)
        intervals.use("")
        self.assertEqual(intervals.interval_s, 30.0)
        intervals.use("wifi")
        self.assertEqual(intervals.interval_s, 90.0)

    def test_networks_not_seen_for_long_are_forgotten(self) -> None:
        intervals = Intervals(60.0, 300.0)
        for number in range(MAX_NETWORKS + 1):
            intervals.use(f"n{number}")
            intervals.lost()
        self.assertEqual(len(intervals.known()), MAX_NETWORKS)
        intervals.use("n0")
        self.assertEqual(intervals.interval_s, 60.0)

    def test_what_is_known_survives(self) -> None:
        before = Intervals(60.0, 300.0)
        before.lost()
        before.use("wifi")
        before.succeeded(60.0)
        after = Intervals(60.0, 80.0)
        after.restore(parse_known(json.loads(json.dumps(before.known()))))
        self.assertEqual(after.interval_s, 30.0)
        after.use("wifi")
        self.assertEqual(after.interval_s, 80.0)  # within the limits of this run

    def test_what_cannot_have_been_known_is_refused(self) -> None:
        for value in ([], {"a": 1}, {"a": []}, {"a": [1, 2, 3]}, {"a": [math.inf]}, {"a": ["1"]}, {"x" * 65: [20]}):
            with self.subTest(value), self.assertRaises(ValueError):
                parse_known(value)


@on_every_sdk
class LearningTests(SdkCase):
    """Sessions with heartbeats."""

    async def test_what_is_learned_is_promised_with_the_next_heartbeat(self) -> None:
        pings = []

        async def script(peer: Peer) -> None:
            await peer.open()
            for number in (1, 2, 3):
                ping = await peer.take(Signal.PING)
                pings.append(json.loads(ping.body or b"null"))
                for event in peer.session.receive(ping):
                    peer.send(event.frame.signal, event.frame.body, message_id=event.frame.message_id)
                peer.push(number, b"")
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, auto_ack=False) as client:
            await client.wait_open()
            iteration = aiter(client)
            for silence_s in (60.0, 60.0, 90.0):
                # A sleep for no more than that: the one of the heartbeat that is to come.
                self.clock.advance(silence_s)
                await anext(iteration)
        self.assertEqual(pings, [None, {"interval": 90_000}, None])

    async def test_the_pulse_shows_what_was_learned(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.open()
            for number in (1, 2):
                ping = await peer.take(Signal.PING)
                self.clock.advance(2.0)
                for event in peer.session.receive(ping):
                    peer.send(event.frame.signal, event.frame.body, message_id=event.frame.message_id)
                peer.push(number, b"")
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server, auto_ack=False) as client:
            self.assertIsNone(client.pulse)
            await client.wait_open()
            shown = [client.pulse]
            iteration = aiter(client)
            for _ in range(2):
                self.clock.advance(60.0)
                await anext(iteration)
                shown.append(client.pulse)
        self.assertEqual(shown, [Pulse(60.0), Pulse(60.0, 1, 2.0), Pulse(90.0, 2, 2.0)])
        self.assertIsNone(client.pulse)

    async def test_a_line_found_dead_halves_it_for_the_next_session(self) -> None:
        promised = []

        async def script(peer: Peer) -> None:
            promised.append((await peer.open()).interval_ms)
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            await self.clock.pass_over(60.0)
            await self.clock.pass_over(20.0)
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual(promised, [60_000, 30_000])

    async def test_a_server_that_closes_teaches_nothing(self) -> None:
        promised = []

        async def script(peer: Peer) -> None:
            promised.append((await peer.open()).interval_ms)
            if len(promised) == 2:
                await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual(promised, [60_000, 60_000])

    async def test_a_proxy_that_closes_idle_lines_is_learned_of(self) -> None:
        promised = []

        async def script(peer: Peer) -> None:
            promised.append((await peer.open()).interval_ms)
            await (peer.eof() if len(promised) == 3 else cuts.get())

        cuts: asyncio.Queue[None] = asyncio.Queue()
        server = await self.serve(script)
        async with self.client(server) as client:
            for _ in range(2):
                await client.wait_open()
                await self.clock.somebody_sleeps(60.0)
                self.clock.advance(50.0)
                cuts.put_nowait(None)
                await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual(promised, [60_000, 60_000, 25_000])

    async def test_being_closed_as_idle_is_a_loss(self) -> None:
        promised = []

        async def script(peer: Peer) -> None:
            promised.append((await peer.open()).interval_ms)
            if len(promised) == 1:
                peer.disconnect(3002, "idle", "backoff")
            await peer.eof()

        server = await self.serve(script)
        async with self.client(server) as client:
            await self.clock.pass_over(0.25)
            await client.wait_open()
        self.assertEqual(promised, [60_000, 30_000])

    async def test_the_network_may_be_named_before_it_begins(self) -> None:
        promised = []

        async def script(peer: Peer) -> None:
            promised.append((await peer.open()).interval_ms)
            await peer.eof()

        store = aio_sdk.TokenCallbacks(lambda: 'token\n{"intervals": {"home": [30]}}\n', str)
        client = self.client(await self.serve(script), token_store=store)
        client.network_changed("home")
        async with client:
            await client.wait_open()
        self.assertEqual(promised, [30_000])

    async def test_each_network_has_its_own_and_keeps_it_between_runs(self) -> None:
        promised = []

        async def script(peer: Peer) -> None:
            promised.append((await peer.open()).interval_ms)
            await peer.eof()

        kept: list[str] = []
        store = aio_sdk.TokenCallbacks(lambda: kept[-1] if kept else None, kept.append)
        server = await self.serve(script)
        async with self.client(server, token_store=store) as client:
            client.network_changed("home")
            await client.wait_open()
            await self.clock.pass_over(60.0)
            await self.clock.pass_over(20.0)
            await self.clock.pass_over(0.25)
            await client.wait_open()
            client.network_changed("office")
            while len(promised) < 3:
                await self.clock.sleep(0)
            await client.wait_open()
        async with self.client(server, token_store=store) as client:
            client.network_changed("home")
            await client.wait_open()
        self.assertEqual(promised[0], 60_000)
        self.assertEqual(promised[1:3], [30_000, 60_000])
        self.assertEqual(promised[-1], 30_000)
