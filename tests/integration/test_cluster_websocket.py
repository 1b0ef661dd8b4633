"""WebSocket in a cluster: clients are told where it is spoken, at /ws, by /v1/allocate and when they move."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

import aio_sdk
import nio_sdk
from tests.integration.cluster import Cluster, Node
from tests.integration.server import HOST
from tests.integration.waiting import DEADLINE_S, wait_until

_LIMIT_S = 60.0


@dataclass
class Two:
    """A core whose API holds no clients, and two connectors where WebSocket is spoken at ports of its own."""

    core: Node
    connectors: list[Node]
    ports: list[int]

    def allocated(self) -> set[int]:
        """Where clients of WebSocket are sent."""
        answer = self.core.api.get("/v1/allocate?protocol=websocket")
        return {each["port"] for each in answer.json["nodes"]} if answer.status == 200 else set()

    @property
    def url(self) -> str:
        """Where clients come."""
        return f"ws://{HOST}:{self.core.api.port}/ws"

    def others(self, port: int) -> int:
        """The other port."""
        return next(each for each in self.ports if each != port)

    def drain(self, port: int) -> None:
        """Empty the connector where that is spoken."""
        connector = self.connectors[self.ports.index(port)]
        answer = self.core.api.post(f"/v1/nodes/{connector.address}:drain", {"sessions_per_s": 100})
        assert answer.status == 200, answer.body


@contextmanager
def started(directory: str) -> Iterator[Two]:
    """All of it, ready."""
    cluster = Cluster(Path(directory))
    try:
        core = cluster.node("core", "router", "subscribe", "cache", "api")
        ports = [cluster.port() for _ in range(2)]
        connectors = [
            cluster.node(f"connector{port}", "connector", options=[f"--listen=websocket=tcp:{port}:interface={HOST}"])
            for port in ports
        ]
        cluster.start()
        two = Two(core, connectors, ports)
        wait_until("all know where there is room", lambda: two.allocated() == set(ports))
        yield two
    finally:
        cluster.destroy()


def asked(url: str, **fields: Any) -> Any:
    """What a client of another make is answered."""
    with connect(url, open_timeout=DEADLINE_S) as socket:
        socket.send(json.dumps({"signal": "SUB", "messageId": 7, "content": fields}))
        return json.loads(socket.recv(DEADLINE_S))


class ClusterWebSocketTests(SynchronousTestCase):
    """Real processes."""

    def test_an_api_without_clients_says_where_they_may_go(self) -> None:
        with started(self.mktemp()) as two:
            answer = asked(two.url)
            self.assertEqual((answer["signal"], answer["messageId"], answer["content"]["status"]), ("SUB", 7, 302))
            places = {node["port"] for node in answer["content"]["nodes"]}
            self.assertEqual(places, set(two.ports))
            there = asked(f"ws://{HOST}:{places.pop()}/ws", uid="alice")
            self.assertEqual(there["content"]["status"], 200)
            listed = two.core.api.get("/v1/nodes").json["nodes"]
            self.assertEqual({node["places"]["websocket"] for node in listed}, {f"{HOST}:{port}" for port in two.ports})
            self.assertEqual(two.core.api.get("/ws").status, 426)
            for connector in two.connectors:
                connector.kill()
            wait_until("nobody is left to be sent to", lambda: not two.allocated())
            self.assertEqual(asked(two.url)["content"]["status"], 503)

    def test_both_sdks_find_their_way_and_move_when_a_connector_is_emptied(self) -> None:
        async def run(two: Two) -> None:
            opened: list[int] = []

            def told(status: aio_sdk.Status) -> None:
                if isinstance(status, aio_sdk.Open):
                    opened.append(status.address.port)

            async with (
                asyncio.timeout(_LIMIT_S),
                aio_sdk.PushClient(two.url, uid="ann", on_status=told) as client,
            ):
                await client.wait_open()
                await asyncio.to_thread(two.drain, opened[0])
                while len(opened) < 2:
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(two.core.api.send, {"uid": "ann"}, "moved")
                self.assertEqual((await anext(aiter(client))).text, "moved")
            self.assertEqual(opened[1], two.others(opened[0]))

        with started(self.mktemp()) as two:
            opened: list[int] = []

            def told(status: nio_sdk.Status) -> None:
                if isinstance(status, nio_sdk.Open):
                    opened.append(status.address.port)

            allocation = f"http://{HOST}:{two.core.api.port}/v1/allocate"
            client = nio_sdk.PushClient("ws://127.0.0.1:1/", uid="ben", allocation=allocation, on_status=told)
            with client:
                client.wait_open(_LIMIT_S)
                self.assertIn(opened[0], two.ports)
                asyncio.run(run(two))
                two.core.api.send({"uid": "ben"}, "wherever")
                message = client.get(_LIMIT_S)
                assert message is not None
                self.assertEqual(message.text, "wherever")
