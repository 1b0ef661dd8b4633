"""What a client tells its `on_status` callback: where it stands with its server. Small frozen values.

Imports nothing of the project but the address. Reasons come from the network: escape them on a terminal.
"""

from dataclasses import dataclass

from aio_sdk.address import Address


@dataclass(frozen=True, slots=True)
class Connecting:
    """An attempt begins."""

    address: Address


@dataclass(frozen=True, slots=True)
class Open:
    """The session is open and messages arrive."""

    address: Address
    token: str
    interval_s: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """The session was refused; followed by Waiting where it is worth coming back, else by Ended."""

    address: Address
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """There was no connection, or there is none any more. `code`: of the server's DISCONNECT, else 0."""

    address: Address
    reason: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Redirected:
    """The server named another; that is where the next attempt goes."""

    address: Address
    to: Address


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing happens for so long, in seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The client has given up, as its iteration raises, or was closed."""

    reason: str


Status = Connecting | Open | Rejected | Lost | Redirected | Waiting | Ended
