"""A loop for one client that goes on while the device sleeps: what the client has to do at a time, an alarm is set for.

A thread that waits in a selector sleeps with the device, and its timers do not run. So before it waits, the alarm is
set for when the client wants its turn; ringing, it wakes device and thread. Standard library and nio_sdk.
"""

import math
import selectors
import socket
import threading
from collections.abc import Callable

import nio_sdk
from phone.alarms import MakeAlarm

# An alarm that would ring within so much of the time that it is set for is left as it is.
_NEAR_S = 1.0


class Pacemaker:
    """The loop of one client, in a thread.

    Args:
        client: that nobody has started.
        make_alarm: makes the alarm.
        clock: the client's.
    """

    def __init__(self, client: nio_sdk.PushClient, make_alarm: MakeAlarm, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._ours, self._theirs = socket.socketpair()
        for each in (self._ours, self._theirs):
            each.setblocking(False)
        self._alarm = make_alarm(self.wake)
        self._set_for_s = math.inf
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="pacemaker", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            TokenFileError: the token cannot be read, or something else is there.
        """
        try:
            self._client.fileno()
        except nio_sdk.TokenFileError:
            self._let_go()
            raise
        self._thread.start()

    def close(self) -> None:
        """Close the client, and wait until that is done; it takes at most what the client takes."""
        self._is_stopping = True
        self.wake()
        self._thread.join()

    def wake(self) -> None:
        """Give the client its turn now; called in any thread."""
        try:
            self._theirs.send(b"!")
        except BlockingIOError:  # it has been woken often enough
            pass
        except OSError:  # it is closed
            pass

    def _run(self) -> None:
        client = self._client
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(client.fileno(), selectors.EVENT_READ)
                selector.register(self._ours, selectors.EVENT_READ)
                while not (self._is_stopping or client.has_ended):
                    self._turn(selector)
                selector.unregister(client.fileno())
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._alarm.close()
        self._client.close()
        self._ours.close()
        self._theirs.close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        delay_s = self._client.next_timer_s()
        self._set_alarm(delay_s)
        ready = {key.fd for key, _ in selector.select(delay_s)}
        if self._ours.fileno() in ready:
            self._ours.recv(4096)
        if self._client.fileno() in ready:
            self._client.on_readable()
        self._client.on_timer()

    def _set_alarm(self, delay_s: float | None) -> None:
        now_s = self._clock()
        due_s = math.inf if delay_s is None else now_s + delay_s
        is_near = abs(due_s - self._set_for_s) <= _NEAR_S and self._set_for_s > now_s
        if due_s == self._set_for_s or is_near:
            return
        self._set_for_s = due_s
        if delay_s is None:
            self._alarm.cancel()
        else:
            self._alarm.set(delay_s)
