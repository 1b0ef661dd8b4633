"""What calls between nodes carry besides messages: typed, checked, in MessagePack.

Fields are only ever appended, with defaults: an older minor version ignores what it does not know, and a newer one does
without what an older one does not say. Imports no Twisted.
"""

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from push.model import Registration, TagQuery
from push.model_cache import Cursor
from push.model_chat import Notice
from push.protocols.peer.errors import CallMalformed, Trouble
from push.protocols.wire.messages import (
    MAX_AUTH_CHARS,
    MAX_DEVICE_BYTES,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_UID_CHARS,
    SubRequest,
)

MAJOR = 1
MINOR = 4
# From this on, what is logged has a place in what goes to connectors.
MINOR_PLACES = 2
# From this on, a node with the group role answers what applications ask of it.
MINOR_GROUPS = 3
# And a connector knows who among those to be told of something is not to be.
MINOR_BUT = 3
# And a router knows what it means that a message is larger than a connector takes.
MINOR_SIZES = 4

CONNECTOR = "connector"

# Of one envelope. One that is longer travels in pieces, as a frame.
# The largest payload there can be, and what a page out of the cache may have besides.
MAX_ENVELOPE_BYTES = 16_777_216 + 1_048_576
MAX_TOKENS = 1_000_000

Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,128}\Z")]
Uid = Annotated[str, Meta(min_length=1, max_length=MAX_UID_CHARS)]
Tag = Annotated[str, Meta(min_length=1, max_length=MAX_TAG_CHARS)]
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Version = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Tokens = Annotated[tuple[Token, ...], Meta(max_length=MAX_TOKENS)]
Role = Annotated[str, Meta(min_length=1, max_length=32)]
Sentence = Annotated[str, Meta(max_length=1_000)]

T = TypeVar("T")


class Hello(msgspec.Struct, frozen=True):
    """The first call of a node that has logged in; one of minor version 0 is a connector and does not say so."""

    major: Version
    minor: Version
    software: Annotated[str, Meta(max_length=64)] = ""
    roles: Annotated[tuple[Role, ...], Meta(max_length=16)] = (CONNECTOR,)


class Welcome(msgspec.Struct, frozen=True):
    """The answer to it."""

    major: Version
    minor: Version


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session of the node that says so: a Registration without its connector, which the link knows."""

    token: Token
    uid: Uid | None
    epoch: Number
    acks: bool = False

    @classmethod
    def of(cls, registration: Registration) -> "Session":
        """Of a registration."""
        return cls(registration.token, registration.uid, registration.epoch, registration.acks)

    def at(self, connector: str) -> Registration:
        """As a registration."""
        return Registration(self.token, self.uid, connector, self.epoch, self.acks)


class Opened(Session, frozen=True, array_like=True, gc=False):
    """A session that was opened.

    Attributes:
        has_kept: whether the cache might have something for it; the cache is asked in the moment of opening.
        expires_s: as in Registration.
    """

    has_kept: bool = True
    expires_s: Number = 0

    @classmethod
    def by(cls, registration: Registration, has_kept: bool) -> "Opened":
        """What is answered."""
        it = registration
        return cls(it.token, it.uid, it.epoch, it.acks, has_kept, it.expires_s)

    def at(self, connector: str) -> Registration:
        """As a registration."""
        return Registration(self.token, self.uid, connector, self.epoch, self.acks, self.expires_s)


Sessions = Annotated[tuple[Session, ...], Meta(max_length=MAX_TOKENS)]


# What a node asks of the one that keeps tokens, each for the method of ISubscribe of the same name.


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open", gc=False):
    """See ISubscribe.open; of the client's request all but the interval, which is between it and its connector."""

    token: Token | None
    uid: Uid | None
    auth: Annotated[str, Meta(max_length=MAX_AUTH_CHARS)] | None
    ack: bool | None
    device: Annotated[str, Meta(max_length=MAX_DEVICE_BYTES)] | None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=MAX_TAGS)] | None

    @property
    def request(self) -> SubRequest:
        """What the client asked for."""
        return SubRequest(self.token, self.uid, self.auth, self.ack, None, self.device, self.tags)


class Lend(msgspec.Struct, frozen=True, array_like=True, tag="lend"):
    """See ISubscribe.lend."""


class Reopened(msgspec.Struct, frozen=True, array_like=True, tag="reopened"):
    """See ISubscribe.reopened."""

    sessions: Sessions


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="closed"):
    """See ISubscribe.closed."""

    sessions: Sessions


class Locate(msgspec.Struct, frozen=True, array_like=True, tag="locate"):
    """See ISubscribe.locate."""

    tokens: Tokens
    owners: dict[Token, Uid]


class Online(msgspec.Struct, frozen=True, array_like=True, tag="online"):
    """See ISubscribe.online."""

    tokens: Tokens


class TokensOf(msgspec.Struct, frozen=True, array_like=True, tag="tokens_of"):
    """See ISubscribe.tokens_of."""

    uids: Annotated[tuple[Uid, ...], Meta(max_length=MAX_TOKENS)]


class Tagged(msgspec.Struct, frozen=True, array_like=True, tag="tagged"):
    """See ISubscribe.tagged."""

    query: TagQuery
    after: Annotated[str, Meta(max_length=128)]
    limit: Annotated[int, Meta(ge=1, le=MAX_TOKENS)]


class Describe(msgspec.Struct, frozen=True, array_like=True, tag="describe"):
    """See ISubscribe.describe."""

    token: Token


class Revoke(msgspec.Struct, frozen=True, array_like=True, tag="revoke"):
    """See ISubscribe.revoke."""

    token: Token


# And of the cache, each for the method of IPulling of the same name.


class Pull(msgspec.Struct, frozen=True, array_like=True, tag="pull", gc=False):
    """See IPulling.pull."""

    session: Session
    cursor: Cursor
    max_messages: Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
    max_bytes: Number


class Waiting(msgspec.Struct, frozen=True, array_like=True, tag="waiting"):
    """See IPulling.waiting."""

    tokens: Tokens


MessageIds = tuple[tuple[Token, tuple[Number, ...]], ...]


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, tag="acknowledged", gc=False):
    """See IPulling.acknowledged."""

    batch: Annotated[MessageIds, Meta(max_length=MAX_TOKENS)]


class Handed(msgspec.Struct, frozen=True, array_like=True, tag="handed", gc=False):
    """See IPulling.handed."""

    batch: Annotated[MessageIds, Meta(max_length=MAX_TOKENS)]


class Moved(msgspec.Struct, frozen=True, array_like=True, tag="moved"):
    """See IPulling.moved."""

    positions: Annotated[tuple[tuple[Token, Number], ...], Meta(max_length=MAX_TOKENS)]


# And of the group role.


class Chat(msgspec.Struct, frozen=True, array_like=True, tag="chat", gc=False):
    """See IChat.ask."""

    session: Session
    signal: Annotated[int, Meta(ge=0, le=127)]
    subsignal: Annotated[int, Meta(ge=0, le=127)]
    body: bytes


TokenWish = Open | Lend | Reopened | Closed | Locate | Online | TokensOf | Tagged | Describe | Revoke
PullingWish = Pull | Waiting | Acknowledged | Handed | Moved


# What routers ask of a connector, besides deliveries.


class Kick(msgspec.Struct, frozen=True):
    """See IConnector.kick."""

    token: Token
    code: Annotated[int, Meta(ge=3_000, le=3_999)]
    reason: Sentence
    retry: Annotated[str, Meta(pattern="^(no|now|backoff)$")]
    retry_after_s: Seconds | None = None


class Refill(msgspec.Struct, frozen=True):
    """See IConnector.refill."""

    tokens: Tokens


class Drain(msgspec.Struct, frozen=True):
    """See IConnector.drain."""

    sessions_per_s: Annotated[float, Meta(gt=0, le=1e9)] | None


class Notify(msgspec.Struct, frozen=True):
    """See IConnector.notify."""

    notices: Annotated[tuple[Notice, ...], Meta(max_length=MAX_TOKENS)]


class Replaced(msgspec.Struct, frozen=True):
    """See IConnector.replaced."""

    sessions: Sessions


class Passed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of a broadcast: how many connections it was handed to, or what went wrong.

    Attributes:
        number: counted from 1 for each link.
        sent: connections.
        trouble: None where there was none.
    """

    number: Number
    sent: Number
    trouble: Trouble | None = None


_ENCODER = msgspec.msgpack.Encoder()


def encode(value: object) -> bytes:
    """Any of these, or a value of push.model or its neighbours, as bytes."""
    return _ENCODER.encode(value)


class Reader(Generic[T]):
    """Reads values of one type.

    Args:
        kind: the type; what is read has it, and is within its limits.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)

    def read(self, data: object) -> T:
        """Read one.

        Raises:
            CallMalformed: it is not bytes, too long, or no such value; says where, but never what it found.
        """
        if type(data) is not bytes and type(data) is not msgspec.Raw:
            raise CallMalformed("a call takes one bytes argument")
        if len(data) > MAX_ENVELOPE_BYTES:
            raise CallMalformed(f"an envelope is over {MAX_ENVELOPE_BYTES} bytes")
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise CallMalformed(f"an envelope cannot be read: {error}") from None
