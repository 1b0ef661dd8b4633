"""Measure the server with thousands of clients on one machine, and print what came out: see bench/README.md.

Each round starts each server anew, opens all clients and runs the chosen measurements; rounds of the servers
take turns, so that what else the machine does hits all of them. The table has medians and the spread.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from report import describe_machine, summarise, table
from servers import BENCH, SERVERS, BenchError, Running, cpu_s, memory_bytes, running, spawn, stop

MODES = ("accept", "idle", "serial", "sustained", "unicast", "lone", "http")
# Above this the generator passes the usual hard limit of 20,000 open files.
MAX_CLIENTS = 19_000
# Long enough for the server to have nothing left to do, such as writing sessions to disk.
SETTLE_S = 1.0

Step = dict[str, Any]


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

    def commands(self) -> dict[str, str]:
        """Mode → the load generator's command (bench/loadgen.c)."""

        def scaled(count: int, least: int) -> int:
            return max(least, int(count * self.effort))

        return {
            "serial": f"serial {scaled(20, 3)}",
            "sustained": f"sustained {scaled(2_000_000 // self.clients, 40)} 10 4",
            "unicast": f"unicast {scaled(100_000, 4_000)} 1000 4",
            "lone": f"lone {scaled(1_000, 100)}",
            "http": f"http {scaled(10_000, 500)} 16",
        }


class Generator:
    """The load generator, one command and one answer at a time."""

    def __init__(self, server: Running, core: int, payload_bytes: int) -> None:
        place = server.place
        command = [str(BENCH / "bin" / "loadgen"), f"--port={place.port}", f"--api-port={place.api_port}"]
        command.append(f"--payload-bytes={payload_bytes}")
        self._server = server
        self.child = spawn(command, core, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, command: str) -> Step:
        """Run one command.

        Returns:
            What was measured, with `server_busy` added: the part of the time that the server used its core.

        Raises:
            BenchError: messages were lost, or something else went wrong; the generator has said what.
        """
        stdin, stdout = self.child.stdin, self.child.stdout
        assert stdin is not None
        assert stdout is not None
        cpu_before_s, before_s = cpu_s(self._server.pid), time.monotonic()
        # Where the pipe is broken the generator has ended, and the empty answer below says so.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(command + "\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise BenchError(f"{self._server.name}: `{command}` ended the load generator ({self.child.wait()})")
        step: Step = json.loads(line)
        step["server_busy"] = round((cpu_s(self._server.pid) - cpu_before_s) / (time.monotonic() - before_s), 3)
        return step


@contextlib.contextmanager
def generating(server: Running, core: int, payload_bytes: int) -> Iterator[Generator]:
    """A load generator for a server, pinned to a core; stopped at the end, whatever happens."""
    generator = Generator(server, core, payload_bytes)
    try:
        yield generator
    finally:
        stop(generator.child)


def one_round(server: Running, core: int, plan: Plan) -> list[Step]:
    """All measurements on one fresh server."""
    with generating(server, core, plan.payload_bytes) as generator:
        ready = memory_bytes(server.pid)
        steps = [generator.run(f"open {plan.clients} {plan.in_flight}")]
        time.sleep(SETTLE_S)
        held = memory_bytes(server.pid)
        commands = plan.commands()
        steps += [generator.run(commands[mode]) for mode in plan.modes if mode in commands]
        generator.run("close")
        time.sleep(2 * SETTLE_S)
        memory = {"ready": ready, "held": held, "closed": memory_bytes(server.pid)}
        per_session = (held["pss"] - ready["pss"]) / plan.clients
        return [*steps, {"step": "memory", **memory, "bytes_per_session": round(per_session, 1)}]


def measure(names: Sequence[str], plan: Plan, rounds: int, cores: tuple[int, int]) -> dict[str, list[list[Step]]]:
    """Run all rounds of all servers, taking turns; progress goes to standard error."""
    results: dict[str, list[list[Step]]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in names:
            began_s = time.monotonic()
            with running(name, cores[0]) as server:
                results[name].append(one_round(server, cores[1], plan))
            print(f"round {number} of {rounds}: {name} took {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return results


def choose_cores() -> tuple[int, int]:
    """One core for the server, another for the generator."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("only one core: server and generator share it, and the numbers are not comparable", file=sys.stderr)
    return cores[0], cores[-1]


def read_arguments() -> argparse.Namespace:
    """Parse the command line; what is wrong is said by argparse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000, help="sessions, up to 19000 (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each server (default %(default)s)")
    parser.add_argument("--modes", default=",".join(MODES), help="some of %(default)s")
    parser.add_argument("--against", default="c", help="servers to compare with, or 'none' (default %(default)s)")
    parser.add_argument("--in-flight", type=int, default=256, help="connections being opened at a time")
    parser.add_argument("--effort", type=float, default=1.0, help="fraction of the messages, for a shorter run")
    parser.add_argument("--payload-bytes", type=int, default=128, help="bytes of a message")
    parser.add_argument("--only", action="store_true", help="leave out the push server: measure what --against names")
    parser.add_argument("--out", type=Path, help="write all that was measured as JSON to this file")
    arguments = parser.parse_args()
    if not 1 <= arguments.clients <= MAX_CLIENTS:
        parser.error(f"--clients must be from 1 to {MAX_CLIENTS}")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    arguments.modes = tuple(arguments.modes.split(","))
    if unknown := set(arguments.modes) - set(MODES):
        parser.error(f"no such mode: {', '.join(sorted(unknown))}; there are {', '.join(MODES)}")
    against = [] if arguments.against == "none" else arguments.against.split(",")
    arguments.servers = ([] if arguments.only else ["push"]) + against
    if unknown := set(arguments.servers) - set(SERVERS):
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    if not arguments.servers:
        parser.error("--only with --against none leaves nothing to measure")
    return arguments


def stop_on_signal(number: int, frame: FrameType | None) -> None:
    """End through the finally clauses, so that the children end too."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run the benchmark; returns the exit status."""
    arguments = read_arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_on_signal)
    plan = Plan(arguments.clients, arguments.modes, arguments.in_flight, arguments.effort, arguments.payload_bytes)
    try:
        subprocess.run(["make", "-s", "-C", str(BENCH)], check=True)
        cores = choose_cores()
        machine = describe_machine(cores)
        results = measure(arguments.servers, plan, arguments.rounds, cores)
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    summary = summarise(results, plan.modes)
    settings = {name: getattr(plan, name) for name in Plan.__slots__} | {"rounds": arguments.rounds}
    print(table(summary, machine, settings))
    if arguments.out:
        everything = {"machine": machine, "settings": settings, "summary": summary, "rounds": results}
        arguments.out.write_text(json.dumps(everything, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
