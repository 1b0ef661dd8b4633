"""The paths that scripts of the older system use, with its replies: {"code": 200, "message": "ok"}.

Everything may come as a query parameter, as a field of a form, or (the message) as the whole body: what is in
the query wins, then the form. curl sends `-d hello` as a form, so a form without a `message` field is a message.
"""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IReactorTime

from push.errors import CacheFull, Conflict, InvalidRequest, PushError, TooLarge, Unavailable, Unregistered
from push.inodes import INodes
from push.ipush import IRouter
from push.isubscribe import ISubscribe
from push.model import PushRequest, Target, ToAll, ToConnector, ToTokens
from push.protocols.wire.messages import is_token
from push.web import errors, schemas
from push.web.auth import RIGHT_PUSH, RIGHT_READ
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.message_schemas import MAX_TTL_S
from push.web.repeats import repeats_of
from push.web.requests import MessageReader
from push.web.routes import LEGACY, Parameter, Route
from push.web.routes_messages import KEY
from push.web.routes_nodes import reachable

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 100
# For a token, which has at most 128 characters, and names.
_OTHER_ESCAPES = 4_096
_BOTH = ("GET", "POST")
_OK = schemas.LegacyReply(200, "ok")
_TTL = re.compile(r"[0-9]{1,7}\Z")
_KEEP = Parameter("ttl", "query", "Seconds that the message is kept for those whom it has not reached.", False, "3600")
_MESSAGE = Parameter("message", "query", "The message; may also be a form field or the whole body.", False, "hello")


def _fields(query: bytes, max_escapes: int) -> dict[str, bytes]:
    """Decode `name=value&…`; of a name that is repeated, the first.

    twisted splits at semicolons too, and these paths use them between tokens; urllib takes no bytes over 127, and
    270 bytes of memory and 0.5 us for each %xx, of which 8 MiB hold millions (measured 2026-11-23).
    """
    query = query.replace(b"%3B", b";").replace(b"%3b", b";")  # those that may rightly be so many
    if query.count(b"%") > max_escapes:
        raise TooLarge(f"There are more than {max_escapes} percent-encoded bytes.")
    parts = query.split(b"&", _MAX_FIELDS)
    if len(parts) > _MAX_FIELDS:
        raise InvalidRequest(f"There are more than {_MAX_FIELDS} parameters.")
    fields: dict[str, bytes] = {}
    for part in parts:
        name, _, value = part.replace(b"+", b" ").partition(b"=")
        fields.setdefault(unquote_to_bytes(name).decode("utf-8", "replace"), unquote_to_bytes(value))
    return fields


class Given:
    """What a request of the older system brings.

    How long a message is kept may be said in the query, or in a form that has the message in a field: a form
    without one is a message itself, whatever it looks like.

    Args:
        request: that came.
        max_payload_bytes: the largest message; so many bytes, and some for the rest, may be percent-encoded.

    Raises:
        InvalidRequest: there are too many parameters.
        TooLarge: there are too many percent-encoded bytes.
        UnsupportedMediaType: the body is a multipart form.
    """

    def __init__(self, request: ApiRequest, max_payload_bytes: int) -> None:
        max_escapes = max_payload_bytes + _OTHER_ESCAPES
        self._fields = _fields(request.uri.partition(b"?")[2], max_escapes)
        self._body = request.body()
        media = (request.text_header(b"Content-Type") or "").partition(";")[0].strip().lower()
        if media.startswith("multipart/"):
            raise errors.UnsupportedMediaType(f"Send the form as {_FORM}.")
        # What a message of many & would cost to take apart is bounded by looking for the names first.
        if media == _FORM and self._body.count(b"&") < _MAX_FIELDS:
            form = _fields(self._body, max_escapes)
            if "message" not in form:
                form.pop("ttl", None)
            self._fields = form | self._fields

    def text(self, name: str) -> str:
        """A parameter.

        Raises:
            InvalidRequest: it is missing, empty or not UTF-8.
        """
        try:
            value = self._fields.get(name, b"").decode()
        except UnicodeDecodeError:
            raise invalid(name, "is not UTF-8") from None
        if not value:
            raise invalid(name, "is missing")
        return value

    def ttl_s(self) -> int | None:
        """How long the message is worth keeping, in seconds; None for the default.

        Raises:
            InvalidRequest: it is no such number.
        """
        if not self._fields.get("ttl"):
            return None
        text = self.text("ttl")
        if not _TTL.match(text) or int(text) > MAX_TTL_S:
            raise invalid("ttl", f"must be 0 to {MAX_TTL_S} seconds")
        return int(text)

    def message(self) -> bytes:
        """The message.

        Raises:
            InvalidRequest: there is none.
        """
        message = self._fields.get("message") or self._body
        if not message:
            raise invalid("message", "is missing")
        return message


class LegacyRoutes:
    """The older paths.

    Args:
        router: where messages go.
        subscribe: knows where tokens are.
        nodes: the connectors.
        reader: knows the limits of messages.
        clock: bounds the waiting for nodes.
    """

    def __init__(
        self, *, router: IRouter, subscribe: ISubscribe, nodes: INodes, reader: MessageReader, clock: IReactorTime
    ) -> None:
        self._router = router
        self._subscribe = subscribe
        self._nodes = nodes
        self._reader = reader
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        token = Parameter("token", "query", "A client's token.", example="0123456789abcdef0123456789abcdef")
        tokens = Parameter("tokens", "query", "Tokens, with semicolons between them.", example="a;b")
        address = Parameter("ip", "query", 'A connector: "ip" or "ip:port".', example="127.0.0.1")
        return (
            _send("sendByToken", self.send_by_token, "Push to one token.", token, failures=(Unregistered, CacheFull)),
            _send("sendByTokens", self.send_by_tokens, "Push to several tokens.", tokens),
            _send("sendByIp", self.send_by_ip, "Push to everybody on a connector.", address),
            _send("sendToAll", self.send_to_all, "Push to everybody."),
            _look("monitor/alive", self.alive, "Whether the process turns.", schemas.LegacyReply, right=None),
            _look("monitor/onlinenum", self.online_number, "How many sessions are open.", schemas.LegacyOnlineNumber),
            _look(
                "monitor/onlinestatus",
                self.online_status,
                "Whether a token has a session.",
                schemas.LegacyOnlineStatus,
                parameters=(token,),
            ),
        )

    async def send_by_token(self, request: ApiRequest) -> schemas.LegacyReply:
        """Push to one token."""
        given = self._given(request)
        return await self._push(request, ToTokens((given.text("token"),), True), given)

    async def send_by_tokens(self, request: ApiRequest) -> schemas.LegacyReply:
        """Push to several tokens."""
        given = self._given(request)
        text = given.text("tokens")
        self._reader.check_targets("tokens", text.rstrip("; ").count(";") + 1)
        names = [name for part in text.split(";") if (name := part.strip())]
        if not names:
            raise invalid("tokens", "is missing")
        return await self._push(request, ToTokens(self._reader.distinct("tokens", names)), given)

    async def send_by_ip(self, request: ApiRequest) -> schemas.LegacyReply:
        """Push to everybody on a connector."""
        given = self._given(request)
        return await self._push(request, ToConnector(given.text("ip")), given)

    async def send_to_all(self, request: ApiRequest) -> schemas.LegacyReply:
        """Push to everybody."""
        return await self._push(request, ToAll(), self._given(request))

    def _given(self, request: ApiRequest) -> Given:
        return Given(request, self._reader.max_payload_bytes)

    async def _push(self, request: ApiRequest, target: Target, given: Given) -> schemas.LegacyReply:
        asked = PushRequest(target, self._reader.checked(given.message()), given.ttl_s())
        (result,) = await self._router.push((repeats_of(request).lone(asked),))
        if isinstance(result, PushError):
            raise result
        return _OK

    async def alive(self, request: ApiRequest) -> schemas.LegacyReply:
        """Answer."""
        return _OK

    async def online_number(self, request: ApiRequest) -> schemas.LegacyOnlineNumber:
        """Count sessions."""
        found, missing = await reachable(self._nodes, self._clock)
        if missing:
            raise Unavailable(f"{len(missing)} of the connectors did not answer, so that the number is not known.")
        return schemas.LegacyOnlineNumber(200, "ok", sum(node.sessions for node in found))

    async def online_status(self, request: ApiRequest) -> schemas.LegacyOnlineStatus:
        """Look for a token's session; one that is not registered has none."""
        token = self._given(request).text("token")
        online = is_token(token) and token in (await self._subscribe.online((token,)))
        return schemas.LegacyOnlineStatus(200, "ok", online)


def _send(
    name: str,
    call: Callable[[ApiRequest], Awaitable[object]],
    summary: str,
    *parameters: Parameter,
    failures: tuple[type[PushError], ...] = (),
) -> Route:
    return Route(
        operation=name,
        methods=_BOTH,
        path=f"/push/{name}",
        call=call,
        summary=summary,
        right=RIGHT_PUSH,
        tag=LEGACY,
        reply=schemas.LegacyReply,
        failures=(*failures, Conflict, TooLarge, Unavailable),
        parameters=(*parameters, _MESSAGE, _KEEP, KEY),
    )


def _look(
    path: str,
    call: Callable[[ApiRequest], Awaitable[object]],
    summary: str,
    reply: type,
    *,
    right: str | None = RIGHT_READ,
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    return Route(
        operation=path.partition("/")[2],
        methods=_BOTH,
        path=f"/{path}",
        call=call,
        summary=summary,
        right=right,
        tag=LEGACY,
        reply=reply,
        failures=(Unavailable,) if right else (),
        parameters=parameters,
    )
