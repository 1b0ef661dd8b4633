"""The JSON that clients of the chat form send: one type for each subsignal. docs/chat.md says what they mean.

Unknown keys are ignored, as everywhere in the protocol. Must not import adapters, stores or web.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from push.errors import InvalidRequest
from push.model_chat import Role, group_id
from push.protocols.wire.messages import MAX_UID_CHARS, BodyError, check_text, is_token
from push.services.group.groups import check_name

T = TypeVar("T", bound=Struct)

MAX_CLIENT_ID_CHARS = 64
MAX_MENTIONS = 100
# Of one request: a larger group is made in several.
MAX_UIDS = 1_000
MAX_WATCHED = 500
PAGE = 50

Seq = Annotated[int, Meta(ge=0, le=2**53)]
Uid = Annotated[str, Meta(min_length=1, max_length=MAX_UID_CHARS)]
Uids = Annotated[list[Uid], Meta(max_length=MAX_UIDS)]
Limit = Annotated[int, Meta(ge=1, le=200)]
Type = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Where(Struct, frozen=True):
    """A conversation, said in one of its ways."""

    conversation: str | None = None
    group: str | None = None
    to: Uid | None = None


class Send(Where, frozen=True):
    """MS."""

    type: Type = 0
    text: str | None = None
    data: Raw = Raw(b"")
    mentions: Annotated[list[Uid], Meta(max_length=MAX_MENTIONS)] = []
    client_id: Annotated[str, Meta(max_length=MAX_CLIENT_ID_CHARS)] = ""


class Pull(Where, frozen=True):
    """MP."""

    after: Seq | str = 0
    limit: Limit = PAGE


class Earlier(Where, frozen=True):
    """LRM."""

    before: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    limit: Limit = PAGE


class AtMessage(Where, frozen=True):
    """MR: a message. MN: up to where one has read."""

    seq: Seq = 0


class Create(Struct, frozen=True):
    """GC."""

    group: str | None = None
    title: str = ""
    uids: Uids = []
    open: bool = True
    receipts: bool = False


class OfGroup(Struct, frozen=True):
    """GPGI, GQ, GD."""

    group: str


class Members(OfGroup, frozen=True):
    """GPGM."""

    after: str = ""
    limit: Limit = 200


class People(OfGroup, frozen=True):
    """GAM, GKM."""

    uids: Uids = []
    tokens: Annotated[list[str], Meta(max_length=MAX_UIDS)] = []


class Modify(OfGroup, frozen=True):
    """GMI."""

    title: str | None = None
    open: bool | None = None
    receipts: bool | None = None
    uid: Uid | None = None
    role: str | None = None


class Watch(Struct, frozen=True):
    """US."""

    uids: Annotated[list[Uid], Meta(max_length=MAX_WATCHED)] = []
    watch: bool = True
    known: Annotated[dict[str, bool], Meta(max_length=MAX_WATCHED)] = {}


class Block(Struct, frozen=True):
    """MMI."""

    uid: Uid
    block: bool = True


_DECODERS: dict[type[Struct], msgspec.json.Decoder[Struct]] = {}
_ROLES = {"member": Role.MEMBER, "admin": Role.ADMIN, "owner": Role.OWNER}


def read(kind: type[T], body: bytes) -> T:
    """Read a body.

    Raises:
        InvalidRequest: it is no such thing; says which field is wrong, and repeats nothing of it.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        body.decode()  # Raw goes on as it is
        return decoder.decode(body or b"{}")  # type: ignore[return-value]
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body is wrong: {error}"[:200]) from None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("the body is not JSON, or nested too deeply") from None


def checked_uid(uid: str) -> str:
    """A uid, as the party that it is.

    Raises:
        InvalidRequest: it cannot be one.
    """
    try:
        return "u" + check_text(uid, "uid", MAX_UID_CHARS)
    except BodyError as error:
        raise InvalidRequest(str(error)) from None


def checked_token(token: str) -> str:
    """A token, as the party that it is, if it belongs to no user.

    Raises:
        InvalidRequest: it cannot be one.
    """
    if not is_token(token):
        raise InvalidRequest("a token has 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return "t" + token


def checked_role(role: str) -> Role:
    """A role by its name.

    Raises:
        InvalidRequest: there is none.
    """
    found = _ROLES.get(role)
    if found is None:
        raise InvalidRequest("a role is member, admin or owner")
    return found


def conversation_of(where: Where) -> str | None:
    """The conversation that is meant; None where it is the one with `to`.

    Raises:
        InvalidRequest: not exactly one is said.
    """
    if [where.conversation, where.group, where.to].count(None) != 2:
        raise InvalidRequest("say one of conversation, group and to")
    if where.group is not None:
        return group_id(check_name(where.group))
    return where.conversation


def check_content(text: str | None, data: Raw, mentions: list[str], client_id: str) -> None:
    """What a message holds.

    Raises:
        InvalidRequest: it holds nothing, or what cannot be stored.
    """
    if not text and not bytes(data):
        raise InvalidRequest("say text or data")
    if bytes(data) and not bytes(data).startswith(b"{"):
        raise InvalidRequest("data must be an object")
    try:
        for uid in mentions:
            check_text(uid, "a uid in mentions", MAX_UID_CHARS)
        if client_id:
            check_text(client_id, "client_id", MAX_CLIENT_ID_CHARS)
    except BodyError as error:
        raise InvalidRequest(str(error)) from None
