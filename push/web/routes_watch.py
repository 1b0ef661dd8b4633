"""Being told the server's numbers every second, by pushes to a token: what the console is live by."""

from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from push.errors import PermissionDenied, Unavailable
from push.ihealth import IMeasured
from push.ipush import IRouter
from push.isubscribe import ISubscribe
from push.model import PushRequest, ToTokens
from push.model_health import Sample
from push.model_subscribe import TokenInfo
from push.unattended import run
from push.web import schemas
from push.web.auth import RIGHT_READ
from push.web.decoding import decode
from push.web.exchange import ApiRequest
from push.web.metrics import sample_entry
from push.web.routes import Route
from push.web.routes_nodes import NodeRoutes

INTERVAL_S = 1.0
# Who looks asks again before that; who has gone is forgotten then.
WATCH_S = 30.0
MAX_WATCHERS = 16
_ORDER = msgspec.json.Decoder(schemas.WatchOrder)
# Of more nodes a message does not tell; of fewer, where their names are long or messages are short.
MAX_NODES = 50
_NODE = "node"
_COUNTED = frozenset(
    (
        "push_acknowledged_total",
        "push_cache_messages",
        "push_connections",
        "push_messages_total",
        "push_opened_total",
        "push_outbox_bytes",
        "push_requests_total",
        "push_sessions",
        "push_taken_ms",
        "push_tokens",
    )
)
_TIMED = frozenset(("push_delivery_seconds", "push_reactor_lag_seconds"))
_API_TIMED = "push_api_request_seconds"
_SENDING = ("route", "/v1/messages:send")


class WatchRoutes:
    """/v1/stats:watch.

    Args:
        router: brings the numbers.
        subscribe: knows who is a console.
        nodes: what /v1/nodes says.
        measured: whose numbers.
        others: what other nodes have told of theirs.
        clock: for the intervals.
        now_ms: milliseconds since 1970.
        max_payload_bytes: of a message.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        router: IRouter,
        subscribe: ISubscribe,
        nodes: NodeRoutes,
        measured: Sequence[IMeasured],
        others: Sequence[IMeasured] = (),
        clock: IReactorTime,
        now_ms: Callable[[], int],
        max_payload_bytes: int,
    ) -> None:
        self._router = router
        self._subscribe = subscribe
        self._nodes = nodes
        self._measured = measured
        self._others = others
        self._clock = clock
        self._now_ms = now_ms
        self._max_payload_bytes = max_payload_bytes
        # Token → until when, in seconds.
        self._watchers: dict[str, float] = {}
        self._is_telling = False

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            Route(
                operation="watchStats",
                methods=("POST",),
                path="/v1/stats:watch",
                call=self.watch,
                summary="Push the numbers of a console to a token, every second for half a minute.",
                right=RIGHT_READ,
                tag="nodes",
                body=schemas.WatchOrder,
                reply=schemas.WatchReply,
                failures=(PermissionDenied, Unavailable),
                example={"token": "0123456789abcdef0123456789abcdef"},
            ),
        )

    async def watch(self, request: ApiRequest) -> schemas.WatchReply:
        """Begin, or go on."""
        token = decode(_ORDER, request.body()).token
        if not _is_console(await self._subscribe.describe(token)):
            raise PermissionDenied('Only a token whose device is {"platform": "console"} is told these numbers.')
        self._forget_the_gone()
        if token not in self._watchers and len(self._watchers) >= MAX_WATCHERS:
            raise Unavailable(f"There are {MAX_WATCHERS} who watch already.", retry_after_s=WATCH_S)
        self._watchers[token] = self._clock.seconds() + WATCH_S
        if not self._is_telling:
            self._is_telling = True
            self._tell()
        return schemas.WatchReply(interval_s=INTERVAL_S, seconds=WATCH_S)

    def _forget_the_gone(self) -> None:
        now_s = self._clock.seconds()
        for token in [token for token, until_s in self._watchers.items() if until_s <= now_s]:
            del self._watchers[token]

    def _tell(self) -> None:
        self._forget_the_gone()
        if not self._watchers:
            self._is_telling = False
            return
        run(self._push(tuple(self._watchers)), self._failed)

    async def _push(self, tokens: Sequence[str]) -> None:
        try:
            nodes = await self._nodes.listed()
            told = schemas.WatchMessage(
                time=self._now_ms(), nodes=nodes.nodes, unreachable=nodes.unreachable, samples=self._samples()
            )
            payload = self._written(told)
            # With no time to live it is never kept: numbers of a second ago are worth nothing.
            await self._router.push([PushRequest(ToTokens(tuple(tokens)), payload, ttl_s=0)])
        finally:
            self._clock.callLater(INTERVAL_S, self._tell)

    def _written(self, told: schemas.WatchMessage) -> bytes:
        """What is told, as a message that clients take; a longer one would cost a connector elsewhere its link."""
        payload = _encode(told)
        most = MAX_NODES
        while len(payload) > self._max_payload_bytes and told.samples:
            _shorten(told, most)
            payload = _encode(told)
            most //= 2
        return payload

    def _samples(self) -> list[schemas.SampleEntry]:
        sources = (*self._measured, *self._others)
        return [sample_entry(sample) for source in sources for sample in source.samples() if _is_shown(sample)]

    def _failed(self, failure: Failure) -> None:
        self._log.failure("telling consoles failed", failure)


def _encode(told: schemas.WatchMessage) -> bytes:
    return msgspec.json.encode({"console": told})


def _shorten(told: schemas.WatchMessage, most: int) -> None:
    """Of very many nodes, show the first; what they sum up to is then too little, and that is said."""
    names = sorted({sample.labels[_NODE] for sample in told.samples if _NODE in sample.labels})
    shown = {None, *names[:most]} if most else ()
    told.nodes = told.nodes[:most]
    told.unreachable = told.unreachable[:most]
    told.samples = [sample for sample in told.samples if sample.labels.get(_NODE) in shown]
    told.is_partial = True


def _is_console(info: TokenInfo | None) -> bool:
    """Whether this is no client of somebody's application, who would not know what it is being told."""
    if info is None or not info.device:
        return False
    return bool(msgspec.json.decode(info.device).get("platform") == "console")


def _is_shown(sample: Sample) -> bool:
    if sample.name in _COUNTED or sample.name in _TIMED:
        return True
    return sample.name == _API_TIMED and _SENDING in tuple(sample.labels)
