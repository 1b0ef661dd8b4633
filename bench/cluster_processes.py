"""What a message costs each process of a cluster, over HTTP and with real sockets, and what it costs in one process.

    .venv/bin/python bench/cluster_processes.py [--clients 1500] [--messages 60000] [--broadcasts 20]

Nodes: an api, a router, one with subscribe and cache, and one connector, then three; and for comparison a server of one
process. The load generator (`make -C bench`) posts unicasts in batches, and broadcasts one after another. CPU time is
what counts where more processes run than there are cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))

from tests.integration.cluster import Cluster
from tests.integration.server import ROOT, Server

GENERATOR = ROOT / "bench" / "bin" / "loadgen"
# The limits lifted that are there against a machine that behaves like thousands, as in servers.py.
OPTIONS = (
    "--max-connections-per-address=20000",
    "--max-subs-per-s=1000000",
    "--api-requests-per-s=1000000",
    "--log-level=warn",
)


class Generator:
    """The load generator, at one connector."""

    def __init__(self, port: int, api: int) -> None:
        command = [str(GENERATOR), "--port", str(port), "--api-port", str(api)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, command: str) -> dict[str, Any]:
        """One step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def end(self) -> None:
        """No more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def cpu_s(pid: int) -> float:
    """What a process has used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(what: str, pids: Mapping[str, int], ports: list[int], api: int, arguments: argparse.Namespace) -> None:
    """Load it, and print what each process has used."""
    generators = [Generator(port, api) for port in ports]
    for generator in generators:
        generator.do(f"open {arguments.clients // len(ports)} 128")
    for name, command, divisor in (
        ("unicast", f"unicast {arguments.messages} 1000 4", arguments.messages),
        ("broadcast", f"serial {arguments.broadcasts}", arguments.broadcasts),
    ):
        before = {each: cpu_s(pid) for each, pid in pids.items()}
        found = generators[0].do(command)
        if found.get("lost") or found.get("repeated"):
            raise SystemExit(f"{what}: messages were lost or repeated: {found}")
        spent = {each: round((cpu_s(pid) - before[each]) / divisor * 1e6, 1) for each, pid in pids.items()}
        print(
            f"{what}, {name}: {found['deliveries_per_s']} deliveries/s; CPU in µs for each message: {spent}", flush=True
        )
    for generator in generators:
        generator.end()


def main() -> None:
    """Measure one process, then clusters with one connector and with three."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1_500)
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--broadcasts", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="push-bench-") as directory:
        server = Server(Path(directory), OPTIONS)
        try:
            server.start()
            measure("one process", {"all": server.pid}, [server.port], server.api.port, arguments)
        finally:
            server.destroy()
        for count in (1, 3):
            cluster = Cluster(Path(directory) / f"cluster{count}", OPTIONS)
            try:
                connectors = [cluster.node(f"connector{number}", "connector") for number in range(count)]
                api = cluster.node("api", "api")
                cluster.node("router", "router")
                cluster.node("subscribe+cache", "subscribe", "cache")
                cluster.start()
                pids = {node.name: node.pid for node in cluster.nodes}
                ports = [node.port for node in connectors]
                measure(f"{count} connectors" if count > 1 else "1 connector", pids, ports, api.api.port, arguments)
            finally:
                cluster.destroy()


if __name__ == "__main__":
    main()
