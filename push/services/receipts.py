"""What became of the latest messages: in memory at once, on disk a little later.

Nearly every message is told once, as sent to one token at once, and then never asked for: so `sent_each` does next to
nothing for each of them, and what happens for one token is as short as it can be. What changed goes to disk in chunks,
so a crash loses what was told in its last two seconds. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IMeasured
from push.ireceipts import IReceiptObserver, IReceipts, IReceiptStore
from push.model_health import Sample
from push.model_receipts import Event, Receipt
from push.services.ids import accepted_ms
from push.services.life_states import FOLLOWING, HANDED_CODE, IS_ANOTHER, NOTHING
from push.services.lives import Life, LoneLife
from push.services.periodic import Periodic
from push.services.receipt_log import ReceiptLog
from push.services.receipt_memory import CHUNK, ReceiptMemory
from push.services.tasks import Tasks

_MESSAGE_ID = itemgetter(0)
WRITE_INTERVAL_S = 2.0
MAX_WAITERS = 10_000
_STOP_TIMEOUT_S = 5.0


@implementer(IReceipts, IMeasured)
class Receipts(Service):
    """The receipts of one server. Takes in what is told also before it starts.

    Args:
        store: where they go.
        clock: for intervals and time limits.
        now_ms: milliseconds since 1970.
        max_in_memory: how many messages are remembered without asking the store; one for several tokens counts
            once for each, up to 1,000.
        max_on_disk: how many are kept there, counted likewise.
        keep_s: how long they are kept there.
        observers: who is told besides.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: IReceiptStore,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        max_in_memory: int = 100_000,
        max_on_disk: int = 1_000_000,
        keep_s: float = 86_400.0,
        observers: Sequence[IReceiptObserver] = (),
    ) -> None:
        self._clock = clock
        self._now_ms = now_ms
        self._observers = tuple(observers)
        # A bit an event.
        self._observed = sum(1 << event for event in frozenset().union(*(each.events for each in observers)))
        self._tasks = Tasks()
        self._disk = ReceiptLog(
            store=store, tasks=self._tasks, now_ms=now_ms, max_weight=max_on_disk, keep_ms=int(keep_s * 1000)
        )
        self._memory = ReceiptMemory(max_weight=max_in_memory)
        # The memory's own: `lone_each` has no time for what it would cost to ask it.
        self._known = self._memory.known
        self._fresh = self._memory.fresh
        self._waiters: dict[int, list[Deferred[None]]] = {}
        self._waiting = 0
        self._periodic = Periodic("writing receipts", self._write, interval_s=WRITE_INTERVAL_S, clock=clock)

    def startService(self) -> None:
        """Begin to write."""
        super().startService()
        self._periodic.startService()

    def stopService(self) -> "Deferred[None]":
        """Write what there is. Fires when it is on disk, or the store does not take it, or takes too long."""
        super().stopService()
        self._periodic.stopService()
        self._write()
        return self._tasks.settled().addTimeout(_STOP_TIMEOUT_S, self._clock, onTimeoutCancel=lambda *_: None)

    # IReceipts

    def lone_each(self, event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """See IReceipts."""
        fresh, known = self._fresh, self._known
        bits = NOTHING if event is None else FOLLOWING[NOTHING << 4 | event]
        is_observed = event is not None and self._observed >> event & 1
        memory = self._memory
        if event is Event.SENT and not is_observed and messages and memory.await_each(messages):
            if memory.is_full:
                self._fold()
            return
        for message_id, token, expires_ms in messages:
            if message_id not in known and memory.recall(message_id) is None:
                known[message_id] = LoneLife(token, bits, 0, expires_ms)
                fresh[message_id] = None
                if is_observed:
                    self._tell(event, message_id, (token,), accepted_ms(message_id))  # type: ignore[arg-type]
            else:  # what happens then was faster
                self._accept(message_id, 1, (token,), expires_ms)
                if event is not None:
                    self.happened(event, message_id, (token,))
        if memory.is_full:
            self._fold()

    def sent_each(self, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        memory = self._memory
        if not self._known.keys().isdisjoint(map(_MESSAGE_ID, messages)):
            messages = [each for each in messages if not self._is_told_of(*each)]
        memory.sent.update(messages)
        if self._observed >> Event.SENT & 1:
            for message_id, token in messages:
                self._tell(Event.SENT, message_id, (token,), accepted_ms(message_id))
        if memory.is_full:
            self._fold()

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
        self._accept(message_id, targets, tokens, expires_ms)
        if due_ms is not None or is_logged:
            life = self._memory.new(message_id)
            life.due_ms = life.due_ms if due_ms is None else due_ms
            life.is_logged = life.is_logged or is_logged
        if self._memory.is_full:
            self._fold()

    def happened(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        known = self._known.get(message_id) or self._memory.recall(message_id)
        if type(known) is not LoneLife or len(tokens) != 1 or tokens[0] != known.token:
            self._happened(event, event, message_id, tokens)
            return
        before = known.bits
        bits = FOLLOWING[before << 4 | event]
        if bits != before:
            known.bits = bits
            if (before ^ bits) & IS_ANOTHER:
                known.at_ms = self._now_ms()
            self._fresh[message_id] = None
            if self._observed or self._waiters or len(self._fresh) >= CHUNK:
                self._attend(event, message_id, tokens)

    def happened_each(self, event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        if self._observed >> event & 1 or self._waiters:
            for message_id, token in messages:
                self.happened(event, message_id, (token,))
            return
        known, fresh, now_ms, recall = self._known, self._fresh, self._now_ms(), self._memory.recall
        if event is Event.DELIVERED:
            messages = self._memory.end_each(messages, now_ms)
        for message_id, token in messages:
            life = known.get(message_id) or recall(message_id)
            if type(life) is not LoneLife or life.token != token:
                self._happened(event, event, message_id, (token,))
                continue
            before = life.bits
            bits = FOLLOWING[before << 4 | event]
            if bits == before:
                continue
            life.bits = bits
            if (before ^ bits) & IS_ANOTHER:
                life.at_ms = now_ms
            fresh[message_id] = None
        if self._memory.is_full:
            self._fold()

    def handed(self, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        self._happened(HANDED_CODE, Event.SENT, message_id, tokens)

    def counted(self, event: Event, message_id: int, count: int) -> None:
        """See IReceipts."""
        if count <= 0:
            return
        now_ms = self._now_ms()
        life, part = self._memory.to_change(message_id, now_ms)
        for each in (life, part):
            if each is not None:
                each.count(event, count)
        if self._observed >> event & 1:
            for observer in self._observers:
                if event in observer.events:
                    observer.counted(event, message_id, count, now_ms)
        self._changed(message_id)
        if self._memory.is_full:
            self._fold()

    async def find(self, message_id: int) -> Receipt | None:
        """See IReceipts. While the store cannot be read, it is what memory has."""
        life = await self._life(message_id)
        return None if life is None else life.receipt(message_id)

    async def delivered(self, message_id: int, timeout_s: float) -> Receipt:
        """See IReceipts."""
        life = await self._life(message_id)
        if life is None:
            return Life(tokens={}).receipt(message_id)
        if timeout_s > 0 and self._waiting < MAX_WAITERS and not life.is_over() and not life.born:
            known = self._memory.get(message_id)
            if known is None or known.born:
                self._memory.adopt(message_id, life)
            await self._wait(message_id, timeout_s)
            life = self._memory.get(message_id) or life
        return life.receipt(message_id)

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        remembered = self._memory.weight + self._memory.unwritten
        yield Sample("push_receipts", "gauge", "Receipts in memory, one for each message and token.", remembered)
        yield Sample("push_receipt_waiters", "gauge", "Requests that wait until a message is delivered.", self._waiting)
        yield Sample("push_receipts_lost_total", "counter", "Receipts that the store did not take.", self._disk.lost)

    # What is told

    def _accept(self, message_id: int, targets: int, tokens: Sequence[str] | None, expires_ms: int | None) -> None:
        known = self._known.get(message_id) or self._memory.recall(message_id)
        if tokens is not None and len(tokens) == 1:
            if known is None:
                known = self._known[message_id] = LoneLife(tokens[0], NOTHING)
            if type(known) is LoneLife and tokens[0] == known.token:
                known.born = 0
                self._fresh[message_id] = None
                if expires_ms is not None:
                    known.expires_ms = expires_ms
                return
        life = self._memory.new(message_id)
        life.address(targets, tokens)
        if expires_ms is not None:
            life.expires_ms = expires_ms
        self._memory.grew(life.weight - 1)

    def _is_told_of(self, message_id: int, token: str) -> bool:
        """Whether a message that was sent now was told of before: it was scheduled. Then this is added."""
        if message_id not in self._known:
            return False
        self.lone_each(Event.SENT, [(message_id, token, None)])
        return True

    def _happened(self, code: int, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        now_ms = self._now_ms()
        memory = self._memory
        if len(tokens) == 1 and message_id not in self._known and not memory.has_aside(message_id):
            # Forgotten, or of an earlier run: added to that.
            bits = FOLLOWING[NOTHING << 4 | code]
            self._known[message_id] = LoneLife(tokens[0], bits, now_ms, None, memory.birth(now_ms))
            self._fresh[message_id] = None
            self._attend(event, message_id, tokens)
            return
        life, part = memory.to_change(message_id, now_ms)
        news = life.happened(code, tokens, now_ms)
        if not news:
            return
        if part is not None:
            if life.tokens is None or part.tokens is None:  # too many tokens by now: that is small
                memory.adopt(message_id, life)
            else:
                for token in news:
                    part.tokens[token] = life.tokens[token]
                memory.grew(len(news))
        self._attend(event, message_id, news)

    def _attend(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        if self._observed >> event & 1:
            self._tell(event, message_id, tokens, self._now_ms())
        if self._waiters:
            self._changed(message_id)
        if self._memory.is_full:
            self._fold()

    def _tell(self, event: Event, message_id: int, tokens: Sequence[str], at_ms: int) -> None:
        for observer in self._observers:
            if event in observer.events:
                observer.happened(event, message_id, tokens, at_ms)

    def _changed(self, message_id: int) -> None:
        if message_id in self._waiters:
            life = self._memory.get(message_id)
            if life is not None and life.is_over():
                for waiter in self._waiters.pop(message_id):
                    waiter.callback(None)

    # What is asked

    async def _life(self, message_id: int) -> Life | None:
        life = self._memory.get(message_id)
        if life is not None and not life.born:
            return life
        try:
            return await self._disk.find(message_id, self._memory.get)
        except PushError as error:
            self._log.warn("receipts cannot be read now: {reason}", reason=str(error))
            return self._memory.get(message_id)

    async def _wait(self, message_id: int, timeout_s: float) -> None:
        waiter: Deferred[None] = Deferred()
        self._waiters.setdefault(message_id, []).append(waiter)
        self._waiting += 1
        timeout = self._clock.callLater(timeout_s, waiter.callback, None)
        try:
            await waiter
        finally:
            self._waiting -= 1
            if timeout.active():
                timeout.cancel()
            waiters = self._waiters.get(message_id, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[message_id]

    # What is written

    def _fold(self, *, is_due: bool = False) -> None:
        chunk = self._memory.fold(self._now_ms(), self._waiters, is_due=is_due)
        if chunk is not None:
            self._disk.append(chunk)

    def _write(self) -> None:
        self._fold(is_due=True)
        self._disk.push_on()
