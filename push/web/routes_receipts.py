"""Looking after messages that were accepted: what became of them, why, and taking them back."""

import re

from msgspec import UNSET

from push.errors import InvalidRequest, NotFound, Unavailable
from push.ireceipts import IMessages
from push.model_receipts import Event, Receipt
from push.web import message_schemas as schemas
from push.web.auth import RIGHT_PUSH, RIGHT_READ
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.headings import Heading
from push.web.routes import Parameter, Route

_route = Heading("messages", RIGHT_READ, (InvalidRequest, NotFound, Unavailable)).route
_ID = Parameter("id", "path", "A message's id, as the answer to its push gave it.", example="118236469293744128")
_TOKEN = Parameter("token", "query", "A client's token.", example="0123456789abcdef0123456789abcdef")
_DIGITS = re.compile(r"[1-9][0-9]{0,19}\Z")
_MAX_ID = 2**64 - 1
_MAX_TOKEN_CHARS = 128
_NAMES = {event: event.name.lower() for event in Event}


def message_id(text: str) -> int:
    """A message's id out of a path.

    Raises:
        InvalidRequest: it cannot be one.
    """
    if not _DIGITS.match(text) or int(text) > _MAX_ID:
        raise invalid("id", "is no id of a message: those are decimal numbers of at most 64 bits")
    return int(text)


def _token_of(request: ApiRequest) -> str:
    """The one token that a query asks about."""
    given = request.args.get(b"token", ())
    if len(given) != 1:
        raise invalid("token", "must be given once")
    try:
        token: str = given[0].decode()
    except UnicodeDecodeError:
        raise invalid("token", "is not UTF-8") from None
    if not 0 < len(token) <= _MAX_TOKEN_CHARS:
        raise invalid("token", f"must be 1 to {_MAX_TOKEN_CHARS} characters")
    return token


class ReceiptRoutes:
    """Messages that were accepted.

    Args:
        messages: knows them.
    """

    def __init__(self, messages: IMessages) -> None:
        self._messages = messages

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            _route(
                "getMessage", "GET", "/v1/messages/{id}", self.get, "What has become of a message.",
                schemas.ReceiptReply, parameters=(_ID,),
            ),
            _route(
                "cancelMessage", "DELETE", "/v1/messages/{id}", self.cancel,
                "Take back what is undelivered of a message.", schemas.CancelReply, parameters=(_ID,), right=RIGHT_PUSH,
            ),
            _route(
                "explainMessage", "GET", "/v1/messages/{id}:explain", self.explain,
                "Why a message has or has not arrived at a token, in words.", schemas.ExplainReply,
                parameters=(_ID, _TOKEN),
            ),
        )  # fmt: skip

    async def get(self, request: ApiRequest, id: str) -> schemas.ReceiptReply:
        """Show a receipt."""
        return _reply(await self._messages.receipt(message_id(id)))

    async def cancel(self, request: ApiRequest, id: str) -> schemas.CancelReply:
        """Take a message back."""
        number = message_id(id)
        return schemas.CancelReply(str(number), await self._messages.cancel(number))

    async def explain(self, request: ApiRequest, id: str) -> schemas.ExplainReply:
        """Say why."""
        number, token = message_id(id), _token_of(request)
        return schemas.ExplainReply(str(number), token, list(await self._messages.explain(number, token)))


def _reply(receipt: Receipt) -> schemas.ReceiptReply:
    counts = {name: receipt.counts.get(event, 0) for event, name in _NAMES.items()}
    return schemas.ReceiptReply(
        id=str(receipt.message_id),
        accepted=receipt.accepted_ms,
        expires=UNSET if receipt.expires_ms is None else receipt.expires_ms,
        due=UNSET if receipt.due_ms is None else receipt.due_ms,
        logged=receipt.is_logged,
        targets=receipt.targets,
        counts=schemas.EventCounts(**counts),
        tokens=[schemas.TokenState(each.token, _state(each.event), each.at_ms) for each in receipt.tokens],
    )


def _state(event: Event | None) -> str:
    return "accepted" if event is None else _NAMES[event]
