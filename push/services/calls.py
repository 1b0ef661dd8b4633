"""The delivery calls of one push: collected for each connector, made in order, their reports put together.

Must not import adapters, stores or web.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from push.errors import PushError
from push.ipush import IConnector
from push.model import Delivery, DeliveryReport, Located, Outcome, PushRequest, PushResult, ToTokens
from push.services.routing_measures import RoutingMeasures


@dataclass(slots=True, eq=False)
class Progress:
    """One request on its way to a result."""

    request: PushRequest
    message_id: int
    targets: int = 0
    sent: int = 0
    unknown: list[str] = field(default_factory=list)
    error: PushError | None = None

    def result(self) -> PushResult | PushError:
        """What there is to say of it now."""
        if self.error is not None:
            return self.error
        message_id = 0 if self.request.validate_only else self.message_id
        return PushResult(message_id, self.targets, self.sent, 0, tuple(self.unknown))


class Calls:
    """All calls of one push.

    Args:
        connectors: address → connector.
        measures: counts what becomes of messages.
        count: how many requests there are.
    """

    def __init__(self, connectors: Mapping[str, IConnector], measures: RoutingMeasures, count: int) -> None:
        self._connectors = connectors
        self._measures = measures
        # For each request its result, or the progress that will give it.
        self._results: list[PushResult | PushError | Progress | None] = [None] * count
        # For each connector what it is to deliver, and whose that is: a Progress, or for one that goes to a
        # lone token, the position of its request.
        self._batches: dict[str, tuple[list[Delivery], list[Progress | int]]] = {}
        self._made: list[Deferred[None]] = []

    def begin(self, position: int, message_id: int, request: PushRequest) -> Progress:
        """Start one request of any kind."""
        progress = self._results[position] = Progress(request, message_id)
        return progress

    def add_lone(self, position: int, message_id: int, payload: bytes, tokens: tuple[str, ...], address: str) -> None:
        """Collect a message for one token that is online."""
        batch = self._batches.get(address)
        if batch is None:
            batch = self._batches[address] = ([], [])
        batch[0].append(Delivery(message_id, payload, tokens))
        batch[1].append(position)

    def add(self, progress: Progress, tokens: Sequence[str], located: Located) -> None:
        """Collect a message for tokens that are registered, online or not; only count it, for validate_only."""
        progress.targets += len(tokens)
        if progress.request.validate_only:
            return
        online = located.online
        by_connector: dict[str, list[str]] = {}
        offline = 0
        for token in tokens:
            session = online.get(token)
            if session is None:
                offline += 1
            else:
                by_connector.setdefault(session.connector, []).append(token)
        if offline:
            self._measures.became(type(progress.request.target), Outcome.OFFLINE, offline)
        for address, here in by_connector.items():
            deliveries, owners = self._batches.setdefault(address, ([], []))
            deliveries.append(Delivery(progress.message_id, progress.request.payload, here))
            owners.append(progress)

    def broadcast(self, progress: Progress, connectors: Iterable[IConnector]) -> None:
        """Start a broadcast behind what has been collected."""
        self._make()
        for connector in connectors:
            self._made.append(Deferred.fromCoroutine(self._broadcast(progress, connector)))

    async def done(self) -> None:
        """Make the calls collected so far and wait for all; failures are told to the requests that they concern."""
        if len(self._batches) == 1 and not self._made:  # the usual case, whose call need not become a Deferred
            address, (deliveries, owners) = self._batches.popitem()
            await self._deliver(address, deliveries, owners)
            return
        self._make()
        made, self._made = self._made, []
        for call in made:
            await call

    async def results(self) -> list[PushResult | PushError]:
        """What became of each request, in order, when all calls are done."""
        await self.done()
        results: list[PushResult | PushError] = []
        for each in self._results:
            if each is None:
                raise RuntimeError("a request was never begun")
            results.append(each.result() if type(each) is Progress else each)  # type: ignore[arg-type]
        return results

    def _make(self) -> None:
        """Start the calls collected so far; each connector keeps their order."""
        batches, self._batches = self._batches, {}
        for address, (deliveries, owners) in batches.items():
            self._made.append(Deferred.fromCoroutine(self._deliver(address, deliveries, owners)))

    async def _deliver(self, address: str, deliveries: list[Delivery], owners: list[Progress | int]) -> None:
        connector = self._connectors.get(address)
        try:
            if connector is None:  # it left between locating and delivering: its sessions count as offline
                report = _nobody(deliveries)
            else:
                report = await connector.deliver(deliveries)
        except PushError as error:
            for owner in owners:
                if type(owner) is int:
                    self._results[owner] = error
                else:
                    owner.error = error  # type: ignore[union-attr]
            return
        self._take(report, deliveries, owners)

    def _take(self, report: DeliveryReport, deliveries: list[Delivery], owners: list[Progress | int]) -> None:
        results = self._results
        measures = self._measures
        lone_sent = 0
        for owner, delivery, sent in zip(owners, deliveries, report.sent, strict=True):
            if type(owner) is int:
                lone_sent += sent
                results[owner] = PushResult(delivery.message_id, 1, sent)
            else:
                owner.sent += sent  # type: ignore[union-attr]
                measures.became(type(owner.request.target), Outcome.SENT, sent)  # type: ignore[union-attr]
        measures.became(ToTokens, Outcome.SENT, lone_sent)
        for position, missed in report.missed.items():
            owner = owners[position]
            kind = ToTokens if isinstance(owner, int) else type(owner.request.target)
            for _, outcome in missed:
                measures.became(kind, outcome, 1)

    async def _broadcast(self, progress: Progress, connector: IConnector) -> None:
        try:
            sent = await connector.broadcast(progress.message_id, progress.request.payload)
        except PushError as error:
            progress.error = error
            return
        progress.sent += sent
        progress.targets += sent
        self._measures.became(type(progress.request.target), Outcome.SENT, sent)


def _nobody(deliveries: Sequence[Delivery]) -> DeliveryReport:
    missed = {
        position: [(token, Outcome.OFFLINE) for token in delivery.tokens]
        for position, delivery in enumerate(deliveries)
    }
    return DeliveryReport([0] * len(deliveries), missed)
