"""A real server for the length of a test, in a process of its own: its reactor is never that of the tests.

So it works alike under pytest, unittest and trial, with a running reactor, with an asyncio loop, and with neither.
Imports only the standard library.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_REQUEST_TIMEOUT_S = 30.0
_POLL_S = 0.02
# A file system in memory, where the system has one: nothing of a test's data reaches a disk.
_IN_MEMORY = "/dev/shm"  # noqa: S108
KEEP = b"keep\n"


class ServerFailed(Exception):
    """The server did not start, or refused a request; with what it said."""


class PushServer:
    """A server with all roles on free ports of this machine, gone without a trace when the block ends.

        with PushServer() as server:
            ...  # a client connects to server.url
            server.send({"uid": "alice"}, "hello")

    Args:
        options: for `twistd push`, e.g. "--ack-window=2".
        protocols: that clients can connect by, besides `framed` and `websocket`: names of plug-ins.

    Attributes:
        ports: name of a protocol, or "api" → port.
        url: for clients of the SDKs: push://….
        websocket_url: for clients of WebSocket: ws://….
        api_url: of the HTTP API: http://…, without a path.
    """

    def __init__(self, *options: str, protocols: Sequence[str] = ()) -> None:
        self._options = options
        self._protocols = ("framed", "websocket", *protocols)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._log: IO[bytes] | None = None
        self._reserved: list[socket.socket] = []
        self.ports: dict[str, int] = {}

    def __enter__(self) -> "PushServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For clients of the SDKs."""
        return f"push://{HOST}:{self.ports['framed']}"

    @property
    def websocket_url(self) -> str:
        """For clients of WebSocket."""
        return f"ws://{HOST}:{self.ports['websocket']}/"

    @property
    def api_url(self) -> str:
        """The HTTP API, without a path."""
        return f"http://{HOST}:{self.ports['api']}"

    @property
    def log(self) -> str:
        """What it has logged, "" after `stop`."""
        path = None if self._directory is None else self._directory / "log"
        return path.read_text(errors="replace") if path is not None and path.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it can work. Takes about a second, in which nothing else of this thread runs.

        Raises:
            ServerFailed: it does not start.
        """
        if self._process is not None:
            raise RuntimeError("the server runs already")
        if find_spec("twisted.internet") is None:  # "twisted" alone is there as well: it holds the server's plug-in
            raise ServerFailed('only the clients are installed here: the server comes with the extra "server"')
        if not self.ports:
            self._reserve()
        if self._directory is None:
            within = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
            self._directory = Path(tempfile.mkdtemp(prefix="push-testing-", dir=within))
        self._log = open(self._directory / "log", "ab")  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603
            self._command(self._directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(),
        )
        try:
            self._wait(time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, and remove all that it kept. May be called twice."""
        self._end(keep=False)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        for each in self._reserved:
            each.close()
        self._reserved = []
        self.ports = {}

    def restart(self) -> None:
        """Stop it and start it again, at the same ports and with what it kept: clients have to come back."""
        self._end(keep=True)
        self.start()

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """Ask the HTTP API.

        Args:
            method: e.g. "GET".
            path: e.g. "/v1/nodes".
            body: anything that can be JSON; None for none.
            headers: more of them.

        Returns:
            The answer, parsed.

        Raises:
            ServerFailed: its status is not one of success.
        """
        status, data = self._ask(method, path, body, headers or {})
        if not 200 <= status < 300:
            raise ServerFailed(f"{method} {path}: {status} {data.decode(errors='replace')}")
        return json.loads(data) if data else None

    def send(self, target: Mapping[str, object], data: object, **options: object) -> Any:
        """Push one message.

        Args:
            target: e.g. {"uid": "alice"}, {"token": "…"}, {"all": True}.
            data: text, or anything that can be JSON.
            options: how it is sent, e.g. ttl=60, wait="delivered".

        Returns:
            What became of it: {"id": …, "targets": …, "sent": …, "cached": …, "unknown": […]}.

        Raises:
            ServerFailed: it was refused.
        """
        body = {"target": target, "message": {"data": data}, "options": options}
        return self.request("POST", "/v1/messages:send", body)

    def _reserve(self) -> None:
        """Choose ports that stay ours until `stop`, also while the server is down.

        A socket that is bound and does not listen keeps everybody from being given its port, and the server from
        nothing, as both have SO_REUSEADDR (Linux, socket(7)). Elsewhere the server takes what is free.
        """
        if sys.platform != "linux":
            return
        for name in (*self._protocols, "api"):
            reserved = socket.socket()
            self._reserved.append(reserved)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((HOST, 0))
            self.ports[name] = reserved.getsockname()[1]

    def _command(self, directory: Path) -> list[str]:
        listen = [f"--listen={name}=tcp:{self.ports.get(name, 0)}:interface={HOST}" for name in self._protocols]
        api = f"--api=tcp:{self.ports.get('api', 0)}:interface={HOST}"
        places = [*listen, api, f"--data-dir={directory / 'data'}"]
        # Clients that run in the thread which waits here, in an asyncio loop or a reactor, cannot hang up meanwhile.
        end = ["--stop-spread-s=0", "--stop-timeout-s=1"]
        return [sys.executable, "-m", "push.testing.process", str(directory), *places, *end, *self._options]

    def _wait(self, end_s: float) -> None:
        """Learn the ports, then wait for readiness."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            raise ServerFailed(f"the server did not start:\n{self.log}")
        numbers = json.loads(line)
        self.ports = dict(zip((*self._protocols, "api"), numbers, strict=True))
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > end_s:
                raise ServerFailed(f"the server does not get ready:\n{self.log}")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        try:
            return self._ask("GET", "/readyz", None, {})[0] == 200
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = HTTPConnection(HOST, self.ports["api"], timeout=_REQUEST_TIMEOUT_S)
        try:
            data = None if body is None else json.dumps(body).encode()
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, data, {**kind, **headers})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _end(self, *, keep: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it may have ended by itself
            if keep:
                process.stdin.write(KEEP)
            process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if self._log is not None:
            self._log.close()


def _environment() -> dict[str, str]:
    """Nothing of PUSH_*, and the modules that the tests see."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PUSH_")}
    return mine | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
