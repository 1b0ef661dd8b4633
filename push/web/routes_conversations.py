"""What is said in conversations, who has read it, and who is there."""

from msgspec.json import Decoder

from push.chat_json import (
    PresenceEntry,
    message_entry,
    presence_entry,
    standing_entry,
    time_ms,
)
from push.errors import (
    Conflict,
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
from push.model_chat import ChatMessage
from push.web import group_requests as read
from push.web import group_schemas as schemas
from push.web.auth import RIGHT_MANAGE, RIGHT_PUSH, RIGHT_READ
from push.web.exchange import ApiRequest
from push.web.headings import Heading
from push.web.routes import Parameter, Route

_route = Heading("conversations", RIGHT_PUSH, (InvalidRequest, NotFound, Unavailable, Unanswered)).route
_SEQ = Parameter("seq", "path", "Number of a message.", example="1")
_OTHER = Parameter("other", "path", "Another user.", example="bob")
_FROM = Parameter("after", "query", "Messages with greater numbers, the first ones.", False, "0")
_BEFORE = Parameter("before", "query", "Messages with lesser numbers, the last ones.", False)
_AS = Parameter("uid", "query", "As this member sees it; left out: all that is kept.", False)
_SAYING = (PermissionDenied, Conflict, TooLarge, RateLimited)
_EXAMPLE = {"from": "alice", "text": "hello", "client_id": "c-1"}


class ConversationRoutes:
    """Conversations.

    Args:
        side: the group role.
    """

    def __init__(self, side: GroupSide) -> None:
        self._talk = side.talk
        self._presence = side.presence
        self._say = Decoder(schemas.Say)
        self._read = Decoder(schemas.ReadUpTo)

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        messages, conversation = "/v1/conversations/{id}/messages", (read.CONVERSATION,)
        user, blocks = (read.UID,), "/v1/users/{uid}/blocks/{other}"
        return (
            _route(
                "say", "POST", messages, self.say, "Say something in a conversation, as a user or as the system.",
                schemas.SaidReply, *_SAYING, parameters=conversation, body=schemas.Say, example=_EXAMPLE,
            ),
            _route(
                "getMessages", "GET", messages, self.messages, "A page of what was said.", schemas.MessagesReply,
                PermissionDenied, parameters=(*conversation, _FROM, _BEFORE, read.LIMIT, _AS), right=RIGHT_READ,
            ),
            _route(
                "recallMessage", "DELETE", messages + "/{seq}", self.recall, "Take a message back.", schemas.SaidReply,
                GroupConflict, parameters=(*conversation, _SEQ), right=RIGHT_MANAGE,
            ),
            _route(
                "putRead", "PUT", "/v1/conversations/{id}/read", self.read, "Say up to where a user has read.",
                schemas.ReadReply, PermissionDenied, parameters=conversation, body=schemas.ReadUpTo,
                example={"uid": "alice", "seq": 7},
            ),
            _route(
                "sayToUser", "POST", "/v1/users/{uid}/messages", self.say_to_user,
                "Say something to a user, as another one or as the system.", schemas.SaidReply, *_SAYING,
                parameters=user, body=schemas.Say, example=_EXAMPLE,
            ),
            _route(
                "getConversations", "GET", "/v1/users/{uid}/conversations", self.conversations,
                "A page of a user's conversations.", schemas.ConversationsReply,
                parameters=(*user, read.AFTER, read.LIMIT), right=RIGHT_READ,
            ),
            _route(
                "getPresence", "GET", "/v1/users/{uid}/presence", self.presence, "Whether a user is there.",
                PresenceEntry, parameters=user, right=RIGHT_READ,
            ),
            _route(
                "block", "PUT", blocks, self.block, "Have a user not be written to by another one.",
                schemas.BlockReply, parameters=(*user, _OTHER), right=RIGHT_MANAGE,
            ),
            _route(
                "unblock", "DELETE", blocks, self.unblock, "Have a user be written to by another one again.",
                schemas.BlockReply, parameters=(*user, _OTHER), right=RIGHT_MANAGE,
            ),
        )  # fmt: skip

    async def say(self, request: ApiRequest, id: str) -> schemas.SaidReply:
        """Say something in a conversation."""
        return _said(await self._talk.say(read.message(id, read.body(self._say, request)), to=None))

    async def say_to_user(self, request: ApiRequest, uid: str) -> schemas.SaidReply:
        """Say something to a user."""
        message = read.message("", read.body(self._say, request))
        return _said(await self._talk.say(message, to=read.user(uid)))

    async def messages(self, request: ApiRequest, id: str) -> schemas.MessagesReply:
        """Show messages."""
        uid = read.text_of(request, "uid")
        before = read.number_of(request, "before", 0)
        head, found = await self._talk.history(
            id,
            read.user(uid) if uid else None,
            after=read.number_of(request, "after", 0),
            before=before or None,
            limit=read.limit_of(request),
        )
        entries = [message_entry(message) for message in found]
        return schemas.MessagesReply(id, entries, max(head.last_seq, entries[-1].seq if entries else 0))

    async def recall(self, request: ApiRequest, id: str, seq: str) -> schemas.SaidReply:
        """Take a message back."""
        return _said(await self._talk.recall(id, None, read.seq(seq)))

    async def read(self, request: ApiRequest, id: str) -> schemas.ReadReply:
        """Say up to where a user has read."""
        wish = read.body(self._read, request)
        return schemas.ReadReply(id, wish.uid, await self._talk.read(id, read.user(wish.uid), wish.seq))

    async def conversations(self, request: ApiRequest, uid: str) -> schemas.ConversationsReply:
        """Show a user's conversations."""
        limit = read.limit_of(request)
        found = await self._talk.standings(read.user(uid), read.text_of(request, "after"), limit)
        entries = [standing_entry(standing) for standing in found]
        return schemas.ConversationsReply(uid, entries, entries[-1].conversation if len(entries) == limit else "")

    async def presence(self, request: ApiRequest, uid: str) -> PresenceEntry:
        """Show whether a user is there."""
        (presence,) = await self._presence.presence([read.user(uid)])
        return presence_entry(presence)

    async def block(self, request: ApiRequest, uid: str, other: str) -> schemas.BlockReply:
        """Keep a user from another one."""
        return await self._block(uid, other, True)

    async def unblock(self, request: ApiRequest, uid: str, other: str) -> schemas.BlockReply:
        """Let another user write to one again."""
        return await self._block(uid, other, False)

    async def _block(self, uid: str, other: str, is_blocked: bool) -> schemas.BlockReply:
        await self._talk.block(read.user(uid), read.user(other, "other"), is_blocked)
        return schemas.BlockReply(uid, other, is_blocked)


def _said(message: ChatMessage) -> schemas.SaidReply:
    return schemas.SaidReply(message.conversation, message.seq, str(message.id), time_ms(message.id))
