"""WebSocket from outside: a foreign client library and a real browser, at the port of its own and at /ws of the API."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from push.protocols.wire.frames import ID, FrameDecoder, encode
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from tests import browser
from tests.integration.server import HOST, Server, free_port, running
from tests.integration.verifier import explain, verifying
from tests.integration.waiting import DEADLINE_S, wait_until


@contextmanager
def started(directory: str | Path, *options: str, transport: str = "tcp") -> Iterator[tuple[Server, list[str]]]:
    """A server that is ready, and where WebSocket is spoken."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    server = Server(directory, [f"--listen=websocket={transport}:{port}:interface={HOST}", *options])
    server.transport = transport
    with running(server):
        server.start()
        yield server, [f"ws://{HOST}:{port}/", f"ws://{HOST}:{server.api.port}/ws"]


class Client:
    """One connection of the library `websockets`, speaking JSON text."""

    def __init__(self, url: str, **options: Any) -> None:
        self.socket: ClientConnection = connect(url, open_timeout=DEADLINE_S, **options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, signal: str, content: Any = None, **fields: Any) -> None:
        """Send one frame."""
        self.socket.send(json.dumps({"signal": signal, "content": content} | fields))

    def next(self) -> Any:
        """The next frame."""
        return json.loads(self.socket.recv(DEADLINE_S))

    def open(self, **fields: Any) -> str:
        """Open a session; its token."""
        self.send("SUB", fields)
        answer = self.next()
        assert (answer["signal"], answer["content"]["status"]) == ("SUB", 200), answer
        token: str = answer["content"]["token"]
        return token

    def pushes(self, count: int) -> list[Any]:
        """The contents of the next frames, which are pushes."""
        frames = [self.next() for _ in range(count)]
        assert {frame["signal"] for frame in frames} == {"PUSH"}, frames
        return [frame["content"] for frame in frames]

    def closed(self) -> tuple[int, str]:
        """Code and reason of the server's Close frame, when all before it has been read."""
        try:
            while True:
                self.socket.recv(DEADLINE_S)
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise AssertionError("the connection was cut") from closed
            return closed.rcvd.code, closed.rcvd.reason


class ForeignClient(SynchronousTestCase):
    """The library `websockets`."""

    def test_messages_of_every_kind_arrive_at_both_places(self) -> None:
        values = ["é€𝄞", {"n": [1, None]}, "", "[1", 7]
        with started(self.mktemp()) as (server, urls):
            for url in urls:
                with Client(url) as client:
                    token = client.open(uid="alice")
                    for value in values:
                        server.api.send({"token": token}, value)
                    self.assertEqual(client.pushes(4), values[:4])
                    self.assertEqual(json.loads(client.pushes(1)[0]), 7)

    def test_messages_that_are_no_text_arrive_as_base64(self) -> None:
        with started(self.mktemp()) as (server, urls), Client(urls[0]) as client:
            request = {"target": {"token": client.open()}, "message": {"data_base64": "AP/+"}}
            server.api.post("/v1/messages:send", request)
            self.assertEqual(client.pushes(1), [{"base64": "AP/+"}])

    def test_binary_messages_are_frames(self) -> None:
        with started(self.mktemp()) as (server, urls):
            for url in urls:
                asked = [Subprotocol("unknown"), Subprotocol("push.framed")]
                with connect(url, subprotocols=asked) as socket:
                    self.assertEqual(socket.subprotocol, "push.framed")
                    socket.send(encode(Signal.SUB, b'{"ack":true}', message_id=5))
                    decoder = FrameDecoder(1 << 20)
                    (answer,) = decoder.feed(_bytes(socket))
                    self.assertEqual((answer.signal, answer.message_id), (Signal.SUB, 5))
                    sent = server.api.send({"token": json.loads(answer.body)["token"]}, "hello")
                    (push,) = decoder.feed(_bytes(socket))
                    self.assertEqual((push.signal, push.subsignal), (Signal.PUSH, SubSignal.MN))
                    self.assertEqual(push.body, ID.pack(int(sent["id"])) + b"hello")

    def test_no_extension_is_agreed_upon_though_the_client_offers_one(self) -> None:
        with started(self.mktemp()) as (_, urls):
            for url in urls:
                with Client(url, compression="deflate") as client:
                    self.assertEqual(client.socket.protocol.extensions, [])
                    client.open()

    def test_pings_are_answered_and_a_heartbeat_of_plain_text_is_not(self) -> None:
        with started(self.mktemp()) as (_, urls), Client(urls[1]) as client:
            self.assertTrue(client.socket.ping(b"still there?").wait(DEADLINE_S))
            client.open()
            client.socket.send("heartbeat")
            client.send("PING", {"interval": 20_000}, messageId=3)
            answer = client.next()
            self.assertEqual((answer["signal"], answer["messageId"]), ("PING", 3))
            self.assertEqual(answer["content"], {"interval": 20_000})

    def test_what_is_not_acknowledged_comes_again_in_order_and_the_window_holds(self) -> None:
        with started(self.mktemp(), "--ack-window=3") as (server, urls):
            with Client(urls[0]) as client:
                token = client.open(ack=True)
                ids = [server.api.send({"token": token}, f"m{number}")["id"] for number in range(8)]
                frames = [client.next() for _ in range(3)]
                self.assertEqual([frame["id"] for frame in frames], ids[:3])
                with self.assertRaises(TimeoutError):
                    client.socket.recv(0.3)
                client.send("PUB_ACK", {"ids": ids[:1]}, subSignal="MN")
                self.assertEqual(client.next()["id"], ids[3])
            for url in reversed(urls):  # what a client did not acknowledge comes to the next one, by whatever way
                with Client(url) as client:
                    client.open(ack=True, token=token)
                    self.assertEqual([client.next()["id"] for _ in range(3)], ids[1:4])
            with Client(urls[0]) as client:
                client.open(ack=True, token=token)
                for message_id in ids[1:]:
                    frame = client.next()
                    self.assertEqual(frame["id"], message_id)
                    client.send("PUB_ACK", subSignal="MN", id=message_id)
                server.api.send({"token": token}, "last")
                self.assertEqual(client.pushes(1), ["last"])

    def test_an_end_has_the_code_of_the_session(self) -> None:
        with started(self.mktemp(), "--stop-spread-s=0") as (server, urls):
            with Client(urls[0]) as first, Client(urls[1]) as second:
                token = first.open()
                second.open(token=token)
                self.assertEqual(first.closed()[0], CloseCode.REPLACED)
                server.api.request("POST", f"/v1/tokens/{token}:kick")
                self.assertEqual(second.closed()[0], CloseCode.KICKED)
            for url in urls:
                with Client(url) as client:
                    client.open()
                    assert server.process is not None
                    server.process.send_signal(signal.SIGTERM)
                    self.assertEqual(client.closed()[0], CloseCode.SHUTDOWN)
                server.ended()
                server.start()

    def test_too_large_a_message_is_refused(self) -> None:
        with started(self.mktemp()) as (_, urls):
            for url in urls:
                with Client(url) as client:
                    client.send("SUB", {"auth": "x" * 20_000})
                    self.assertEqual(client.closed()[0], CloseCode.TOO_LARGE)

    def test_pages_of_others_may_not_and_those_that_are_named_may(self) -> None:
        with started(self.mktemp(), "--allowed-origin=https://good.example") as (_, urls):
            for url in urls:
                with self.assertRaises(InvalidStatus) as caught:
                    connect(url, origin=Origin("https://evil.example"))
                self.assertEqual(caught.exception.response.status_code, 403)
                for origin in ("https://good.example", "http://localhost:3000"):
                    with Client(url, origin=Origin(origin)) as client:
                        client.open()

    def test_no_api_key_is_asked_for(self) -> None:
        key = "backend:push+read:" + "0" * 64
        with started(self.mktemp(), f"--api-key={key}") as (server, urls), Client(urls[1]) as client:
            client.open()
            self.assertEqual(server.api.get("/ws").status, 426)
            self.assertEqual(server.api.get("/v1/nodes").status, 401)

    def test_worker_processes_share_the_port(self) -> None:
        with started(self.mktemp(), "--workers=2", "--stop-spread-s=0", transport="lean") as (server, urls):
            client = Client(urls[0])
            server.api.send({"token": client.open()}, "hello")
            self.assertEqual(client.pushes(1), ["hello"])
            client.socket.close()
            with Client(urls[1]) as asking:  # the API's process holds no clients: it says who does
                asking.send("SUB", {})
                answer = asking.next()["content"]
            self.assertEqual(answer["status"], 302, answer)
            self.assertEqual((answer["status"], f"ws://{answer['host']}:{answer['port']}/"), (302, urls[0]))


class Deliveries(SynchronousTestCase):
    """What is promised of messages holds here too."""

    def test_nothing_that_was_accepted_is_lost_though_the_server_is_killed(self) -> None:
        load = ("--tokens=20", "--rate=150", "--online=1", "--away=1", "--broadcasts=2", "--settle=6", "--seed=7")
        with started(self.mktemp(), "--stop-spread-s=0") as (server, urls):
            own_port, at_api = (verifying(server, *load, f"--server={url}") for url in urls)
            with own_port as one, at_api as two:
                server.stop(signal.SIGKILL)
                server.start()
                before = one.accepted()
                wait_until("messages are accepted again", lambda: one.accepted() > before)
                for verifier in (one, two):
                    verifier.stop_sending()
                for verifier in (one, two):
                    verdict = verifier.verdict()
                    self.assertTrue(verdict["ok"], explain(verdict, verifier.report))
                    self.assertEqual(verdict["accepted"], verdict["delivered"])


def _bytes(socket: ClientConnection) -> bytes:
    data = socket.recv(DEADLINE_S)
    assert isinstance(data, bytes)
    return data


_SESSION = """
window.seen = [];
const socket = new WebSocket(arguments[0], arguments[1] ? [arguments[1]] : []);
socket.binaryType = "arraybuffer";
socket.onopen = () => {
  if (arguments[1] === "push.framed") socket.send(new Uint8Array([0xf8, 2, 1, 0, 0, 0, 0, 0, 0, 9]));
  else socket.send(JSON.stringify({signal: "SUB", messageId: 9, content: {ack: true, uid: "browser"}}));
};
socket.onmessage = (event) => window.seen.push(
  typeof event.data === "string" ? JSON.parse(event.data) : Array.from(new Uint8Array(event.data)));
socket.onclose = (event) => { window.ended = [event.code, event.reason, event.wasClean]; };
window.socket = socket;
"""


class RealBrowser(SynchronousTestCase):
    """Chromium, which is stricter than most: about subprotocols, extensions and the closing handshake."""

    if browser.WHY_NOT:
        skip = browser.WHY_NOT

    def test_json_text_from_the_first_message_to_a_clean_end(self) -> None:
        with started(self.mktemp()) as (server, urls), browser.browsing() as (window,):
            window.open(f"http://{HOST}:{server.api.port}/healthz")
            for url, subprotocol in ((urls[1], ""), (urls[0], "push.json")):
                window.run(_SESSION, url, subprotocol)
                answer = window.wait("return window.seen[0]")
                token = answer["content"]["token"]
                self.assertEqual(window.run("return [socket.protocol, socket.extensions]"), [subprotocol, ""])
                sent = server.api.send({"token": token}, {"text": "héllo"})
                push = window.wait("return window.seen[1]")
                self.assertEqual((push["id"], push["content"]), (sent["id"], {"text": "héllo"}))
                window.run(
                    "socket.send(JSON.stringify(arguments[0]))",
                    {"signal": "PUB_ACK", "subSignal": "MN", "id": push["id"]},
                )
                wait_until("it is acknowledged", partial(self._is_over, server, sent["id"]))
                window.run("socket.close(1000, 'bye')")
                self.assertEqual(window.wait("return window.ended"), [1000, "", True])
                window.run("window.ended = null")

    def _is_over(self, server: Server, message_id: str) -> bool:
        counts = server.api.get(f"/v1/messages/{message_id}").json["counts"]
        return bool(counts["delivered"] == 1)

    def test_binary_frames_and_an_end_by_the_server(self) -> None:
        with started(self.mktemp()) as (server, urls), browser.browsing() as (window,):
            window.open(f"http://{HOST}:{server.api.port}/healthz")
            window.run(_SESSION, urls[1], "push.framed")
            (answer,) = FrameDecoder(1 << 20).feed(bytes(window.wait("return window.seen[0]")))
            token = json.loads(answer.body)["token"]
            with Client(urls[0]) as other:
                other.open(token=token)
                code, _, clean = window.wait("return window.ended")
            self.assertEqual((code, clean), (CloseCode.REPLACED, True))
