"""Bad input over real sockets: a clear answer, no traceback, nobody else disturbed, nothing left behind."""

import json
import os
import random
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.frames import HEADER, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, parse_disconnect
from push.protocols.wire.signals import MAGIC, VERSION, Signal
from tests.integration.client import WireClient, connect
from tests.integration.server import Answer, Server, started
from tests.integration.waiting import DEADLINE_S, wait_until

FRAMES = 100_000
FRAMES_PER_CONNECTION = 500
DRIPPING = 200
# What Python's and the C library's allocators keep for later differs from run to run by a few MB.
MEMORY_NOISE_BYTES = 12_000_000
DEEP = b"[" * 100_000 + b"]" * 100_000
BAD_TEXT = b'{"uid": "\xff\xfe"}'


def frame(signal: int, body: bytes = b"", *, subsignal: int = 0, message_id: int = 0) -> bytes:
    """A well-formed frame, whatever it says."""
    return encode(signal, body, subsignal=subsignal, message_id=message_id)


def header(magic: int = MAGIC, version: int = VERSION, signal: int = Signal.SUB, length: int = 0) -> bytes:
    """A header alone."""
    return HEADER.pack(magic, version, signal, length, 0, 0)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send, and read meanwhile and until the server hangs up.

    Args:
        sock: connected; closed afterwards.
        data: may be more than the server cares to read.

    Returns:
        All that the server sent.
    """
    received = bytearray()
    unsent = memoryview(data)
    with sock, selectors.DefaultSelector() as selector:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while True:
            ready = selector.select(DEADLINE_S)
            if not ready:
                raise AssertionError("the server neither answered nor hung up")
            try:
                if ready[0][1] & selectors.EVENT_READ:
                    part = sock.recv(65_536)
                    if not part:
                        return bytes(received)
                    received += part
                if ready[0][1] & selectors.EVENT_WRITE:
                    unsent = unsent[sock.send(unsent) :]
                    if not unsent:
                        selector.modify(sock, selectors.EVENT_READ)
            except (ConnectionResetError, BrokenPipeError):
                return bytes(received)


def goodbye(received: bytes) -> Disconnect | None:
    """What the server said last, if it was a DISCONNECT."""
    decoder = FrameDecoder(1 << 20)
    frames = decoder.feed(received)
    if decoder.error is not None or decoder.buffered_bytes:
        raise AssertionError(f"the server sent something else than whole frames: {received[-80:]!r}")
    if not frames or frames[-1].signal != Signal.DISCONNECT:
        return None
    return parse_disconnect(frames[-1].body)


class BadInputTests(SynchronousTestCase):
    """Each of these happens to a server on which somebody else is online all the time."""

    @contextmanager
    def besieged(self, *options: str) -> Iterator[Server]:
        """A server that must come out of it as it was."""
        with started(self.mktemp(), *options) as server, WireClient(server.port) as bystander:
            bystander.open(uid="bystander")
            yield server
            self.assertEqual(server.api.send({"uid": "bystander"}, "still here?")["sent"], 1)
            self.assertEqual(bystander.message(), b"still here?")
            self.settle(server)
            bystander.close()
            self.assertEqual(server.stop(), 0)
            log = server.output()
            for word in ("Traceback", "Unhandled", "#error]", "#critical]", "failed"):
                self.assertNotIn(word, log)

    def settle(self, server: Server) -> None:
        """Wait until only the bystander is connected."""
        api = server.api
        wait_until("only the bystander is connected", lambda: api.sample("push_connections") == 1)
        self.assertEqual((api.sample("push_sessions"), api.sample("push_outbox_bytes")), (1, 0))

    def test_what_does_not_speak_the_protocol_is_closed_without_an_answer(self) -> None:
        chance = random.Random(1)
        greetings = [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100, b"\n"]
        greetings += [bytes([chance.randrange(0xF8)]) + chance.randbytes(chance.randrange(5_000)) for _ in range(50)]
        with self.besieged() as server:
            for greeting in greetings:
                self.assertEqual(exchange(connect(server.port), greeting), b"")

    def test_frames_that_cannot_be_are_answered_with_the_reason(self) -> None:
        open_session = frame(Signal.SUB)
        cases = [
            (header(version=7), 3501),
            (header(signal=0), 3501),
            (header(signal=99), 3501),
            (header(length=4_097), 3502),
            (header(length=2**32 - 1), 3502),
            (header(length=2**31) + b"x" * 10_000_000, 3502),
            (open_session + header(magic=0x00), 3501),
            (open_session + header(length=2**32 - 1), 3502),
        ]
        with self.besieged() as server:
            for data, code in cases:
                said = goodbye(exchange(connect(server.port), data))
                self.assertEqual(said and said.code, code, data[:40])
            with WireClient(server.port) as client:
                client.open()
                client.socket.sendall(header(signal=Signal.PING, length=65_537))
                self.assertEqual(client.disconnected().code, 3502)

    def test_what_comes_in_the_wrong_order_is_answered_with_the_reason(self) -> None:
        subscribed = frame(Signal.SUB)
        early = [Signal.PUSH, Signal.CONTACT, Signal.CONNECT_ACK, Signal.PUBLISH, Signal.PUB_ACK]
        cases = [frame(signal) for signal in early]
        cases += [subscribed + frame(signal) for signal in (Signal.PUSH, Signal.CONNECT_ACK)]
        cases += [subscribed * 100, subscribed + frame(Signal.PUB_ACK, b"123", subsignal=17)]
        cases += [
            subscribed + frame(Signal.PING, body) for body in (b"[]", b"\xff", DEEP[:4_000], b'{"interval": "x"}')
        ]
        cases += [frame(Signal.SUB, b"nonsense") * 20]
        with self.besieged() as server:
            for data in cases:
                said = goodbye(exchange(connect(server.port), data))
                self.assertEqual(said and said.code, 3505, data[:40])

    def test_a_sub_that_cannot_be_understood_is_refused_and_may_be_corrected(self) -> None:
        bodies = [
            BAD_TEXT,
            DEEP[:4_000],
            b'{"uid": "a\\u0000b"}',
            b'{"uid": "\\ud800"}',
            b'{"token": "a b"}',
            b'{"interval": 1e999}',
            b'{"interval": true}',
        ]
        with self.besieged() as server:
            for body in bodies:
                with connect(server.port) as sock:
                    sock.sendall(frame(Signal.SUB, body, message_id=1) + frame(Signal.SUB, b"{}", message_id=2))
                    refused, accepted = self._read_frames(sock, 2)
                    self.assertEqual((refused[0], refused[1]["status"]), (1, 400), body[:40])
                    self.assertEqual((accepted[0], accepted[1]["status"]), (2, 200), body[:40])

    def test_half_frames_and_broken_connections_leave_nothing_behind(self) -> None:
        chance = random.Random(2)
        whole = frame(Signal.SUB, json.dumps({"uid": "u" * 100}).encode()) + frame(Signal.PING, b" " * 3_000)
        with self.besieged("--handshake-timeout-s=1") as server:
            kept = []
            for number in range(300):
                sock = connect(server.port)
                sock.sendall(whole[: chance.randrange(len(whole))])
                if number % 3 == 0:  # vanishes with a reset
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if number % 3 == 2:
                    kept.append(sock)
                else:
                    sock.close()
            for sock in kept:
                sock.close()

    def test_who_drips_bytes_instead_of_a_handshake_is_closed_in_time(self) -> None:
        with self.besieged("--handshake-timeout-s=2", "--close-timeout-s=1") as server:
            began_s = time.monotonic()
            with selectors.DefaultSelector() as selector:
                for _ in range(DRIPPING):
                    sock = connect(server.port)
                    sock.setblocking(False)
                    sock.send(header(length=4_000))
                    selector.register(sock, selectors.EVENT_READ)
                said = self._drip(selector)
            self.assertEqual(said, [3002] * DRIPPING)
            self.assertLess(time.monotonic() - began_s, DEADLINE_S)

    def test_a_hundred_thousand_random_frames_do_no_harm(self) -> None:
        chance = random.Random(3)
        storm = [
            b"".join(self._random_frame(chance) for _ in range(FRAMES_PER_CONNECTION))
            for _ in range(FRAMES // FRAMES_PER_CONNECTION)
        ]
        with self.besieged() as server:
            memory_bytes = []
            for part in (storm[: len(storm) // 4], storm):
                answers = 0
                for data in part:
                    received = exchange(WireClient(server.port).open().socket, data + frame(Signal.DISCONNECT))
                    goodbye(received)
                    answers += len(FrameDecoder().feed(received))
                self.settle(server)
                memory_bytes.append(server.resident_bytes())
            self.assertGreater(answers, FRAMES // 4, "the storm must get beyond its first frames")
            self._check_memory(server, memory_bytes[0])

    def test_memory_comes_back_after_many_large_and_unfinished_frames(self) -> None:
        unfinished = header(signal=Signal.PUBLISH, length=65_536) + bytes(65_000)
        with self.besieged() as server:
            before_bytes = 0
            for _ in range(3):
                clients = []
                for _ in range(300):
                    client = WireClient(server.port).open()
                    client.socket.sendall(unfinished)
                    clients.append(client)
                self.assertEqual(server.api.sample("push_sessions"), 301)
                for client in clients:
                    client.close()
                self.settle(server)
                before_bytes = before_bytes or server.resident_bytes()
            self._check_memory(server, before_bytes)

    def test_bad_requests_are_answered_and_do_no_harm(self) -> None:
        to = b'{"target": %s, "message": {"data": %s}}'
        big = b'"' + b"x" * 9_000_000 + b'"'
        bodies = {
            b"": 400,
            b"null": 400,
            DEEP: 400,
            to % (b'{"all": true}', DEEP): 400,
            to % (b'{"all": true}', b'{"a":' * 50_000 + b"1" + b"}" * 50_000): 400,
            to % (b'{"uid": "a\\u0000b"}', b'"x"'): 400,
            to % (b'{"uid": "\xff"}', b'"x"'): 400,
            to % (b'{"uid": 7}', b'"x"'): 400,
            to % (b'{"uid": "a", "all": true}', b'"x"'): 400,
            to % (b'{"all": true}', b'"x", "date": 1'): 400,
            to % (b'{"all": true}', b'"' + b"x" * 70_000 + b'"'): 413,
            to % (b'{"all": true}', big): 413,
            to % (b'{"tokens": [' + b'"x",' * 200_000 + b'"x"]}', b'"x"'): 413,
        }
        heads = [
            b"\x00\x01\x02\r\n\r\n",
            b"GET " + b"/" * 100_000,
            b"GET /v1/tokens/%00%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"POST /v1/messages:send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
            b"POST /v1/messages:send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /v1/messages:send HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
        ]
        with self.besieged("--api-timeout-s=2") as server:
            for body, status in bodies.items():
                answer = self._post(server, "/v1/messages:send", body)
                self.assertEqual(answer.status, status, body[:60])
                self.assertIn("reason", answer.json["error"])
                answer = self._post(server, "/v1/messages:batchSend", b'{"requests": [' + body + b"]}")
                self.assertIn(answer.status, (200, 400, 413), body[:60])
            for head in heads:
                first = exchange(connect(server.api.port), head).split(b"\r\n")[0]
                self.assertRegex(first, rb"HTTP/1\.1 (4\d\d|501) ", head[:60])

    def _post(self, server: Server, path: str, body: bytes) -> Answer:
        """POST, and read the answer even where the server does not care for all of the body."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        received = exchange(connect(server.api.port), head.encode() + body)
        head_part, _, content = received.partition(b"\r\n\r\n")
        return Answer(int(head_part.split()[1]), content, {})

    def _check_memory(self, server: Server, before_bytes: int) -> None:
        """Check that it has not grown since the first time that the same was done."""
        limit_bytes = before_bytes + MEMORY_NOISE_BYTES
        wait_until("its memory is back", lambda: server.resident_bytes() < limit_bytes)

    @staticmethod
    def _read_frames(sock: socket.socket, number: int) -> Sequence[tuple[int, Any]]:
        decoder = FrameDecoder()
        found: list[tuple[int, Any]] = []
        while len(found) < number:
            data = sock.recv(65_536)
            assert data, "the server hung up"
            found += [(each.message_id, json.loads(each.body)) for each in decoder.feed(data)]
        return found

    @staticmethod
    def _drip(selector: selectors.BaseSelector) -> list[int]:
        """Send a byte to each now and then until all are closed; what the server said to them."""
        codes: list[int] = []
        received: dict[socket.socket, bytes] = {}
        end_s = time.monotonic() + DEADLINE_S
        while selector.get_map() and time.monotonic() < end_s:
            ready = selector.select(0.1)
            for key, _ in ready:
                sock: Any = key.fileobj
                try:
                    data = sock.recv(65_536)
                except ConnectionResetError:
                    data = b""
                if data:
                    received[sock] = received.get(sock, b"") + data
                    continue
                said = goodbye(received.get(sock, b""))
                codes.append(said.code if said else 0)
                selector.unregister(sock)
                sock.close()
            if not ready:
                for key in list(selector.get_map().values()):
                    os.write(key.fd, b" ")
        return codes

    @staticmethod
    def _random_frame(chance: random.Random) -> bytes:
        """Mostly what is legal in an open session, so that the server has to look at it and at the next one."""
        lot = chance.random()
        if lot < 0.001:  # most of these end the session
            return chance.randbytes(chance.randrange(1, 100))
        if lot < 0.002:  # more frames behind it than may wait for its answer
            return frame(Signal.SUB, b'{"tags":["a","b"],"uid":"u%d","ack":true}' % chance.randrange(50))
        if lot < 0.007:
            return frame(Signal.SUB, chance.choice((BAD_TEXT, DEEP[:500], b"[]", b'{"uid":"a\\u0000b"}')))
        signal = chance.choice((Signal.AUTH, Signal.PING, Signal.CONTACT, Signal.PUBLISH, Signal.PUB_ACK))
        if signal == Signal.PING:
            body = chance.choice((b"", b"{}", b'{"interval":%d}' % chance.randrange(-(2**70), 2**70)))
        else:
            body = chance.randbytes(8 * chance.randrange(6))
        return frame(signal, body, subsignal=chance.randrange(128), message_id=chance.randrange(65_536))
