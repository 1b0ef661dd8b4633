"""What a client takes from its surroundings, and what its arguments may be. Frozen values."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from aio_sdk.line import Streams
from aio_sdk.waiting import Clock, LoopClock
from push_client.tuning import Tuning

__all__ = ["Auth", "Connect", "Streams", "Surroundings", "Tuning"]

Auth = str | Callable[[], str | Awaitable[str]]


class Connect(Protocol):
    """Opens a connection; asyncio.open_connection is one."""

    def __call__(self, host: str, port: int, *, ssl: ssl.SSLContext | None) -> Awaitable[Streams]:
        """Connect, with TLS and the host's name verified where a context is given."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where time, chance and connections come from; given by tests, and by nobody else."""

    clock: Clock = field(default_factory=LoopClock)
    random: Callable[[], float] = random.random
    connect: Connect = asyncio.open_connection
