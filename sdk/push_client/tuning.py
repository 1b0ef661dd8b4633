"""What can be tuned: times and limits, frozen and checked when made. Imports only the wire core."""

import math
from dataclasses import dataclass, fields

from push.protocols.wire.liveness import MAX_INTERVAL_MS, MIN_INTERVAL_MS


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times and limits; the defaults suit a phone as well as a server.

    Attributes:
        interval_s: the heartbeat to begin with, 10 to 1800 s. Shorter finds a dead line sooner and costs battery.
        max_interval_s: how far the heartbeat may grow while it succeeds, at most 1800 s; with interval_s or less
            it stays as it is until a line is lost.
        connect_timeout_s: for TCP and TLS together, again for the answer to SUB, and for asking where to connect.
        pong_timeout_s: a line that brings nothing at all for so long after a PING is dead.
        frame_timeout_s: how long one frame may take from its first byte to its last.
        close_timeout_s: how long a polite close may take.
        first_delay_s: the longest wait before the first reconnection; it doubles with each failure.
        max_delay_s: the longest wait of all, and the shortest time after which a session counts as a success.
        max_retry_after_s: how long a server can make this client stay away.
        save_every_s: which messages were handled is written to the token's file at most so often.
        max_redirects: redirects in a row before it waits and begins at home again.
        max_queued_messages: with so many not yet taken by the application, the socket is not read.
        max_queued_bytes: the same in bytes.
        max_body_bytes: the largest frame body to accept; servers send at most 64 KiB unless configured otherwise.
    """

    interval_s: float = 60.0
    max_interval_s: float = 300.0
    connect_timeout_s: float = 10.0
    pong_timeout_s: float = 20.0
    frame_timeout_s: float = 120.0
    close_timeout_s: float = 2.0
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0
    max_retry_after_s: float = 3_600.0
    save_every_s: float = 5.0
    max_redirects: int = 5
    max_queued_messages: int = 256
    max_queued_bytes: int = 1_048_576
    max_body_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{one.name} must be greater than 0, not {value}")
        least_s, most_s = MIN_INTERVAL_MS / 1000, MAX_INTERVAL_MS / 1000
        if not least_s <= self.interval_s <= most_s:
            raise ValueError(f"interval_s must be {least_s:g} to {most_s:g} seconds")
        if self.max_interval_s > most_s:
            raise ValueError(f"max_interval_s must be at most {most_s:g} seconds")
