"""What groups cost: sends a second to groups of 10, 100 and 5,000 members who are all online, and when the last has it.

    .venv/bin/python bench/chat.py [--sizes 10,100,5000] [--seconds 5] [--json FILE]

The server on one core, all clients in this process on another. Two things are measured of each size: how many
messages a second one sender gets answered with a window of them under way, while all members read; and, with one
message under way at a time, how long it takes until the last member has it. Messages have 128 characters of text.
"""

import argparse
import json
import os
import selectors
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from process import cpu_s
from servers import Running, running

from push.protocols.wire.frames import HEADER, HEADER_BYTES, encode
from push.protocols.wire.signals import Signal, SubSignal

SETTINGS = {
    "chat-requests-per-s": "1000000",
    "chat-messages-per-s": "1000000",
    "chat-history-messages": "1000000",
    "max-group-members": "20000",
}
TEXT = "x" * 128
# Messages under way in a group: fewer where each is many.
WINDOW = 32
TOLD_UNDER_WAY = 20_000
LATENCIES = 50
TIMEOUT_S = 120.0


class Client:
    """One member: counts the messages that it is told of, and the answers to what it asks."""

    def __init__(self, port: int, uid: str, number: int) -> None:
        self.told = 0
        self.answered = 0
        self.refused = 0
        self.is_open = False
        self._rest = b""
        self.socket = socket.socket()
        self.socket.bind((f"127.0.0.{1 + number // 4_000}", 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(encode(Signal.CONNECT, json.dumps({"userName": uid}).encode(), message_id=1))
        self.socket.setblocking(False)

    def read(self) -> None:
        """Count what has come."""
        try:
            data = self._rest + self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            _, _, signal, length, subsignal, _ = HEADER.unpack_from(data, at)
            end = at + HEADER_BYTES + length
            if end > size:
                break
            if signal == Signal.PUBLISH:
                self.told += subsignal == SubSignal.MN
            elif signal == Signal.PUB_ACK:
                self.answered += 1
                self.refused += data[at + HEADER_BYTES] != 0
            elif signal == Signal.CONNECT_ACK:
                self.is_open = True
            at = end
        self._rest = data[at:]

    def say(self, group: str) -> None:
        """Say something."""
        body = json.dumps({"group": group, "text": TEXT}).encode()
        self.socket.send(encode(Signal.PUBLISH, body, subsignal=SubSignal.MS, message_id=1))


class Crowd:
    """All members of a group, on one selector."""

    def __init__(self, server: Running, size: int) -> None:
        self.group = f"group-{size}"
        # How many messages all members together were told of.
        self.told = 0
        self._selector = selectors.DefaultSelector()
        self.clients: list[Client] = []
        uids = [f"user-{size}-{number}" for number in range(size)]
        for number, uid in enumerate(uids):
            client = Client(server.place.port, uid, number)
            self.clients.append(client)
            self._selector.register(client.socket, selectors.EVENT_READ, client)
            if number % 100 == 99:
                self.until(lambda: all(client.is_open for client in self.clients[-100:]))
        self.until(lambda: all(client.is_open for client in self.clients))
        ask(server, "/v1/groups", {"group": self.group, "uids": uids})
        self.sender = self.clients[0]

    def turn(self, timeout_s: float) -> None:
        """Read what there is."""
        for key, _ in self._selector.select(timeout_s):
            client = key.data
            before = client.told
            client.read()
            self.told += client.told - before

    def until(self, condition: Any) -> None:
        """Read until something is so."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise SystemExit("it took too long")
            self.turn(0.1)

    def close(self) -> None:
        """Hang up."""
        for client in self.clients:
            client.socket.close()


def ask(server: Running, path: str, body: object) -> Any:
    """POST to the API."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.place.api_port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def throughput(crowd: Crowd, server: Running, seconds: float) -> dict[str, float]:
    """One sender, a window under way; until all members have everything."""
    sender = crowd.sender
    told, answered, cpu = crowd.told, sender.answered, cpu_s(server.pid)
    begun_s = time.monotonic()
    sent = 0
    window = max(1, min(WINDOW, TOLD_UNDER_WAY // len(crowd.clients)))
    while time.monotonic() < begun_s + seconds:
        while sent - (sender.answered - answered) < window:
            sender.say(crowd.group)
            sent += 1
        crowd.turn(0.05)
    crowd.until(lambda: sender.answered - answered == sent)
    answered_s = time.monotonic() - begun_s
    crowd.until(lambda: crowd.told - told == sent * (len(crowd.clients) - 1))
    taken_s = time.monotonic() - begun_s
    if sender.refused:
        raise SystemExit(f"{sender.refused} messages were refused")
    return {
        "sends_per_s": sent / answered_s,
        "told_per_s": sent * (len(crowd.clients) - 1) / taken_s,
        "until_all_have_all_s": taken_s,
        "server_cpu_us_per_send": (cpu_s(server.pid) - cpu) / sent * 1e6,
    }


def latency(crowd: Crowd) -> dict[str, float]:
    """One message at a time: when it is answered, and when the last member has it."""
    sender, others = crowd.sender, len(crowd.clients) - 1
    answers: list[float] = []
    lasts: list[float] = []
    for _ in range(LATENCIES):
        told, answered = crowd.told, sender.answered
        begun_s = time.monotonic()
        sender.say(crowd.group)
        crowd.until(lambda answered=answered: sender.answered > answered)
        answers.append(time.monotonic() - begun_s)
        crowd.until(lambda told=told: crowd.told - told == others)
        lasts.append(time.monotonic() - begun_s)
    return {
        "answer_ms_p50": 1e3 * sorted(answers)[LATENCIES // 2],
        "last_ms_p50": 1e3 * sorted(lasts)[LATENCIES // 2],
        "last_ms_p99": 1e3 * sorted(lasts)[LATENCIES * 99 // 100],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,5000", help="members of the groups (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of sending (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    found: dict[str, dict[str, float]] = {}
    for size in map(int, arguments.sizes.split(",")):
        with running("push", cores[0], SETTINGS) as server:
            os.sched_setaffinity(0, {cores[-1]})
            crowd = Crowd(server, size)
            found[str(size)] = {**latency(crowd), **throughput(crowd, server, arguments.seconds)}
            crowd.close()
        numbers = ", ".join(f"{name} {value:,.1f}" for name, value in found[str(size)].items())
        print(f"{size} members: {numbers}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
