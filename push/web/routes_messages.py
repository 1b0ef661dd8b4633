"""Pushing: /v1/messages:send and :batchSend."""

from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from push.errors import PushError, TooLarge, Unavailable, Unregistered
from push.ipush import IRouter
from push.model import PushRequest, PushResult
from push.web import errors, schemas
from push.web.auth import RIGHT_PUSH
from push.web.exchange import ApiRequest
from push.web.requests import MessageReader
from push.web.routes import Route

_JSON_TYPES = ("application/json", "text/json")
_EXAMPLE = {
    "target": {"token": "0123456789abcdef0123456789abcdef"},
    "message": {"data": "hello"},
    "options": {"ttl": 3600},
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


def reply(result: PushResult) -> schemas.SendReply:
    """What became of a request, as JSON says it."""
    return schemas.SendReply(str(result.message_id), result.targets, result.sent, result.cached, result.unknown)


class MessageRoutes:
    """Takes messages.

    Args:
        router: where they go.
        reader: reads them.
        clock: whose turns long batches are spread over.
    """

    def __init__(self, *, router: IRouter, reader: MessageReader, clock: IReactorTime) -> None:
        self._router = router
        self._reader = reader
        self._clock = clock

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
                failures=(Unregistered, TooLarge, errors.UnsupportedMediaType, Unavailable),
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
                failures=(TooLarge, errors.UnsupportedMediaType, Unavailable),
                example=_BATCH_EXAMPLE,
            ),
        )

    async def send(self, request: ApiRequest) -> schemas.SendReply:
        """Push one message."""
        check_json(request)
        (result,) = await self._router.push((self._reader.one(request.body()),))
        if isinstance(result, PushError):
            raise result
        return reply(result)

    async def batch_send(self, request: ApiRequest) -> bytes:
        """Push many."""
        check_json(request)
        parsed: list[PushRequest | PushError] = []
        for part in self._reader.batch(request.body()):
            if parsed:
                turn: Deferred[None] = Deferred()
                self._clock.callLater(0, turn.callback, None)
                await turn
            parsed += part
        good = [entry for entry in parsed if isinstance(entry, PushRequest)]
        outcomes: Sequence[PushResult | PushError] = await self._router.push(good) if good else ()
        if len(good) < len(parsed):
            sent = iter(outcomes)
            outcomes = [entry if isinstance(entry, PushError) else next(sent) for entry in parsed]
        request_id = request.request_id
        results: list[Any] = [
            errors.entry(outcome, request_id) if isinstance(outcome, PushError) else reply(outcome)
            for outcome in outcomes
        ]
        return msgspec.json.encode(schemas.BatchSendReply(results))
