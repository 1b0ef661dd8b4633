"""Every seam of the server, with its promises. Rooms meet here and only here; roles.py wires them.

Methods that may have to cross to another process return awaitables and take and give only values of
push.model. What they raise is of push.errors. Imports only push.model and the wire core.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import Attribute, Interface

from push.errors import PushError
from push.model import (
    BusPlace,
    CacheChanges,
    Check,
    ConnectionLimits,
    Cursor,
    Delivery,
    DeliveryReport,
    Event,
    Identity,
    Keep,
    Keeping,
    Kept,
    Lease,
    Located,
    Node,
    Opening,
    Outcome,
    Page,
    Place,
    PushRequest,
    PushResult,
    Receipt,
    Registration,
    Sample,
    StoredDue,
    StoredLives,
    StoredMessage,
    StoredReply,
    TagQuery,
    TokenInfo,
)
from push.model_chat import Notice
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


class IUpgrade(Interface):
    """A protocol that a connection of HTTP/1.1 can change to (RFC 9110, section 7.8)."""

    def upgrade(method: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, IProtocol]:
        """Accept a request to change.

        Args:
            method: of the request.
            version: as in its request line, e.g. b"HTTP/1.1".
            headers: all of them, as they came.

        Returns:
            The head of the answer, to be written first; then the protocol that the transport is to be given to.

        Raises:
            PushError: it is to be answered with that.
        """


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


class IProbe(Interface):
    """A connector's client of itself, for the one who looks whether messages arrive."""

    def open() -> Awaitable[str]:
        """Open its session, unless it is open. Returns its token.

        Raises:
            PushError: it cannot be opened.
        """

    def arrived(payload: bytes) -> Awaitable[None]:
        """Wait until a message with this payload comes; to be asked before it is pushed.

        Raises:
            PushError: it does not come in time.
        """

    def hang_up() -> Awaitable[None]:
        """Close its session, if one is open."""


class ILinkedConnector(IConnector):
    """A connector in another process, for as long as the link to it lasts; calls fail with Unavailable after that."""

    waiting_bytes: int = Attribute("Bytes of messages that wait for the link.")
    hears: bool = Attribute("Whether what is published on the broadcast bus comes in there.")
    probe: IProbe = Attribute("Its client of itself.")

    def samples() -> Awaitable[Sequence[Sample]]:
        """What its process has measured."""

    def link_samples() -> Iterable[Sample]:
        """How the link to it does, with its name."""


class INodes(Interface):
    """Which connectors there are."""

    def connectors() -> Mapping[str, IConnector]:
        """Address → connector, for all that are alive now. Calls to one that is out of reach fail with Unreachable."""


class IBroadcasting(Interface):
    """The way of one message to everybody on several connectors."""

    def broadcast(
        message_id: int,
        payload: bytes | None,
        is_logged: bool,
        connectors: Sequence[IConnector],
        place: Place | None = None,
    ) -> Sequence[Awaitable[int]]:
        """Begin it on each of them, as IConnector.broadcast does.

        Returns:
            For each connector how many connections it was handed to; or what went wrong there.
        """


class IPlaces(Interface):
    """How connectors are, for those who choose one for a client."""

    def known() -> Sequence[Node]:
        """All connectors of the cluster, as they were a few seconds ago at most. Asks nobody; may be called often."""


class IAllocation(Interface):
    """Chooses where clients are to connect."""

    def draw(protocol: str) -> Sequence[NodeAddress]:
        """A few connectors that take sessions and have room, the best first; others each time. None: there is no room.

        Asks nobody; may be called often.

        Args:
            protocol: the wire protocol that the client speaks, e.g. "framed".
        """


class IDraining(Interface):
    """Emptying connectors, so that they can be stopped without anybody noticing."""

    def drain(name: str, sessions_per_s: float | None) -> Awaitable[Sequence[Node]]:
        """Begin, or end (None) and take sessions again. Asking twice does no harm: the last rate counts.

        Args:
            name: of a connector, or the address that several share.
            sessions_per_s: how many sessions are sent elsewhere in a second, by all of them together.

        Returns:
            Those concerned, as they are then.

        Raises:
            NotFound: there is no such connector.
            NowhereElse: no other connector takes sessions: nothing is changed.
            Unavailable: not all of them could be asked. What was asked for may have been done, and can be asked again.
        """


class ISubscribe(Interface):
    """Keeps tokens: who they are, whose they are, where they are online."""

    def open(request: SubRequest, connector: str) -> Awaitable[Registration]:
        """Open a session: issue a token or keep the one presented.

        The token and what came with it are on disk before this returns. The new session is the one that
        `locate` finds from then on; the epoch is greater than that of any earlier session of the token.

        Raises:
            Unauthenticated: a credential is demanded and is missing or not valid.
            PermissionDenied: the token belongs to another uid, or the uid is not the credential's.
            Unavailable: the store cannot take it; nothing was changed.
        """

    def lend(connector: str) -> Awaitable[Registration]:
        """Open a session for a node's own probe: with a new token that is never stored, until it is closed."""

    def reopened(registrations: Sequence[Registration]) -> Awaitable[None]:
        """These sessions are open, whatever was said of their tokens: located again, unless another one is."""

    def closed(registrations: Sequence[Registration]) -> Awaitable[None]:
        """Sessions are over. One that has been replaced by a newer epoch stays as it is."""

    def locate(tokens: Sequence[str], owners: Mapping[str, str]) -> Awaitable[Located]:
        """Where tokens are online, and which are not registered at all.

        Args:
            tokens: any.
            owners: token → uid, for tokens that are meant only as that user's: one that is online for another
                user by now counts as offline.
        """

    def online(tokens: Sequence[str]) -> Awaitable[Mapping[str, Registration]]:
        """The sessions of those of these tokens that are online, as they are after this call was made."""

    def tokens_of(uids: Sequence[str]) -> Awaitable[Mapping[str, tuple[str, ...]]]:
        """The registered tokens of users; users without any are left out."""

    def tagged(query: TagQuery, after: str, limit: int) -> Awaitable[Sequence[str]]:
        """The next `limit` tokens that match, in the order of tokens, greater than `after` ("" to begin)."""

    def describe(token: str) -> Awaitable[TokenInfo | None]:
        """All that is known of a token, None if it is not registered."""

    def revoke(token: str) -> Awaitable[bool]:
        """Forget a token and what came with it. Its session must be kicked besides.

        A client that still has the token can register it again, unless authentication keeps it from that.

        Returns:
            Whether it was registered.
        """


class IPulling(Interface):
    """What a connector needs of the cache."""

    is_shared: bool = Attribute("Whether routers of several processes keep messages there.")

    def pull(registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Awaitable[Page]:
        """What a session is to get next; waits for what is_ahead and comes before.

        Args:
            registration: whose.
            cursor: where it is: Cursor() first, then what the last pull said.
            max_messages: at most so many.
            max_bytes: of payload, but at least one message.

        Raises:
            Unavailable: the store cannot be read now, or is not loaded yet: try again later.
        """

    def has(token: str) -> bool:
        """Whether `pull` might find anything for a session of this token that begins now."""

    def waiting(tokens: Sequence[str]) -> Awaitable[Sequence[str]]:
        """Those of these tokens for whose open sessions `pull` might find anything.

        Raises:
            Unavailable: not known now.
        """

    def acknowledged(batch: Sequence[tuple[str, Sequence[int]]]) -> Awaitable[None]:
        """Clients have messages: (token, message ids). What is not kept for that token is ignored.

        Raises:
            Unavailable: that may not be known: say it again.
        """

    def handed(batch: Sequence[tuple[str, Sequence[int]]]) -> Awaitable[None]:
        """Messages were handed to live connections of clients that do not acknowledge: as good as acknowledged.

        Raises:
            Unavailable: as above.
        """

    def moved(positions: Sequence[tuple[str, int]]) -> Awaitable[None]:
        """Tokens have all logged broadcasts up to these places. On disk soon: at the latest with the next commit.

        Raises:
            Unavailable: that may not be known: they may get some again.
        """


class ICache(IPulling):
    """Keeps messages until they are acknowledged (or handed over, where nobody acknowledges), expired or cancelled.

    A cache that is shared is elsewhere, or others keep messages in it, too: its answers come later, and those who are
    to get a message may have come, gone or got newer ones meanwhile. So it says of each message where its place is.

    What is kept is found by `pull` from the moment `keep` was called, not only from when it is on disk; what
    is_ahead, only from then. To one token, in the order of these calls; what is urgent before what is not. What is on
    disk survives a crash. What is acknowledged may come again after a crash, with the same id, but not else.
    """

    def keep(batch: Sequence[Keep]) -> Awaitable[Keeping]:
        """Take messages.

        Returns:
            At once, before they are on disk, a ticket and the tokens that have no room; and where the cache is shared,
            or something is logged, the places.

        Raises:
            Unavailable: the cache is not loaded yet, or full as a whole; nothing was taken.
        """

    def committed(ticket: int) -> Awaitable[PushError | None]:
        """Wait until all messages of a `keep` are on disk, or need not be as they are acknowledged already. Ask once.

        Returns:
            None; or why they are not: then those which nobody has acknowledged are forgotten.
        """

    def recall(tokens: Sequence[str], connectors: Sequence[str] = ()) -> Awaitable[None]:
        """Something is kept that could not be brought to where it is to go: have it pulled there.

        Args:
            tokens: for these, where they are online.
            connectors: something is logged: for all sessions of these.

        Raises:
            Unavailable: nobody will see to it.
        """

    def kept(message_id: int) -> Awaitable[StoredMessage | None]:
        """What is kept of a message: `tokens` are those that still need it. None where nothing is; without payload."""

    def cancel(message_id: int) -> Awaitable[int]:
        """Forget a message, for all tokens. Returns for how many it was kept (1 where it was logged); on disk."""

    def forget(token: str) -> Awaitable[None]:
        """A token is revoked: forget what is kept for it."""

    def replies(keys: Sequence[str]) -> Awaitable[Mapping[str, StoredReply]]:
        """What requests with these keys were answered, those under way included; unknown keys are left out."""

    def answered(reply: StoredReply) -> None:
        """The final answer to a request whose Keep had its key: remember it instead, soon on disk."""

    def schedule(due: StoredDue) -> Awaitable[None]:
        """Keep a request until it is due. On disk when this returns, and so is the answer if it has a key.

        Raises:
            RateLimited: there are as many as there may be.
            Unavailable: it is not on disk.
        """

    def scheduled() -> Sequence[StoredDue]:
        """What is to be sent later, in the order of time."""

    def unschedule(message_id: int) -> Awaitable[bool]:
        """It was sent, or is cancelled: on disk when this returns. Returns whether it was there."""


class ICacheStore(Interface):
    """The cache on disk: rows in, rows out, no opinion.

    Everything may raise Unavailable. What reads rows may raise StartError: one is damaged, or of a format that this
    version does not know.
    """

    def commit(changes: CacheChanges) -> Awaitable[None]:
        """Write everything in one transaction; returns when it is on disk. In the order of these calls.

        `changes` may be changed as soon as this has returned.

        Raises:
            Unavailable: the disk is full or fails: nothing was written. Or, in a store elsewhere, nothing that would
                still be there after the next commit.
        """

    def messages(after: int, limit: int) -> Awaitable[Sequence[StoredMessage]]:
        """The next rows by position, without payloads: at most `limit`, fewer if they are long, none at the end."""

    def done(after: tuple[int, str], limit: int) -> Awaitable[Sequence[tuple[int, str]]]:
        """The next (position, token) pairs of tokens that need a message of several no more; (0, "") to begin.

        As many as `messages` says.
        """

    def due() -> Awaitable[Sequence[StoredDue]]:
        """All that is to be sent later."""

    def payloads(positions: Sequence[int]) -> Awaitable[Mapping[int, bytes]]:
        """Payloads by position; those that are gone are left out."""

    def log_positions(tokens: Sequence[str]) -> Awaitable[Mapping[str, int]]:
        """Places in the log of broadcasts; tokens without one are left out."""

    def replies(keys: Sequence[str]) -> Awaitable[Mapping[str, StoredReply]]:
        """Answers by key; unknown keys are left out."""

    def prune(now_ms: int, log_position: int) -> Awaitable[None]:
        """Delete answers that have expired, and log positions before the oldest logged message there is."""


class IFenced(Interface):
    """A store that several nodes could write to, but only one at a time may."""

    def open(fence: int, lost: Callable[[], None]) -> Awaitable[None]:
        """Take it over. What others wrote before is there; nothing that they write from now on is.

        Args:
            fence: the number of a lease: greater than that of everybody who opened it before.
            lost: called when something is refused because somebody else has opened it, or because it was emptied.

        Raises:
            Superseded: somebody has opened it with a greater number.
            Unavailable: it cannot be asked; it may have been opened.
        """


class IReceipts(Interface):
    """The lives of the latest messages. Bounded: the oldest are forgotten first. Never blocks, never raises.

    All calls are made in the reactor's thread, by the router and by the cache of the same process. At one token, what
    comes after DELIVERED, EXPIRED, CANCELLED, REPLACED, DROPPED or REJECTED changes nothing. The router tells
    SENT and REJECTED, the cache everything else, each once; in any order. Of a message that is kept for anybody (it
    has an `expires_ms`), SENT told by `happened` waits for an acknowledgement; told by `handed`, it is the end.
    """

    def lone_each(event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """Messages, each for one token, were accepted, and this became of all of them at once; None for nothing yet.

        Args:
            event: what became of them.
            messages: message id, token, and until when it is kept; None where it is not.
        """

    def sent_each(messages: Sequence[tuple[int, str]]) -> None:
        """Messages, each for one token, were accepted, SENT at once, and are not kept: (message id, token).

        Told of nearly every message.
        """

    def accepted(
        message_id: int,
        *,
        targets: int,
        tokens: Sequence[str] | None,
        expires_ms: int | None,
        due_ms: int | None,
        is_logged: bool,
    ) -> None:
        """A message was accepted.

        Args:
            message_id: its id, which says when.
            targets: how many it is addressed to; more may come, by calling again.
            tokens: which; None where they are not known one by one. Those that were told before are not counted again.
            expires_ms: until when it is kept; None where it is not.
            due_ms: when it is to be sent; None for now.
            is_logged: kept once for an audience.
        """

    def happened(event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """Something happened to a message for these tokens. Unknown messages are taken in."""

    def happened_each(event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """The same happened to many messages, each for one token: (message id, token)."""

    def handed(message_id: int, tokens: Sequence[str]) -> None:
        """SENT to clients that do not acknowledge, out of the cache or at once: nothing more will be known of it."""

    def counted(event: Event, message_id: int, count: int) -> None:
        """Something happened to a message for so many tokens that are not known one by one."""

    def find(message_id: int) -> Awaitable[Receipt | None]:
        """The life of a message; None where it is unknown or forgotten."""

    def delivered(message_id: int, timeout_s: float) -> Awaitable[Receipt]:
        """Wait until a message is delivered to all its targets, or will not be; at most so long.

        Returns:
            Its life then; at once where too many wait already. One without targets where it is unknown.
        """


class IReceiptObserver(Interface):
    """Something that wants to hear what happens to messages. Must not block nor raise."""

    events: frozenset[Event] = Attribute("Of what it is told.")

    def happened(event: Event, message_id: int, tokens: Sequence[str], at_ms: int) -> None:
        """Something happened to a message for these tokens, milliseconds since 1970."""

    def counted(event: Event, message_id: int, count: int, at_ms: int) -> None:
        """Something happened to a message for so many tokens that are not known one by one."""


class IReceiptStore(Interface):
    """Receipts on disk: a log of chunks, each with what changed in a short time."""

    def append(chunk: StoredLives) -> Awaitable[None]:
        """Write a chunk behind all earlier ones.

        Raises:
            Unavailable: nothing was stored.
        """

    def newest(message_id: int, before: int | None) -> Awaitable[tuple[int, bytes] | None]:
        """The newest chunk in which a message is.

        Args:
            message_id: whose.
            before: only older ones than the one with this number; None: all.

        Returns:
            Its number and its lives; None where there is none.
        """

    def prune(max_weight: int, before_ms: int) -> Awaitable[None]:
        """Delete the oldest chunks: those written before this time, and what is over this weight together."""


class IMessages(Interface):
    """What senders may ask of messages that were accepted."""

    def receipt(message_id: int) -> Awaitable[Receipt]:
        """The life of a message.

        Raises:
            NotFound: it was never accepted, or is forgotten.
        """

    def cancel(message_id: int) -> Awaitable[int]:
        """Take back what is undelivered. Returns for how many tokens.

        Raises:
            NotFound: as above.
        """

    def forget(token: str) -> Awaitable[None]:
        """A token is revoked: take back what waits for it.

        Raises:
            Unavailable: that is not on disk yet.
        """

    def explain(message_id: int, token: str) -> Awaitable[Sequence[str]]:
        """Why a message has or has not arrived at a token, in sentences, the most telling first."""


class ITokenStore(Interface):
    """Tokens on disk. What a returned awaitable promises has been committed."""

    def register(
        token: str, uid: str | None, device: str | None, tags: tuple[str, ...] | None, now_ms: int, *, owner_only: bool
    ) -> Awaitable[TokenInfo]:
        """Create a token or update it; None keeps what is stored.

        Args:
            token: well-formed.
            uid: its user.
            device: JSON text.
            tags: replaces all its tags.
            now_ms: milliseconds since 1970, for a new token.
            owner_only: refuse to touch a token that is stored with another uid, or with none.

        Returns:
            What is stored now.

        Raises:
            PermissionDenied: owner_only forbids it.
            Unavailable: nothing was stored: the disk, or the limit on tokens. From a store elsewhere, it may be stored
                where no answer came.
        """

    def known(tokens: Sequence[str]) -> Awaitable[frozenset[str]]:
        """Which of these are registered."""

    def get(token: str) -> Awaitable[TokenInfo | None]:
        """One token, without its session."""

    def tokens_of(uids: Sequence[str]) -> Awaitable[Mapping[str, tuple[str, ...]]]:
        """The tokens of users, oldest first; users without any are left out."""

    def tagged(query: TagQuery, after: str, limit: int) -> Awaitable[Sequence[str]]:
        """The next tokens that match, in the order of tokens."""

    def delete(token: str) -> Awaitable[bool]:
        """Forget a token. Returns whether it was there."""

    def count() -> int:
        """How many tokens are registered."""


class IFloorStore(Interface):
    """Numbers on disk that may only grow, so that a restart never repeats what was given out before."""

    def floor(name: str) -> Awaitable[int]:
        """The number stored, 0 at first."""

    def raise_floor(name: str, value: int) -> Awaitable[None]:
        """Store a number, unless a greater one is stored."""


class ISessionDirectory(Interface):
    """Where tokens are online, for all nodes of a cluster: for each token the session that was opened last.

    Everything raises Unavailable where it cannot be asked, or did not answer: then it may have been done. All of it may
    be lost; connectors then tell it their sessions again. What is submitted by one node is done in that order.
    """

    def open(token: str, uid: str | None, connector: str, *, acks: bool) -> Awaitable[Opening]:
        """Open a session, in the place of the one that the token may have.

        Returns:
            The session; its epoch is greater than that of every earlier session, of whatever token. And the one that
            it replaced: its connector must be told to close it.
        """

    def reopen(registrations: Sequence[Registration]) -> Awaitable[Sequence[Registration]]:
        """These sessions are open, whatever was known of their tokens.

        Returns:
            The sessions that lost: of two sessions of a token, the one with the lesser epoch, be it one of these or one
            that was known. They must be closed.
        """

    def close(registrations: Sequence[Registration]) -> Awaitable[None]:
        """Sessions are over. Where another one is known for the token, that stays."""

    def find(tokens: Sequence[str]) -> Awaitable[Mapping[str, Registration]]:
        """The sessions of those of these tokens that are online, also those on nodes that have died since."""

    def remove(token: str) -> Awaitable[Registration | None]:
        """The token is revoked: forget its session. Returns it."""

    def last_epoch() -> Awaitable[int]:
        """An epoch that is not less than that of any session opened until now."""

    def leave(connector: str, last_epoch: int, limit: int) -> Awaitable[int]:
        """A connector has died: forget its sessions up to this epoch, at most so many of them.

        To be sure that none is of a successor with the same name, ask for the epoch first, and only then whether the
        connector is dead.

        Returns:
            How many were forgotten: less than the limit when nothing is left.
        """

    def count() -> Awaitable[int]:
        """How many tokens are online."""


class ILeases(Interface):
    """Names that are each held by one node at a time, until it lets go or does not renew in time.

    Time is that of the store. Whoever renews reckons from when it asked, not from when it was answered. Everything
    raises Unavailable where it cannot be asked, or did not answer: then it may have been done. All leases may be lost.
    """

    def acquire(name: str, details: bytes, ttl_s: float) -> Awaitable[Lease | None]:
        """Take a name, for so many seconds. None while somebody has it."""

    def renew(lease: Lease, details: bytes, ttl_s: float) -> Awaitable[bool]:
        """Keep it for so many seconds from now, with new details. False where it is lost: then it is to be acquired."""

    def release(lease: Lease) -> Awaitable[bool]:
        """Let go. Returns whether it was still held; a successor's lease stays as it is."""

    def held() -> Awaitable[Sequence[Lease]]:
        """All leases there are now, by name."""


class IBusListener(Interface):
    """Gets what is published. Must not block nor raise."""

    def received(place: BusPlace, data: bytes | None) -> None:
        """Something was published, and this is its place; None: nothing was, and this is the place of the last."""

    def resumed() -> None:
        """From now on what is published comes in; of what was published before, any part may be missing."""

    def interrupted() -> None:
        """Nothing comes in until `resumed`."""


class IBroadcastBus(Interface):
    """Brings bytes to all nodes at once, each at most once: what is lost is lost, and for listeners to find out.

    Order: what one node publishes arrives in the order of its calls; at all nodes, everything in the same order, which
    is that of its places. The last few are kept in a log.
    """

    is_listening: bool = Attribute("Whether what is published comes in now, as far as is known.")

    def listen(listener: IBusListener) -> None:
        """Tell a listener, from its next `resumed` on: called before this returns, where things come in already."""

    def publish(data: bytes) -> Awaitable[int]:
        """Publish something.

        Returns:
            How many nodes it was sent to.

        Raises:
            Unavailable: it was not published, or that is not known.
        """

    def beat() -> Awaitable[None]:
        """Have all listeners told the place of what was published last: who hears nothing then is deaf.

        Raises:
            Unavailable: they may not be told.
        """

    def since(place: BusPlace) -> Awaitable[tuple[BusPlace, Sequence[bytes]]]:
        """What the log has that was published after this; all that it has, where that is not in its count.

        Returns:
            The place of what was published last, and the last of all that was, up to it, in order.

        Raises:
            Unavailable: it cannot be asked.
        """

    def renew() -> None:
        """This node is deaf, though it seems to listen: end its subscription, and make another."""


class IAuthenticator(Interface):
    """Decides who a client is."""

    required: bool = Attribute("Whether clients must show a credential.")

    def identify(credential: str | None) -> Identity:
        """Who a credential proves that a client is, and for how long; nobody in particular where none is required.

        Raises:
            Unauthenticated: it is missing though required, malformed, expired or not signed by us.
        """


class IRouter(Interface):
    """Brings messages from applications to the connectors that hold their receivers."""

    def push(requests: Sequence[PushRequest]) -> Awaitable[Sequence[PushResult | PushError]]:
        """Accept and send requests, in order.

        To one token, messages of one call arrive in its order, and those of a call that was answered before
        another was made arrive before the other's. One bad request spoils no other.

        Returns:
            For each request what became of it, or why it was not accepted.
        """


class IReadiness(Interface):
    """Whether this node can do its work now."""

    def check() -> Awaitable[Sequence[Check]]:
        """Try, within a time limit."""


class IMeasured(Interface):
    """Something with numbers to show."""

    def samples() -> Iterable[Sample]:
        """The numbers as they are now."""
