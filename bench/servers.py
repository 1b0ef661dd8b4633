"""The servers that are measured: how each is started, pinned to a core, known to be ready, and stopped.

A server of another kind is one more entry of SERVERS and, where it speaks another protocol, a wire and an api in
the load generator.
"""

import ctypes
import os
import resource
import shutil
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

# Nothing on disk, no limit on what waits for a client (else messages would be lost), one thread.
REDIS_SETTINGS: dict[str, str] = {
    "save": "",
    "appendonly": "no",
    "io-threads": "1",
    "protected-mode": "no",  # it listens on 127.0.0.1, but clients come from 127.0.0.2 too
    "maxclients": "19900",
    "tcp-backlog": "4096",
    "client-output-buffer-limit": "pubsub 0 0 0",
}
MOSQUITTO_CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
max_connections -1
set_tcp_nodelay true
log_type error
"""


class BenchError(Exception):
    """The run cannot go on; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to run.

    Attributes:
        port: for clients, on 127.0.0.1.
        api_port: for publishers, on 127.0.0.1; the same as `port` where a server has only one.
        data_dir: an empty directory of its own.
    """

    port: int
    api_port: int
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of server.

    Attributes:
        command: how it is started at a place, with what a trial wants set besides.
        modes: what is measured of it, of MODES in run.py.
        speaks: what the load generator calls its protocol.
        one_port: clients and publishers use the same port, and accepting there is being ready; else /readyz says so.
        needs: the program that must be installed.
        effort: fraction of the messages that others get: less for one that would take minutes.
        most_in_flight: connections being opened at a time: no more than its backlog has room for, or the kernel
            would try again only after a second.
    """

    command: Callable[[Place, dict[str, str]], list[str]]
    modes: tuple[str, ...]
    speaks: str = "push"
    one_port: bool = False
    needs: str = ""
    effort: float = 1.0
    most_in_flight: int = 1024

    @property
    def is_installed(self) -> bool:
        """Whether it can be measured here."""
        return not self.needs or shutil.which(self.needs, path=search_path()) is not None


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    name: str
    pid: int
    place: Place

    @property
    def kind(self) -> Server:
        """What it is."""
        return SERVERS[self.name]


def search_path() -> str:
    """PATH, and where Debian puts servers."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def push_command(transport: str) -> Callable[[Place, dict[str, str]], list[str]]:
    """The server itself, with every role in one process, its clients served by one of the transports."""

    def command(place: Place, settings: dict[str, str]) -> list[str]:
        words = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "push"]
        words += ["--listen", f"framed={transport}:{place.port}:interface=127.0.0.1:backlog=4096"]
        words += ["--api", f"tcp:{place.api_port}:interface=127.0.0.1:backlog=4096"]
        words += ["--data-dir", str(place.data_dir / "push-data")]
        return words + [f"--{name}={value}" for name, value in {**PUSH_SETTINGS, **settings}.items()]

    return command


def tls_command(place: Place, settings: dict[str, str]) -> list[str]:
    """The server with a TLS listener and a certificate that it has signed itself."""
    pem = place.data_dir / "server.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(pem), "-out", str(place.data_dir / "certificate.pem"), "-subj", "/CN=localhost"]
    subprocess.run([*words, "-days", "2"], check=True, capture_output=True)
    with pem.open("a") as file:
        file.write((place.data_dir / "certificate.pem").read_text())
    words = push_command("tcp")(place, settings)
    listener = f"framed=ssl:{place.port}:privateKey={pem}:interface=127.0.0.1:backlog=4096"
    return [listener if word.startswith("framed=") else word for word in words]


def c_command(place: Place, settings: dict[str, str]) -> list[str]:
    """The server in C that shows the limit."""
    return [str(BENCH / "bin" / "cserver"), str(place.port), str(place.api_port)]


def echo_command(place: Place, settings: dict[str, str]) -> list[str]:
    """A Klein route that answers with what it got."""
    return [sys.executable, str(BENCH / "echo.py"), str(place.api_port)]


def redis_command(place: Place, settings: dict[str, str]) -> list[str]:
    """Redis, in memory alone."""
    words = ["redis-server", "--port", str(place.port), "--bind", "127.0.0.1"]
    return words + [word for name, value in REDIS_SETTINGS.items() for word in (f"--{name}", value)]


def mosquitto_command(place: Place, settings: dict[str, str]) -> list[str]:
    """Mosquitto, in memory alone."""
    file = place.data_dir / "mosquitto.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    file.write_text(MOSQUITTO_CONFIGURATION.format(port=place.port) + user)
    return ["mosquitto", "-c", str(file)]


BROKER_MODES = ("accept", "idle", "serial", "sustained", "unicast", "lone")
PUSH_MODES = (*BROKER_MODES, "http")

SERVERS: dict[str, Server] = {
    "push": Server(push_command("lean"), PUSH_MODES),
    "push-lean": Server(push_command("lean"), PUSH_MODES),
    "push-tcp": Server(push_command("tcp"), PUSH_MODES),
    "push-tls": Server(tls_command, (), needs="openssl"),
    "c": Server(c_command, PUSH_MODES),
    "redis": Server(redis_command, BROKER_MODES, speaks="redis", one_port=True, needs="redis-server"),
    "mosquitto": Server(
        mosquitto_command,
        BROKER_MODES,
        speaks="mqtt",
        one_port=True,
        needs="mosquitto",
        effort=0.25,
        most_in_flight=64,
    ),
    "echo": Server(echo_command, ("http",)),
}


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
    environment["PATH"] = search_path()
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


def why_not_ready(kind: Server, place: Place) -> str:
    """What speaks against the server being ready; "" where it is."""
    try:
        if kind.one_port:
            socket.create_connection(("127.0.0.1", place.port), timeout=5).close()
            return ""
        with urllib.request.urlopen(f"http://127.0.0.1:{place.api_port}/readyz", timeout=5) as response:
            return "" if response.status == 200 else f"/readyz: {response.status}"
    except urllib.error.HTTPError as error:
        return f"/readyz: {error.code} {error.read(1000).decode(errors='replace')}"
    except (urllib.error.URLError, OSError) as error:
        return str(error)


def wait_until_ready(child: subprocess.Popen[str], kind: Server, place: Place, log: Path) -> None:
    """Wait until it answers.

    Raises:
        BenchError: the server ended, or is not ready in time; with the end of its log.
    """
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while why_not := why_not_ready(kind, place):
        ended = child.poll()
        if ended is not None or time.monotonic() > deadline_s:
            why = f"is not ready in time, {why_not}" if ended is None else f"ended with {ended}"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
            raise BenchError(f"the server {why}:\n{tail}")
        time.sleep(0.05)


@contextmanager
def running(name: str, core: int, settings: dict[str, str] | None = None) -> Iterator[Running]:
    """A fresh server with an empty data directory, pinned to a core; stopped at the end, whatever happens."""
    kind = SERVERS[name]
    with tempfile.TemporaryDirectory(prefix="push-bench-") as directory:
        port = free_port()
        place = Place(port, port if kind.one_port else free_port(), Path(directory))
        log = place.data_dir / "server.log"
        with log.open("w") as output:
            command = kind.command(place, settings or {})
            child = spawn(command, core, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_until_ready(child, kind, place, log)
            yield Running(name, child.pid, place)
        finally:
            stop(child)
