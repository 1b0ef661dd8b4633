"""What requests about groups have in common: who and what is named in their paths, queries and bodies."""

from typing import TypeVar

from msgspec import UnsetType
from msgspec.json import Decoder

from push.chat_json import content
from push.model_chat import SYSTEM, ChatMessage, Role
from push.protocols.wire.messages import MAX_UID_CHARS, BodyError, check_text, is_token
from push.web.decoding import check_utf8, decode
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.group_schemas import Say
from push.web.routes import Parameter

T = TypeVar("T")

MAX_PAGE = 200
_MAX_SEQ = 1 << 53
_ROLES = {"member": Role.MEMBER, "admin": Role.ADMIN, "owner": Role.OWNER}

GROUP = Parameter("group", "path", "A group's name.", example="friends")
UID = Parameter("uid", "path", "A user.", example="alice")
CONVERSATION = Parameter(
    "id", "path", 'A conversation: "g." and a group\'s name, or as an answer said.', example="g.friends"
)
AFTER = Parameter("after", "query", "As the page before this one said.", False)
LIMIT = Parameter("limit", "query", f"How many at most, 1 to {MAX_PAGE}.", False, "50")


def user(uid: str, field: str = "uid") -> str:
    """The party that a uid is.

    Raises:
        InvalidRequest: it cannot be one.
    """
    try:
        return "u" + check_text(uid, field, MAX_UID_CHARS)
    except BodyError as error:
        raise invalid(field, str(error)) from None


def token(text: str) -> str:
    """A token.

    Raises:
        InvalidRequest: it cannot be one.
    """
    if not is_token(text):
        raise invalid("token", "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return text


def role(name: str) -> Role:
    """A role.

    Raises:
        InvalidRequest: there is none of this name.
    """
    found = _ROLES.get(name)
    if found is None:
        raise invalid("role", "must be member, admin or owner")
    return found


def body(decoder: "Decoder[T]", request: ApiRequest) -> T:
    """The body.

    Raises:
        InvalidRequest: it is not as the schema says.
    """
    data = request.body()
    check_utf8(data)
    return decode(decoder, data)


def text_of(request: ApiRequest, name: str) -> str:
    """A parameter of the query, "" where it is missing.

    Raises:
        InvalidRequest: it is given twice, or is not UTF-8.
    """
    given = request.args.get(name.encode(), ())
    if len(given) > 1:
        raise invalid(name, "must be given once")
    try:
        return given[0].decode() if given else ""
    except UnicodeDecodeError:
        raise invalid(name, "is not UTF-8") from None


def number_of(request: ApiRequest, name: str, default: int, most: int = _MAX_SEQ) -> int:
    """A number in the query, 0 or more.

    Raises:
        InvalidRequest: it is none.
    """
    text = text_of(request, name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > most:
        raise invalid(name, f"must be a whole number of 0 to {most}")
    return int(text)


def seq(text: str) -> int:
    """A sequence number in a path.

    Raises:
        InvalidRequest: it is none.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 16:
        raise invalid("seq", "must be a whole number")
    return int(text)


def limit_of(request: ApiRequest) -> int:
    """How many at most."""
    return max(1, number_of(request, "limit", 50, MAX_PAGE))


def message(conversation: str, wish: Say) -> ChatMessage:
    """What is to be said.

    Raises:
        InvalidRequest: it holds nothing, or what cannot be stored.
    """
    data = b"" if isinstance(wish.data, UnsetType) else bytes(wish.data)
    text = None if isinstance(wish.text, UnsetType) else wish.text
    if not text and not data:
        raise invalid("text", "is missing, and so is data")
    if data and not data.startswith(b"{"):
        raise invalid("data", "must be an object")
    for uid in wish.mentions:
        user(uid, "mentions")
    if wish.client_id:
        try:
            check_text(wish.client_id, "client_id", 64)
        except BodyError as error:
            raise invalid("client_id", str(error)) from None
    sender = SYSTEM if isinstance(wish.sender, UnsetType) else user(wish.sender, "from")
    held = content(text=text or None, data=data, mentions=wish.mentions)
    return ChatMessage(conversation, 0, 0, sender, wish.type, held, wish.client_id)


def given(value: "T | UnsetType") -> "T | None":
    """What was said, None where nothing was."""
    return None if isinstance(value, UnsetType) else value
