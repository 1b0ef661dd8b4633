"""What stands behind the API in its tests, and an HTTP client that needs no network."""

import http.client
import io
import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import NotFound, PushError, Unregistered
from push.ihealth import IMeasured, IReadiness
from push.inodes import IAllocation, IDraining, INodes
from push.ipush import IConnector, IRouter
from push.ireceipts import IMessages
from push.isubscribe import ISubscribe
from push.iupgrade import IUpgrade
from push.model import Delivery, DeliveryReport, PushRequest, PushResult, Registration, TagQuery, ToTokens
from push.model_chat import Notice
from push.model_cluster import Node
from push.model_health import Check, Sample
from push.model_receipts import Receipt
from push.model_subscribe import Located, TokenInfo
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.messages import Disconnect, SubRequest
from push.web.settings import ApiSettings
from push.web.site import build_site


@implementer(IRouter)
class FakeRouter:
    """Accepts everything for the tokens that it knows."""

    def __init__(self) -> None:
        self.calls: list[list[PushRequest]] = []
        self.registered: set[str] | None = None
        self.error: Exception | None = None
        self.held: Deferred[Sequence[PushResult | PushError]] | None = None

    @property
    def requests(self) -> list[PushRequest]:
        """All requests of all calls."""
        return [request for call in self.calls for request in call]

    def push(self, requests: Sequence[PushRequest]) -> Awaitable[Sequence[PushResult | PushError]]:
        """Answer at once, unless told to hold or to fail."""
        self.calls.append(list(requests))
        if self.error is not None:
            return fail(self.error)
        if self.held is not None:
            return self.held
        return succeed([self._result(request) for request in requests])

    def _result(self, request: PushRequest) -> PushResult | PushError:
        named = request.target.tokens if isinstance(request.target, ToTokens) else ()
        unknown = () if self.registered is None else tuple(set(named) - self.registered)
        if unknown and isinstance(request.target, ToTokens) and request.target.single:
            return Unregistered("This token is not registered.")
        number = max(1, len(named)) - len(unknown)
        return PushResult(2**60 + len(self.requests), number, number, 0, unknown)


@implementer(IConnector)
class FakeConnector:
    """A node with some sessions."""

    def __init__(self, address: str, *, connections: int = 0, draining: bool = False) -> None:
        self.address = address
        self.connections = connections
        self.draining = draining
        self.rates: list[float | None] = []
        self.sessions: set[str] = set()
        self.kicks: list[tuple[str, Disconnect]] = []
        self.silent = False
        self.error: PushError | None = None

    def deliver(self, batch: Sequence[Delivery]) -> Awaitable[DeliveryReport]:
        """Not called by the API."""
        raise AssertionError("the API delivers nothing itself")

    def broadcast(self, message_id: int, payload: bytes, is_logged: bool = False, place: Any = None) -> Awaitable[int]:
        """Not called by the API."""
        raise AssertionError("the API delivers nothing itself")

    def bring(self, message_id: int) -> Awaitable[int]:
        """Not called by the API."""
        raise AssertionError("the API delivers nothing itself")

    def refill(self, tokens: Sequence[str]) -> Awaitable[None]:
        """Not called by the API."""
        raise AssertionError("the API delivers nothing itself")

    def notify(self, notices: Sequence[Notice]) -> Awaitable[int]:
        """Not called by the API."""
        raise AssertionError("the API tells nobody anything itself")

    def kick(self, token: str, reason: Disconnect) -> Awaitable[bool]:
        """Close a session."""
        if self.error is not None:
            return fail(self.error)
        if self.silent:
            return Deferred()
        self.kicks.append((token, reason))
        had = token in self.sessions
        self.sessions.discard(token)
        return succeed(had)

    def replaced(self, registrations: Sequence[Registration]) -> Awaitable[None]:
        """Not called by the API."""
        raise AssertionError("the API opens no sessions")

    def drain(self, sessions_per_s: float | None) -> Awaitable[None]:
        """See IConnector."""
        self.rates.append(sessions_per_s)
        self.draining = sessions_per_s is not None
        return succeed(None)

    def node(self) -> Awaitable[Node]:
        """Say how it is."""
        if self.error is not None:
            return fail(self.error)
        if self.silent:
            return Deferred()
        return succeed(
            Node(
                *(self.address, self.connections, len(self.sessions), 100, 1_700_000_000_000, self.draining, "1.2"),
                places=(("framed", self.address), ("websocket", "10.0.0.1:9326")),
            )
        )


@implementer(INodes)
class FakeNodes:
    """Some connectors."""

    def __init__(self, *connectors: FakeConnector) -> None:
        self.all = {connector.address: connector for connector in connectors}

    def connectors(self) -> Mapping[str, IConnector]:
        """Those given."""
        return dict(self.all)


@implementer(IAllocation)
class FakeAllocation:
    """Names what a test says."""

    def __init__(self) -> None:
        self.nodes = [NodeAddress("10.0.0.1", 6789)]
        self.asked: list[str] = []

    def draw(self, protocol: str) -> Sequence[NodeAddress]:
        """What a test says."""
        self.asked.append(protocol)
        return self.nodes


@implementer(IDraining)
class FakeDraining:
    """Notes what is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float | None]] = []
        self.error: PushError | None = None

    def drain(self, name: str, sessions_per_s: float | None) -> Awaitable[Sequence[Node]]:
        """Note it; answer with one connector of that name."""
        if self.error is not None:
            return fail(self.error)
        self.asked.append((name, sessions_per_s))
        return succeed([Node(name, 3, 2, 100, 1_700_000_000_000, sessions_per_s is not None, "1.2.3")])


@implementer(ISubscribe)
class FakeSubscribe:
    """Tokens in a dict."""

    def __init__(self) -> None:
        self.tokens: dict[str, TokenInfo] = {}

    def add(self, token: str, **given: Any) -> TokenInfo:
        """Register a token."""
        info = TokenInfo(**{"token": token, "uid": None, "device": None, "tags": (), "created_ms": 5, **given})
        self.tokens[token] = info
        return info

    def open(self, request: SubRequest, connector: str) -> Awaitable[Registration]:
        """Not called by the API."""
        raise AssertionError("the API opens no sessions")

    def lend(self, connector: str) -> Awaitable[Registration]:
        """Not called by the API."""
        raise AssertionError("the API lends no tokens")

    def closed(self, registrations: Sequence[Registration]) -> Awaitable[None]:
        """Not called by the API."""
        raise AssertionError("the API closes no sessions itself")

    def reopened(self, registrations: Sequence[Registration]) -> Awaitable[None]:
        """Not called by the API."""
        raise AssertionError("the API opens no sessions")

    def tagged(self, query: TagQuery, after: str, limit: int) -> Awaitable[Sequence[str]]:
        """Not called by the API."""
        raise AssertionError("the router resolves tags")

    def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Awaitable[Located]:
        """Where tokens are."""
        return succeed(Located(self._online(tokens), frozenset(set(tokens) - set(self.tokens))))

    def online(self, tokens: Sequence[str]) -> Awaitable[Mapping[str, Registration]]:
        """The sessions of tokens."""
        return succeed(self._online(tokens))

    def _online(self, tokens: Sequence[str]) -> dict[str, Registration]:
        return {
            token: info.session
            for token in tokens
            if (info := self.tokens.get(token)) is not None and info.session is not None
        }

    def tokens_of(self, uids: Sequence[str]) -> Awaitable[Mapping[str, tuple[str, ...]]]:
        """Tokens by user."""
        found: dict[str, tuple[str, ...]] = {}
        for info in self.tokens.values():
            if info.uid in uids and info.uid is not None:
                found[info.uid] = (*found.get(info.uid, ()), info.token)
        return succeed(found)

    def describe(self, token: str) -> Awaitable[TokenInfo | None]:
        """One token."""
        return succeed(self.tokens.get(token))

    def revoke(self, token: str) -> Awaitable[bool]:
        """Forget one."""
        return succeed(self.tokens.pop(token, None) is not None)


@implementer(IMessages)
class FakeMessages:
    """Receipts in a dict."""

    def __init__(self) -> None:
        self.receipts: dict[int, Receipt] = {}
        self.undelivered: dict[int, int] = {}
        self.asked: list[tuple[int, str]] = []
        self.forgotten: list[str] = []
        self.error: PushError | None = None

    def forget(self, token: str) -> Awaitable[None]:
        """Take back what waits for a token."""
        if self.error is not None:
            return fail(self.error)
        self.forgotten.append(token)
        return succeed(None)

    def receipt(self, message_id: int) -> Awaitable[Receipt]:
        """The life of a message."""
        found = self.receipts.get(message_id)
        return fail(NotFound("There is no such message.")) if found is None else succeed(found)

    def cancel(self, message_id: int) -> Awaitable[int]:
        """Take back what is undelivered."""
        if message_id not in self.receipts:
            return fail(NotFound("There is no such message."))
        return succeed(self.undelivered.pop(message_id, 0))

    def explain(self, message_id: int, token: str) -> Awaitable[Sequence[str]]:
        """Two sentences."""
        self.asked.append((message_id, token))
        return succeed(("The client is away.", "The message waits for it."))


@implementer(IReadiness)
class FakeReadiness:
    """Says what it was told to."""

    def __init__(self) -> None:
        self.checks = [Check("store", True)]
        self.calls = 0
        self.held: Deferred[Sequence[Check]] | None = None

    def check(self) -> Awaitable[Sequence[Check]]:
        """Answer, now or when told to."""
        self.calls += 1
        return succeed(self.checks) if self.held is None else self.held


@implementer(IMeasured)
class FakeMeasured:
    """Shows what it was given."""

    def __init__(self, *samples: Sample) -> None:
        self.shown = samples

    def samples(self) -> Iterable[Sample]:
        """The samples."""
        return self.shown


@dataclass
class Reply:
    """One HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error in the body."""
        return self.json["error"]


class _Socket:
    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.file.close = lambda: None  # type: ignore[method-assign]

    def makefile(self, mode: str) -> io.BytesIO:
        return self.file


def replies(data: bytes, method: str = "GET") -> list[Reply]:
    """All responses in what a server wrote."""
    socket = _Socket(data)
    found = []
    while socket.file.tell() < len(data):
        response = http.client.HTTPResponse(socket, method=method)  # type: ignore[arg-type]
        response.begin()
        found.append(Reply(response.status, response.msg, response.read()))
    return found


class Connection:
    """A client connection in memory."""

    def __init__(self, site: Site, host: str = "127.0.0.1") -> None:
        address = IPv4Address("TCP", host, 40_000)
        self.transport = StringTransport(peerAddress=address)
        self.protocol: Any = site.buildProtocol(address)
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Let the server receive bytes."""
        self.protocol.dataReceived(data)

    def received(self, method: str = "GET") -> list[Reply]:
        """The responses written since the last time."""
        data = self.transport.value()
        self.transport.clear()
        return replies(data, method)


@dataclass
class World:
    """The API with all that it needs, in memory and in simulated time."""

    router: FakeRouter = field(default_factory=FakeRouter)
    subscribe: FakeSubscribe = field(default_factory=FakeSubscribe)
    messages: FakeMessages = field(default_factory=FakeMessages)
    connector: FakeConnector = field(default_factory=lambda: FakeConnector("10.0.0.1:6789"))
    readiness: FakeReadiness = field(default_factory=FakeReadiness)
    allocation: FakeAllocation = field(default_factory=FakeAllocation)
    draining: FakeDraining = field(default_factory=FakeDraining)
    clock: Any = field(default_factory=Clock)
    settings: dict[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    others: tuple[Sample, ...] = ()
    upgrades: dict[str, IUpgrade] = field(default_factory=dict)
    now_ms: int = 1_800_000_000_000

    def __post_init__(self) -> None:
        self.nodes = FakeNodes(self.connector)
        measured = FakeMeasured(*self.samples)
        for interface, fake in (
            (IRouter, self.router),
            (ISubscribe, self.subscribe),
            (IConnector, self.connector),
            (INodes, self.nodes),
            (IAllocation, self.allocation),
            (IDraining, self.draining),
            (IMessages, self.messages),
            (IReadiness, self.readiness),
            (IMeasured, measured),
        ):
            verifyObject(interface, fake)
        if isinstance(self.clock, Clock):
            self.clock.advance(1_000_000)
        self.site = build_site(
            router=self.router,
            subscribe=self.subscribe,
            nodes=self.nodes,
            allocation=self.allocation,
            draining=self.draining,
            messages=self.messages,
            readiness=self.readiness,
            measured=[measured],
            others=[FakeMeasured(*self.others)],
            settings=ApiSettings(version="1.2.3", started_s=999_990.0, **self.settings),
            clock=self.clock,
            now_ms=lambda: self.now_ms,
            random_bytes=bytes,
            upgrades=self.upgrades,
        )

    def connect(self, host: str = "127.0.0.1") -> Connection:
        """Open a connection."""
        return Connection(self.site, host)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> Reply:
        """Make one request and wait for what can come without time passing."""
        connection = self.connect(host)
        connection.send(request_bytes(method, path, body, headers))
        (reply,) = connection.received(method)
        connection.protocol.connectionLost(Failure(ConnectionDone()))
        return reply


def request_bytes(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """One HTTP request; a body that is not bytes goes as JSON."""
    given = {"Host": "localhost:8080", **(headers or {})}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        given.setdefault("Content-Type", "application/json")
    if body is not None:
        given.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (body or b"")
