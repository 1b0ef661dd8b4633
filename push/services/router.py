"""Brings messages from applications to connectors: targets to tokens, tokens to connectors, one call each.

Must not import adapters, stores or web: it meets subscribe and the connectors through push.ipush.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import NotFound, PushError, Unavailable, Unregistered
from push.ipush import IConnector, IMeasured, INodes, IRouter, ISubscribe
from push.model import (
    Delivery,
    DeliveryReport,
    Located,
    Outcome,
    PushRequest,
    PushResult,
    Sample,
    TagQuery,
    ToAll,
    ToConnector,
    ToTags,
    ToTokens,
    ToUids,
)
from push.services.ids import MessageIds

# How many tokens of a tag query are resolved and delivered at a time: bounds the memory of a message to millions.
TAG_PAGE = 5_000

_TARGET_NAMES = {ToTokens: "tokens", ToUids: "uids", ToTags: "tags", ToConnector: "connector", ToAll: "all"}


@dataclass(slots=True, eq=False)
class _Progress:
    """One request on its way to a result."""

    request: PushRequest
    targets: int = 0
    sent: int = 0
    unknown: list[str] = field(default_factory=list)
    message_id: int = 0
    error: PushError | None = None

    def result(self) -> PushResult | PushError:
        if self.error is not None:
            return self.error
        return PushResult(self.message_id, self.targets, self.sent, 0, tuple(self.unknown))


class _Calls:
    """Delivery calls of one push, collected for each connector and made in order."""

    def __init__(self, connectors: Mapping[str, IConnector], note: Callable[[str, Outcome, int], None]) -> None:
        self._connectors = connectors
        self._note = note
        self._batches: dict[str, tuple[list[Delivery], list[_Progress]]] = {}
        self._made: list[Deferred[None]] = []

    def add(self, progress: _Progress, tokens: Iterable[str], located: Located) -> None:
        """Collect one message for tokens that are registered."""
        where = located.connectors
        by_connector: dict[str, list[str]] = {}
        offline = 0
        for token in tokens:
            address = where.get(token)
            if address is None:
                offline += 1
            else:
                by_connector.setdefault(address, []).append(token)
        if offline:
            self._note(_TARGET_NAMES[type(progress.request.target)], Outcome.OFFLINE, offline)
        for address, here in by_connector.items():
            deliveries, owners = self._batches.setdefault(address, ([], []))
            deliveries.append(Delivery(progress.message_id, progress.request.payload, here))
            owners.append(progress)

    def make(self) -> None:
        """Start the calls collected so far; their order is kept by each connector."""
        batches, self._batches = self._batches, {}
        for address, (deliveries, owners) in batches.items():
            self._made.append(Deferred.fromCoroutine(self._deliver(address, deliveries, owners)))

    def broadcast(self, progress: _Progress, connectors: Iterable[IConnector]) -> None:
        """Start a broadcast behind what has been collected."""
        self.make()
        for connector in connectors:
            self._made.append(Deferred.fromCoroutine(self._broadcast(progress, connector)))

    async def done(self) -> None:
        """Wait for every call that was started; they report their failures to their requests."""
        self.make()
        made, self._made = self._made, []
        for call in made:
            await call

    async def _deliver(self, address: str, deliveries: list[Delivery], owners: list[_Progress]) -> None:
        connector = self._connectors.get(address)
        if connector is None:  # it left between locating and delivering: its sessions count as offline
            for delivery, progress in zip(deliveries, owners, strict=True):
                self._note(_TARGET_NAMES[type(progress.request.target)], Outcome.OFFLINE, len(delivery.tokens))
            return
        try:
            report: DeliveryReport = await connector.deliver(deliveries)
        except PushError as error:
            for progress in owners:
                progress.error = error
            return
        missed = report.missed
        for position, progress in enumerate(owners):
            name = _TARGET_NAMES[type(progress.request.target)]
            sent = report.sent[position]
            progress.sent += sent
            if sent:
                self._note(name, Outcome.SENT, sent)
            if position in missed:
                for _, outcome in missed[position]:
                    self._note(name, outcome, 1)

    async def _broadcast(self, progress: _Progress, connector: IConnector) -> None:
        try:
            sent = await connector.broadcast(progress.message_id, progress.request.payload)
        except PushError as error:
            progress.error = error
            return
        progress.sent += sent
        progress.targets += sent
        self._note(_TARGET_NAMES[type(progress.request.target)], Outcome.SENT, sent)


@implementer(IRouter, IMeasured)
class Router:
    """The router of one node.

    Args:
        subscribe: knows tokens.
        nodes: knows connectors.
        ids: gives out message ids.
    """

    _log = Logger()

    def __init__(self, *, subscribe: ISubscribe, nodes: INodes, ids: MessageIds) -> None:
        self._subscribe = subscribe
        self._nodes = nodes
        self._ids = ids
        self._requests: dict[str, int] = dict.fromkeys(_TARGET_NAMES.values(), 0)
        self._outcomes: dict[tuple[str, Outcome], int] = {}

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter."""
        if not self._ids.is_ready:
            raise Unavailable("the server is starting", retry_after_s=1.0)
        work = [_Progress(request) for request in requests]
        tokens, of_uids = await self._resolve(requests)
        located = await self._subscribe.locate(tokens)
        # Ids are given out and calls started from here on without suspension between two requests, unless a tag
        # query has to be read: this is the order of acceptance.
        calls = _Calls(self._nodes.connectors(), self._note)
        for progress in work:
            self._requests[_TARGET_NAMES[type(progress.request.target)]] += 1
            try:
                awaited = self._accept(progress, calls, located, of_uids)
                if awaited is not None:
                    await awaited
            except PushError as error:
                progress.error = error
        await calls.done()
        return [progress.result() for progress in work]

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        for name, times in self._requests.items():
            yield Sample("push_requests_total", "counter", "Messages routed.", times, (("target", name),))
        for (name, outcome), times in self._outcomes.items():
            labels = (("target", name), ("outcome", outcome.name.lower()))
            yield Sample("push_messages_total", "counter", "Messages by what became of them.", times, labels)

    def _note(self, target: str, outcome: Outcome, times: int) -> None:
        key = (target, outcome)
        self._outcomes[key] = self._outcomes.get(key, 0) + times

    async def _resolve(self, requests: Sequence[PushRequest]) -> tuple[list[str], Mapping[str, tuple[str, ...]]]:
        """All tokens that are named or belong to named uids, and the tokens of the uids."""
        tokens: list[str] = []
        uids: list[str] = []
        for request in requests:
            target = request.target
            if isinstance(target, ToTokens):
                tokens += target.tokens
            elif isinstance(target, ToUids):
                uids += target.uids
        if not uids:
            return tokens, {}
        of_uids = await self._subscribe.tokens_of(uids)
        for theirs in of_uids.values():
            tokens += theirs
        return tokens, of_uids

    def _accept(
        self, progress: _Progress, calls: _Calls, located: Located, of_uids: Mapping[str, tuple[str, ...]]
    ) -> Awaitable[None] | None:
        """Start one request; what is returned must be awaited before the next is started."""
        request = progress.request
        target = request.target
        if isinstance(target, ToTokens):
            unknown = located.unknown
            tokens: Sequence[str] = target.tokens
            if unknown:
                progress.unknown = [token for token in tokens if token in unknown]
                if progress.unknown:
                    if target.single:
                        raise Unregistered("this token is not registered: delete it from your records")
                    tokens = [token for token in tokens if token not in unknown]
            self._send(progress, calls, tokens, located)
        elif isinstance(target, ToUids):
            progress.unknown = [uid for uid in target.uids if uid not in of_uids]
            self._send(progress, calls, [token for uid in target.uids for token in of_uids.get(uid, ())], located)
        elif isinstance(target, ToTags):
            return self._send_to_tags(progress, calls, target.query)
        else:
            return self._send_to_connectors(progress, calls, target)
        return None

    def _send(self, progress: _Progress, calls: _Calls, tokens: Sequence[str], located: Located) -> None:
        progress.targets = len(tokens)
        if not progress.request.validate_only:
            progress.message_id = self._ids.next()
            calls.add(progress, tokens, located)

    async def _send_to_tags(self, progress: _Progress, calls: _Calls, query: TagQuery) -> None:
        if not progress.request.validate_only:
            progress.message_id = self._ids.next()
        after = ""
        while True:
            page = await self._subscribe.tagged(query, after, TAG_PAGE)
            progress.targets += len(page)
            if page and not progress.request.validate_only:
                located = await self._subscribe.locate(page)
                calls.add(progress, page, located)
                await calls.done()
            if len(page) < TAG_PAGE:
                return
            after = page[-1]

    async def _send_to_connectors(self, progress: _Progress, calls: _Calls, target: ToConnector | ToAll) -> None:
        connectors = self._nodes.connectors()
        if isinstance(target, ToConnector):
            chosen = [each for address, each in connectors.items() if _is_at(address, target.address)]
            if not chosen:
                raise NotFound("no connector has this address: GET /v1/nodes lists those there are")
        else:
            chosen = list(connectors.values())
            if not chosen:
                raise Unavailable("no connector is there", retry_after_s=1.0)
        if progress.request.validate_only:
            for connector in chosen:
                progress.targets += (await connector.node()).sessions
            return
        progress.message_id = self._ids.next()
        calls.broadcast(progress, chosen)


def _is_at(address: str, wanted: str) -> bool:
    return wanted in (address, address.rpartition(":")[0], address.rpartition(":")[0].strip("[]"))
