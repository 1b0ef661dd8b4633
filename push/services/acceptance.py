"""What senders may ask for besides the way of a message: that a repetition does nothing, a delay, a later answer.

Stands before the router; requests that ask for nothing of this pass by. Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from push.errors import Conflict, PushError, RateLimited, Unavailable, Unregistered
from push.icache import ICache
from push.ipush import IRouter
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model import PLAIN, Once, Options, PushRequest, PushResult, ToTokens
from push.model_cache import StoredDue, StoredReply
from push.model_receipts import Event, Receipt
from push.services.ids import MessageIds

Result = PushResult | PushError
_REUSED = "this key was used for another request: use a new one, or send the same again"


@dataclass(slots=True, eq=False)
class _Claim:
    """A keyed request that is under way, and who else waits for its result."""

    once: Once
    waiting: list[Deferred[Result]] = field(default_factory=list)


@implementer(IRouter)
class Acceptance:
    """Takes requests from applications.

    Args:
        router: sends them.
        cache: remembers answers, and what is to be sent later.
        subscribe: knows which tokens are registered.
        receipts: knows what has been delivered.
        ids: gives out message ids.
        now_ms: milliseconds since 1970, never running back.
        idempotency_s: how long answers are remembered, in seconds.
        max_scheduled: most messages that wait for their time.
    """

    def __init__(
        self,
        router: IRouter,
        *,
        cache: ICache,
        subscribe: ISubscribe,
        receipts: IReceipts,
        ids: MessageIds,
        now_ms: Callable[[], int],
        idempotency_s: int,
        max_scheduled: int,
    ) -> None:
        self._router = router
        self._cache = cache
        self._subscribe = subscribe
        self._receipts = receipts
        self._ids = ids
        self._now_ms = now_ms
        self._idempotency_ms = idempotency_s * 1000
        self._max_scheduled = max_scheduled
        self._scheduling = 0
        self._claims: dict[str, _Claim] = {}
        self._waits: set[Deferred[Receipt]] = set()
        self._is_over = False

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[Result]:
        """See IRouter."""
        for request in requests:
            if request.options is not PLAIN and _asks_for_more(request.options):
                return await self._push(requests)
        return await self._router.push(requests)

    def end_waits(self) -> None:
        """Nobody waits for a delivery any more, as the server stops: who does is answered with what is known."""
        self._is_over = True
        for wait in tuple(self._waits):
            wait.cancel()

    async def _push(self, requests: Sequence[PushRequest]) -> Sequence[Result]:
        results: list[Result | None] = [None] * len(requests)
        claims, waiting = self._claim(requests, results)
        try:
            await self._recall(claims, results)
            await self._send(
                requests, results, [at for at in range(len(requests)) if results[at] is None and at not in waiting]
            )
        except PushError as error:
            self._settle(requests, claims, [error] * len(requests))
            raise
        except BaseException:
            self._settle(requests, claims, [Unavailable("the request failed")] * len(requests))
            raise
        self._settle(requests, claims, results)
        for at, other in waiting.items():
            results[at] = await other
        return [await self._wait(request, result) for request, result in zip(requests, results, strict=True)]

    def _claim(
        self, requests: Sequence[PushRequest], results: list[Result | None]
    ) -> tuple[dict[int, _Claim], dict[int, "Deferred[Result]"]]:
        """Say which keyed requests are made here, before anything is awaited: others with the same key wait."""
        claims: dict[int, _Claim] = {}
        waiting: dict[int, Deferred[Result]] = {}
        for at, request in enumerate(requests):
            once = request.options.once
            if once is None or request.validate_only:
                continue
            claim = self._claims.get(once.key)
            if claim is None:
                claims[at] = self._claims[once.key] = _Claim(once)
            elif claim.once.fingerprint != once.fingerprint:
                results[at] = Conflict(_REUSED)
            else:
                waiting[at] = Deferred()
                claim.waiting.append(waiting[at])
        return claims, waiting

    async def _recall(self, claims: dict[int, _Claim], results: list[Result | None]) -> None:
        """Find the answers of those that were made before."""
        if not claims:
            return
        found = await self._cache.replies([claim.once.key for claim in claims.values()])
        for at, claim in claims.items():
            reply = found.get(claim.once.key)
            if reply is None:
                continue
            same = reply.once.fingerprint == claim.once.fingerprint
            results[at] = reply.result if same else Conflict(_REUSED)

    async def _send(self, requests: Sequence[PushRequest], results: list[Result | None], todo: Sequence[int]) -> None:
        """Send what is to be sent now, then keep what is to be sent later; remember the answers of those with keys."""
        now_ms = self._now_ms()
        later = [at for at in todo if _is_later(requests[at], now_ms)]
        now = [at for at in todo if at not in later] if later else todo
        if now:
            for at, result in zip(now, await self._router.push([requests[at] for at in now]), strict=True):
                results[at] = result
                self._remember(requests[at], result)
        for at in later:
            try:
                results[at] = result = await self._schedule(requests[at])
            except PushError as error:
                results[at] = error
            else:
                self._remember(requests[at], result)

    def _remember(self, request: PushRequest, result: Result) -> None:
        once = request.options.once
        if once is not None and isinstance(result, PushResult) and not request.validate_only:
            self._cache.answered(StoredReply(once, result, self._now_ms() + self._idempotency_ms))

    def _settle(
        self, requests: Sequence[PushRequest], claims: dict[int, _Claim], results: Sequence[Result | None]
    ) -> None:
        for at, claim in claims.items():
            del self._claims[claim.once.key]
            result = results[at] or Unavailable("the request failed")
            for other in claim.waiting:
                other.callback(result)

    async def _schedule(self, request: PushRequest) -> PushResult:
        if not self._ids.is_ready:
            raise Unavailable("the server is starting", retry_after_s=1.0)
        unknown: tuple[str, ...] = ()
        target = request.target
        if isinstance(target, ToTokens):
            located = await self._subscribe.locate(target.tokens, {})
            unknown = tuple(token for token in target.tokens if token in located.unknown)
            if unknown and target.single:
                raise Unregistered("this token is not registered: delete it from your records")
        if len(self._cache.scheduled()) + self._scheduling >= self._max_scheduled:
            raise RateLimited(f"this server's limit of {self._max_scheduled} scheduled messages is reached")
        options = request.options
        due_ms = options.deliver_at_ms or 0
        if request.validate_only:
            return PushResult(0, 0, 0, 0, unknown, due_ms=due_ms)
        message_id = self._ids.next()
        # The key goes with it: the cache remembers that the request was made in the same transaction.
        later = msgspec.structs.replace(request, options=msgspec.structs.replace(options, wait_s=0.0))
        self._scheduling += 1
        try:
            await self._cache.schedule(StoredDue(message_id, due_ms, later))
        finally:
            self._scheduling -= 1
        self._receipts.accepted(message_id, targets=0, tokens=None, expires_ms=None, due_ms=due_ms, is_logged=False)
        return PushResult(message_id, 0, 0, 0, unknown, due_ms=due_ms)

    async def _wait(self, request: PushRequest, result: Result | None) -> Result:
        if result is None:
            raise RuntimeError("a request was never sent")
        wait_s = request.options.wait_s
        if not wait_s or not isinstance(result, PushResult) or not result.message_id or result.due_ms is not None:
            return result
        receipt = await self._delivered(result.message_id, wait_s)
        return msgspec.structs.replace(result, delivered=receipt.counts.get(Event.DELIVERED, 0))

    async def _delivered(self, message_id: int, wait_s: float) -> Receipt:
        if not self._is_over:
            wait: Deferred[Receipt] = Deferred.fromCoroutine(_awaited(self._receipts.delivered(message_id, wait_s)))
            self._waits.add(wait)
            try:
                return await wait
            except CancelledError:
                pass  # by end_waits
            finally:
                self._waits.discard(wait)
        return await self._receipts.delivered(message_id, 0.0)


async def _awaited(receipt: Awaitable[Receipt]) -> Receipt:
    return await receipt


def _asks_for_more(options: Options) -> bool:
    return options.once is not None or options.deliver_at_ms is not None or options.wait_s > 0


def _is_later(request: PushRequest, now_ms: int) -> bool:
    due_ms = request.options.deliver_at_ms
    return due_ms is not None and due_ms > now_ms
