"""Sends messages when they are due, also those of an earlier run. Must not import adapters, stores or web."""

from collections.abc import Callable
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError, Unavailable
from push.icache import ICache
from push.ireceipts import IReceipts
from push.model import PushRequest, PushResult
from push.model_cache import StoredDue
from push.services.periodic import Periodic
from push.services.tasks import Tasks

# How late a message may be sent, in seconds.
LOOK_S = 0.25
# How many are sent in a row before others are served, so that many that are due at once do not hold anybody up.
_AT_ONCE = 100
# After so many that cannot be sent now, it is the disk, or all connectors that are away.
_FAILURES = 10


class SendsDue(Protocol):
    """What is needed of the router."""

    async def send_due(self, message_id: int, due_ms: int, request: PushRequest) -> PushResult | PushError:
        """Send a message that was accepted earlier."""


class Schedule(Service):
    """Looks for what is due, a few times a second.

    Args:
        cache: keeps what is to be sent.
        router: sends it.
        receipts: told once more when it was to be sent: they may have forgotten by now.
        now_ms: milliseconds since 1970, never running back.
        clock: for the interval.
        tasks: runs the sending.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        cache: ICache,
        router: SendsDue,
        receipts: IReceipts,
        now_ms: Callable[[], int],
        clock: IReactorTime,
        tasks: Tasks,
    ) -> None:
        self._cache = cache
        self._router = router
        self._receipts = receipts
        self._now_ms = now_ms
        self._tasks = tasks
        self._is_busy = False
        self._periodic = Periodic("looking for messages that are due", self._look, interval_s=LOOK_S, clock=clock)

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._periodic.startService()

    def stopService(self) -> "Deferred[None]":
        """Stop; fires when nothing is being sent any more. What is due then is sent by the next run."""
        super().stopService()
        self._periodic.stopService()
        return self._tasks.settled()

    def _look(self) -> None:
        if self._is_busy:
            return
        scheduled = self._cache.scheduled()
        if scheduled and scheduled[0].due_ms <= self._now_ms():
            self._is_busy = True
            self._tasks.spawn("sending what is due", self._send_due())

    async def _send_due(self) -> None:
        failed: set[int] = set()
        try:
            for _ in range(_AT_ONCE):
                # Asked for one at a time: others may be taken back while one is being sent.
                due = next((each for each in self._cache.scheduled() if each.message_id not in failed), None)
                if not self.running or due is None or due.due_ms > self._now_ms():
                    return
                if not await self._send(due):
                    failed.add(due.message_id)  # it is tried again at the next look, and holds up no other
                    if len(failed) == _FAILURES:
                        return
        finally:
            self._is_busy = False

    async def _send(self, due: StoredDue) -> bool:
        """Send one; False where it must be tried again later."""
        self._receipts.accepted(
            due.message_id, targets=0, tokens=None, expires_ms=None, due_ms=due.due_ms, is_logged=False
        )
        try:
            result = await self._router.send_due(due.message_id, due.due_ms, due.request)
        except PushError as error:
            result = error
        if isinstance(result, Unavailable):
            return False
        if isinstance(result, PushError):
            self._log.info("message {id} was due but reaches nobody: {reason}", id=due.message_id, reason=str(result))
        try:
            await self._cache.unschedule(due.message_id)
        except PushError:
            return False  # it will be sent again, with the same id: better than not at all
        return True
