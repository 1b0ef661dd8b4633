"""Where the log goes and how a line looks: text for people, JSON for machines. Imports no room.

twistd would choose for itself; this gives it an observer with the level and the format of the settings,
written to where twistd was told to (--logfile, or standard output when it stays in the foreground).
"""

import json
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.logfile import LogFile


def json_line(event: LogEvent) -> str | None:
    """One event as one JSON object on one line.

    Args:
        event: from twisted.logger.

    Returns:
        {"time", "level", "system", "message"} and, for failures, "traceback"; None where there is no message.
    """
    message = formatEvent(event)
    failure = event.get("log_failure")
    if not message and failure is None:
        return None
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": "info" if level is None else level.name,
        "system": event.get("log_namespace") or event.get("log_system") or "",
        "message": message,
    }
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


def text_line(event: LogEvent) -> str | None:
    """One event as people read it.

    Args:
        event: from twisted.logger.

    Returns:
        Time, system, level and message, or None where there is no message. What a file cannot hold is escaped: a
        line that cannot be written would be lost.
    """
    line = formatEventAsClassicLogText(event)
    return None if line is None else line.encode(errors="backslashreplace").decode()


def observer(stream: TextIO, log_format: str, log_level: str) -> ILogObserver:
    """An observer that writes what is important enough.

    Args:
        stream: where to.
        log_format: "text" or "json".
        log_level: the least level written, "debug" to "error".
    """
    write = json_line if log_format == "json" else text_line
    least = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(log_level))
    return cast(ILogObserver, FilteringLogObserver(FileLogObserver(stream, write), [least]))


def stream_for(twistd: Mapping[str, Any], call_from_thread: Callable[..., object]) -> TextIO | None:
    """Open what twistd was told to log to.

    Args:
        twistd: twistd's own options.
        call_from_thread: the reactor's; SIGUSR1 rotates the file, as with twistd's own observer.

    Returns:
        The stream, None where twistd is to decide: with --logger, --syslog, or a daemon sent to standard output.
    """
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile")
    stays = bool(twistd.get("nodaemon"))
    if path == "-" or (stays and not path):
        return sys.stdout if stays else None
    file = LogFile.fromFullPath(path or "twistd.log")
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda number, frame: call_from_thread(file.rotate) and None)
    return cast(TextIO, file)
