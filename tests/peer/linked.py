"""A connector and the node that keeps its tokens, linked in memory: both ends real, the socket left out."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect
from zope.interface import implementer

from push.isubscribe import IAuthenticator
from push.model import ConnectionLimits
from push.protocols.framed import FramedFactory
from push.protocols.peer.asking import Asking
from push.protocols.peer.avatar import Answerer, Arrival, NodeAvatar
from push.protocols.peer.connector_door import ConnectorDoor, Door
from push.protocols.peer.envelopes import MINOR
from push.protocols.peer.joining import join
from push.protocols.peer.link import Link
from push.protocols.peer.links import Links
from push.protocols.peer.login import OneTimeSecrets, PeerServerFactory, Realm
from push.protocols.peer.remote_cache import RemoteCache
from push.protocols.peer.remote_node import RemoteNode
from push.protocols.peer.remote_subscribe import RemoteSubscribe
from push.protocols.peer.sessions import Sessions
from push.protocols.wire.signals import Signal
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.probe import Probe
from push.services.subscribe import Subscribe
from tests.fakes_cache import MemoryCache
from tests.fakes_store import MemoryTokenStore
from tests.services.clients import LIMITS, Client

NAME = "127.0.0.1:6789#1"


@implementer(IStreamClientEndpoint)
class Cable:
    """Connects what asks for it to a server factory, in memory."""

    def __init__(self, server: IProtocolFactory, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self.pump: IOPump | None = None

    def connect(self, factory: IProtocolFactory) -> Deferred[Protocol]:
        """Plug in."""
        server: Any = self._server.buildProtocol(None)
        client: Any = factory.buildProtocol(None)
        self.server_transport = FakeTransport(server, isServer=True)
        self.client_transport = FakeTransport(client, isServer=False)
        self.pump = connect(server, self.server_transport, client, self.client_transport, greet=False)
        return succeed(client)


@implementer(IStreamClientEndpoint)
class Pulled:
    """Leads to a host whose cable is pulled, so that nobody answers.

    Args:
        error: what its end is when it is cancelled. Of Twisted's endpoints it is not a CancelledError.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def connect(self, factory: IProtocolFactory) -> Deferred[Protocol]:
        """Wait, until that is cancelled."""
        return Deferred(lambda waiting: waiting.errback(self._error))


class Cables:
    """Those of several nodes that join one.

    Args:
        clock: of all of them.
        server: the factory of the one; asked anew for each cable.

    Attributes:
        addresses: where was connected to.
        pulled: None, or those that are made from now on lead nowhere, and end with this.
    """

    def __init__(self, clock: Clock, server: Callable[[], IProtocolFactory]) -> None:
        self._clock = clock
        self._server = server
        self._all: list[Cable] = []
        self.addresses: list[str] = []
        self.pulled: Exception | None = None

    def endpoint(self, address: str) -> IStreamClientEndpoint:
        """See Links."""
        self.addresses.append(address)
        if self.pulled is not None:
            return Pulled(self.pulled)
        self._all.append(Cable(self._server(), self._clock))
        return self._all[-1]

    def links(self, name: str, *, secret: str, joined: Callable[[RemoteNode], None] = lambda node: None) -> Links:
        """Those of a connector that runs."""
        links = Links(
            name,
            roles=("connector",),
            secret=secret,
            endpoint=self.endpoint,
            door=Door,
            clock=self._clock,
            fraction=lambda: 0.5,
            joined=joined,
        )
        links.startService()
        return links

    def __getitem__(self, position: int) -> Cable:
        return self._all[position]

    def settle(self) -> None:
        """Let everything arrive."""
        for _ in range(100):
            moved = [cable.pump.pump() for cable in self._all if cable.pump is not None]
            self._clock.advance(0)
            if not any(moved):
                return


class House:
    """The node that keeps tokens; connectors may be linked to it.

    Attributes:
        subscribe: its tokens.
        cache: what clients have not got yet.
        arrived: the connectors that came, by name.
        ready: the names of those that said so.
    """

    def __init__(
        self, clock: Clock, store: MemoryTokenStore | None = None, authenticator: IAuthenticator | None = None
    ) -> None:
        self.clock = clock
        self.store = store or MemoryTokenStore()
        self.cache = MemoryCache()
        count = iter(range(1_000_000))
        self.subscribe = Subscribe(
            store=self.store,
            authenticator=authenticator or OpenDoor(),
            now_ms=lambda: int(clock.seconds() * 1000),
            random_bytes=lambda size: next(count).to_bytes(size, "big"),
        )
        self.secrets = OneTimeSecrets()
        self.arrived: dict[str, Arrival] = {}
        self.ready: list[str] = []
        self.max_waiting_bytes = 1 << 26
        self.factory = PeerServerFactory(Realm(self._avatar), self.secrets, clock=clock)

    def _avatar(self, name: str, mind: Any) -> NodeAvatar:
        return NodeAvatar(
            name,
            mind,
            answers=self.answers(name),
            clock=self.clock,
            max_waiting_bytes=self.max_waiting_bytes,
            arrived=self._arrive,
            ready=self.ready.append,
        )

    def answers(self, name: str) -> Answerer:
        """What answers a node: for a worker, its sessions."""
        return Sessions(name, self.subscribe, self.cache)

    def _arrive(self, arrival: Arrival) -> None:
        self.arrived[arrival.link.name] = arrival


class Worker:
    """A connector of its own, that joins a house.

    Attributes:
        link: to the house, once it is greeted.
        refused: why it was not.
    """

    def __init__(self, house: House, name: str = NAME, limits: ConnectionLimits = LIMITS, minor: int = MINOR) -> None:
        self.house = house
        self.name = name
        self.clock = house.clock
        self.asking = Asking()
        self.cache = RemoteCache(self.asking)
        self.subscribe = RemoteSubscribe(name, self.asking, opened=self.cache.opened)
        self.connector = Connector(
            address=name,
            limits=limits,
            subscribe=self.subscribe,
            cache=self.cache,
            clock=self.clock,
            now_ms=lambda: int(self.clock.seconds() * 1000),
            version="test",
        )
        self.door = ConnectorDoor(
            name=name,
            connector=self.connector,
            probe=Probe(connector=self.connector, subscribe=self.subscribe, protocol=FramedFactory, clock=self.clock),
            asking=self.asking,
            measured=[self.connector],
            max_payload_bytes=limits.max_body_bytes,
            minor=minor,
        )
        self.cable = Cable(house.factory, self.clock)
        self.link: Link | None = None
        self.refused: BaseException | None = None

    def join(self, *, secret: str | None = None, **more: Any) -> "Worker":
        """Join, or try to."""
        given = self.house.secrets.issue(self.name) if secret is None else secret
        joining = Deferred.fromCoroutine(
            join(self.cable, name=self.name, secret=given, door=self.door, clock=self.clock, **more)
        )
        joining.addCallbacks(self._joined, self._refused)
        self.settle()
        return self

    def settle(self, turns: int = 50) -> None:
        """Let everything arrive that is under way, and the turns of the reactor that it causes pass."""
        assert self.cable.pump is not None
        for _ in range(turns):
            moved = self.cable.pump.pump()
            self.clock.advance(0)
            if not moved and not self.clock_is_busy():
                return
        raise AssertionError("the link does not come to rest")

    def clock_is_busy(self) -> bool:
        """Whether something is to be called now."""
        return any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())

    def client(self, **sub: Any) -> tuple[Client, dict[str, Any]]:
        """A client of this worker, with a session; and the answer that it got."""
        client = Client(self.connector, self.clock)
        return client, self.sub(client, **sub)

    def sub(self, client: Client, **fields: Any) -> dict[str, Any]:
        """Open a session, over the link."""
        client.send(Signal.SUB, json.dumps(fields).encode())
        self.settle()
        answers = [frame for frame in client.frames() if frame.signal == Signal.SUB]
        answer: dict[str, Any] = json.loads(answers[-1].body)
        return answer

    @property
    def remote(self) -> Any:
        """This connector as the house sees it."""
        return self.house.arrived[self.name].connector

    def _joined(self, link: Link) -> None:
        self.link = link
        self.asking.attach(link)

    def _refused(self, failure: Any) -> None:
        self.refused = failure.value
