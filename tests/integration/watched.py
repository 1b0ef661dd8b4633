"""The server with a fine clock in its reactor, and a day that can be skipped. A stand-in for twistd in tests.

python -c 'from tests.integration.watched import run; run()' --nodaemon --pidfile= push …

SIGUSR1 sets its clock forward by STEP_S; SIGUSR2 has it print what was seen since the last time (WATCHED and JSON).
What a busy machine adds can be told apart: the kernel counts how long each thread was ready to run and did not get a
processor (/proc/…/schedstat), while a thread that waits for Python's lock, or for the disk, is not ready.
"""

import ctypes
import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from twisted.application.service import Service

STEP_S = 172_800
WATCHED = "WATCHED "
STALL_S = 0.02
_INTERVAL_S = 0.001


class Watch(Service):
    """Asks to be called each millisecond, and notes how late that is.

    Args:
        reactor: what is watched.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._files: dict[str, int] = {}
        self._reactor_file = os.open("/proc/self/schedstat", os.O_RDONLY)  # of the first thread, which the reactor is
        self._forget()

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._forget()
        signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(self._report))
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._asked_s, self._waited_s = time.monotonic(), self._waited()
        self._reactor.callLater(_INTERVAL_S, self._look)

    def _look(self) -> None:
        late_s = time.monotonic() - self._asked_s - _INTERVAL_S
        # Of any thread: the one that the reactor waited for may itself have waited for a processor.
        own_s = late_s - (self._waited() - self._waited_s)
        self._late_s = max(self._late_s, late_s)
        self._own_s = max(self._own_s, own_s)
        self._turns += 1
        self._stalls += own_s > STALL_S
        self._begin()

    def _waited(self) -> float:
        """How long threads of this process have waited for a processor, in seconds."""
        for name in os.listdir("/proc/self/task") if self._turns % 64 == 0 else ():
            if name not in self._files:
                self._files[name] = os.open(f"/proc/self/task/{name}/schedstat", os.O_RDONLY)
        waited_s = 0.0
        for name, file in list(self._files.items()):
            try:
                waited_s += _waited(file)
            except ProcessLookupError:  # it has ended
                os.close(self._files.pop(name))
        return waited_s

    def _forget(self) -> None:
        self._late_s = self._own_s = 0.0
        self._turns = self._stalls = 0
        self._since_stolen_s, self._since_waited_s = _stolen(), _waited(self._reactor_file)
        self._since_all_waited_s = self._waited()
        self._since_cpu_s, self._since_s = time.process_time(), time.monotonic()

    def _report(self) -> None:
        seen = {
            "late_s": self._late_s,
            "own_s": self._own_s,
            "turns": self._turns,
            "stalls": self._stalls,
            "waited_s": _waited(self._reactor_file) - self._since_waited_s,
            "all_waited_s": self._waited() - self._since_all_waited_s,
            "stolen_s": _stolen() - self._since_stolen_s,
            "cpu_s": time.process_time() - self._since_cpu_s,
            "wall_s": time.monotonic() - self._since_s,
            "resident_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(),
        }
        print(WATCHED + json.dumps(seen), flush=True)
        self._forget()


def _waited(file: int) -> float:
    """For how long a thread was ready and did not run, in seconds."""
    return int(os.pread(file, 100, 0).split()[1]) / 1e9


def _stolen() -> float:
    """For how long the host of this virtual machine has kept processors from it, in seconds."""
    with open("/proc/stat", encoding="ascii") as stream:
        return int(stream.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def run() -> None:
    """Take the clock over before anybody else has looked at it, and be twistd."""
    ctypes.CDLL(None).prctl(1, 9)  # as in tests/integration/server.py
    right_ns, ahead_s = time.time_ns, 0

    def step(*_: object) -> None:
        nonlocal ahead_s
        ahead_s += STEP_S

    def time_ns() -> int:
        return right_ns() + ahead_s * 1_000_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    signal.signal(signal.SIGUSR1, step)

    from push import tap

    made = tap.makeService

    def make(options: tap.Options) -> Any:
        from twisted.internet import reactor

        service = made(options)
        watch = Watch(reactor)
        watch.setServiceParent(service)
        service.services.insert(0, service.services.pop())  # what it sees begins before anything is opened
        return service

    tap.makeService = make

    from twisted.scripts.twistd import run as twistd

    twistd()
