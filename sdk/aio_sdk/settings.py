"""What can be tuned, and what a client takes from its surroundings. Frozen values, checked when made."""

import asyncio
import math
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Protocol

from aio_sdk.waiting import Clock, LoopClock
from push.protocols.wire.liveness import MAX_INTERVAL_MS, MIN_INTERVAL_MS

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Auth = str | Callable[[], str | Awaitable[str]]


class Connect(Protocol):
    """Opens a connection; asyncio.open_connection is one."""

    def __call__(self, host: str, port: int, *, ssl: ssl.SSLContext | None) -> Awaitable[Streams]:
        """Connect, with TLS and the host's name verified where a context is given."""
        ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times and limits; the defaults suit a phone as well as a server.

    Attributes:
        interval_s: the heartbeat to promise, 10 to 1800 s. Shorter finds a dead line sooner and costs battery.
        connect_timeout_s: for TCP and TLS together, and again for the answer to SUB.
        pong_timeout_s: a line that brings nothing at all for so long after a PING is dead.
        close_timeout_s: how long a polite close may take.
        first_delay_s: the longest wait before the first reconnection; it doubles with each failure.
        max_delay_s: the longest wait of all, and the shortest time after which a session counts as a success.
        max_retry_after_s: how long a server can make this client stay away.
        max_redirects: redirects in a row before it waits and begins at home again.
        max_queued_messages: with so many not yet taken by the application, the socket is not read.
        max_queued_bytes: the same in bytes.
        max_body_bytes: the largest frame body to accept; servers send at most 64 KiB unless configured otherwise.
    """

    interval_s: float = 60.0
    connect_timeout_s: float = 10.0
    pong_timeout_s: float = 20.0
    close_timeout_s: float = 2.0
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0
    max_retry_after_s: float = 3_600.0
    max_redirects: int = 5
    max_queued_messages: int = 256
    max_queued_bytes: int = 1_048_576
    max_body_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{one.name} must be greater than 0, not {value}")
        if not MIN_INTERVAL_MS <= self.interval_s * 1000 <= MAX_INTERVAL_MS:
            raise ValueError(f"interval_s must be {MIN_INTERVAL_MS // 1000} to {MAX_INTERVAL_MS // 1000} seconds")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where time, chance and connections come from; given by tests, and by nobody else."""

    clock: Clock = field(default_factory=LoopClock)
    random: Callable[[], float] = random.random
    connect: Connect = asyncio.open_connection
