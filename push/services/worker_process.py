"""One worker's process, as its parent sees it: it is given its task, heard when it logs, and told to leave.

The task goes through the process's standard input, where neither `ps` nor anybody's environment shows it. That
stays open as long as the parent lives: when it ends, the worker leaves. Must not import adapters, stores or web.
"""

import contextlib
import json
from collections.abc import Callable

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

_MAX_LINE_BYTES = 32_768


class WorkerProcess(ProcessProtocol):
    """A process.

    Args:
        name: of the worker, for the log.
        task: what it is to do, as one line.
        ended: called with how it ended.
    """

    transport: IProcessTransport

    def __init__(self, name: str, task: bytes, ended: Callable[[str], None]) -> None:
        self._name = name
        self._task = task
        self._ended = ended
        self._out = _Lines(self._relay)
        self._err = _Lines(self._complain)

    def connectionMade(self) -> None:
        """Tell it what to do."""
        self.transport.write(self._task + b"\n")
        self._task = b""

    def leave(self) -> None:
        """Tell it to leave in order."""
        self.transport.closeStdin()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        """It logs."""
        self._out.feed(data)

    def errReceived(self, data: bytes) -> None:
        """It complains: the interpreter's own last words."""
        self._err.feed(data)

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self._out.end()
        self._err.end()
        if reason.check(ProcessDone):
            self._ended("ended")
        else:
            number = getattr(reason.value, "signal", None)
            code = getattr(reason.value, "exitCode", None)
            self._ended(f"was killed by signal {number}" if number else f"ended with exit code {code}")

    def _relay(self, line: bytes) -> None:
        """A line of its log, as push.logs.json_line writes it, into ours."""
        try:
            event = json.loads(line)
            level = LogLevel.lookupByName(event["level"])
            system, text = str(event["system"]), str(event["message"])
        except (ValueError, KeyError, TypeError):
            self._complain(line)
            return
        if "traceback" in event:
            text = f"{text}\n{event['traceback']}"
        Logger(namespace=system).emit(level, "{worker}: {text}", worker=self._name, text=text)

    def _complain(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        Logger(namespace=__name__).error("{worker}: {text}", worker=self._name, text=text)


class _Lines:
    """Cuts what comes in pieces into lines; a line without end is cut at some length."""

    def __init__(self, line: Callable[[bytes], None]) -> None:
        self._line = line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > _MAX_LINE_BYTES:
            lines.append(rest[:_MAX_LINE_BYTES])
            rest = rest[_MAX_LINE_BYTES:]
        self._rest = rest
        for line in lines:
            for start in range(0, len(line), _MAX_LINE_BYTES):
                self._line(line[start : start + _MAX_LINE_BYTES])

    def end(self) -> None:
        self.feed(b"\n")
