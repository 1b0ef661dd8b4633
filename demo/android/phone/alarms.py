"""Being woken at a time: the seam between the heartbeat and the system, and what there is on a desktop.

Standard library only. android_alarm.py is the other side.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """One alarm, which rings in any thread, also while the device sleeps."""

    def set(self, delay_s: float) -> None:
        """Ring in so many seconds, once; an earlier setting is forgotten."""
        ...

    def cancel(self) -> None:
        """Do not ring."""
        ...

    def close(self) -> None:
        """Let go of it for good."""
        ...


# Makes an alarm, given what is called when it rings.
MakeAlarm = Callable[[Callable[[], None]], Alarm]


def clock() -> float:
    """Seconds that also pass while the device sleeps: a phone's monotonic clock stands still then."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # not everywhere
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class TimerAlarm:
    """On a desktop, which does not sleep while somebody looks: a thread that waits.

    Args:
        ring: called when the time has come.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: threading.Timer | None = None

    def set(self, delay_s: float) -> None:
        """Ring in so many seconds."""
        self.cancel()
        self._timer = threading.Timer(delay_s, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Let go of it."""
        self.cancel()
