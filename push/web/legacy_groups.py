"""The older paths about groups: what scripts, and clients of the old form, do over HTTP. See push.web.legacy."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from push.chat_json import content
from push.errors import (
    GroupConflict,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    TooLarge,
    Unanswered,
    Unavailable,
)
from push.igroup import GroupSide
from push.model_chat import SYSTEM, ChatMessage, group_id
from push.web import group_requests as read
from push.web import schemas
from push.web.auth import RIGHT_PUSH
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.legacy import Given
from push.web.routes import LEGACY, Parameter, Route

# What the older system answered, with HTTP status 200.
ALREADY_A_MEMBER = 30_001
NO_MEMBER = 3_001

_OK = schemas.LegacyReply(200, "ok")
_NO_MEMBER = schemas.LegacyReply(NO_MEMBER, "this token is not in the group")
_GROUP = Parameter("group", "query", "A group's name.", example="test")
_TOKEN = Parameter("token", "query", "A client's token.", example="0123456789abcdef0123456789abcdef")
_MESSAGE = Parameter("message", "query", "The message; may also be a form field or the whole body.", False, "hello")


class LegacyGroupRoutes:
    """The older paths about groups.

    Args:
        side: the group role.
        max_payload_bytes: of a message; what a conversation takes is less.
    """

    def __init__(self, side: GroupSide, *, max_payload_bytes: int) -> None:
        self._side = side
        self._max_payload_bytes = max_payload_bytes

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        member, saying = (_TOKEN, _GROUP), (_TOKEN, _GROUP, _MESSAGE)
        return (
            _route("group/createGroup", self.create, "Make a group that anybody may join.", (_GROUP,)),
            _route(
                "group/joinGroup",
                self.join,
                f"Make a token a member, of a new group if there is none. Code {ALREADY_A_MEMBER}: it is one already.",
                member,
            ),
            _route("group/quitGroup", self.quit, f"Remove a token. Code {NO_MEMBER}: it is no member.", member),
            _route(
                "message/sendToGroup",
                self.send_to_group,
                f"Say something in a group, as this token. Code {NO_MEMBER}: it is no member.",
                saying,
            ),
            _route(
                "message/sendToSingle",
                self.send_to_single,
                f"Say something to this token alone. Code {NO_MEMBER}: it is not in the group.",
                saying,
            ),
        )

    async def create(self, request: ApiRequest) -> schemas.LegacyReply:
        """Make a group."""
        await self._make(self._given(request).text("group"))
        return _OK

    async def join(self, request: ApiRequest) -> schemas.LegacyReply:
        """Make a token a member."""
        given = self._given(request)
        who = await self._party(given)
        name = given.text("group")
        groups = self._side.groups
        try:
            joined = await groups.join(name, who, is_invited=True)
        except NotFound:
            with suppress(GroupConflict):  # somebody else has made it meanwhile
                await self._make(name)
            joined = await groups.join(name, who, is_invited=True)
        return _OK if joined else schemas.LegacyReply(ALREADY_A_MEMBER, "this token is in the group already")

    async def quit(self, request: ApiRequest) -> schemas.LegacyReply:
        """Remove a token."""
        given = self._given(request)
        return _OK if await self._side.groups.quit(given.text("group"), await self._party(given)) else _NO_MEMBER

    async def send_to_group(self, request: ApiRequest) -> schemas.LegacyReply:
        """Say something in a group, as a token."""
        given = self._given(request)
        who, name, text = await self._party(given), given.text("group"), _text(given)
        if who not in await self._side.groups.everybody(name):
            return _NO_MEMBER
        token = given.text("token")
        contact = {"from": token, "group": name, "type": 0, "messageType": 0, "message": text}
        message = ChatMessage(group_id(name), 0, 0, who, 0, content(text=text))
        await self._side.talk.say(message, to=None, contact=msgspec.json.encode(contact), sent_by=token)
        return _OK

    async def send_to_single(self, request: ApiRequest) -> schemas.LegacyReply:
        """Say something to one token of a group."""
        given = self._given(request)
        who, name, text = await self._party(given), given.text("group"), _text(given)
        if who not in await self._side.groups.everybody(name):
            return _NO_MEMBER
        contact = {
            "from": "",
            "to": given.text("token"),
            "group": name,
            "type": 1,
            "messageType": 0,
            "message": text,
        }
        message = ChatMessage("", 0, 0, SYSTEM, 0, content(text=text))
        await self._side.talk.say(message, to=who, contact=msgspec.json.encode(contact))
        return _OK

    async def _make(self, name: str) -> None:
        await self._side.groups.create(name, title="", owner=None, members=(), is_open=True, tells_reads=False)

    async def _party(self, given: Given) -> str:
        return await self._side.parties.of_token(read.token(given.text("token")))

    def _given(self, request: ApiRequest) -> Given:
        return Given(request, self._max_payload_bytes)


def _text(given: Given) -> str:
    try:
        return given.message().decode()
    except UnicodeDecodeError:
        raise invalid("message", "is not UTF-8") from None


def _route(
    path: str, call: Callable[[ApiRequest], Awaitable[object]], summary: str, parameters: tuple[Parameter, ...]
) -> Route:
    return Route(
        operation=path.partition("/")[2],
        methods=("GET", "POST"),
        path=f"/{path}",
        call=call,
        summary=summary,
        right=RIGHT_PUSH,
        tag=LEGACY,
        reply=schemas.LegacyReply,
        failures=(
            InvalidRequest,
            PermissionDenied,
            NotFound,
            GroupConflict,
            TooLarge,
            RateLimited,
            Unavailable,
            Unanswered,
        ),
        parameters=parameters,
    )
