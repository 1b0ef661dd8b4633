"""The console of a cluster in a real browser: it shows all nodes, whichever serves it, and empties a connector."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import nio_sdk
from tests.browser import DESK, WHY_NOT, Browser, browsing
from tests.integration.cluster import Cluster, Node
from tests.integration.server import HOST
from tests.integration.waiting import DEADLINE_S, wait_until


@contextmanager
def started(directory: str) -> Iterator[tuple[Node, Node, list[Node]]]:
    """Two cores and two connectors, where WebSocket is spoken."""
    cluster = Cluster(Path(directory))
    try:
        cores = [cluster.node(f"core{n}", "router", "subscribe", "cache", "api") for n in range(2)]
        connectors = [
            cluster.node(
                f"connector{n}", "connector", options=[f"--listen=websocket=tcp:{cluster.port()}:interface={HOST}"]
            )
            for n in range(2)
        ]
        cluster.start()
        yield cores[0], cores[1], connectors
    finally:
        cluster.destroy()


@contextmanager
def sending(core: Node) -> Iterator[None]:
    """Pushes through one API, for as long as this lasts."""
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(0.02):
            core.api.send({"uid": "ann"}, "hello")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Clients:
    """Clients of a connector, by the framed protocol; where each was last open."""

    def __init__(self, connector: Node, uids: list[str]) -> None:
        self.places: dict[str, int] = {}
        self._clients = [
            nio_sdk.PushClient(
                f"push://{connector.address}", uid=uid, on_status=self._noter(uid), on_message=lambda message: None
            )
            for uid in uids
        ]

    def __enter__(self) -> "Clients":
        for client in self._clients:
            client.start()
        for client in self._clients:
            client.wait_open(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()

    def _noter(self, uid: str) -> Callable[[nio_sdk.Status], None]:
        def told(status: nio_sdk.Status) -> None:
            if isinstance(status, nio_sdk.Open):
                self.places[uid] = status.address.port

        return told


LATENCY = "return document.querySelector('#latency-chart polyline').getAttribute('points')"
# The row of a node, by its name.
ROW = (
    "const row = [...document.querySelectorAll('#nodes tr')].find((each) => each.cells[0].innerText === arguments[0]);"
)


def cells(window: Browser, name: str) -> list[str]:
    """What the console shows of a node."""
    found: list[str] = window.run(ROW + "return row ? [...row.cells].map((cell) => cell.innerText) : []", name)
    return found


def button(window: Browser, name: str, kind: str) -> bool:
    """Click a button in the row of a node; whether there is one."""
    click = "const found = row && row.querySelector('button.' + arguments[1]); if (found) found.click(); return !!found"
    return bool(window.run(ROW + click, name, kind))


class ClusterConsoleTests(SynchronousTestCase):
    """At one core of two."""

    if WHY_NOT:
        skip = WHY_NOT

    def test_it_shows_what_happens_anywhere_and_empties_a_connector_whose_clients_move(self) -> None:
        with (
            started(self.mktemp()) as (core, other, (first, second)),
            Clients(first, ["ann", "ben", "cid"]) as clients,
            browsing(DESK) as (window,),
        ):
            window.open(f"http://{HOST}:{core.api.port}/console")
            window.wait_text("#state", "live")  # it was sent to a connector, as this API holds no clients
            wait_until("clients and the console are counted", lambda: "4\nsessions" in window.text("#tiles"))
            with sending(other):
                wait_until("what goes through the other API is seen", lambda: tile(window, "messages a second") > 5)
                wait_until("and for which node", lambda: number(cells(window, first.address)[5]) > 5)
                wait_until(
                    "how long it takes is, too",
                    lambda: (
                        ","
                        in window.run("return document.querySelector('#latency-chart polyline').getAttribute('points')")
                    ),
                )
                self.drain(window, first, second, clients)

    def drain(self, window: Browser, first: Node, second: Node, clients: Clients) -> None:
        """By its buttons."""
        self.assertEqual(set(clients.places.values()), {first.port})
        self.assertTrue(button(window, first.address, "plain"))
        self.assertTrue(button(window, first.address, "danger"))
        window.wait_text("#nodes-result", f"{first.address} sends its sessions elsewhere")
        wait_until("that is shown", lambda: "draining" in cells(window, first.address))
        wait_until("it is empty", lambda: cells(window, first.address)[1] == "0")
        wait_until("they are elsewhere", lambda: set(clients.places.values()) == {second.port})
        wait_until("and the console as well", lambda: cells(window, second.address)[1] == "4")
        window.wait_text("#state", "live")
        self.assertEqual(window.complaints(), [])
        picture = os.environ.get("PUSH_SCREENSHOTS")
        if picture:
            time.sleep(60)
            window.screenshot(Path(picture) / "console-cluster.png", whole=True)
        self.assertTrue(button(window, second.address, "plain"))
        self.assertTrue(button(window, second.address, "danger"))
        window.wait_text("#nodes-result", "no connector at another address")
        self.assertTrue(button(window, first.address, "plain"))
        window.wait_text("#nodes-result", f"{first.address} takes sessions again")
        wait_until("that is shown", lambda: "takes sessions" in cells(window, first.address))


def number(text: str) -> float:
    """What a cell shows."""
    return float(text.replace(",", "")) if text not in ("", "–") else 0.0


def tile(window: Browser, name: str) -> float:
    """What a tile shows."""
    lines = window.text("#tiles").splitlines()
    return number(lines[lines.index(name) - 1])
