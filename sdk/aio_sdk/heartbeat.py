"""Signs of life: a PING each interval, and the judgement that a line is dead. Standard library and wire core."""

import math
from typing import NoReturn

from aio_sdk.connection import Connection
from aio_sdk.waiting import Clock
from push.protocols.wire.client import MAX_UNANSWERED


class Heartbeat:
    """The heartbeat of one open connection.

    Args:
        connection: with an open session.
        clock: what the interval is measured on.
        timeout_s: how long the line may be silent while a PING is unanswered.
    """

    def __init__(self, connection: Connection, *, clock: Clock, timeout_s: float) -> None:
        self._connection = connection
        self._clock = clock
        self._timeout_s = timeout_s
        self._asked_s: float | None = None

    def answered(self) -> None:
        """The server has answered a PING."""
        self._asked_s = None

    async def run(self) -> NoReturn:
        """Ping until cancelled, also while nobody reads: the server must hear that this side is there.

        Raises:
            TimeoutError: the line is dead.
        """
        session = self._connection.session
        ping_s = self._clock.time() + session.interval_ms / 1000
        while True:
            now_s = self._clock.time()
            if now_s >= ping_s:
                ping_s = now_s + session.interval_ms / 1000
                if session.unanswered < MAX_UNANSWERED:
                    self._connection.send(session.ping())
                if self._asked_s is None:
                    self._asked_s = now_s
            silent_s = self._silent_s(now_s)
            if silent_s <= now_s:
                raise TimeoutError(f"the server has been silent for {self._timeout_s:g} s after a PING")
            await self._clock.sleep(min(ping_s, silent_s) - now_s)

    def _silent_s(self, now_s: float) -> float:
        """When the line is to be given up, as things are now."""
        if self._asked_s is None:
            return math.inf
        # While nobody reads, silence proves nothing; and what has just been heard is as good as an answer.
        alive_s = now_s if self._connection.paused else max(self._asked_s, self._connection.heard_s)
        return alive_s + self._timeout_s
