"""The servers that are measured: how each is started, pinned to a core, known to be ready, and stopped.

A server of another kind (a broker to compare with) is one more entry of SERVERS, and a wire and an api in the
load generator.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
LOG_LINES_SHOWN = 20
# <sys/prctl.h>: a child gets this signal when its parent dies, however that happens.
PR_SET_PDEATHSIG = 1

# A benchmark is one machine that behaves like thousands; these limits are there against such machines.
PUSH_SETTINGS: dict[str, str] = {
    "max-connections-per-address": "20000",
    "max-subs-per-s": "1000000",
    "api-requests-per-s": "1000000",
}


class BenchError(Exception):
    """The run cannot go on; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to run.

    Attributes:
        port: for clients, on 127.0.0.1.
        api_port: for publishers, on 127.0.0.1.
        data_dir: an empty directory of its own.
    """

    port: int
    api_port: int
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    name: str
    pid: int
    place: Place


def push_command(place: Place) -> list[str]:
    """The server itself, with every role in one process."""
    command = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "push"]
    command += ["--listen", f"framed=tcp:{place.port}:interface=127.0.0.1:backlog=4096"]
    command += ["--api", f"tcp:{place.api_port}:interface=127.0.0.1:backlog=4096"]
    command += ["--data-dir", str(place.data_dir / "push-data")]
    return command + [f"--{name}={value}" for name, value in PUSH_SETTINGS.items()]


def c_command(place: Place) -> list[str]:
    """The server in C that shows the limit."""
    return [str(BENCH / "bin" / "cserver"), str(place.port), str(place.api_port)]


SERVERS: dict[str, Callable[[Place], list[str]]] = {"push": push_command, "c": c_command}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def spawn(command: list[str], core: int, **options: object) -> subprocess.Popen[str]:
    """Start a child on one core, with all the files that it may have, which does not survive us."""
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {core})
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PUSH_")}
    return subprocess.Popen(command, preexec_fn=in_child, text=True, env=environment, **options)  # type: ignore[call-overload,no-any-return]


def stop(child: subprocess.Popen[str]) -> None:
    """End a child: politely, then not."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def why_not_ready(place: Place) -> str:
    """What the server says against being ready; "" where it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.api_port}/readyz", timeout=5) as response:
            return "" if response.status == 200 else f"/readyz: {response.status}"
    except urllib.error.HTTPError as error:
        return f"/readyz: {error.code} {error.read(1000).decode(errors='replace')}"
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        return f"/readyz: {error}"


def wait_until_ready(child: subprocess.Popen[str], place: Place, log: Path) -> None:
    """Wait for /readyz.

    Raises:
        BenchError: the server ended, or is not ready in time; with the end of its log.
    """
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while why_not := why_not_ready(place):
        ended = child.poll()
        if ended is not None or time.monotonic() > deadline_s:
            why = f"is not ready in time, {why_not}" if ended is None else f"ended with {ended}"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
            raise BenchError(f"the server {why}:\n{tail}")
        time.sleep(0.05)


@contextmanager
def running(name: str, core: int) -> Iterator[Running]:
    """A fresh server with an empty data directory, pinned to a core; stopped at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="push-bench-") as directory:
        place = Place(free_port(), free_port(), Path(directory))
        log = place.data_dir / "server.log"
        with log.open("w") as output:
            child = spawn(
                SERVERS[name](place), core, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            wait_until_ready(child, place, log)
            yield Running(name, child.pid, place)
        finally:
            stop(child)


def memory_bytes(pid: int) -> dict[str, int]:
    """What a process holds: `pss` and `rss`, in bytes (proc(5), smaps_rollup)."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Pss", "Rss"):
            found[name.lower()] = int(value.split()[0]) * 1024
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
