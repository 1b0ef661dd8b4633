"""Brings messages from applications to connectors: targets to tokens, tokens to connectors, one call each.

Must not import adapters, stores or web: it meets subscribe and the connectors through the interfaces (push.ipush, …).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
from twisted.internet.defer import DeferredLock
from zope.interface import implementer

from push.errors import NotFound, NotImplementedHere, PushError, Unavailable, Unregistered
from push.icache import ICache
from push.ihealth import IMeasured
from push.inodes import IBroadcasting, INodes
from push.ipush import IConnector, IRouter
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model import PushRequest, PushResult, TagQuery, ToAll, ToConnector, ToGroup, ToTags, ToTokens, ToUids
from push.model_cache import Everybody
from push.model_health import Sample
from push.model_subscribe import Located
from push.services.broadcasting import EachByItself
from push.services.dispatch import Dispatch
from push.services.ids import MessageIds
from push.services.progress import Progress, begins_ms
from push.services.routing_measures import RoutingMeasures

# How many tokens of a tag query are resolved and delivered at a time: bounds the memory of a message to millions.
TAG_PAGE = 5_000

_NO_UIDS: Mapping[str, tuple[str, ...]] = {}
_NOWHERE = Located({}, frozenset())


@implementer(IRouter, IMeasured)
class Router:
    """The router of one node.

    Args:
        subscribe: knows tokens.
        nodes: knows connectors.
        cache: keeps what is to survive.
        receipts: is told what becomes of messages.
        ids: gives out message ids.
        broadcasting: the way to everybody; None: to each connector by itself.
        refresh: makes `nodes` know who is there now, where that is not known at once.
    """

    def __init__(
        self,
        *,
        subscribe: ISubscribe,
        nodes: INodes,
        cache: ICache,
        receipts: IReceipts,
        ids: MessageIds,
        broadcasting: IBroadcasting | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._subscribe = subscribe
        self._nodes = nodes
        self._cache = cache
        self._receipts = receipts
        self._ids = ids
        self._broadcasting = EachByItself() if broadcasting is None else broadcasting
        self._refresh = refresh
        self._measures = RoutingMeasures()
        # Held from where a message to an audience gets its id until it is on its way behind all that are older in the
        # log: a connection takes what it has been sent of the log for all there is up to that id.
        self._log_order = DeferredLock()

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter. What requests say of repetition, delay and waiting is not looked at here."""
        if not self._ids.is_ready:
            raise Unavailable("the server is starting", retry_after_s=1.0)
        tokens, of_uids = await self._resolve(requests)
        owners = {token: uid for uid, theirs in of_uids.items() for token in theirs}
        located = await self._subscribe.locate(tokens, owners)
        # From here on, nothing is awaited between two requests, unless a tag query has to be read, or one has to be on
        # disk first: ids are given out and calls are started in the order of acceptance.
        ids = self._ids.take(len(requests))
        return await self._send(requests, ids, located, of_uids)

    async def send_due(self, message_id: int, due_ms: int, request: PushRequest) -> PushResult | PushError:
        """Send a message that was accepted earlier to be sent now.

        Args:
            message_id: its id since then.
            due_ms: when it was to be sent, milliseconds since 1970: from then on it lives.
            request: as it was accepted.

        Returns:
            What became of it; NotFound where it was taken back in the last moment.

        Raises:
            Unavailable: try again.
        """
        # That it was asked for by its key is known since then.
        request = msgspec.structs.replace(request, options=msgspec.structs.replace(request.options, once=None))
        tokens, of_uids = await self._resolve([request])
        owners = {token: uid for uid, theirs in of_uids.items() for token in theirs}
        located = await self._subscribe.locate(tokens, owners)
        if not any(due.message_id == message_id for due in self._cache.scheduled()):
            return NotFound("it was taken back")
        (result,) = await self._send([request], [message_id], located, of_uids, due_ms)
        return result

    async def _send(
        self,
        requests: Sequence[PushRequest],
        ids: list[int],
        located: Located,
        of_uids: Mapping[str, tuple[str, ...]],
        from_ms: int | None = None,
    ) -> Sequence[PushResult | PushError]:
        now_ms = self._ids.now_ms()
        dispatch = self._dispatch(requests, now_ms)
        lone = position = 0
        while position < len(requests):
            if from_ms is None:
                end = dispatch.lones(position, ids, located)
                lone += end - position
                position = end
                if position == len(requests):
                    break
            begins = begins_ms(ids[position], now_ms) if from_ms is None else from_ms
            progress = dispatch.begin(position, ids[position], begins)
            position += 1
            progress.is_due = from_ms is not None
            awaited: Awaitable[None] | None = None
            try:
                awaited = self._accept(progress, dispatch, located, of_uids)
                if awaited is not None:
                    await awaited
            except PushError as error:
                progress.error = error
            if awaited is not None:
                # Tokens may have come or gone meanwhile: what is only kept for one that is online stays in the cache.
                try:
                    located = await self._located_again(requests[position:], of_uids)
                except PushError as error:
                    for later in range(position, len(requests)):
                        dispatch.begin(later, ids[later], begins).error = error
                    break
                # Others may have been accepted meanwhile: what comes now is later than they are.
                ids[position:] = self._ids.take(len(requests) - position)
                now_ms = self._ids.now_ms()
        if lone:
            self._measures.requested(ToTokens, lone)
        return await dispatch.results()

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

    def _dispatch(self, requests: Sequence[PushRequest], now_ms: int) -> Dispatch:
        return Dispatch(
            requests,
            now_ms=now_ms,
            connectors=self._nodes.connectors(),
            cache=self._cache,
            subscribe=self._subscribe,
            receipts=self._receipts,
            measures=self._measures,
            broadcasting=self._broadcasting,
        )

    async def _located_again(self, requests: Sequence[PushRequest], of_uids: Mapping[str, tuple[str, ...]]) -> Located:
        """Where the tokens of these requests are now, up to the next one that must be awaited itself."""
        tokens: list[str] = []
        owners: dict[str, str] = {}
        for request in requests:
            target = request.target
            if isinstance(target, ToTokens):
                tokens += target.tokens
            elif isinstance(target, ToUids):
                owners.update({token: uid for uid in target.uids for token in of_uids.get(uid, ())})
            else:
                break
        tokens += owners
        return await self._subscribe.locate(tokens, owners) if tokens else _NOWHERE

    def _accept(
        self, progress: Progress, dispatch: Dispatch, located: Located, of_uids: Mapping[str, tuple[str, ...]]
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
            dispatch.add(progress, tokens, located.online)
        elif isinstance(target, ToUids):
            progress.unknown = [uid for uid in target.uids if uid not in of_uids]
            tokens = [token for uid in target.uids for token in of_uids.get(uid, ())]
            progress.owners = {token: uid for uid in target.uids for token in of_uids.get(uid, ())}
            dispatch.add(progress, tokens, located.online)
        elif isinstance(target, ToTags):
            return self._send_to_tags(progress, dispatch, target.query)
        elif isinstance(target, ToGroup):
            raise NotImplementedHere("this server runs no group role")
        else:
            return self._send_to_connectors(progress, dispatch, target)
        return None

    async def _send_to_tags(self, progress: Progress, dispatch: Dispatch, query: TagQuery) -> None:
        await self._log(progress, dispatch, query)
        after = ""
        while True:
            page = await self._subscribe.tagged(query, after, TAG_PAGE)
            if page:
                located = await self._subscribe.locate(page, {})
                dispatch.add(progress, page, located.online)
                await dispatch.done()
            if len(page) < TAG_PAGE:
                dispatch.pass_by(progress)
                return
            after = page[-1]

    async def _send_to_connectors(self, progress: Progress, dispatch: Dispatch, target: ToConnector | ToAll) -> None:
        connectors = self._nodes.connectors()
        if isinstance(target, ToConnector):
            chosen = [each for address, each in connectors.items() if _is_at(address, target.address)]
            if not chosen:
                raise NotFound("no connector has this address: GET /v1/nodes lists those there are")
        else:
            chosen = list(connectors.values())
            if not chosen and progress.expires_ms is None:
                raise Unavailable("no connector is there", retry_after_s=1.0)
        if progress.request.validate_only:
            for connector in chosen:
                progress.targets += (await connector.node()).sessions
            return
        await self._log(progress, dispatch, Everybody(), chosen)

    async def _known_by_now(self, chosen: Sequence[IConnector]) -> Sequence[IConnector]:
        """Those who are to hear of what was logged a moment ago: who comes later finds it there by itself."""
        if self._refresh is None:
            return chosen
        try:
            await self._refresh()
        except PushError:
            return chosen  # who is not among them looks into the cache some seconds after it has come
        return list(self._nodes.connectors().values())

    async def _log(
        self,
        progress: Progress,
        dispatch: Dispatch,
        audience: Everybody | TagQuery,
        connectors: Sequence[IConnector] = (),
    ) -> None:
        """Have a message to an audience kept if it is to be, then broadcast to these connectors."""
        is_ordered = progress.expires_ms is not None and not progress.request.validate_only
        await dispatch.begin_calls()
        if is_ordered:
            await self._log_order.acquire()
        try:
            if is_ordered and not progress.is_due:  # others may have been logged meanwhile, with greater ids
                progress.message_id = self._ids.next()
                progress.from_ms = begins_ms(progress.message_id, self._ids.now_ms())
            await dispatch.log(progress, audience)
            if isinstance(audience, Everybody):
                chosen = await self._known_by_now(connectors) if progress.is_logged else connectors
                if chosen:
                    await dispatch.broadcast(progress, chosen)
        finally:
            if is_ordered:
                self._log_order.release()


def _is_at(address: str, wanted: str) -> bool:
    public = address.partition("#")[0]  # several connectors may share one
    host = public.rpartition(":")[0]
    return wanted in (address, public, host, host.strip("[]"))
