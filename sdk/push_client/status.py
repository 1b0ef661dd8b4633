"""What a client tells its `on_status` callback: where it stands with its server. Small frozen values.

`str()` of each is a sentence for people. Imports nothing of the project but the address. Reasons come from the
network: escape them on a terminal.
"""

from dataclasses import dataclass

from push_client.address import Address


@dataclass(frozen=True, slots=True)
class Connecting:
    """An attempt begins."""

    address: Address

    def __str__(self) -> str:
        return f"connecting to {self.address}"


@dataclass(frozen=True, slots=True)
class Open:
    """The session is open and messages arrive."""

    address: Address
    token: str
    interval_s: float

    def __str__(self) -> str:
        return f"open at {self.address}"


@dataclass(frozen=True, slots=True)
class Rejected:
    """The session was refused; followed by Waiting where it is worth coming back, else by Ended."""

    address: Address
    status: int
    reason: str

    def __str__(self) -> str:
        return f"refused: {self.status} {self.reason}".rstrip()


@dataclass(frozen=True, slots=True)
class Lost:
    """There was no connection, or there is none any more. `code`: of the server's DISCONNECT, else 0."""

    address: Address
    reason: str
    code: int = 0

    def __str__(self) -> str:
        return f"no connection to {self.address}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Redirected:
    """The server named another; that is where the next attempt goes."""

    address: Address
    to: Address

    def __str__(self) -> str:
        return f"redirected to {self.to}"


@dataclass(frozen=True, slots=True)
class Unallocated:
    """Whoever was asked where to connect did not say; the last good node is tried, and then the server's URL."""

    reason: str

    def __str__(self) -> str:
        return f"nobody says where to connect: {self.reason}"


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages to all that are not kept were lost on their way here, for good; the session goes on."""

    address: Address
    reason: str

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing happens for so long, in seconds."""

    delay_s: float

    def __str__(self) -> str:
        return f"waiting {self.delay_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Ended:
    """The client has given up, as its iteration raises, or was closed."""

    reason: str

    def __str__(self) -> str:
        return f"ended: {self.reason}"


Status = Connecting | Open | Rejected | Lost | Redirected | Unallocated | Missed | Waiting | Ended
