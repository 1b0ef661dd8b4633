"""What senders may ask of messages that were accepted: their receipts, taking them back, and why one is not there.

What the receipts have lost in a crash is made up for by what the cache has. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Sequence

from zope.interface import implementer

from push.errors import NotFound
from push.icache import ICache
from push.ireceipts import IMessages, IReceipts
from push.isubscribe import ISubscribe
from push.model_cache import StoredDue, StoredMessage
from push.model_receipts import Event, Receipt, TokenReceipt
from push.services.explaining import Known, explained
from push.services.ids import accepted_ms
from push.services.lives import MAX_TOKENS

_UNKNOWN = "this message is not known: its id was never given out here, or its receipt is forgotten"


@implementer(IMessages)
class Messages:
    """The messages of one server.

    Args:
        receipts: knows what became of them.
        cache: has what is undelivered or scheduled.
        subscribe: knows tokens.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, *, receipts: IReceipts, cache: ICache, subscribe: ISubscribe, now_ms: Callable[[], int]) -> None:
        self._receipts = receipts
        self._cache = cache
        self._subscribe = subscribe
        self._now_ms = now_ms

    async def receipt(self, message_id: int) -> Receipt:
        """See IMessages."""
        receipt = await self._receipts.find(message_id)
        found = _completed(message_id, receipt, await self._cache.kept(message_id), self._due(message_id))
        if found is None:
            raise NotFound(_UNKNOWN)
        return found

    async def cancel(self, message_id: int) -> int:
        """See IMessages. A message that is scheduled counts as one, however many it is for."""
        due = self._due(message_id)
        is_known = due is not None or await self._receipts.find(message_id) is not None
        count = 0
        if due is not None and await self._cache.unschedule(message_id):
            self._receipts.counted(Event.CANCELLED, message_id, 1)
            count = 1
        # It may have been sent just before.
        count += await self._cache.cancel(message_id)
        if not count and not is_known:
            raise NotFound(_UNKNOWN)
        return count

    async def forget(self, token: str) -> None:
        """See IMessages."""
        await self._cache.forget(token)

    async def explain(self, message_id: int, token: str) -> Sequence[str]:
        """See IMessages."""
        receipt = await self._receipts.find(message_id)
        kept = await self._cache.kept(message_id)
        due = self._due(message_id)
        return explained(
            Known(
                token=token,
                now_ms=self._now_ms(),
                receipt=_completed(message_id, receipt, kept, due),
                kept=kept,
                due_ms=None if due is None else due.due_ms,
                info=await self._subscribe.describe(token),
            )
        )

    def _due(self, message_id: int) -> StoredDue | None:
        return next((due for due in self._cache.scheduled() if due.message_id == message_id), None)


def _completed(
    message_id: int, receipt: Receipt | None, kept: StoredMessage | None, due: StoredDue | None
) -> Receipt | None:
    """A receipt with what the cache knows besides; None where nobody knows anything."""
    if receipt is None and kept is None and due is None:
        return None
    targets = 0 if receipt is None else receipt.targets
    tokens = [] if receipt is None else list(receipt.tokens)
    counts = {} if receipt is None else dict(receipt.counts)
    told = {each.token for each in tokens if each.event is not None}
    # Where only counts are remembered, they are as good as what the cache could add to them.
    if kept is not None and (receipt is None or tokens):
        untold = [token for token in kept.tokens if token not in told]
        if untold:
            counts[Event.CACHED] = counts.get(Event.CACHED, 0) + len(untold)
        tokens = [each for each in tokens if each.token not in kept.tokens or each.token in told]
        tokens += [TokenReceipt(token, Event.CACHED, accepted_ms(message_id)) for token in untold]
        targets = max(targets, len(tokens))
    expires_ms = kept.expires_ms if kept is not None else receipt.expires_ms if receipt is not None else None
    # After a restart ids run ahead of the clock for some seconds: what happened to a message was not before it came.
    times_ms = [accepted_ms(message_id), *(each.at_ms for each in tokens if each.event is not None)]
    if expires_ms is not None:
        times_ms.append(expires_ms)
    return Receipt(
        message_id=message_id,
        accepted_ms=min(times_ms),
        expires_ms=expires_ms,
        due_ms=due.due_ms if due is not None else receipt.due_ms if receipt is not None else None,
        targets=targets,
        counts=counts,
        tokens=tokens if len(tokens) <= MAX_TOKENS else (),
        is_logged=(receipt is not None and receipt.is_logged) or (kept is not None and kept.audience is not None),
    )
