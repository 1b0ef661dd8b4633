"""What one push comes to: messages for the cache, calls to connectors, and what both say to them.

Collected request by request without awaiting anything, then made in order: the cache first, so that whoever
comes online meanwhile finds it there. Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress

import msgspec
from twisted.internet.defer import Deferred

from push.errors import PushError, Unreachable
from push.icache import ICache
from push.inodes import IBroadcasting
from push.ipush import IConnector
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model import (
    Delivery,
    DeliveryReport,
    Outcome,
    Place,
    PushRequest,
    PushResult,
    Registration,
    TagQuery,
    ToTags,
    ToTokens,
)
from push.model_cache import Everybody, Keep
from push.model_receipts import Event
from push.model_subscribe import Located
from push.services.bringing import Bringing
from push.services.delivery_reports import Reports
from push.services.keeps import Keeps, Refused
from push.services.lones import Batches, Lones
from push.services.progress import Progress
from push.services.results import Owner, Results
from push.services.routing_measures import RoutingMeasures


class Dispatch:
    """One push.

    Args:
        requests: all of it.
        now_ms: when it was accepted, milliseconds since 1970.
        connectors: address → connector.
        cache: keeps what is to survive.
        subscribe: says who has come online meanwhile.
        receipts: is told what becomes of messages.
        measures: counts it.
        broadcasting: the way to everybody.
    """

    def __init__(
        self,
        requests: Sequence[PushRequest],
        *,
        now_ms: int,
        connectors: Mapping[str, IConnector],
        cache: ICache,
        subscribe: ISubscribe,
        receipts: IReceipts,
        measures: RoutingMeasures,
        broadcasting: IBroadcasting,
    ) -> None:
        self._requests = requests
        self._connectors = connectors
        self._receipts = receipts
        self._measures = measures
        self._broadcasting = broadcasting
        self._results = Results(requests, now_ms)
        self._keeps = Keeps(cache=cache, receipts=receipts, results=self._results)
        # For each connector what it is to deliver, and whose that is.
        self._batches: Batches = {}
        self._is_shared = cache.is_shared
        self._bringing = Bringing(cache=cache, subscribe=subscribe, connectors=connectors)
        self._made: list[Deferred[None]] = []
        self._waits_for_disk = False
        # Until when plain messages for one token are kept, by their requests' positions.
        expires_ms: dict[int, int] = {}
        self._reports = Reports(
            results=self._results,
            receipts=receipts,
            measures=measures,
            bringing=self._bringing,
            expires_ms=expires_ms,
            is_shared=self._is_shared,
        )
        self._lones = Lones(
            requests,
            now_ms=now_ms,
            batches=self._batches,
            keeps=self._keeps,
            results=self._results,
            reports=self._reports,
            bringing=self._bringing,
            expires_ms=expires_ms,
            measures=measures,
            is_shared=self._is_shared,
        )

    def begin(self, position: int, message_id: int, from_ms: int) -> Progress:
        """Start one request of any kind."""
        return self._results.begin(position, message_id, from_ms)

    def lones(self, start: int, ids: Sequence[int], located: Located) -> int:
        """Collect plain messages for one registered token each, from this position on; returns the end of these."""
        return self._lones.collect(start, ids, located)

    def add(self, progress: Progress, tokens: Sequence[str], online: Mapping[str, Registration]) -> None:
        """Collect a message for tokens that are registered, online or not; only count it, for validate_only."""
        progress.targets += len(tokens)
        request = progress.request
        if request.validate_only:
            return
        expires = progress.expires_ms
        self._receipts.accepted(
            progress.message_id,
            targets=len(tokens),
            tokens=tokens,
            expires_ms=expires,
            due_ms=None,
            is_logged=progress.is_logged,
        )
        kept: list[str] = []
        for token in tokens:
            session = online.get(token)
            if session is None or (expires is not None and (progress.is_ahead or session.acks or progress.is_logged)):
                kept.append(token)
        away = [token for token in kept if token not in online]
        if expires is not None:
            self._bringing.stray(away)
            if self._is_shared:
                self._bringing.located([token for token in kept if token in online], online)
        self._keep(progress, kept, len(away), expires)
        self._call(progress, tokens, frozenset(kept), online)

    async def log(self, progress: Progress, audience: Everybody | TagQuery) -> None:
        """Keep a message once, for all who are addressed, behind what has been begun; await it before it is sent.

        Raises:
            PushError: it cannot be kept.
        """
        expires = progress.expires_ms
        request = progress.request
        if request.validate_only or (expires is None and request.options.once is None):
            return
        keep = Keep(
            progress.message_id,
            request.payload,
            (),
            progress.from_ms if expires is None else expires,
            request.options,
            None if expires is None else audience,
            progress.is_ahead,
        )
        place = await self._keeps.log(progress, keep)
        progress.is_logged = expires is not None
        if self._is_shared:  # what others have logged may come to connectors in another order
            progress.place = place if place is not None and place.logged >= 0 else None
            progress.is_pulled = progress.place is None
        else:  # what was logged later than its id says has its place behind what a session may have had by now
            progress.is_pulled = place is not None and place.position != progress.message_id

    async def broadcast(self, progress: Progress, connectors: Sequence[IConnector]) -> None:
        """Start a broadcast behind what has been begun."""
        self._reports.tell_counted(progress, 0)
        payload = None if progress.is_pulled and progress.is_logged else progress.request.payload  # as in _call
        place = progress.place
        begun = self._broadcasting.broadcast(progress.message_id, payload, progress.is_logged, connectors, place)
        for connector, sending in zip(connectors, begun, strict=True):
            self._made.append(Deferred.fromCoroutine(self._broadcast(progress, connector, sending)))

    def pass_by(self, progress: Progress) -> None:
        """A logged message for some is where it should be, at all of them: tell that for the sake of the others."""
        place = progress.place
        if place is None or progress.error is not None or progress.is_unheard or self._keeps.is_in_trouble:
            return  # the next one finds that this one is missing, and everybody looks into the cache
        delivery = Delivery(progress.message_id, None, (), True, True, place)
        for connector in self._connectors.values():
            self._made.append(Deferred.fromCoroutine(_tried(connector, delivery)))

    async def begin_calls(self) -> None:
        """Start what has been collected so far: first the cache, then the connectors, each of which keeps its order."""
        await self._give()
        self._call_all()

    async def done(self) -> None:
        """Make the calls collected so far and wait for all; failures are told to the requests that they concern."""
        await self._give()
        if len(self._batches) == 1 and not self._made:  # the usual case, whose call need not become a Deferred
            address, (deliveries, owners) = self._batches.popitem()
            await self._deliver(address, deliveries, owners)
        else:
            self._call_all()
            made, self._made = self._made, []
            for call in made:
                await call
        late = self._reports.taken_late()
        if late:
            await self._keeps.give_late(late)
            self._bringing.stray([token for _, keep in late for token in keep.tokens])
        try:
            await self._bringing.settle()
        except PushError as error:
            self._keeps.fail(error)
        await self._keeps.on_disk()

    async def results(self) -> list[PushResult | PushError]:
        """What became of each request, in order, when all calls are done."""
        await self.done()
        self._measures.cached(ToTokens, self._lones.cached)
        return self._results.all()

    # Inside

    def _add(self, address: str, delivery: Delivery, owner: Owner) -> None:
        batch = self._batches.get(address)
        if batch is None:
            batch = self._batches[address] = ([], [])
        batch[0].append(delivery)
        batch[1].append(owner)

    def _keep(self, progress: Progress, tokens: Sequence[str], away: int, expires: int | None) -> None:
        target = progress.request.target
        if expires is None:
            self._measures.became(type(target), Outcome.OFFLINE, away)
        elif not progress.is_logged:
            self._measures.cached(type(target), away)
            self._keeps.add_for(progress, tokens, expires)
            if tokens:
                return
        if progress.request.options.once is not None and not isinstance(target, ToTags):
            self._keeps.add_key(progress)
            self._waits_for_disk = True

    def _call(
        self, progress: Progress, tokens: Sequence[str], kept: frozenset[str], online: Mapping[str, Registration]
    ) -> None:
        """Collect deliveries to those who are online."""
        direct: dict[tuple[str, str | None], list[str]] = {}
        besides: dict[tuple[str, str | None], list[str]] = {}
        # Elsewhere, a token may be another user's by the time that it is there.
        owners = progress.owners if self._is_shared else {}
        for token in tokens:
            session = online.get(token)
            if session is not None:
                to = (session.connector, owners.get(token) if owners else None)
                (besides if token in kept else direct).setdefault(to, []).append(token)
        message_id, payload = progress.message_id, progress.request.payload
        for (address, owner), here in direct.items():
            is_keepable = self._is_shared and progress.expires_ms is not None
            delivery = Delivery(message_id, payload, here, owner=owner, is_keepable=is_keepable)
            self._add(address, delivery, progress)
        # What is ahead is pulled when it is on disk; what is logged and ahead is on disk by now.
        pulled = progress.is_pulled if progress.is_logged else progress.is_ahead
        for (address, owner), here in besides.items():
            place = progress.place
            if place is not None:
                place = Place(place.position, (0,) * len(here), place.logged)
            delivery = Delivery(message_id, None if pulled else payload, here, True, progress.is_logged, place, owner)
            self._add(address, delivery, progress)

    async def _give(self) -> None:
        """Give the cache what it is to keep; what it does not take is not delivered either."""
        refused = await self._keeps.give()
        if self._waits_for_disk:
            self._waits_for_disk = False
            error = await self._keeps.on_disk()
            if error is not None:  # what comes behind what failed is not to overtake it
                for _, owners in self._batches.values():
                    self._results.fail(owners, error)
                self._batches.clear()
        if refused:
            self._withdraw(refused)
        if self._is_shared:
            self._place()
            if self._bringing.is_unsure:
                self._made.append(Deferred.fromCoroutine(self._look_again()))

    def _place(self) -> None:
        """Say with each message that is kept where it stands: others may keep more for the same tokens meanwhile."""
        for deliveries, _ in self._batches.values():
            for at, delivery in enumerate(deliveries):
                if delivery.is_kept and delivery.payload is not None and delivery.place is None:
                    place = self._keeps.place(delivery.message_id, delivery.tokens)
                    deliveries[at] = msgspec.structs.replace(delivery, place=place)

    async def _look_again(self) -> None:
        try:
            await self._bringing.look_again()
        except PushError as error:
            self._keeps.fail(error)

    def _call_all(self) -> None:
        batches = dict(self._batches)
        self._batches.clear()
        for address, (deliveries, owners) in batches.items():
            self._made.append(Deferred.fromCoroutine(self._deliver(address, deliveries, owners)))

    def _withdraw(self, refused: Refused) -> None:
        """Deliver nothing that the cache did not take, nor any of a request that failed."""
        for address, (deliveries, owners) in self._batches.items():
            left: tuple[list[Delivery], list[Owner]] = ([], [])
            for delivery, owner in zip(deliveries, owners, strict=True):
                tokens = delivery.tokens
                if delivery.is_kept:
                    tokens = [token for token in tokens if (delivery.message_id, token) not in refused]
                if tokens and not self._results.has_failed(owner):
                    left[0].append(msgspec.structs.replace(delivery, tokens=tokens))
                    left[1].append(owner)
            self._batches[address] = left

    async def _deliver(self, address: str, deliveries: list[Delivery], owners: list[Owner]) -> None:
        connector = self._connectors.get(address)
        try:
            try:
                if connector is None:  # it left between locating and delivering: its sessions count as offline
                    raise Unreachable("the connector is gone")
                report = await connector.deliver(deliveries)
            except Unreachable:
                report = _nobody(deliveries)
                _unheard(owners)
                for delivery in deliveries:
                    if delivery.is_kept:
                        self._bringing.unreached(delivery.tokens)
        except PushError as error:
            _unheard(owners)
            self._reports.failed(error, deliveries, owners)
        else:
            self._reports.take(report, deliveries, owners)

    async def _broadcast(self, progress: Progress, connector: IConnector, sending: Awaitable[int]) -> None:
        try:
            sent = await sending
        except PushError as error:
            if progress.is_logged:
                self._bringing.lost_connector(connector.address)
            else:
                progress.error = error
            return
        progress.sent += sent
        progress.targets += sent
        self._measures.became(type(progress.request.target), Outcome.SENT, sent)
        self._reports.tell_counted(progress, sent)
        self._receipts.counted(Event.SENT, progress.message_id, sent)


def _unheard(owners: Sequence[Owner]) -> None:
    for owner in owners:
        if not isinstance(owner, int):
            owner.is_unheard = True


async def _tried(connector: IConnector, delivery: Delivery) -> None:
    """What a connector is not told of, it finds out by what is logged next."""
    with suppress(PushError):
        await connector.deliver([delivery])


def _nobody(deliveries: Sequence[Delivery]) -> DeliveryReport:
    missed = {
        position: [(token, Outcome.OFFLINE) for token in delivery.tokens]
        for position, delivery in enumerate(deliveries)
    }
    return DeliveryReport([0] * len(deliveries), missed)
