"""A node that has logged in, as the one that it joined sees it: what it may call, and what it becomes.

Must not import services, stores or web.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb

from push.protocols.peer.asking import Answering
from push.protocols.peer.asks import Wish
from push.protocols.peer.envelopes import CONNECTOR, MAJOR, MINOR, Hello, Reader, Welcome, encode
from push.protocols.peer.errors import Incompatible, NotWelcome
from push.protocols.peer.link import Link, as_bytes
from push.protocols.peer.remote_connector import RemoteConnector

_HELLO: Reader[Hello] = Reader(Hello)


class Answerer(Protocol):
    """Answers one node."""

    def greeted(self, minor: int) -> None:
        """It speaks this version; said before it asks anything."""

    def answer(self, wish: Wish) -> Awaitable[object]:
        """Do what is wished for."""

    def lost(self, why: str) -> None:
        """The link to that node is over."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A node that has been greeted: from now on it can be called.

    Attributes:
        connector: as routers see it, if it is one.
        link: to it.
        hello: what it said of itself.
    """

    connector: RemoteConnector | None
    link: Link
    hello: Hello


class NodeAvatar(pb.Avatar):
    """What one node may call.

    Args:
        name: under which it has logged in: its unique address.
        mind: what can be called on it.
        answers: to its questions; told first of all that the link is lost.
        clock: for the limits.
        max_waiting_bytes: of messages that wait for it.
        arrived: called when it has greeted.
        ready: called with its name when it says that clients can connect.
    """

    def __init__(
        self,
        name: str,
        mind: pb.RemoteReference,
        *,
        answers: Answerer,
        clock: IReactorTime,
        max_waiting_bytes: int,
        arrived: Callable[[Arrival], None],
        ready: Callable[[str], None],
    ) -> None:
        self._name = name
        self._mind = mind
        self._answers = answers
        self._clock = clock
        self._max_waiting_bytes = max_waiting_bytes
        self._arrived = arrived
        self._ready = ready
        self._link: Link | None = None
        self._connector: RemoteConnector | None = None
        self._answering: Answering | None = None

    def perspective_hello(self, data: object) -> bytes:
        """Greet: agree on a version, and begin."""
        hello = _HELLO.read(data)
        if hello.major != MAJOR:
            # In the next turn, when it has been told why.
            self._clock.callLater(0, self._mind.broker.transport.loseConnection)
            raise Incompatible(
                f"this node speaks version {MAJOR}.{MINOR} between nodes, {self._name} speaks "
                f"{hello.major}.{hello.minor}: run the same release on both"
            )
        if self._link is not None:
            raise NotWelcome("a node greets once")
        link = self._link = Link(self._mind, name=self._name, clock=self._clock)
        self._answers.greeted(hello.minor)
        self._answering = Answering(self._answers.answer, link=link, clock=self._clock)
        # First of all that its end causes: whoever looks from then on finds none of its sessions.
        link.when_lost(self._answers.lost)
        if CONNECTOR in hello.roles:
            self._connector = RemoteConnector(
                self._name, link, max_waiting_bytes=self._max_waiting_bytes, minor=hello.minor
            )
        self._mind.broker.is_known()
        self._arrived(Arrival(self._connector, link, hello))
        return encode(Welcome(MAJOR, MINOR))

    def perspective_ping(self, data: object) -> bytes:
        """Say that it is there."""
        as_bytes(data)
        return b""

    def perspective_ready(self, data: object) -> bytes:
        """The connector says that clients can connect."""
        as_bytes(data)
        self._greeted()
        self._ready(self._name)
        return b""

    def perspective_hears(self, data: object) -> bytes:
        """The connector says whether it hears what is published on the broadcast bus: b"1", or nothing."""
        hears = as_bytes(data) == b"1"
        self._greeted()
        if self._connector is not None:
            self._connector.hears = hears
        return b""

    def perspective_ask(self, data: object) -> bytes:
        """Take a piece of the stream of questions; they are answered by calls."""
        self._greeted().asked(as_bytes(data))
        return b""

    def lost(self) -> None:
        """The connection is gone; its Link knows, if there was one."""

    def _greeted(self) -> Answering:
        if self._answering is None or self._link is None or self._link.is_lost:
            raise NotWelcome("a node that wants something greets first")
        return self._answering
