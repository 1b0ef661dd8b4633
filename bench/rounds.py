"""Rounds: each starts each server anew, opens all clients and runs the measurements that were chosen.

Rounds of the servers take turns, so that what else the machine does hits all of them.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from generator import Step, generating
from process import memory_bytes
from servers import PUSH_MODES, SERVERS, Running, Server, running

MODES = PUSH_MODES
# Above this the generator passes the usual hard limit of 20,000 open files.
MAX_CLIENTS = 19_000
# Long enough for the server to have nothing left to do, such as writing sessions to disk.
SETTLE_S = 1.0

# Server → its rounds, each a list of steps.
Results = dict[str, list[list[Step]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how much of it.

    Attributes:
        clients: sessions open, at most 19,000.
        modes: some of MODES.
        in_flight: connections being opened at a time.
        effort: 1.0 for the full number of messages, less for a shorter and coarser run.
        payload_bytes: of each message.
    """

    clients: int
    modes: tuple[str, ...]
    in_flight: int
    effort: float
    payload_bytes: int

    def commands(self, kind: Server) -> list[str]:
        """The load generator's commands (bench/loadgen.c) for what can be measured of a server."""

        def scaled(count: int, least: int) -> int:
            return max(least, int(count * self.effort * kind.effort))

        single = f"{scaled(10_000, 500)} 16"
        commands = {
            "serial": f"serial {scaled(20, 3)}",
            "sustained": f"sustained {scaled(2_000_000 // self.clients, 40)} 10 4",
            "unicast": f"unicast {scaled(100_000, 4_000)} 1000 4",
            "lone": f"lone {scaled(1_000, 100)}",
            # A server that has no clients can only answer.
            "http": f"http {single}" if "accept" in kind.modes else f"echo {single}",
        }
        return [commands[mode] for mode in MODES if mode in self.modes and mode in kind.modes and mode in commands]


def one_round(server: Running, core: int, plan: Plan) -> list[Step]:
    """All measurements on one fresh server."""
    kind = server.kind
    with generating(server, core, plan.payload_bytes) as generator:
        if "accept" not in kind.modes:
            return [generator.run(command) for command in plan.commands(kind)]
        ready = memory_bytes(server.pid)
        steps = [generator.run(f"open {plan.clients} {min(plan.in_flight, kind.most_in_flight)}")]
        time.sleep(SETTLE_S)
        held = memory_bytes(server.pid)
        steps += [generator.run(command) for command in plan.commands(kind)]
        generator.run("close")
        time.sleep(2 * SETTLE_S)
        memory = {"ready": ready, "held": held, "closed": memory_bytes(server.pid)}
        per_session = (held["pss"] - ready["pss"]) / plan.clients
        return [*steps, {"step": "memory", **memory, "bytes_per_session": round(per_session, 1)}]


def measure(names: Sequence[str], plan: Plan, rounds: int, cores: tuple[int, int]) -> Results:
    """Run all rounds of all servers, taking turns; progress goes to standard error."""
    names = [name for name in names if set(plan.modes) & set(SERVERS[name].modes)]
    results: Results = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in names:
            began_s = time.monotonic()
            with running(name, cores[0]) as server:
                results[name].append(one_round(server, cores[1], plan))
            print(f"round {number} of {rounds}: {name} took {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return results
