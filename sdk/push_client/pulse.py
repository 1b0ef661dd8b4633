"""How the heartbeat of an open session does, for whoever wants to see it. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pulse:
    """The heartbeat of a session as it is now.

    Attributes:
        interval_s: how long the line may be silent before the next PING, as it has been learned and the server allows.
        answered: how many PINGs of this session the server has answered.
        round_trip_s: how long the answer to the last of them took; None before the first.
    """

    interval_s: float
    answered: int = 0
    round_trip_s: float | None = None
