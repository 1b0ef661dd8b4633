"""IReceipts over a link: for a router whose receipts are kept by another node. Must not import services or stores.

What is told is collected over a turn of the reactor and leaves in one wish. Telling never fails: what cannot leave
is forgotten, and counted.
"""

from collections.abc import Iterable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IMeasured
from push.ireceipts import IReceipts
from push.model_health import Sample
from push.model_receipts import Event, Receipt
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import Reader
from push.protocols.peer.wishes_receipts import (
    Accepted,
    Counted,
    Events,
    HandedTo,
    Happened,
    HappenedEach,
    LoneEach,
    SentEach,
    Told,
)
from push.protocols.peer.wishes_router import Delivered, Find
from push.unattended import run

# Of one wish; each is a message for some tokens.
_AT_ONCE = 10_000

_RECEIPT: Reader[Receipt | None] = Reader(Receipt | None)
_WAITED: Reader[Receipt] = Reader(Receipt)
_NOTHING: Reader[None] = Reader(None)


@implementer(IReceipts, IMeasured)
class RemoteReceipts:
    """The lives of messages, kept elsewhere.

    Args:
        asking: the questions of this node.
        clock: its turns.
    """

    _log = Logger()

    def __init__(self, asking: Asking, *, clock: IReactorTime) -> None:
        self._asking = asking
        self._clock = clock
        self._events: list[Told] = []
        self.forgotten = 0

    def lone_each(self, event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """See IReceipts."""
        self._put(LoneEach(event, tuple(messages)))

    def sent_each(self, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        self._put(SentEach(tuple(messages)))

    def accepted(
        self,
        message_id: int,
        *,
        targets: int,
        tokens: Sequence[str] | None,
        expires_ms: int | None,
        due_ms: int | None,
        is_logged: bool,
    ) -> None:
        """See IReceipts."""
        named = None if tokens is None else tuple(tokens)
        self._put(Accepted(message_id, targets, named, expires_ms, due_ms, is_logged))

    def happened(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        self._put(Happened(event, message_id, tuple(tokens)))

    def happened_each(self, event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        self._put(HappenedEach(event, tuple(messages)))

    def handed(self, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        self._put(HandedTo(message_id, tuple(tokens)))

    def counted(self, event: Event, message_id: int, count: int) -> None:
        """See IReceipts."""
        self._put(Counted(event, message_id, count))

    async def find(self, message_id: int) -> Receipt | None:
        """See IReceipts."""
        self._flush()
        return await self._asking.ask(Find(message_id), _RECEIPT)

    async def delivered(self, message_id: int, timeout_s: float) -> Receipt:
        """See IReceipts. Where the link is lost meanwhile, nothing is known."""
        self._flush()
        try:
            return await self._asking.ask(Delivered(message_id, timeout_s), _WAITED)
        except PushError:
            return Receipt(message_id, 0, None, None, 0, {}, ())

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample(
            "push_receipts_untold_total",
            "counter",
            "Events that the receipts were not told.",
            self.forgotten,
        )

    def _put(self, event: Told) -> None:
        events = self._events
        if not events:
            self._clock.callLater(0, self._flush)
        events.append(event)

    def _flush(self) -> None:
        events, self._events = self._events, []
        for start in range(0, len(events), _AT_ONCE):
            some = tuple(events[start : start + _AT_ONCE])
            run(self._tell(some), self._failed)

    async def _tell(self, events: tuple[Told, ...]) -> None:
        try:
            await self._asking.ask(Events(events), _NOTHING)
        except PushError:
            self.forgotten += len(events)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("telling the receipts failed", failure)
