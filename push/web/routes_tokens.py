"""Looking at tokens and users, closing sessions, forgetting tokens."""

import msgspec
from twisted.internet.interfaces import IReactorTime

from push.errors import InvalidRequest, PushError, Unavailable, Unregistered
from push.inodes import INodes
from push.ireceipts import IMessages
from push.isubscribe import ISubscribe
from push.protocols.wire.messages import MAX_UID_CHARS, BodyError, Disconnect, check_text, is_token
from push.protocols.wire.signals import CloseCode
from push.web import schemas
from push.web.auth import RIGHT_MANAGE, RIGHT_READ
from push.web.decoding import check_nothing
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.headings import Heading
from push.web.routes import Parameter, Route
from push.web.waiting import answers

_route = Heading("tokens", RIGHT_MANAGE, ()).route
_TOKEN = Parameter("token", "path", "A client's token.", example="0123456789abcdef0123456789abcdef")
_UID = Parameter("uid", "path", "A user.", example="alice")
_NULL = msgspec.Raw(b"null")
_KICKED = Disconnect(CloseCode.KICKED, "closed by an administrator")
_REVOKED = Disconnect(CloseCode.KICKED, "this token has been revoked")


def _unregistered() -> Unregistered:
    return Unregistered("This token is not registered: it was never issued here, or has been revoked.")


def _checked(token: str) -> str:
    if not is_token(token):
        raise _unregistered()
    return token


class TokenRoutes:
    """Tokens and users.

    Args:
        subscribe: knows them.
        nodes: where their sessions are.
        messages: knows what waits for them.
        clock: bounds the waiting for nodes.
    """

    def __init__(self, *, subscribe: ISubscribe, nodes: INodes, messages: IMessages, clock: IReactorTime) -> None:
        self._subscribe = subscribe
        self._nodes = nodes
        self._messages = messages
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        one = "/v1/tokens/{token}"
        return (
            _route(
                "getToken", "GET", one, self.get, "All that is known of a token.", schemas.TokenReply, Unregistered,
                Unavailable, parameters=(_TOKEN,), right=RIGHT_READ,
            ),
            _route(
                "revokeToken", "DELETE", one, self.revoke,
                "Forget a token for good and what waits for it, and close its session (3504).", schemas.RevokeReply,
                Unregistered, Unavailable, parameters=(_TOKEN,),
            ),
            _route(
                "kickToken", "POST", one + ":kick", self.kick,
                "Close a token's session (3504). The token stays registered.", schemas.KickReply, InvalidRequest,
                Unregistered, Unavailable, parameters=(_TOKEN,),
            ),
            _route(
                "getUserTokens", "GET", "/v1/users/{uid}/tokens", self.of_user, "The tokens of a user.",
                schemas.UserTokensReply, InvalidRequest, Unavailable, parameters=(_UID,), right=RIGHT_READ,
            ),
        )  # fmt: skip

    async def get(self, request: ApiRequest, token: str) -> schemas.TokenReply:
        """Describe a token."""
        info = await self._subscribe.describe(_checked(token))
        if info is None:
            raise _unregistered()
        session = info.session
        return schemas.TokenReply(
            token=info.token,
            uid=info.uid,
            online=session is not None,
            connector=None if session is None else session.connector,
            since=None if session is None else session.since_ms,
            device=_NULL if info.device is None else msgspec.Raw(info.device),
            tags=info.tags,
            created=info.created_ms,
        )

    async def revoke(self, request: ApiRequest, token: str) -> schemas.RevokeReply:
        """Forget a token.

        Forgotten first, so that a client that comes back at once is a new one; and its session is looked for on
        every node, so that a session opened meanwhile does not survive, nor one that an earlier call, which
        forgot the token, could not reach. What waits for it goes before that: whoever registers
        the token again, perhaps as soon as it is kicked, is not to get it.
        """
        _checked(token)
        revoked = await self._subscribe.revoke(token)
        unforgotten: PushError | None = None
        try:
            await self._messages.forget(token)
        except PushError as error:  # its session is closed all the same
            unforgotten = error
        connectors = self._nodes.connectors().values()
        kicks = await answers(self._clock, [connector.kick(token, _REVOKED) for connector in connectors])
        failed = [kicked for kicked in kicks if isinstance(kicked, Exception)]
        kicked = any(kicked is True for kicked in kicks)
        if unforgotten is not None:
            raise unforgotten
        if failed and not kicked:
            raise Unavailable("The token is forgotten, but not every node could be asked to close its session. Retry.")
        if not revoked and not kicked:
            raise _unregistered()
        return schemas.RevokeReply(token=token, revoked=revoked, kicked=kicked)

    async def kick(self, request: ApiRequest, token: str) -> schemas.KickReply:
        """Close a token's session."""
        check_nothing(request.body())
        info = await self._subscribe.describe(_checked(token))
        if info is None:
            raise _unregistered()
        session = info.session
        connector = None if session is None else self._nodes.connectors().get(session.connector)
        kicked = connector is not None and await connector.kick(info.token, _KICKED)
        return schemas.KickReply(token=info.token, kicked=kicked)

    async def of_user(self, request: ApiRequest, uid: str) -> schemas.UserTokensReply:
        """List a user's tokens."""
        try:
            check_text(uid, "uid", MAX_UID_CHARS)
        except BodyError as error:
            raise invalid("uid", str(error).removeprefix("uid ")) from None
        tokens = (await self._subscribe.tokens_of((uid,))).get(uid, ())
        sessions = await self._subscribe.online(tokens) if tokens else {}
        connectors = {token: session.connector for token, session in sessions.items()}
        return schemas.UserTokensReply(
            uid=uid,
            tokens=[schemas.UserToken(token, token in connectors, connectors.get(token)) for token in tokens],
        )
