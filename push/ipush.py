"""The seams of the core, with their promises: ways to connect, connections, connectors, the router. Begin to read here.

Rooms meet in these interfaces and in those of the files beside this one, and only there; roles.py wires them:
    isubscribe.py   tokens: who they are, whose they are, where they are online
    icache.py       what is kept until it is acknowledged or expired
    ireceipts.py    what became of messages
    igroup.py       groups and chat
    inodes.py       several connectors: which there are, and which one a client is sent to
    icluster.py     what the nodes of a cluster share: where tokens are online, and a bus for broadcasts
    ileases.py      what nobody else may have at the same time, or get again: names, stores, numbers
    ihealth.py      how a node does
    iupgrade.py     changing from HTTP to another protocol

In all of them, methods that may have to cross to another process return awaitables and take and give only values of
push.model and its neighbours (model_*.py). What they raise is of push.errors. Imports only these values and the wire
core; so do the others, but for inodes.py, which stands on this one.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import Attribute, Interface

from push.errors import PushError
from push.model import ConnectionLimits, Delivery, DeliveryReport, Outcome, Place, PushRequest, PushResult, Registration
from push.model_cache import Kept
from push.model_chat import Notice
from push.model_cluster import Node
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import Disconnect, SubRequest

# Greater than every message id.
NONE_KEPT = 1 << 64


class IWireProtocol(Interface):
    """A way for clients to connect, found through twisted.plugin by `name`."""

    name: str = Attribute("What `--listen NAME=ENDPOINT` calls it.")

    def factory(host: "IConnectionHost") -> IProtocolFactory:
        """Build the factory whose protocols carry sessions for `host`; each protocol is an IConnection."""


class IPushForm(Interface):
    """How pushes are written for a kind of connection; shared by all connections of that kind.

    What a form encodes may be sent to every connection that has the same form: a message to many is
    encoded once a form.
    """

    def encode_push(message_id: int, payload: bytes) -> bytes:
        """Encode one PUSH as the bytes that go to the transport."""


class IPushRun(Interface):
    """Consecutive messages for many connections, encoded once for each form."""

    message_ids: tuple[int, ...] = Attribute("Their ids, in order.")
    places: tuple[int, ...] = Attribute("For each its place in the log of broadcasts, -1 for one that is not in it.")
    after: tuple[int, ...] = Attribute(
        "For each up to where a session must have the log, to be given it; else it pulls."
    )
    first_place: int = Attribute("The least of the places, NONE_KEPT for none; -1 where one is to be pulled.")
    last_place: int = Attribute("The greatest of the places, -1 for none.")
    all_after: int = Attribute("Up to where a session must have the log, to be given all of them.")

    def joined(form: IPushForm) -> bytes:
        """All of them as the bytes that go to a transport."""

    def frames(form: IPushForm) -> Sequence[bytes | None]:
        """Each of them; None where it is to be pulled."""


class IConnection(Interface):
    """One client connection, as the connector sees it. All calls are made in the reactor's thread."""

    registration: Registration | None = Attribute("The open session, None before and after.")
    peer_host: str = Attribute("The address that the peer connects from, without its port.")
    speaks: str = Attribute("The name of its wire protocol: it is sent elsewhere only where that is spoken.")
    form: IPushForm = Attribute("How pushes to it are written.")
    broadcast_number: int = Attribute("The last broadcast that it got, or that was accepted before it opened.")
    log_position: int = Attribute("The place in the log of the last broadcast of it that was queued; -1 for none yet.")
    logged_places: Mapping[int, int] = Attribute(
        "Ids of logged broadcasts on their way to a client that acknowledges → their places in the log."
    )
    kept_position: int = Attribute("Up to where it was given everything that is kept for it: see Place.")
    pulled: Sequence[int] = Attribute("The ids of the last few logged broadcasts that it got out of the cache.")
    is_behind: bool = Attribute("Whether what the cache has for it comes first: see fall_behind.")
    acks: bool = Attribute("Whether its client acknowledges.")
    is_chat: bool = Attribute("Whether its client understands PUBLISH, else CONTACT.")

    def opened(registration: Registration, interval_ms: int | None, server_time_ms: int) -> None:
        """The session that was asked for is open: answer so. Nothing is pushed before that answer.

        Args:
            registration: what it is known as.
            interval_ms: the heartbeat that the client is held to; None: as before, when a session is renewed.
            server_time_ms: milliseconds since 1970.
        """

    def refused(status: int, reason: str, retry_after_s: float | None) -> None:
        """The session that was asked for is refused: answer so."""

    def redirected(nodes: Sequence[NodeAddress], retry_after_s: float) -> None:
        """The client is to connect elsewhere: answer so to what it asks for, or say it unasked where a session is open.

        Args:
            nodes: where, the best first; at least one.
            retry_after_s: the least time to wait before that, in seconds.
        """

    def missed() -> None:
        """Messages for it may have been lost for good: say so, where the client wants to know."""

    def answered(frame: Frame, body: bytes) -> None:
        """The CONTACT or PUBLISH that `asked` told of is done, or refused: this is the body of its PUB_ACK."""

    def write_notice(subsignal: int, body: bytes) -> bytes:
        """Write what others said as this client understands it: the same for all with the same form and is_chat."""

    def notify(notices: bytes, count: int) -> bool:
        """Queue what others said, so many notices as written, together no more than may wait for one connection.

        Whoever does not read fast enough is closed (3003): then False.
        """

    def push(message_id: int, frame: bytes, is_kept: bool) -> Outcome:
        """Queue one encoded push behind all earlier ones.

        Never blocks and never raises: a connection that does not read fast enough is closed (3003) and
        answers OVERFLOW. What an acknowledging client has no room for in its window waits: in the cache if it
        is kept there (BEHIND, and so is the connection from then on), else in memory, up to the limits of the outbox,
        as SENT; that promises an attempt, not an arrival. While the connection is behind, everything waits so.

        Args:
            message_id: its id.
            frame: as its form encodes it.
            is_kept: the cache has it for this token.
        """

    def push_run(run: "IPushRun") -> int:
        """Queue consecutive broadcasts, as `push` does for each of them.

        Returns:
            How many of them, from the first on, were SENT or are BEHIND.
        """

    def fall_behind() -> None:
        """From now on what the cache has comes first: what is pushed waits until `caught_up`. The host is asked."""

    def room() -> int:
        """How many messages may be pulled for it now; 0 while the client has to acknowledge or to read first."""

    def logged(message_id: int, place: int) -> None:
        """A message of the log of broadcasts was queued to it: this is its place there."""

    def push_pulled(kept: Kept) -> bool:
        """Queue a message out of the cache; if it is on its way already, leave it out.

        What waits in memory and was accepted earlier goes before it.

        Returns:
            False where there is no room for it now: the host is told when there is.
        """

    def caught_up() -> None:
        """The cache has nothing more: what waits in memory is next, and what is pushed goes behind it."""

    def unacknowledged() -> Iterable[int]:
        """Ids on their way to a client that acknowledges."""

    def waiting_bytes() -> int:
        """How many bytes wait here because the client does not read or acknowledge."""

    def shed(reason: str) -> None:
        """Drop what waits and close as a slow consumer (3003)."""

    def flush() -> None:
        """Hand what is queued to the transport, in one write, if the transport has room."""

    def deadline_s() -> float:
        """When it is to be closed if it stays silent, on the host's clock, in seconds."""

    def disconnect(reason: Disconnect) -> None:
        """Send DISCONNECT behind what is queued, then close; abort if that takes over close_timeout_s."""

    def abort() -> None:
        """Close at once, dropping what is queued."""


class IConnectionHost(Interface):
    """What a wire protocol needs of its connector."""

    limits: ConnectionLimits = Attribute("What is allowed.")
    ids_say_order: bool = Attribute(
        "Whether of two messages for a token, the one with the lesser id was accepted first."
    )

    def now_s() -> float:
        """Seconds on the host's monotonic clock."""

    def connected(connection: IConnection) -> Disconnect | None:
        """A transport is connected.

        Returns:
            None where it is welcome; else why it will be refused: answer its first SUB with 503 and close.
        """

    def open(connection: IConnection, request: SubRequest) -> None:
        """A client asks for a session: `opened`, `refused` or `redirected` is called, perhaps before this returns."""

    def instead(connection: IConnection, refusal: Disconnect) -> Sequence[NodeAddress]:
        """Where one who is refused because of this may go, the best first; none: nowhere."""

    def acknowledged(connection: IConnection, message_ids: Sequence[int], awaited: int) -> None:
        """The client has these messages; `awaited` of them were on their way on this connection."""

    def asked(connection: IConnection, frame: Frame) -> None:
        """The client sent CONTACT or PUBLISH: `answered` is called in any case, perhaps before this returns."""

    def wants_more(connection: IConnection) -> None:
        """A connection is behind, and something is kept for it, or it has room again: pull."""

    def next_turn(call: Callable[[], None]) -> None:
        """Call something in the next turn of the reactor, when others have been served."""

    def mark_dirty(connection: IConnection) -> None:
        """Something is queued: flush it before this reactor turn ends."""

    def outbox_grew(size_bytes: int) -> None:
        """Count bytes that wait for a client that does not take them (or, negative, no longer do).

        Where the node's ceiling is passed, those with the most of them are closed before this returns.
        """

    def closing(connection: IConnection, reason: Disconnect, by_peer: bool) -> None:
        """The session is over and gets no more pushes; the transport may live on for close_timeout_s."""

    def lost(connection: IConnection) -> None:
        """The transport is gone."""


class IConnector(Interface):
    """A node that holds connections, as routers see it; local or behind Perspective Broker.

    Order: to one token, what earlier calls delivered or broadcast arrives before what later calls do; what is
    BEHIND, in the order of the cache.
    Failure: a call that fails may have delivered any part of its batch.
    """

    address: str = Attribute('Its unique name: "host:port", or "host:port#N" where several share a port.')

    def deliver(batch: Sequence[Delivery]) -> Awaitable[DeliveryReport]:
        """Bring messages to tokens, in the order of the batch.

        A logged one without tokens says that all whom it is for have it, or pull: the others lack nothing by it.
        """

    def broadcast(
        message_id: int, payload: bytes | None, is_logged: bool = False, place: Place | None = None
    ) -> Awaitable[int]:
        """Bring a message to every session open now.

        Those in the log come in its order, and with growing ids, but for those without payload and those with a place.
        What is in the log is not refused for want of room: it is pulled.

        Args:
            message_id: its id.
            payload: what clients get; None: it is in the log, and each session pulls it from there, in its turn.
            is_logged: it is in the log of broadcasts: who cannot take it now pulls it later.
            place: where it stands there, if calls may overtake one another: a session that lacks what comes before it
                pulls both, in order. None: the caller keeps the order.

        Returns:
            How many connections it was handed to, or will pull it, when that has been said to all of them.
        """

    def bring(message_id: int) -> Awaitable[int]:
        """Bring a message to every session open now, as `broadcast` does; its payload comes over the broadcast bus.

        Raises:
            Unheard: it has not come; nobody has got it.
        """

    def notify(notices: Sequence[Notice]) -> Awaitable[int]:
        """Tell clients what others said, in order, as far as they are here. Returns to how many connections that went.

        Nothing of it is kept: who is away asks for it on return.
        """

    def refill(tokens: Sequence[str]) -> Awaitable[None]:
        """The cache has something for these tokens that was not delivered here: pull it, where they are online."""

    def kick(token: str, reason: Disconnect) -> Awaitable[bool]:
        """Close the token's session. Returns whether there was one."""

    def replaced(registrations: Sequence[Registration]) -> Awaitable[None]:
        """Tokens have newer sessions on other connectors: close theirs here, unless they are newer than these."""

    def drain(sessions_per_s: float | None) -> Awaitable[None]:
        """Take no new sessions, and send those there are elsewhere, while there is an elsewhere; the state stays.

        Args:
            sessions_per_s: how many to send away in a second; None: take sessions again, and keep those there are.
        """

    def node() -> Awaitable[Node]:
        """Say how it is."""


class IRouter(Interface):
    """Brings messages from applications to the connectors that hold their receivers."""

    def push(requests: Sequence[PushRequest]) -> Awaitable[Sequence[PushResult | PushError]]:
        """Accept and send requests, in order.

        To one token, messages of one call arrive in its order, and those of a call that was answered before
        another was made arrive before the other's. One bad request spoils no other.

        Returns:
            For each request what became of it, or why it was not accepted.
        """
