"""Trials: what the server does where clients behave badly, come and go, or are many; each on servers of its own."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from generator import Generator, Step, generating
from process import forget_most_rss, memory_bytes, most_rss_bytes
from servers import BENCH, BenchError, Running, running, spawn, stop

SETTLE_S = 2.0
# Stalled clients hang up only when they are drained; until then the server must not cut them, or they would never
# read why they were closed.
CLOSE_TIMEOUT_S = 300
STALLED_RECEIVE_BYTES = 2048
# Linux takes more than 2 MB for a client that reads nothing before a send is refused (tcp_wmem, 6.18, 2026-11-23): with
# messages of the usual size it would take minutes until the server has something to hold.
SLOW_PAYLOAD_BYTES = 1024
SLOW_BROADCASTS = 6_000
# So that what waits for all the slow ones stays below the node's ceiling, and each is closed for its own backlog.
SLOW_OUTBOX_BYTES = 131_072
CEILING_BYTES = 268_435_456  # --max-node-outbox-bytes, its default
# The first ones take what the heap had left over from starting, and are not counted.
TLS_FIRST_CLIENTS = 500
TLS_CLIENTS = 1_500
RETURN_SETTINGS = {"max-receipts": "1000", "max-receipts-in-memory": "1000"}
RETURNS = 10
CACHE_ROUNDS = 5
_Round = TypeVar("_Round")
SWEEP_PARTS = ("serial", "sustained", "unicast")


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the trials are.

    Attributes:
        server: whose, of SERVERS.
        cores: of the server and of the load generator.
        payload_bytes: of each message.
        clients: what "10,000 clients" means here: all of them for return, half of them for slow and churn.
        effort: 1.0 for the full number of messages.
    """

    server: str
    cores: tuple[int, int]
    payload_bytes: int
    clients: int
    effort: float

    def part(self, count: int, least: int = 1) -> int:
        """A number of messages, or of seconds."""
        return max(least, int(count * self.effort))


def closes_by_code(server: Running) -> dict[str, int]:
    """How many connections the server has closed, by code, as it says itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.place.api_port}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.findall(r'push_closes_total\{by="server",code="(\d+)"\} ([0-9.e+]+)', text)
    return {code: int(float(count)) for code, count in found}


def _pressed(generator: Generator, server: Running, broadcasts: int) -> Step:
    """Broadcasts at full speed, with the most memory that the server has had meanwhile."""
    forget_most_rss(server.pid)
    step = generator.run(f"sustained {broadcasts} 10 4")
    return {
        "deliveries_per_s": step["deliveries_per_s"],
        "latency_p50_ms": step["latency_ms"]["p50"],
        "latency_p99_ms": step["latency_ms"]["p99"],
        "most_rss_mb": round(most_rss_bytes(server.pid) / 1e6, 1),
    }


def slow_readers(scale: Scale, outbox_bytes: int = SLOW_OUTBOX_BYTES) -> Step:
    """A fifth of the clients read nothing during broadcasts at full speed; then they read what is left."""
    slow = scale.clients // 10
    readers = scale.clients // 2 - slow
    settings = {"close-timeout-s": str(CLOSE_TIMEOUT_S), "max-outbox-bytes": str(outbox_bytes)}
    with (
        running(scale.server, scale.cores[0], settings) as server,
        generating(server, scale.cores[1], SLOW_PAYLOAD_BYTES) as generator,
    ):
        generator.run(f"open {readers} 256")
        without = _pressed(generator, server, SLOW_BROADCASTS // 4)
        generator.run(f"stall {slow} {STALLED_RECEIVE_BYTES}")
        pressed = _pressed(generator, server, SLOW_BROADCASTS)
        closed = closes_by_code(server)
        drained = generator.run("drain 60")
        after = _pressed(generator, server, SLOW_BROADCASTS // 4)
    ratios = {f"{part}_ratio": round(pressed[part] / without[part], 2) for part in ("latency_p50_ms", "latency_p99_ms")}
    return {
        "readers": readers,
        "slow": slow,
        "broadcasts": SLOW_BROADCASTS,
        "payload_bytes": SLOW_PAYLOAD_BYTES,
        "max_outbox_bytes": outbox_bytes,
        "without_slow": without,
        "with_slow": pressed,
        "after_drain": after,
        **ratios,
        "closed_by_server": closed,
        "closed_slow_part": closed.get("3003", 0) / slow,
        "gained_of_ceiling": round((pressed["most_rss_mb"] - without["most_rss_mb"]) * 1e6 / CEILING_BYTES, 3),
        "drained": drained,
    }


def churn(scale: Scale) -> Step:
    """Broadcasts and unicasts at full speed while 1,000 clients a second come and go, half of them with a RST."""
    with (
        running(scale.server, scale.cores[0]) as server,
        generating(server, scale.cores[1], scale.payload_bytes) as generator,
    ):
        generator.run(f"open {scale.clients // 2} 256")
        step = generator.run(f"churn {scale.part(15, 3)} {scale.clients // 10} 300")
        # The generator ends at the first that is wrong; that it has answered says that there was none.
        return {**step, "wrong": step["lost"] + step["repeated"] + step["misdelivered"]}


def come_and_go(scale: Scale) -> Step:
    """All clients come and go, ten times; the memory after each.

    Receipts of the messages that they get are bounded by settings, and would fill memory meanwhile: few are kept here.
    """
    with (
        running(scale.server, scale.cores[0], RETURN_SETTINGS) as server,
        generating(server, scale.cores[1], scale.payload_bytes) as generator,
    ):
        ready = memory_bytes(server.pid)["pss"]
        pss = []
        for _ in range(RETURNS):
            generator.run(f"open {scale.clients} 256")
            generator.run(f"unicast {scale.clients} 1000 4")
            # With new tokens each time the store's page cache would grow too, up to its limit of 32 MB.
            generator.run("leave")
            time.sleep(SETTLE_S)
            pss.append(memory_bytes(server.pid)["pss"])
    return {
        "clients": scale.clients,
        "ready_mb": round(ready / 1e6, 1),
        "after_mb": [round(each / 1e6, 1) for each in pss],
        # The first rounds fill the allocator's arenas; what goes on growing is a leak.
        "growth_bytes_per_client": round((pss[-1] - pss[1]) / (scale.clients * (RETURNS - 2)), 1),
    }


def tls_memory(scale: Scale) -> Step:
    """What a session over TLS holds, idle and after a broadcast."""
    with running("push-tls", scale.cores[0]) as server:
        command = [sys.executable, str(BENCH / "tls_clients.py"), str(server.place.port)]
        clients = spawn(command, scale.cores[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            _answer(clients, f"open {TLS_FIRST_CLIENTS}")
            time.sleep(SETTLE_S)
            before = memory_bytes(server.pid)["pss"]
            opened = _answer(clients, f"open {TLS_CLIENTS}")
            time.sleep(SETTLE_S)
            held = memory_bytes(server.pid)["pss"]
            body = json.dumps({"target": {"all": True}, "message": {"data": "x" * scale.payload_bytes}}).encode()
            url = f"http://127.0.0.1:{server.place.api_port}/v1/messages:send"
            headers = {"Content-Type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30).close()
            _answer(clients, f"receive {scale.payload_bytes}")
            time.sleep(SETTLE_S)
            used = memory_bytes(server.pid)["pss"]
        finally:
            stop(clients)
    return {
        "clients": TLS_CLIENTS,
        "handshakes_per_s": opened["opened_per_s"],
        "bytes_per_session": round((held - before) / TLS_CLIENTS),
        "bytes_per_session_after_broadcast": round((used - before) / TLS_CLIENTS),
    }


def _answer(child: "subprocess.Popen[str]", command: str) -> Step:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(command + "\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise BenchError(f"the TLS clients ended at `{command}` ({child.wait()})")
    answer: Step = json.loads(line)
    return answer


def cache(scale: Scale) -> Step:
    """Messages to clients that are away, with the time until they have them; and to clients that acknowledge."""
    messages = scale.part(100_000, 4_000)
    with running(scale.server, scale.cores[0]) as server:
        with generating(server, scale.cores[1], scale.payload_bytes) as generator:
            generator.run(f"open {scale.clients} 256")
            plain = _rounds(messages, lambda count: generator.run(f"unicast {count} 1000 4"))
            away = _rounds(messages, lambda count: _away(generator, scale.clients, count))
            generator.run("close")
        time.sleep(SETTLE_S)
        with generating(server, scale.cores[1], scale.payload_bytes, "push-acks") as generator:
            generator.run(f"open {scale.clients} 256")
            acknowledged = _rounds(messages, lambda count: generator.run(f"unicast {count} 1000 4"))
    return {
        "clients": scale.clients,
        "messages": messages,
        "plain_per_s": [each["deliveries_per_s"] for each in plain],
        "plain_us": [each["server_us"] for each in plain],
        "cached_per_s": [round(messages / cached["seconds"]) for cached, _ in away],
        "cached_us": [cached["server_us"] for cached, _ in away],
        "cached_answer_ms": away[-1][0]["answer_ms"],
        "collected_per_s": [collected["deliveries_per_s"] for _, collected in away],
        "acknowledged_per_s": [each["deliveries_per_s"] for each in acknowledged],
        "acknowledged_us": [each["server_us"] for each in acknowledged],
        "acknowledged_busy": [each["server_busy"] for each in acknowledged],
        "acknowledged_latency_ms": acknowledged[-1]["latency_ms"],
        "acknowledged_answer_ms": acknowledged[-1]["answer_ms"],
    }


def _rounds(messages: int, one_round: Callable[[int], _Round]) -> list[_Round]:
    """So many messages a round on one server, after some that are not counted: it is at work, not just beginning."""
    one_round(max(4_000, messages // 5))
    return [one_round(messages) for _ in range(CACHE_ROUNDS)]


def _away(generator: Generator, clients: int, messages: int) -> tuple[Step, Step]:
    """All leave, are sent messages, and come back to them."""
    generator.run("leave")
    time.sleep(SETTLE_S)
    cached = generator.run(f"cached {messages} 1000 4")
    generator.run(f"open {clients} 256")
    return cached, generator.run("collect")


TRIALS: dict[str, Callable[[Scale], Step]] = {
    "slow": slow_readers,
    "churn": churn,
    "return": come_and_go,
    "tls": tls_memory,
    "cache": cache,
}


def sweep(scale: Scale, counts: Sequence[int]) -> list[Step]:
    """The time of the server's core for one delivery, by number of clients."""
    rows = []
    for count in counts:
        commands = {
            "serial": f"serial {scale.part(200_000 // count, 3)}",
            "sustained": f"sustained {scale.part(2_000_000 // count, 40)} 10 4",
            "unicast": f"unicast {scale.part(100_000, 4_000)} 1000 4",
        }
        with (
            running(scale.server, scale.cores[0]) as server,
            generating(server, scale.cores[1], scale.payload_bytes) as generator,
        ):
            generator.run(f"open {count} 256")
            steps = {part: generator.run(commands[part]) for part in SWEEP_PARTS}
        row: Step = {"clients": count}
        row |= {f"{part}_us": steps[part]["server_us"] for part in SWEEP_PARTS}
        rows.append(row)
        print(f"sweep: {row}", file=sys.stderr)
    return rows
