"""Both SDKs with the real server, as a process of its own: the same behaviour, written once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import jwt
from twisted.trial.unittest import SynchronousTestCase

import aio_sdk
import nio_sdk
from push.services.client_auth import LEEWAY_S
from tests.integration.server import HOST, Server, started

_LIMIT_S = 60.0


class ThreadedClient:
    """nio_sdk's client in a thread of its own, with the face of aio_sdk's."""

    def __init__(self, url: str, **arguments: Any) -> None:
        self.client = nio_sdk.PushClient(url, **arguments)

    async def __aenter__(self) -> Self:
        """Start."""
        await asyncio.to_thread(self.client.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await asyncio.to_thread(self.client.close)

    async def wait_open(self) -> str:
        """Wait until a session is open."""
        return await asyncio.to_thread(self.client.wait_open, _LIMIT_S)

    def network_changed(self, name: str | None = None) -> None:
        """Pass it on."""
        self.client.network_changed(name)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over messages."""
        return self._messages()

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await asyncio.to_thread(self.client.get, _LIMIT_S)) is not None:
            message.ack()  # each call may be in another thread, and each thread acknowledges its own
            yield message


class WhateverTheyConnectBy:
    """aio_sdk."""

    make: Callable[..., Any] = staticmethod(aio_sdk.PushClient)

    def setUp(self) -> None:
        self.statuses: list[object] = []
        self.tuning = aio_sdk.Tuning(first_delay_s=0.05, max_delay_s=0.2)

    def url(self, server: Server) -> str:
        """Where that is."""
        return f"push://{HOST}:{server.port}"

    @asynccontextmanager
    async def client(self, server: Server, **arguments: Any) -> AsyncIterator[Any]:
        """A client that is open."""
        arguments = {"tuning": self.tuning, "on_status": self.statuses.append, **arguments}
        async with asyncio.timeout(2 * _LIMIT_S), self.make(self.url(server), **arguments) as client:
            await client.wait_open()
            yield client

    def count(self, kind: type) -> int:
        """How many statuses of a kind there were."""
        return sum(isinstance(one, kind) for one in self.statuses)

    def test_messages_arrive_in_order_by_uid_tag_and_token(self) -> None:
        async def run(server: Server) -> list[str]:
            async with self.client(server, uid="carol", tags=["news"]) as client:
                token = await client.wait_open()
                for number, target in enumerate(({"uid": "carol"}, {"tags": {"any": ["news"]}}, {"token": token})):
                    await asyncio.to_thread(server.api.send, target, f"{number}")
                iteration = aiter(client)
                return [(await anext(iteration)).text for _ in range(3)]

        with started(self.mktemp()) as server:
            self.assertEqual(asyncio.run(run(server)), ["0", "1", "2"])

    def test_a_thousand_messages_are_acknowledged(self) -> None:
        async def run(server: Server) -> list[str]:
            got = []
            async with self.client(server, uid="carol") as client:
                for start in range(0, 1_000, 200):
                    batch = [{"target": {"uid": "carol"}, "message": {"data": f"{start + n}"}} for n in range(200)]
                    await asyncio.to_thread(server.api.post, "/v1/messages:batchSend", {"requests": batch})
                    async for message in client:
                        got.append(message.text)
                        if len(got) == start + 200:
                            break
            return got

        with started(self.mktemp()) as server:
            self.assertEqual(asyncio.run(run(server)), [str(n) for n in range(1_000)])
            self.assertGreaterEqual(server.api.sample("push_acknowledged_total"), 990)

    def test_a_restart_of_the_server_is_survived_with_the_same_token(self) -> None:
        async def run(server: Server, path: Path) -> None:
            async with self.client(server, token_file=path, uid="dave") as client:
                token = await client.wait_open()
                self.assertEqual(await asyncio.to_thread(server.stop), 0)
                await asyncio.to_thread(server.start)
                while self.count(aio_sdk.Open) < 2:
                    await asyncio.sleep(0.02)
                self.assertEqual(await client.wait_open(), token)
                await asyncio.to_thread(server.api.send, {"uid": "dave"}, "after")
                self.assertEqual((await anext(aiter(client))).text, "after")
            async with self.client(server, token_file=path) as client:
                self.assertEqual(await client.wait_open(), token)

        with started(self.mktemp(), "--stop-spread-s=0.1") as server:
            asyncio.run(run(server, Path(self.mktemp()).resolve()))

    def test_the_newer_session_of_a_token_wins_and_the_older_stays_away(self) -> None:
        async def run(server: Server) -> None:
            async with self.client(server, token="same") as older, self.client(server, token="same") as newer:
                with self.assertRaises(aio_sdk.Disconnected) as raised:
                    await anext(aiter(older))
                await asyncio.to_thread(server.api.send, {"token": "same"}, "for the newer")
                self.assertEqual((await anext(aiter(newer))).text, "for the newer")
            self.assertEqual(raised.exception.code, 3500)

        with started(self.mktemp()) as server:
            asyncio.run(run(server))

    def test_a_change_of_network_opens_the_session_anew(self) -> None:
        async def run(server: Server) -> None:
            async with self.client(server) as client:
                token = await client.wait_open()
                client.network_changed("elsewhere")
                while self.count(aio_sdk.Open) < 2:
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(server.api.send, {"token": token}, "here")
                self.assertEqual((await anext(aiter(client))).text, "here")

        with started(self.mktemp()) as server:
            asyncio.run(run(server))


class RealServerTests(WhateverTheyConnectBy, SynchronousTestCase):
    """aio_sdk, and what only clients of the framed protocol do."""

    def test_the_api_says_where_to_connect(self) -> None:
        async def run(server: Server, path: str) -> None:
            url = f"http://{HOST}:{server.api.port}{path}"
            async with (
                asyncio.timeout(_LIMIT_S),
                self.make("push://127.0.0.1:1", allocation=url, on_status=self.statuses.append) as client,
            ):
                await client.wait_open()

        with started(self.mktemp()) as server:
            for path in ("/v1/allocate", "/manager/redirect"):
                self.statuses.clear()
                asyncio.run(run(server, path))
                opened = next(one for one in self.statuses if isinstance(one, aio_sdk.Open))
                self.assertEqual(opened.address.port, server.port)
                self.assertEqual(self.count(aio_sdk.Unallocated), 0)

    def test_a_session_whose_credential_is_over_is_opened_anew_with_a_fresh_one(self) -> None:
        secret = "a secret of clients that is long enough"
        lives_s = [6 - LEEWAY_S, 3_600]

        def credential() -> str:
            lives = lives_s.pop(0) if len(lives_s) > 1 else lives_s[0]
            return jwt.encode({"sub": "alice", "exp": int(time.time() + lives)}, secret, "HS256")

        async def run(server: Server) -> None:
            async with self.client(server, auth=credential) as client:
                token = await client.wait_open()
                while self.count(aio_sdk.Open) < 2:
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(server.api.send, {"uid": "alice"}, "still here")
                self.assertEqual((await anext(aiter(client))).text, "still here")
                self.assertEqual(await client.wait_open(), token)
            (lost,) = (one for one in self.statuses if isinstance(one, aio_sdk.Lost))
            self.assertEqual(lost.code, 3005)

        path = Path(self.mktemp())
        path.write_text(secret)
        with started(self.mktemp(), f"--client-jwt-key-file={path.resolve()}") as server:
            asyncio.run(run(server))


class NioRealServerTests(RealServerTests):
    """nio_sdk."""

    make = staticmethod(ThreadedClient)


class WebSocketTests(WhateverTheyConnectBy, SynchronousTestCase):
    """aio_sdk over WebSocket, at the API's port."""

    def url(self, server: Server) -> str:
        """Where that is."""
        return f"ws://{HOST}:{server.api.port}/ws"

    def test_where_it_is_not_spoken_the_reason_is_told(self) -> None:
        async def run(server: Server) -> None:
            for path in ("/healthz", "/nowhere"):
                url = f"ws://{HOST}:{server.api.port}{path}"
                async with asyncio.timeout(_LIMIT_S), self.make(url, on_status=self.statuses.append):
                    while not self.count(aio_sdk.Lost):
                        await asyncio.sleep(0.02)
                reason = next(one.reason for one in self.statuses if isinstance(one, aio_sdk.Lost))
                self.assertIn("does not speak WebSocket here", reason)
                self.statuses.clear()

        with started(self.mktemp()) as server:
            asyncio.run(run(server))


class NioWebSocketTests(WebSocketTests):
    """nio_sdk."""

    make = staticmethod(ThreadedClient)
