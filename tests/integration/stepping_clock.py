"""The server with a clock that goes wrong: each SIGUSR1 sets it back by an hour. A stand-in for twistd in tests.

With CLOCK_BEHIND_S in its environment it is wrong from the start.

python -c 'from tests.integration.stepping_clock import run; run()' --nodaemon --pidfile= push …

What a wrong clock cannot touch stays as it is: time.monotonic, and the kernel's own timers.
"""

import ctypes
import os
import signal
import time

STEP_S = 3_600


def run() -> None:
    """Take the clock over before anybody else has looked at it, and be twistd."""
    ctypes.CDLL(None).prctl(1, 9)  # as in tests/integration/server.py
    right_ns, behind_s = time.time_ns, int(os.environ.get("CLOCK_BEHIND_S", "0"))

    def step(*_: object) -> None:
        nonlocal behind_s
        behind_s += STEP_S
        print(f"the clock is {behind_s} s behind", flush=True)

    def time_ns() -> int:
        return right_ns() - behind_s * 1_000_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    signal.signal(signal.SIGUSR1, step)

    from twisted.scripts.twistd import run as twistd

    twistd()
