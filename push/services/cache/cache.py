"""The cache, put together: ICache over what the other modules of this package do.

Must not import adapters, stores or web: it meets the disk, receipts and tokens through the interfaces (push.icache, …).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import PushError, RateLimited, StartError, Unavailable
from push.icache import ICache, ICacheStore
from push.ihealth import IMeasured
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model import PushResult, Registration
from push.model_cache import (
    CacheChanges,
    CacheLimits,
    Cursor,
    Keep,
    Keeping,
    Page,
    StoredDue,
    StoredMessage,
    StoredReply,
)
from push.model_health import Check, Sample
from push.model_receipts import Event
from push.services.cache import measures
from push.services.cache.commits import Commits
from push.services.cache.dues import Dues
from push.services.cache.holdings import Holdings
from push.services.cache.in_turn import InTurn
from push.services.cache.loading import Loading
from push.services.cache.places import Places
from push.services.cache.pulling import Pulling
from push.services.cache.replies import Replies
from push.services.cache.upkeep import SLICE_S, TICK_S, Upkeep
from push.services.ids import accepted_ms
from push.services.periodic import Periodic
from push.services.tasks import Tasks
from push.services.turns import Slices

# How long one transaction may take at the end: a disk that is only slow writes the largest in a second.
STOP_TIMEOUT_S = 10.0


@implementer(ICache, IMeasured)
class Cache(Service):
    """The cache of one server.

    Args:
        store: its disk.
        receipts: told what happens to messages.
        subscribe: knows the tags of tokens, and when they were registered.
        clock: for turns and intervals.
        now_ms: milliseconds since 1970, never running back: see SteadyClock.
        limits: how much it may keep.
        is_shared: whether routers of other processes keep messages here, too.
        give_up: called with a sentence where what is on disk cannot be read: to try again cannot help.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: ICacheStore,
        receipts: IReceipts,
        subscribe: ISubscribe,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        limits: CacheLimits,
        is_shared: bool = False,
        give_up: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.is_shared = is_shared
        self._give_up = give_up
        self._store = store
        self._clock = clock
        self._now_ms = now_ms
        self._limits = limits
        self._tasks = Tasks()
        self._commits = Commits(store=store, clock=clock, tasks=self._tasks, close=self._close, ended=self._ended)
        self._dues = Dues()
        self._replies = Replies(store, now_ms=now_ms, commit_end=self._commits.end)
        self._places = Places(store)
        held = self._held = Holdings(
            limits=limits, receipts=receipts, replies=self._replies, dues=self._dues, now_ms=now_ms
        )
        self._loading = Loading(store=store, held=held, dues=self._dues)
        self._pulling = Pulling(
            index=held.index,
            log=held.log,
            places=self._places,
            store=store,
            subscribe=subscribe,
            now_ms=now_ms,
            commit_end=self._commits.end,
            part=self._part,
            last_position=lambda: held.last_position,
        )
        self._upkeep = Upkeep(
            store=store,
            held=held,
            commits=self._commits,
            tasks=self._tasks,
            slices=Slices(clock, SLICE_S),
            now_ms=now_ms,
        )
        self._in_turn = InTurn(held, clock=clock, is_due=self._dues.__contains__)
        self._is_ready = False
        self._is_loading = False
        self._trouble = "not loaded yet"
        self._periodic = Periodic("keeping the cache in order", self._tick, interval_s=TICK_S, clock=clock)

    async def keep(self, batch: Sequence[Keep]) -> Keeping:
        """See ICache."""
        if not self._is_ready:
            self._check_ready()
        if self._in_turn.is_needed(batch):
            return await self._in_turn.keep(batch, self._keep, self._kept)
        return self._keep(batch)

    def committed(self, ticket: int) -> "Deferred[PushError | None]":
        """See ICache. No coroutine: that would cost as much as all the rest of a lone message (2026-11-23)."""
        outcome = self._held.tickets.outcome(ticket)
        return outcome if isinstance(outcome, Deferred) else succeed(outcome)

    async def pull(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See ICache."""
        self._check_ready()
        return await self._pulling.page(registration, cursor, max_messages, max_bytes)

    def has(self, token: str) -> bool:
        """See ICache."""
        return not self._is_ready or self._pulling.might_find(token)

    async def waiting(self, tokens: Sequence[str]) -> Sequence[str]:
        """See ICache."""
        self._check_ready()
        might_find = self._pulling.might_find
        return [token for token in tokens if might_find(token)]

    async def recall(self, tokens: Sequence[str], connectors: Sequence[str] = ()) -> None:
        """See ICache. Who keeps messages here can reach every connector that there is."""
        raise Unavailable("the connector is gone", retry_after_s=1.0)

    async def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        self._check_ready()  # what is not loaded yet would stay: whoever tells it, tells it again
        self._end(batch, Event.DELIVERED)
        if batch and batch[-1][1]:
            age_ms = self._now_ms() - accepted_ms(batch[-1][1][-1])
            self._commits.patience.acknowledged(sum([len(ids) for _, ids in batch]), age_ms / 1000)

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        self._check_ready()
        self._end(batch, Event.SENT)

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See ICache."""
        for token, position in positions:
            self._places.move(token, position)

    async def kept(self, message_id: int) -> StoredMessage | None:
        """See ICache."""
        self._check_ready()
        return self._held.kept(message_id)

    async def cancel(self, message_id: int) -> int:
        """See ICache. Raises Unavailable where that is not on disk yet: it will be, but a crash might undo it."""
        self._check_ready()
        removals = self._held.staging.removals
        count = await self._upkeep.in_slices(self._held.endings.cancel(message_id))
        await self._removed(removals)
        return count

    async def forget(self, token: str) -> None:
        """See ICache. Raises Unavailable as `cancel` does."""
        self._check_ready()
        removals = self._held.staging.removals
        self._held.endings.forget(token)
        self._places.forget(token)
        await self._removed(removals)

    # Requests

    async def replies(self, keys: Sequence[str]) -> Mapping[str, StoredReply]:
        """See ICache."""
        self._check_ready()
        return await self._replies.find(keys)

    def answer_of(self, key: str) -> StoredReply | None:
        """The answer of a request that is under way, or was made a moment ago."""
        return self._replies.at_once(key)

    def answered(self, reply: StoredReply) -> None:
        """See ICache."""
        self._replies.finish(reply)

    async def schedule(self, due: StoredDue) -> None:
        """See ICache. Raises Unavailable where there is no room or the disk does not take it."""
        self._check_ready()
        if self._dues.count >= self._limits.max_scheduled:  # whoever took it: routers elsewhere do not know how many
            raise RateLimited(f"the limit of {self._limits.max_scheduled} scheduled messages is reached")
        self._held.check_room_for(len(due.request.payload))
        once = due.request.options.once
        ticket = self._held.tickets.begin(1)
        if once is not None:
            result = PushResult(due.message_id, 0, 0, due_ms=due.due_ms)
            kept_until_ms = max(self._now_ms(), due.due_ms) + self._limits.idempotency_s * 1000
            self._replies.begin(StoredReply(once, result, kept_until_ms), ticket)
        self._dues.add(due, ticket)
        await self._written(ticket)

    def scheduled(self) -> Sequence[StoredDue]:
        """See ICache. Nothing until all is loaded."""
        return self._dues.all() if self._is_ready else ()

    async def unschedule(self, message_id: int) -> bool:
        """See ICache. Raises Unavailable where it is not on disk yet."""
        self._check_ready()
        if not self._dues.remove(message_id):
            return False
        await self._written(self._held.tickets.begin(1))
        return True

    def reserve(self, after: int, up_to: int) -> None:
        """Give out positions above the first, and none above the second."""
        self._held.begin_above(after)
        self._held.ceiling = up_to

    @property
    def last_position(self) -> int:
        """The newest position that was given out."""
        return self._held.last_position

    @property
    def is_ready(self) -> bool:
        """Whether all is loaded."""
        return self._is_ready

    def checks(self) -> Sequence[Check]:
        """For readiness."""
        return [Check("cache", self._is_ready, "" if self._is_ready else self._trouble)]

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        return measures.samples(self._held, self._commits, self._dues)

    def startService(self) -> None:
        """Load what is on disk, and begin to keep it in order."""
        super().startService()
        self._periodic.startService()
        self._load()

    def stopService(self) -> "Deferred[None]":
        """Write what there is to write. Fires when it is on disk, or cannot be written, or the disk does not answer."""
        super().stopService()
        self._periodic.stopService()
        return Deferred.fromCoroutine(self._stop())

    # Inside

    def _keep(self, batch: Sequence[Keep]) -> Keeping:
        held = self._held
        if self._dues.are_any:
            held.place_due(batch)
        after, newest = held.last_position, held.log.newest
        return self._kept(batch, held.keep(batch), after, newest)

    def _kept(self, batch: Sequence[Keep], keeping: Keeping, after: int, newest: int) -> Keeping:
        """These have been kept: the last positions before them, of all and in the log, were these."""
        self._commits.kept(keeping.ticket, len(batch), at_once=True in [keep.is_ahead for keep in batch])
        if self.is_shared or (batch and batch[0].audience is not None):
            return Keeping(keeping.ticket, keeping.refused, self._held.places(batch, after, newest))
        return keeping

    async def _stop(self) -> None:
        try:
            await self._commits.flush(STOP_TIMEOUT_S)
            await self._tasks.settled().addTimeout(STOP_TIMEOUT_S, self._clock)
        except TimeoutError:
            self._log.error(
                "the cache's store has not answered for {seconds:g} s, and is not waited for any longer: what has not "
                "been confirmed may be lost, and what was acknowledged last may come again",
                seconds=STOP_TIMEOUT_S,
            )

    def _check_ready(self) -> None:
        if not self._is_ready:
            raise Unavailable("the server is starting", retry_after_s=1.0)

    def _end(self, batch: Sequence[tuple[str, Sequence[int]]], event: Event) -> None:
        held = self._held
        held.endings.acknowledged(batch, event)
        if held.staging.is_waiting:
            self._commits.want()
        held.tickets.answer()

    def _part(self, registration: Registration) -> None:
        if self._held.endings.part(registration):
            self._commits.want()
            self._held.tickets.answer()

    async def _removed(self, before: int) -> None:
        """Wait until what was removed since then is removed on disk; what was never there need not be."""
        self._held.tickets.answer()
        if self._held.staging.removals != before:
            await self._written(self._held.tickets.begin(1))

    async def _written(self, ticket: int) -> None:
        self._commits.want(at_once=True)
        error = await self.committed(ticket)
        if error is not None:  # not that one: others are raised it too, and it would gather all their tracebacks
            raise type(error)(str(error), retry_after_s=error.retry_after_s)

    def _close(self, up_to: int, is_lazy: bool) -> CacheChanges | None:
        """The next transaction, None where there is nothing to write: see Commits."""
        staging, tickets = self._held.staging, self._held.tickets
        is_due = staging.is_waiting_for(up_to) or tickets.is_waiting_for(up_to)
        if not is_due and (is_lazy or not (staging.removes_any or self._has_asides)):
            return None
        changes, ticket = staging.close(up_to)
        changes.log_positions.update(self._places.take())
        changes.replies += self._replies.take(ticket)
        due, undue = self._dues.take(ticket)
        changes.due += due
        changes.undue += undue
        return changes

    @property
    def _has_asides(self) -> bool:
        """Whether there is anything to write that is no message."""
        return bool(self._places.waiting or self._replies.waiting or self._dues.waiting)

    def _ended(self, error: PushError | None) -> bool:
        """A transaction is on disk, or (error) is not. Returns whether another one is wanted at once."""
        is_on_disk = error is None
        self._places.ended(is_on_disk=is_on_disk)
        self._replies.ended(is_on_disk=is_on_disk)
        self._dues.ended(is_on_disk=is_on_disk)
        if error is None:
            self._held.committed()
        else:
            self._held.failed(error)
        self._held.tickets.answer()
        # Removals that failed are tried again with the next message or at the next tick: the disk is likely still full.
        return self._held.tickets.is_waiting or (is_on_disk and self._held.staging.is_waiting)

    def _tick(self) -> None:
        if self._is_ready:
            self._upkeep.tick()
        else:
            self._load()

    def _load(self) -> None:
        if not self._is_loading and not self._is_ready:
            self._tasks.spawn("loading the cache", self._loaded())

    async def _loaded(self) -> None:
        self._is_loading = True
        try:
            await self._loading.run()
        except (PushError, StartError) as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                self._log.critical("the cache cannot be loaded: {reason}", reason=self._trouble)
                if isinstance(error, StartError):
                    self._give_up(self._trouble)
        else:
            self._is_ready = True
            self._log.info("{count} cached messages are loaded", count=self._held.index.count)
        finally:
            self._is_loading = False
