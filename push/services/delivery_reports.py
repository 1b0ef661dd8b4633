"""What connectors say of deliveries, told to the results, the receipts and the numbers of one push.

And what is to be kept after all, because it found nobody. Must not import adapters, stores or web.
"""

from collections.abc import Mapping, Sequence

import msgspec

from push.errors import PushError
from push.ireceipts import IReceipts
from push.model import Delivery, DeliveryReport, Outcome, PushResult, ToTokens
from push.model_cache import Keep
from push.model_receipts import Event
from push.services.bringing import Bringing
from push.services.keeps import by_owner
from push.services.progress import Progress, expires_ms
from push.services.results import Owner, Results
from push.services.routing_measures import RoutingMeasures


class Reports:
    """Takes the reports of one push.

    Args:
        results: of its requests.
        receipts: are told what became of messages.
        measures: counts it.
        bringing: told of what is kept and was not delivered.
        expires_ms: until when plain messages for one token are kept, by their requests' positions; may grow.
        is_shared: whether routers of other processes keep messages where this one does.
    """

    def __init__(
        self,
        *,
        results: Results,
        receipts: IReceipts,
        measures: RoutingMeasures,
        bringing: Bringing,
        expires_ms: Mapping[int, int],
        is_shared: bool,
    ) -> None:
        self._results = results
        self._receipts = receipts
        self._measures = measures
        self._bringing = bringing
        self._expires_ms = expires_ms
        self._is_shared = is_shared
        self._late: list[tuple[Owner, Keep]] = []

    def taken_late(self) -> Sequence[tuple[Owner, Keep]]:
        """What has to be kept after all, each once."""
        late, self._late = self._late, []
        return late

    def failed(self, error: PushError, deliveries: Sequence[Delivery], owners: Sequence[Owner]) -> None:
        """A call failed."""
        # What is kept will be pulled; of the rest nobody knows how much arrived.
        for delivery, owner in zip(deliveries, owners, strict=True):
            if delivery.is_logged and not self._is_shared:
                self._keep_late(owner, delivery, delivery.tokens)
            elif delivery.is_kept:
                self._bringing.lost(delivery.tokens)
            if not delivery.is_kept:
                self._results.fail((owner,), error)
            elif isinstance(owner, int):
                self._results.put_first(owner, PushResult(delivery.message_id, 1, 0, 1))
                self._tell_kept(owner, delivery)

    def take(self, report: DeliveryReport, deliveries: Sequence[Delivery], owners: Sequence[Owner]) -> None:
        """A call was answered."""
        if not report.missed and 0 not in report.sent and {*map(type, owners)} == {int}:
            self._sent(deliveries, owners)  # type: ignore[arg-type]
            return
        results, receipts = self._results, self._receipts
        plain: list[tuple[int, str]] = []
        kept: list[tuple[int, str, int | None]] = []
        missed = report.missed
        for position, (owner, delivery, sent) in enumerate(zip(owners, deliveries, report.sent, strict=True)):
            message_id = delivery.message_id
            if type(owner) is int:
                if sent:
                    results.put(owner, PushResult(message_id, 1, 1))
                    if delivery.is_kept:
                        kept.append((message_id, delivery.tokens[0], self._expires_ms[owner]))
                    else:
                        plain.append((message_id, delivery.tokens[0]))
                else:
                    results.put_first(owner, PushResult(message_id, 1, 0, int(delivery.is_kept)))
                    if delivery.is_kept:
                        self._tell_kept(owner, delivery)
            else:
                self._take_many(owner, delivery, sent, missed.get(position, ()))  # type: ignore[arg-type]
        if plain:
            receipts.sent_each(plain)
        if kept:
            receipts.lone_each(Event.SENT, kept)
        self._measures.became(ToTokens, Outcome.SENT, len(plain) + len(kept))
        for position, each in missed.items():
            self._take_missed(owners[position], deliveries[position], each)

    def _sent(self, deliveries: Sequence[Delivery], owners: Sequence[int]) -> None:
        """As nearly always: all were sent, each to one token, without options."""
        self._results.put_sent(owners, deliveries)
        expires_ms = self._expires_ms
        kept = [
            (each.message_id, each.tokens[0], expires_ms[owner])
            for each, owner in zip(deliveries, owners, strict=True)
            if each.is_kept
        ]
        if kept:
            self._receipts.lone_each(Event.SENT, kept)
        if len(kept) < len(deliveries):
            self._receipts.sent_each([(each.message_id, each.tokens[0]) for each in deliveries if not each.is_kept])
        self._measures.became(ToTokens, Outcome.SENT, len(deliveries))

    def _take_many(
        self, progress: Progress, delivery: Delivery, sent: int, missed: Sequence[tuple[str, Outcome]]
    ) -> None:
        progress.sent += sent
        if delivery.is_kept and not delivery.is_logged:
            progress.kept_sent += sent
        self._measures.became(type(progress.request.target), Outcome.SENT, sent)
        if sent:
            left_out = {token for token, _ in missed}
            reached = [token for token in delivery.tokens if token not in left_out] if left_out else delivery.tokens
            if delivery.is_kept:
                self._receipts.happened(Event.SENT, delivery.message_id, reached)
            else:  # nobody will acknowledge it
                self._receipts.handed(delivery.message_id, reached)

    def _take_missed(self, owner: Owner, delivery: Delivery, missed: Sequence[tuple[str, Outcome]]) -> None:
        message_id = delivery.message_id
        request = self._results.request(owner)
        for _, outcome in missed:
            self._measures.became(type(request.target), outcome, 1)
        expires = expires_ms(request, self._results.from_ms(owner, message_id))
        # What is not kept and has to come behind what is, must be kept as well.
        tokens = [token for token, outcome in missed if outcome is not Outcome.BEHIND or not delivery.is_kept]
        if expires is None:
            if isinstance(owner, int):
                self.tell_missed(message_id, tokens)
            too_large = sum(outcome is Outcome.TOO_LARGE for _, outcome in missed)
            if too_large:
                self._results.too_large(owner, too_large)
        elif tokens and delivery.is_kept and (self._is_shared or not delivery.is_logged):
            self._bringing.missed(tokens)
        elif tokens:
            self._keep_late(owner, delivery, tokens)

    def _keep_late(self, owner: Owner, delivery: Delivery, tokens: Sequence[str]) -> None:
        """Have it kept for these tokens, though it may be in the log: they may have had something newer of that."""
        request, message_id = self._results.request(owner), delivery.message_id
        expires = expires_ms(request, self._results.from_ms(owner, message_id))
        assert expires is not None, "what is not to be kept is neither kept late nor logged"
        options = msgspec.structs.replace(request.options, once=None)
        for uid, theirs in by_owner(tokens, {} if isinstance(owner, int) else owner.owners):
            self._late.append((owner, Keep(message_id, request.payload, theirs, expires, options, owner=uid)))

    def _tell_kept(self, position: int, delivery: Delivery) -> None:
        """A message for one token was not sent, but is kept."""
        self._receipts.lone_each(None, [(delivery.message_id, delivery.tokens[0], self._expires_ms[position])])

    def tell_missed(self, message_id: int, tokens: Sequence[str]) -> None:
        """It is not kept, and they were away."""
        self._receipts.accepted(
            message_id, targets=len(tokens), tokens=tokens, expires_ms=None, due_ms=None, is_logged=False
        )

    def tell_counted(self, progress: Progress, targets: int) -> None:
        """It is addressed to so many more, who are not known one by one."""
        self._receipts.accepted(
            progress.message_id,
            targets=targets,
            tokens=None,
            expires_ms=progress.expires_ms,
            due_ms=None,
            is_logged=progress.is_logged,
        )
