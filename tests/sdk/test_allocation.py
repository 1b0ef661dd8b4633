"""Asking over HTTP where to connect, and what is tried when nobody says."""

import asyncio
import json
from unittest import TestCase

import aio_sdk
from push.protocols.wire.answers import NodeAddress
from push_client.allocation import MAX_ANSWER_BYTES, AllocationAnswer, AllocationError, asking_for, parse_allocation
from tests.sdk.surroundings import Peer, ScriptedServer, SdkCase, on_every_sdk


def http(body: object, status: str = "200 OK") -> bytes:
    """An answer."""
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(text), text)


class AnswerTests(TestCase):
    """The bytes."""

    def read(self, data: bytes, step: int = 1_000_000) -> tuple[NodeAddress, ...]:
        """Feed an answer, cut in pieces."""
        answer = AllocationAnswer()
        for start in range(0, len(data), step):
            if answer.feed(data[start : start + step]):
                self.assertEqual(start + step >= len(data), True)
        return answer.nodes()

    def test_both_forms_are_read_however_they_are_cut(self) -> None:
        forms = ({"nodes": [{"host": "h", "port": 1}]}, {"code": 200, "nodeInfos": [{"ip": "h", "port": 1}]})
        for form in forms:
            for step in (1, 7, 1_000):
                self.assertEqual(self.read(http(form), step), (NodeAddress("h", 1),))
            bare = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(form).encode()  # ended by the connection
            self.assertEqual(self.read(bare), (NodeAddress("h", 1),))

    def test_anything_else_names_what_is_wrong(self) -> None:
        for data, reason in (
            (b"", "not HTTP"),
            (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
            (http({}, "503 Busy"), "status is 503"),
            (http({}, "302 Found"), "status is 302"),
            (http([]), "not a JSON object"),
            (http({"nodes": []}), "must name a node"),
            (http({"nodeInfos": [{"ip": 1, "port": 1}]}), "host must be"),
            (http({"nodes": [{"host": "h", "port": 0}]}), "port must be"),
        ):
            with self.subTest(reason), self.assertRaisesRegex(AllocationError, reason):
                self.read(data)

    def test_an_answer_without_end_is_cut_off(self) -> None:
        answer = AllocationAnswer()
        with self.assertRaisesRegex(AllocationError, "longer than"):
            for _ in range(MAX_ANSWER_BYTES):
                answer.feed(b"x" * 1_000)

    def test_urls(self) -> None:
        one = parse_allocation("https://[::1]/v1/allocate?a=b")
        self.assertEqual((one.host, one.port, one.tls, one.target), ("::1", 443, True, "/v1/allocate?a=b"))
        self.assertTrue(one.request().startswith(b"GET /v1/allocate?a=b HTTP/1.0\r\nHost: [::1]:443\r\n"))
        for url in ("push://h", "h", "http://", "http://u@h/", "http://h:0", "http://h/ x", "http://h/\u00fc"):
            with self.subTest(url), self.assertRaises(ValueError):
                parse_allocation(url)

    def test_who_speaks_something_else_says_so_unless_the_url_does(self) -> None:
        for url, target in (
            ("http://h/v1/allocate", "/v1/allocate?protocol=websocket"),
            ("http://h/a?x=1", "/a?x=1&protocol=websocket"),
            ("http://h/a?protocol=lines", "/a?protocol=lines"),
        ):
            self.assertEqual(asking_for("websocket", parse_allocation(url)).target, target)


async def open_and_stay(peer: Peer) -> None:
    """A server that opens the session and is silent."""
    await peer.open()
    await peer.eof()


@on_every_sdk
class AllocationTests(SdkCase):
    """Clients that ask."""

    async def serve_http(self, *answers: bytes) -> ScriptedServer:
        """A server that answers so, one after the other."""
        left = list(answers)

        async def script(peer: Peer) -> None:
            request = await peer.reader.readuntil(b"\r\n\r\n")
            query = b"?protocol=websocket" if self.over_websocket else b""
            self.assertTrue(request.startswith(b"GET /v1/allocate%b HTTP/1.0\r\n" % query), request)
            peer.writer.write(left.pop(0))

        return await self.serve(script, is_http=True)

    @property
    def nobody(self) -> str:
        """Where nothing listens."""
        return "ws://127.0.0.1:1/push" if self.over_websocket else "push://127.0.0.1:1"

    def ports(self) -> list[int]:
        """Where it has tried to connect."""
        return [status.address.port for status in self.said(aio_sdk.Connecting)]

    async def test_it_goes_where_it_is_told(self) -> None:
        there = await self.serve(open_and_stay)
        asked = await self.serve_http(http({"nodes": [{"host": "127.0.0.1", "port": there.port}]}))
        url = f"http://127.0.0.1:{asked.port}/v1/allocate"
        async with self.client(self.nobody, allocation=url) as client:
            await client.wait_open()
        self.assertEqual(self.ports(), [there.port])

    async def test_without_an_answer_it_goes_home(self) -> None:
        home = await self.serve(open_and_stay)
        asked = await self.serve_http(http({}, "503 Busy"))
        url = f"http://127.0.0.1:{asked.port}/v1/allocate"
        async with self.client(home, allocation=url) as client:
            await client.wait_open()
        self.assertIn("503", self.said(aio_sdk.Unallocated)[0].reason)

    async def test_without_an_answer_it_tries_the_last_good_node_before_home(self) -> None:
        async def open_and_drop(peer: Peer) -> None:
            await peer.open()

        async def full(peer: Peer) -> None:
            await peer.refuse(status=503)
            await peer.eof()

        there = await self.serve(open_and_drop, open_and_stay)
        home = await self.serve(full)
        named = http({"nodes": [{"host": "127.0.0.1", "port": there.port}]})
        asked = await self.serve_http(named, http({}, "503 Busy"))
        url = f"http://127.0.0.1:{asked.port}/v1/allocate"
        async with self.client(home, allocation=url) as client:
            await self.clock.pass_over(0.25)  # there, which dropped us: home, which is full
            await self.clock.pass_over(0.5)  # nobody answers: there again
            await client.wait_open()
        self.assertEqual(self.ports(), [there.port, home.port, there.port])

    async def test_on_another_network_it_asks_anew(self) -> None:
        async def silent(peer: Peer) -> None:
            asked_first.set()
            await peer.reader.read()

        async def answering(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.write(named)

        asked_first = asyncio.Event()
        there = await self.serve(open_and_stay)
        named = http({"nodes": [{"host": "127.0.0.1", "port": there.port}]})
        asked = await self.serve(silent, answering, is_http=True)
        async with self.client(self.nobody, allocation=f"http://127.0.0.1:{asked.port}/v1/allocate") as client:
            await asked_first.wait()
            client.network_changed()
            await client.wait_open()
        self.assertEqual(self.ports(), [there.port])
        self.assertEqual([one.reason for one in self.said(aio_sdk.Lost)], ["the network has changed"])
        self.assertEqual(self.said(aio_sdk.Unallocated), [])

    async def test_a_server_that_does_not_answer_costs_the_time_for_connecting(self) -> None:
        async def silent(peer: Peer) -> None:
            await peer.reader.read()

        async def dripping(peer: Peer) -> None:
            while True:
                peer.writer.write(b"x")
                await peer.writer.drain()
                await asyncio.sleep(0.01)

        home = await self.serve(open_and_stay)
        tuning = aio_sdk.Tuning(connect_timeout_s=0.2)
        for script in (silent, dripping):
            asked = await self.serve(script, is_http=True)
            self.statuses.clear()
            url = f"http://127.0.0.1:{asked.port}/v1/allocate"
            async with self.client(home, allocation=url, tuning=tuning) as client:
                while not self.said(aio_sdk.Unallocated):
                    self.clock.advance(0.05)
                    await asyncio.sleep(0.01)
                await client.wait_open()
