"""The values of nodes: how each is, what they tell one another, what they share.

Imports only push.model and push.model_health.
"""

from dataclasses import dataclass

import msgspec

from push.model import Registration
from push.model_health import Histogram

# The wire protocol that is spoken where nothing else is said.
FRAMED = "framed"


@dataclass(frozen=True, slots=True)
class Node:
    """A connector as others see it.

    Attributes:
        address: its unique name: "host:port" that it advertises, and "#N" after it where it shares that with others.
        connections: open connections, with or without a session.
        sessions: open sessions.
        max_connections: its limit.
        started_ms: when it started, milliseconds since 1970.
        draining: whether it takes no new sessions.
        version: of its software.
        places: (wire protocol, "host:port"): where clients connect by each, as far as others can reach that.
    """

    address: str
    connections: int
    sessions: int
    max_connections: int
    started_ms: int
    draining: bool
    version: str
    places: tuple[tuple[str, str], ...] = ()

    @property
    def public_address(self) -> str:
        """Where clients connect: "host:port"."""
        return self.address.partition("#")[0]

    def place_of(self, protocol: str) -> str:
        """Where clients connect by a wire protocol: "host:port"; "" where they cannot."""
        if not self.places:  # a node of 0.1.0 does not say
            return self.public_address if protocol == FRAMED else ""
        return dict(self.places).get(protocol, "")


class Numbers(msgspec.Struct, frozen=True):
    """What a node of a cluster tells the others of what it has measured since it started.

    Attributes:
        taken_ms: when, milliseconds since 1970 on its clock.
        counted: name of a sample → the sum of those that are meant.
        timed: likewise, of histograms.
    """

    taken_ms: int
    counted: dict[str, float]
    timed: dict[str, "Histogram"]


class Member(msgspec.Struct, frozen=True):
    """A node of a cluster, as it says of itself.

    Attributes:
        name: unique: of a connector its address, of others where they are reached.
        roles: what runs there.
        peer: "host:port" where other nodes reach it; "" where none does.
        major: of the version that it speaks between nodes; another one is not understood.
        minor: likewise; any is.
        version: of its software.
        connector: how its connector is, if it has one.
        numbers: what it has measured; None: it does not say.
    """

    name: str
    roles: tuple[str, ...]
    peer: str = ""
    major: int = 1
    minor: int = 0
    version: str = ""
    connector: Node | None = None
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A name that one node has for a while.

    Attributes:
        name: what it has.
        number: greater than that of every earlier lease, of whatever name: what carries a lesser one comes too late.
        details: what the node wants others to know, any bytes.
    """

    name: str
    number: int
    details: bytes


class BusPlace(msgspec.Struct, frozen=True, gc=False):
    """Where something stands among all that is published on a bus.

    Attributes:
        epoch: since when it is counted; another one, where what was counted is lost.
        number: counted from 1 in each epoch, without gaps; 0 for nothing yet.
    """

    epoch: int
    number: int


class Opening(msgspec.Struct, frozen=True, gc=False):
    """A session that has been opened, and the one that it replaced, if there was one."""

    session: Registration
    replaced: Registration | None
