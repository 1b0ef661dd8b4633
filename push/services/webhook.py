"""Tells a configured URL what happens to messages: batches of events, signed, one at a time, again until taken.

Events wait in memory: what waits when the server is killed is not told, receipts still know it. Must not
import adapters, stores or web.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.ihealth import IMeasured
from push.ireceipts import IReceiptObserver
from push.model_health import Sample
from push.model_receipts import Event
from push.protocols.wire.backoff import Backoff
from push.services.tasks import Tasks
from push.services.webhook_post import Answer, Poster
from push.services.webhook_signature import signature

# Events are collected for so long before a request, so that a batch is not one event.
LINGER_S = 0.1
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 60.0
# A batch that was not taken for so long is not tried again: a receiver that refuses it must not hold up all others.
GIVE_UP_S = 3_600.0
# How long stopping waits for what can still be told.
FLUSH_S = 2.0
GONE = 410
_NAMES = {event: event.name.lower() for event in Event}


class HookEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, as receivers see it. `token` is null where `count` says for how many it happened."""

    event: str
    id: str
    token: str | None
    time: int
    count: int = 1


class HookBatch(msgspec.Struct, frozen=True, gc=False):
    """The body of a request."""

    batch: str
    events: Sequence[HookEvent]


@implementer(IReceiptObserver, IMeasured)
class Webhook(Service):
    """The webhook of one server.

    Args:
        poster: brings requests to the receiver.
        host: what the log calls the receiver: nothing secret.
        secrets: sign what is sent.
        events: what it is told of.
        max_batch: most events in a request.
        max_waiting: most events that wait; the oldest are dropped first.
        version: of the software, for the header User-Agent.
        clock: for pauses.
        now_ms: milliseconds since 1970.
        fraction: random numbers in [0, 1), for pauses.
        run_id: makes the ids of batches different from those of any other run.

    Attributes:
        events: see IReceiptObserver.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        poster: Poster,
        host: str,
        secrets: Sequence[bytes],
        events: Iterable[Event],
        max_batch: int,
        max_waiting: int,
        version: str,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        fraction: Callable[[], float],
        run_id: str,
    ) -> None:
        self.events = frozenset(events)
        self._poster = poster
        self._host = host
        self._secrets = tuple(secrets)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._headers = {"Content-Type": "application/json", "User-Agent": f"push/{version}"}
        self._clock = clock
        self._now_ms = now_ms
        self._fraction = fraction
        self._run_id = run_id
        self._waiting: deque[HookEvent] = deque()
        self._tasks = Tasks()
        self._backoff = Backoff(first_s=FIRST_RETRY_S, limit_s=MAX_RETRY_S)
        self._batches = 0
        self._pausing: tuple[Deferred[None], IDelayedCall] | None = None
        self._is_busy = False
        self._is_gone = False
        self._is_failing = False
        self._stop_by_s: float | None = None
        self._stopping: Deferred[None] | None = None
        self._outcomes = {"taken": 0, "dropped": 0, "given_up": 0}
        self._requests = {"taken": 0, "refused": 0, "unanswered": 0}

    # IReceiptObserver

    def happened(self, event: Event, message_id: int, tokens: Sequence[str], at_ms: int) -> None:
        """See IReceiptObserver."""
        name, text = _NAMES[event], str(message_id)
        for token in tokens:
            self._waiting.append(HookEvent(name, text, token, at_ms))
        self._wake()

    def counted(self, event: Event, message_id: int, count: int, at_ms: int) -> None:
        """See IReceiptObserver."""
        self._waiting.append(HookEvent(_NAMES[event], str(message_id), None, at_ms, count))
        self._wake()

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_webhook_waiting", "gauge", "Events that wait for the webhook.", len(self._waiting))
        for outcome, times in self._outcomes.items():
            labels = (("outcome", outcome),)
            yield Sample("push_webhook_events_total", "counter", "Events by what became of them.", times, labels)
        for outcome, times in self._requests.items():
            labels = (("outcome", outcome),)
            yield Sample("push_webhook_requests_total", "counter", "Requests of the webhook.", times, labels)

    # As a service

    def startService(self) -> None:
        """Begin to send, also what was heard before."""
        super().startService()
        self._wake()

    def stopService(self) -> "Deferred[None]":
        """Send what can be sent in a moment, without trying again. May be called twice; fires when all is closed."""
        if self._stopping is None:
            super().stopService()
            self._stopping = Deferred.fromCoroutine(self._stop())
        waiter: Deferred[None] = Deferred()
        self._stopping.addCallback(lambda _: waiter.callback(None))
        return waiter

    async def _stop(self) -> None:
        self._stop_by_s = self._clock.seconds() + FLUSH_S
        self._end_pause()
        self._wake()
        deadline = self._clock.callLater(FLUSH_S, self._poster.abort)
        await self._tasks.settled()
        if deadline.active():
            deadline.cancel()
        self._stop_by_s = self._clock.seconds()
        self._max_waiting = 0  # what is heard from now on
        left = len(self._waiting)
        if left:
            self._drop(left)
            self._log.warn("{count} events were not told to the webhook at {host}", count=left, host=self._host)
        await self._poster.close()

    # Sending

    def _wake(self) -> None:
        waiting = self._waiting
        if len(waiting) > self._max_waiting:
            self._drop(len(waiting) - self._max_waiting)
        if waiting and not self._is_busy and not self._is_over and (self.running or self._stop_by_s is not None):
            self._is_busy = True
            self._tasks.spawn("telling the webhook", self._send())

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._outcomes["dropped"] += count

    async def _send(self) -> None:
        try:
            while self._waiting and not self._is_over:
                if self._stop_by_s is None and len(self._waiting) < self._max_batch:
                    await self._pause(LINGER_S)
                size = min(len(self._waiting), self._max_batch)
                await self._send_batch([self._waiting.popleft() for _ in range(size)])
        finally:
            self._is_busy = False

    @property
    def _is_over(self) -> bool:
        return self._is_gone or (self._stop_by_s is not None and self._clock.seconds() >= self._stop_by_s)

    async def _send_batch(self, events: list[HookEvent]) -> None:
        self._batches += 1
        body = msgspec.json.encode(HookBatch(f"{self._run_id}-{self._batches}", events))
        give_up_s = self._clock.seconds() + GIVE_UP_S
        outcome = "given_up"
        while True:
            is_last = self._stop_by_s is not None
            answer = await self._attempt(body)
            if answer.is_taken:
                outcome = "taken"
                break
            if is_last:
                self._stop_by_s = self._clock.seconds()
            if self._is_over or self._clock.seconds() >= give_up_s:
                break
            await self._pause(self._backoff.failed(self._fraction(), answer.retry_after_s))
        self._outcomes[outcome] += len(events)

    async def _attempt(self, body: bytes) -> Answer:
        now_ms = self._now_ms()
        signed = {**self._headers, "Push-Signature": signature(self._secrets, now_ms // 1000, body)}
        answer = await self._poster.post(body, signed, now_ms / 1000)
        self._requests["taken" if answer.is_taken else "refused" if answer.status else "unanswered"] += 1
        if answer.is_taken:
            self._backoff.succeeded()
            if self._is_failing:
                self._is_failing = False
                self._log.info("the webhook at {host} takes events again", host=self._host)
        elif answer.status == GONE:
            self._is_gone = True
            self._max_waiting = 0
            self._drop(len(self._waiting))
            self._log.error("the webhook at {host} is gone (410): it is told nothing more", host=self._host)
        elif not self._is_failing:
            self._is_failing = True
            why = answer.trouble or f"it answered {answer.status}"
            self._log.warn("the webhook at {host} does not take events: {why}", host=self._host, why=why)
        return answer

    async def _pause(self, seconds: float) -> None:
        if self._stop_by_s is not None:
            return
        done: Deferred[None] = Deferred()
        self._pausing = (done, self._clock.callLater(seconds, self._end_pause))
        await done

    def _end_pause(self) -> None:
        if self._pausing is not None:
            (done, call), self._pausing = self._pausing, None
            if call.active():
                call.cancel()
            done.callback(None)
