"""What came over the broadcast bus and waits for its turn; and the turns that wait for what is still to come.

A broadcast reaches a connector twice: its payload over the bus, published once for all, and its turn over the link of
the router that sent it, between what was sent before and after it. Whichever comes first waits here. Where the turn
does not come, because the link is broken, the payload is brought without one. Must not import adapters, stores or web.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from push.errors import Unheard

T = TypeVar("T")

# What a turn waits for its payload, which is on its way between two neighbours, before whoever sent it is asked. All
# that comes behind it waits as well.
PAYLOAD_LIMIT_S = 0.3
# A broken link is known as such after 7 s: who then still waits for its turn has none.
TURN_LIMIT_S = 8.0
# What is remembered of broadcasts that have been brought: more than come in that time.
_MAX_BROUGHT = 20_000
_MAX_WAITING = 10_000


@dataclass(slots=True)
class _Waiting:
    payload: bytes
    until_s: float


class Heard:
    """What came over the bus to one connector.

    Args:
        clock: for the limits.
        max_bytes: that may wait for their turn; with more, the oldest are brought without one.
        bring: brings a broadcast without a turn, and forgets about it.

    Attributes:
        unturned: how many were brought without a turn.
        unheard: how many turns waited in vain.
    """

    def __init__(self, *, clock: IReactorTime, max_bytes: int, bring: Callable[[int, bytes], None]) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._bring = bring
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._waiting_bytes = 0
        self._turns: dict[int, Deferred[bytes]] = {}
        self._brought: OrderedDict[int, None] = OrderedDict()
        # Called when a turn begins to wait: what it waits for may have been missed.
        self.missing: Callable[[], None] = _nothing
        self.unturned = 0
        self.unheard = 0

    def __len__(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def put(self, message_id: int, payload: bytes) -> None:
        """Something came over the bus, perhaps again."""
        turn = self._turns.pop(message_id, None)
        if turn is not None:
            turn.callback(payload)
        elif message_id not in self._brought and message_id not in self._waiting:
            self._waiting[message_id] = _Waiting(payload, self._clock.seconds() + TURN_LIMIT_S)
            self._waiting_bytes += len(payload)
            while self._waiting_bytes > self._max_bytes or len(self._waiting) > _MAX_WAITING:
                self._bring_oldest()

    def is_brought(self, message_id: int) -> bool:
        """Whether it has been brought, so that its turn comes too late."""
        return message_id in self._brought

    def brought(self, message_id: int) -> None:
        """It is brought, with what came over the bus or not: not again."""
        self._take(message_id)
        self._brought[message_id] = None
        if len(self._brought) > _MAX_BROUGHT:
            self._brought.popitem(last=False)

    def payload(self, message_id: int) -> "Deferred[bytes]":
        """The payload of what has its turn now.

        Returns:
            Fires when it is there. Fails with Unheard where it does not come in time.
        """
        payload = self._take(message_id)
        heard: Deferred[bytes] = Deferred()
        if payload is not None:
            heard.callback(payload)
            return heard
        self._turns[message_id] = heard
        heard.addTimeout(PAYLOAD_LIMIT_S, self._clock)
        heard.addErrback(self._in_vain, message_id)
        look = self._clock.callLater(PAYLOAD_LIMIT_S / 3, lambda: self.missing())
        return heard.addBoth(_without, look)

    def sweep(self) -> None:
        """Bring what has waited for its turn for too long. To be called every second."""
        now_s = self._clock.seconds()
        while self._waiting and next(iter(self._waiting.values())).until_s <= now_s:
            self._bring_oldest()

    def _in_vain(self, failure: Failure, message_id: int) -> Failure:
        failure.trap(TimeoutError)
        self._turns.pop(message_id, None)
        self.unheard += 1
        return Failure(Unheard("it did not come over the broadcast bus", retry_after_s=0.0))

    def _bring_oldest(self) -> None:
        message_id, waiting = next(iter(self._waiting.items()))
        self.unturned += 1
        self.brought(message_id)
        self._bring(message_id, waiting.payload)

    def _take(self, message_id: int) -> bytes | None:
        waiting = self._waiting.pop(message_id, None)
        if waiting is None:
            return None
        self._waiting_bytes -= len(waiting.payload)
        return waiting.payload


def _without(result: T, look: IDelayedCall) -> T:
    """It is decided: there is no need to look any more."""
    if look.active():
        look.cancel()
    return result


def _nothing() -> None:
    """Nobody wants to know."""
