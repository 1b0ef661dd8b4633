"""Brings messages from applications to connectors: targets to tokens, tokens to connectors, one call each.

Must not import adapters, stores or web: it meets subscribe and the connectors through push.ipush.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from zope.interface import implementer

from push.errors import NotFound, PushError, Unavailable, Unregistered
from push.ipush import IMeasured, INodes, IRouter, ISubscribe
from push.model import Located, PushRequest, PushResult, Sample, TagQuery, ToAll, ToConnector, ToTags, ToTokens, ToUids
from push.services.calls import Calls, Progress
from push.services.ids import MessageIds
from push.services.routing_measures import RoutingMeasures

# How many tokens of a tag query are resolved and delivered at a time: bounds the memory of a message to millions.
TAG_PAGE = 5_000

_NO_UIDS: Mapping[str, tuple[str, ...]] = {}


@implementer(IRouter, IMeasured)
class Router:
    """The router of one node.

    Args:
        subscribe: knows tokens.
        nodes: knows connectors.
        ids: gives out message ids.
    """

    def __init__(self, *, subscribe: ISubscribe, nodes: INodes, ids: MessageIds) -> None:
        self._subscribe = subscribe
        self._nodes = nodes
        self._ids = ids
        self._measures = RoutingMeasures()

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter."""
        if not self._ids.is_ready:
            raise Unavailable("the server is starting", retry_after_s=1.0)
        tokens, of_uids = await self._resolve(requests)
        owners = {token: uid for uid, theirs in of_uids.items() for token in theirs}
        located = await self._subscribe.locate(tokens, owners)
        # From here on, nothing is awaited between two requests, unless a tag query has to be read: ids are given
        # out and calls are started in the order of acceptance.
        ids = self._ids.take(len(requests))
        calls = Calls(self._nodes.connectors(), self._measures, len(requests))
        online = located.online
        lone = 0
        for position, request in enumerate(requests):
            target = request.target
            # One token that is online is what nearly all messages are for: no more than two look-ups for it.
            if type(target) is ToTokens and len(target.tokens) == 1 and not request.validate_only:
                session = online.get(target.tokens[0])
                if session is not None:
                    lone += 1
                    calls.add_lone(position, ids[position], request.payload, target.tokens, session.connector)
                    continue
            progress = calls.begin(position, ids[position], request)
            try:
                awaited = self._accept(progress, calls, located, of_uids)
                if awaited is not None:
                    await awaited
                    # Others may have been accepted meanwhile: what comes now is later than they are.
                    ids[position + 1 :] = self._ids.take(len(requests) - position - 1)
            except PushError as error:
                progress.error = error
        if lone:
            self._measures.requested(ToTokens, lone)
        return await calls.results()

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        return self._measures.samples()

    async def _resolve(self, requests: Sequence[PushRequest]) -> tuple[list[str], Mapping[str, tuple[str, ...]]]:
        """All tokens that are named or belong to named uids, and the tokens of the uids."""
        tokens: list[str] = []
        uids: list[str] = []
        for request in requests:
            target = request.target
            if type(target) is ToTokens:
                tokens += target.tokens
            elif type(target) is ToUids:
                uids += target.uids
        if not uids:
            return tokens, _NO_UIDS
        of_uids = await self._subscribe.tokens_of(uids)
        for theirs in of_uids.values():
            tokens += theirs
        return tokens, of_uids

    def _accept(
        self, progress: Progress, calls: Calls, located: Located, of_uids: Mapping[str, tuple[str, ...]]
    ) -> Awaitable[None] | None:
        """Start one request; what is returned must be awaited before the next is started."""
        target = progress.request.target
        self._measures.requested(type(target), 1)
        if isinstance(target, ToTokens):
            unknown = located.unknown
            tokens: Sequence[str] = target.tokens
            if unknown:
                progress.unknown = [token for token in tokens if token in unknown]
                if progress.unknown and target.single:
                    raise Unregistered("this token is not registered: delete it from your records")
                tokens = [token for token in tokens if token not in unknown]
            calls.add(progress, tokens, located)
        elif isinstance(target, ToUids):
            progress.unknown = [uid for uid in target.uids if uid not in of_uids]
            calls.add(progress, [token for uid in target.uids for token in of_uids.get(uid, ())], located)
        elif isinstance(target, ToTags):
            return self._send_to_tags(progress, calls, target.query)
        else:
            return self._send_to_connectors(progress, calls, target)
        return None

    async def _send_to_tags(self, progress: Progress, calls: Calls, query: TagQuery) -> None:
        after = ""
        while True:
            page = await self._subscribe.tagged(query, after, TAG_PAGE)
            if page:
                located = await self._subscribe.locate(page, {})
                calls.add(progress, page, located)
                await calls.done()
            if len(page) < TAG_PAGE:
                return
            after = page[-1]

    async def _send_to_connectors(self, progress: Progress, calls: Calls, target: ToConnector | ToAll) -> None:
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
        else:
            calls.broadcast(progress, chosen)


def _is_at(address: str, wanted: str) -> bool:
    public = address.partition("#")[0]  # several connectors may share one
    host = public.rpartition(":")[0]
    return wanted in (address, public, host, host.strip("[]"))
