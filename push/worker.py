"""The process of one worker: told by its parent what to do, it holds client connections until its parent is gone.

Started by push.services.workers as `python -m push.worker NAME`. The first line of its standard input says all the
rest; when that input ends, because the parent says so or has died, it leaves in order.
"""

import os
import signal
import sys
from importlib import import_module
from typing import Any

import msgspec
from twisted.internet.abstract import FileDescriptor
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from push import logs
from push.connecting import Surroundings
from push.settings import SettingError
from push.tap import raise_file_limit, time_by_what_nobody_sets, tune_collector
from push.worker_roles import Task, WorkerService, now_ms

MAX_TASK_BYTES = 1_048_576
# On top of the time that leaving may take. After that the kernel ends it, even if it no longer listens to anything.
ALARM_GRACE_S = 10

_log = Logger(namespace="push.worker")


class _Leash(FileDescriptor):
    """Standard input: when it ends, so does the worker."""

    def __init__(self, reactor: Any, ended: Any) -> None:
        super().__init__(reactor)
        self._ended = ended
        self.startReading()

    def fileno(self) -> int:
        return 0

    def doRead(self) -> None:
        try:
            data = os.read(0, 4_096)
        except BlockingIOError:
            return
        if not data:
            self.stopReading()
            self._ended()

    def connectionLost(self, reason: Failure) -> None:
        # With some reactors the end of a pipe shows only so.
        self.stopReading()
        self._ended()


def read_task(descriptor: int) -> Task:
    """Read the line that says what to do; nothing behind it is taken.

    Raises:
        ValueError: there is none, or it is not one.
    """
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(descriptor, 65_536)
        if not more or len(data) > MAX_TASK_BYTES:
            raise ValueError("standard input has no task: workers are started by their server, with --workers")
        data += more
    try:
        return msgspec.json.decode(data, type=Task)
    except msgspec.DecodeError:
        raise ValueError("the task on standard input cannot be read") from None


def install_reactor(module: str) -> Any:
    """Install the reactor of the parent.

    Raises:
        ValueError: it is none of Twisted's.
    """
    if not module.startswith("twisted.internet."):
        raise ValueError(f"{module} is no module of a reactor")
    import_module(module).install()
    from twisted.internet import reactor

    time_by_what_nobody_sets(reactor)
    return reactor


class _Process:
    """This process: begins, fails, leaves."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._is_leaving = False
        self.exit_code = 0
        self.reactor = install_reactor(task.reactor)
        # The terminal sends this to all processes, but the parent knows the order in which they are to go.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def run(self) -> None:
        """Serve clients until told otherwise."""
        task = self._task
        globalLogBeginner.beginLoggingTo(
            [logs.observer(sys.stdout, "json", task.config.log_level)], redirectStandardIO=False
        )
        surroundings = Surroundings(self.reactor, raise_file_limit(), now_ms)
        service = WorkerService(task, surroundings, failed=self._fail)
        self.reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        self.reactor.callWhenRunning(self._begin, service)
        self.reactor.run(installSignalHandlers=False)

    def _begin(self, service: WorkerService) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: self.reactor.callFromThread(self._leave))
        _Leash(self.reactor, self._leave)
        service.startService()
        tune_collector()

    def _fail(self, why: str) -> None:
        _log.error("leaving: {why}", why=why)
        self.exit_code = 1
        self._leave()

    def _leave(self) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(self._task.config.stop_timeout_s) + ALARM_GRACE_S)
            self.reactor.stop()


def main() -> None:
    """Do what standard input says."""
    try:
        process = _Process(read_task(0))
        process.run()
    except (ValueError, SettingError) as error:
        sys.exit(f"push: {error}")
    sys.exit(process.exit_code)


if __name__ == "__main__":
    main()
