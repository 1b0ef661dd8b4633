"""Measure the server with thousands of clients on one machine, and print what came out: see bench/README.md."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from generator import Step
from report import describe_machine, summarise, sweep_table, table, targets_table
from rounds import MAX_CLIENTS, MODES, Plan, Results, measure
from servers import BENCH, SERVERS, BenchError
from trials import TRIALS, Scale, sweep

PEERS = "c,redis,mosquitto,echo"
SWEEP = "1000,5000,10000,19000"


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
    parser.add_argument("--modes", type=_words, default=MODES, help=f"some of {','.join(MODES)}, or none (default all)")
    parser.add_argument("--transport", choices=("lean", "tcp"), default="lean", help="the push server's own")
    parser.add_argument(
        "--against", type=_words, default=_words(PEERS), help=f"of {','.join(SERVERS)}, or none (default {PEERS})"
    )
    parser.add_argument("--trials", type=_words, default=(), help=f"some of {','.join(TRIALS)}; all; none (default)")
    parser.add_argument("--sweep", type=_numbers, nargs="?", const=_numbers(SWEEP), default=(), help=f"e.g. {SWEEP}")
    parser.add_argument("--in-flight", type=int, default=256, help="connections being opened at a time")
    parser.add_argument("--effort", type=float, default=1.0, help="fraction of the messages, for a shorter run")
    parser.add_argument("--payload-bytes", type=int, default=128, help="bytes of a message")
    parser.add_argument("--only", action="store_true", help="leave out the push server: measure what --against names")
    parser.add_argument("--out", type=Path, help="write all that was measured as JSON to this file")
    arguments = parser.parse_args()
    if not all(1 <= count <= MAX_CLIENTS for count in (arguments.clients, *arguments.sweep)):
        parser.error(f"there can be from 1 to {MAX_CLIENTS} clients")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    if arguments.trials == ("all",):
        arguments.trials = tuple(TRIALS)
    for what, chosen, known in (
        ("mode", arguments.modes, MODES),
        ("server", arguments.against, SERVERS),
        ("trial", arguments.trials, TRIALS),
    ):
        if unknown := set(chosen) - set(known):
            parser.error(f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return arguments


def _words(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def choose_servers(arguments: argparse.Namespace) -> list[str]:
    """Those that are measured, the push server first; what is not installed is left out, and named."""
    own = "push" if arguments.transport == "lean" else "push-tcp"
    names = [] if arguments.only else [own]
    for name in arguments.against:
        kind = SERVERS[name]
        if not kind.is_installed:
            print(f"{name} is left out: there is no {kind.needs} on the PATH", file=sys.stderr)
        elif name not in names:
            names.append(name)
    return names


def run_trials(arguments: argparse.Namespace, cores: tuple[int, int]) -> tuple[dict[str, Step], list[Step]]:
    """The trials and the sweep that were asked for; progress goes to standard error."""
    server = "push" if arguments.transport == "lean" else "push-tcp"
    scale = Scale(server, cores, arguments.payload_bytes, arguments.clients, arguments.effort)
    done = {}
    for name in arguments.trials:
        done[name] = TRIALS[name](scale)
        print(f"trial {name}: {json.dumps(done[name])}", file=sys.stderr)
    return done, sweep(scale, arguments.sweep)


def stop_on_signal(number: int, frame: FrameType | None) -> None:
    """End through the finally clauses, so that the children end too."""
    raise SystemExit(128 + number)


def show(plan: Plan, rounds: int, names: Sequence[str], everything: dict[str, object], results: Results) -> None:
    """Print all tables."""
    summary = summarise(results, plan.modes)
    settings = {name: getattr(plan, name) for name in Plan.__slots__} | {"rounds": rounds}
    everything |= {"settings": settings, "summary": summary, "rounds": results}
    machine, trials, swept = everything["machine"], everything["trials"], everything["sweep"]
    print(table(summary, machine, settings, names))  # type: ignore[arg-type]
    if swept:
        print(sweep_table(swept))  # type: ignore[arg-type]
    for name, found in trials.items():  # type: ignore[attr-defined]
        print(f"\n{name}: {json.dumps(found)}")
    print(targets_table(summary, trials, swept, names[0] if names else ""))  # type: ignore[arg-type]


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
        results = measure(choose_servers(arguments), plan, arguments.rounds, cores)
        trials, swept = run_trials(arguments, cores)
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    everything: dict[str, object] = {"machine": machine, "trials": trials, "sweep": swept}
    show(plan, arguments.rounds, list(results), everything, results)
    if arguments.out:
        arguments.out.write_text(json.dumps(everything, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
