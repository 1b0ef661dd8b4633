"""Pushing: /v1/messages:send and :batchSend."""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from push.errors import CacheFull, Conflict, PushError, TooLarge, Unanswered, Unavailable, Unregistered
from push.ipush import IRouter
from push.model import PushRequest
from push.web import errors, outcomes
from push.web import message_schemas as schemas
from push.web.auth import RIGHT_PUSH
from push.web.exchange import ApiRequest
from push.web.repeats import HEADER, repeats_of
from push.web.requests import MessageReader
from push.web.routes import Lines, Parameter, Route
from push.web.settings import ApiSettings
from push.web.stream import MessageStream, StreamLimits

_FAILURES = (TooLarge, errors.UnsupportedMediaType, Unavailable, Unanswered)
_JSON_TYPES = ("application/json", "text/json")
KEY = Parameter(
    HEADER,
    "header",
    "Your own name for this request: made again with the same name, it is answered as before and sends nothing.",
    required=False,
    example="order-1001",
)
_EXAMPLE = {
    "target": {"token": "0123456789abcdef0123456789abcdef"},
    "message": {"data": "hello"},
    "options": {"ttl": 3600, "collapse_key": "greeting"},
}
_BATCH_EXAMPLE = {"requests": [_EXAMPLE, {"target": {"uid": "alice"}, "message": {"data": {"unread": 3}}}]}


def check_json(request: ApiRequest) -> None:
    """Check that a body, where it says what it is, is JSON.

    A browser sends JSON to a foreign host only after asking, so this also keeps foreign pages out.

    Raises:
        UnsupportedMediaType: it is something else.
    """
    given = request.text_header(b"Content-Type")
    if given is None or given == "application/json":
        return
    media = given.partition(";")[0].strip().lower()
    if media not in _JSON_TYPES and not media.endswith("+json"):
        raise errors.UnsupportedMediaType("The body must be JSON: send it as Content-Type: application/json.")


class MessageRoutes:
    """Takes messages.

    Args:
        router: where they go.
        reader: reads them.
        clock: whose turns long batches are spread over.
        settings: the limits.
    """

    def __init__(self, *, router: IRouter, reader: MessageReader, clock: IReactorTime, settings: ApiSettings) -> None:
        self._router = router
        self._reader = reader
        self._clock = clock
        # A stream counts as often towards the rate limit as the batches would that it stands for.
        self._limits = StreamLimits(settings.max_body_bytes, settings.max_batch, settings.max_body_bytes)

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            Route(
                operation="sendMessage",
                methods=("POST",),
                path="/v1/messages:send",
                call=self.send,
                summary="Push one message.",
                right=RIGHT_PUSH,
                tag="messages",
                body=schemas.SendRequest,
                reply=schemas.SendReply,
                failures=(Unregistered, Conflict, *_FAILURES, CacheFull),
                parameters=(KEY,),
                example=_EXAMPLE,
            ),
            Route(
                operation="batchSendMessages",
                methods=("POST",),
                path="/v1/messages:batchSend",
                call=self.batch_send,
                summary="Push many messages, in order. A bad entry fails alone, with its error in its place.",
                right=RIGHT_PUSH,
                tag="messages",
                body=schemas.BatchSendRequest,
                reply=schemas.BatchSendReply,
                failures=_FAILURES,
                parameters=(KEY,),
                example=_BATCH_EXAMPLE,
                lines=Lines(self.stream, line=schemas.SendRequest, reply=schemas.SendReply),
            ),
        )

    async def send(self, request: ApiRequest) -> schemas.SendReply:
        """Push one message."""
        check_json(request)
        asked = self._reader.one(request.body(), repeats_of(request))
        (result,) = await self._router.push((asked,))
        if isinstance(result, PushError):
            raise result
        return outcomes.reply(result)

    async def batch_send(self, request: ApiRequest) -> bytes:
        """Push many."""
        check_json(request)
        parsed: list[PushRequest | PushError] = []
        for part in self._reader.batch(request.body(), repeats_of(request)):
            if parsed:
                turn: Deferred[None] = Deferred()
                self._clock.callLater(0, turn.callback, None)
                await turn
            parsed += part
        found = await outcomes.push(self._router, parsed)
        return msgspec.json.encode(schemas.BatchSendReply(outcomes.replies(found, request.request_id)))

    def stream(
        self, request: ApiRequest, *, count: Callable[[], None], answered: Callable[[int], None]
    ) -> MessageStream:
        """Push as many as come, as they come."""
        return MessageStream(
            request,
            router=self._router,
            reader=self._reader,
            clock=self._clock,
            limits=self._limits,
            repeats=repeats_of(request),
            count=count,
            answered=answered,
        )
