"""CONTACT: one-to-one and group messages in the old form. Must not import adapters, stores or web.

Source: docs/protocol.md, section "CONTACT".
"""

import msgspec

from push.chat_json import content
from push.errors import InvalidRequest, PermissionDenied
from push.igroup import ITalk
from push.model import Registration
from push.model_chat import ChatMessage, group_id, party
from push.protocols.wire.messages import BodyError, is_token, parse_object
from push.services.group.acquaintances import Acquaintances
from push.services.group.groups import check_name

GROUP = 0
PRIVATE = 1
_MAX_TYPE = 2**31 - 1


class Contacts:
    """What clients of the old form say.

    Args:
        talk: where it is said.
        acquaintances: whose tokens are whose.
    """

    def __init__(self, *, talk: ITalk, acquaintances: Acquaintances) -> None:
        self._talk = talk
        self._acquaintances = acquaintances

    async def say(self, registration: Registration, body: bytes) -> ChatMessage:
        """Say what a CONTACT says.

        Raises:
            PushError: as ITalk.say; PermissionDenied where `from` is not the sender's token.
        """
        try:
            fields = parse_object(body)
        except BodyError as error:
            raise InvalidRequest(str(error)) from None
        if fields.get("from") != registration.token:
            raise PermissionDenied("`from` must be your own token")
        text, kind = fields.get("message"), fields.get("messageType", 0)
        if not isinstance(text, str) or not text:
            raise InvalidRequest("message must be a text")
        if type(kind) is not int or not 0 <= kind <= _MAX_TYPE:
            raise InvalidRequest("messageType must be a whole number, 0 or more")
        where, to = await self._where(fields)
        try:
            held = content(text=text)
            contact = msgspec.json.encode(fields)
        except (ValueError, RecursionError, OverflowError):  # lone surrogates, or numbers that JSON cannot say
            raise InvalidRequest("the body cannot be passed on: it holds what is no text, or too large") from None
        who = party(registration.uid, registration.token)
        message = ChatMessage(where, 0, 0, who, kind, held)
        return await self._talk.say(message, to=to, contact=contact, sent_by=registration.token)

    async def _where(self, fields: dict[str, object]) -> tuple[str, str | None]:
        """The group's conversation, or the party that it is for."""
        kind = fields.get("type")
        if kind == GROUP and type(kind) is int:
            name = fields.get("group")
            if not isinstance(name, str):
                raise InvalidRequest("group must be a text")
            return group_id(check_name(name)), None
        if kind == PRIVATE and type(kind) is int:
            token = fields.get("to")
            if not isinstance(token, str) or not is_token(token):
                raise InvalidRequest("to must be a token")
            return "", await self._acquaintances.of_token(token)
        raise InvalidRequest("type must be 0 for a group or 1 for a token")
