"""The real server as a process of its own: started in a directory, known to be ready, stopped, and never left over.

Nothing here sleeps for a fixed time: whoever waits, waits for the process, for a socket or for a file.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.integration.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections, so that one is still free a moment later.
_PORTS = (10_000, 32_000)
# Asks the kernel (PR_SET_PDEATHSIG) to kill the server when its parent dies, however that happens.
TWISTD = "import ctypes; ctypes.CDLL(None).prctl(1, 9); from twisted.scripts.twistd import run; run()"
_MARK = "PUSH_INTEGRATION_TEST"
_SHOWN_LINES = 60


def free_port() -> int:
    """A port on which nobody listens."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((HOST, port))
                return port


def environment(**more: str) -> dict[str, str]:
    """What a server's process gets: nothing of PUSH_*, and the checkout before what is installed."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PUSH_")}
    return mine | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk'}"} | more


@dataclass(frozen=True, slots=True)
class Answer:
    """What the HTTP API said."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Api:
    """The HTTP API of a server, one connection a request, as curl does it."""

    def __init__(self, port: int, host: str = HOST) -> None:
        self.port = port
        self.host = host

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Ask, and read the whole answer."""
        connection = HTTPConnection(self.host, self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.headers))
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """GET."""
        return self.request("GET", path)

    def post(self, path: str, value: object) -> Answer:
        """POST as JSON."""
        body = json.dumps(value, ensure_ascii=False).encode()
        return self.request("POST", path, body, Content_Type="application/json")

    def send(self, target: Mapping[str, object], data: object) -> Any:
        """Push one message; the reply of a push that must succeed."""
        answer = self.post("/v1/messages:send", {"target": target, "message": {"data": data}})
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {answer.body!r}")
        return answer.json

    def token(self, token: str) -> Any:
        """What is known of a token, None if it is not registered."""
        answer = self.get(f"/v1/tokens/{quote(token)}")
        return answer.json if answer.status == 200 else None

    def sample(self, name: str) -> float:
        """One number of /metrics, by its name with labels."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"/metrics has no {name}")


class Server:
    """One server process; it may be started again on the same directory and ports.

    Args:
        directory: where it runs and keeps its data.
        options: for `twistd push`, beside those of places.
        twistd: for twistd itself.
        start_with: what runs `twistd push`, or something that takes the same options; else, twistd by this
            interpreter, as the script of a virtual environment may not be on the PATH.
        variables: for its environment.
    """

    def __init__(
        self,
        directory: Path,
        options: Sequence[str] = (),
        *,
        twistd: Sequence[str] = ("--nodaemon", "--pidfile="),
        start_with: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.options = list(options)
        self.interface = HOST
        self.transport = "tcp"
        self.port = free_port()
        self.api = Api(free_port())
        self.log = self.directory / f"output-{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._is_daemon = "--nodaemon" not in twistd
        self._start_with = list(start_with) or [sys.executable, "-c", TWISTD, *twistd, "push"]
        self.mark = uuid.uuid4().hex
        self.variables = dict(variables or {})

    @property
    def pid(self) -> int:
        """Of the process in the foreground."""
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        """What is run."""
        places = [
            f"--listen=framed={self.transport}:{self.port}:interface={self.interface}:backlog=1024",
            f"--api=tcp:{self.api.port}:interface={self.interface}:backlog=1024",
            f"--data-dir={self.directory / 'data'}",
        ]
        return [*self._start_with, *places, *self.options]

    def spawn(self) -> None:
        """Start the process, and wait for nothing."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=environment(**self.variables, **{_MARK: self.mark}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self) -> "Server":
        """Start it, and wait until it says that it can work."""
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until /readyz says yes."""
        wait_until("the server is ready", self._is_ready)

    def run(self) -> tuple[int, str]:
        """Start it when it is expected to refuse.

        Returns:
            Exit code, and all that it wrote.
        """
        before = self.output()
        self.spawn()
        return self.ended(), self.output()[len(before) :]

    def ended(self) -> int:
        """Wait until it has ended.

        Returns:
            Its exit code.
        """
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and wait until it has ended.

        Returns:
            Its exit code.
        """
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended()

    def output(self) -> str:
        """All that it has written to stdout and stderr."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def resident_bytes(self) -> int:
        """Its memory, now."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def destroy(self) -> None:
        """Kill whatever is left of it, daemons included: they carry its mark in their environment."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in marked(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        if code is not None and (code or not self._is_daemon):
            raise AssertionError(f"the server ended with exit code {code}:\n{self.output()}")
        try:
            return self.api.get("/readyz").status == 200
        except OSError:
            return False


def marked(mark: str) -> list[int]:
    """The processes that carry a mark in their environment; only Linux lets us look."""
    wanted = f"{_MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Whatever happens inside, these servers do not outlive it; what they wrote is shown if it was a failure."""
    try:
        yield
    except BaseException:
        for server in servers:
            lines = server.output().splitlines()[-_SHOWN_LINES:]
            print(f"\n--- output of the server on port {server.port} ---", *lines, "---", sep="\n", file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.destroy()


@contextmanager
def started(directory: str | Path, *options: str, **variables: str) -> Iterator[Server]:
    """A server that is ready, in a new directory."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    server = Server(directory, options, variables=variables)
    with running(server):
        yield server.start()
