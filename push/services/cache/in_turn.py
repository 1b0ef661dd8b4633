"""Keeping messages with many tokens, with turns of the reactor in between; what comes meanwhile is kept behind them.

100,000 tokens take 50 to 200 ms, which is too long for who else is there. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from push.model_cache import Keep, Keeping
from push.services.cache.holdings import Holdings
from push.services.cache.placing import PART
from push.services.turns import Slices

# Beside what else there is in a turn: with the part that goes over it, 4 ms.
SLICE_S = 0.002


class InTurn:
    """Keeps in the order of calls.

    Args:
        held: where.
        clock: for turns.
        is_due: whether a message is one that was scheduled: those are kept at once.
    """

    def __init__(self, held: Holdings, *, clock: IReactorTime, is_due: Callable[[int], bool]) -> None:
        self._held = held
        self._clock = clock
        self._slices = Slices(clock, SLICE_S)
        self._is_due = is_due
        self._lock = DeferredLock()
        # Whoever has the lock is done with it; and it is being handed on to one after the other.
        self._is_done = False
        self._is_handing_on = False

    def is_needed(self, batch: Sequence[Keep]) -> bool:
        """Whether these cannot be kept at once."""
        return self._lock.locked or self._is_long(batch)

    async def keep(
        self,
        batch: Sequence[Keep],
        at_once: Callable[[Sequence[Keep]], Keeping],
        kept: Callable[[Sequence[Keep], Keeping, int, int], Keeping],
    ) -> Keeping:
        """Keep these behind all that came before.

        Args:
            batch: what.
            at_once: keeps what is short.
            kept: called when others have been kept, with the last positions before them, of all and in the log; makes
                the answer.
        """
        await self._lock.acquire()
        try:
            if not self._is_long(batch):
                return at_once(batch)
            after, newest = self._held.last_position, self._held.log.newest
            return kept(batch, await self._in_steps(batch), after, newest)
        finally:
            # Who has waited for this goes on before others are kept: deliveries follow in the same order.
            self._is_done = True
            if not self._is_handing_on:
                self._clock.callLater(0, self._hand_on)

    def _hand_on(self) -> None:
        """Let the next one in, and those behind it that are kept at once: at one a turn, under load they pile up."""
        end_s = self._slices.start()
        self._is_handing_on = True
        while self._is_done:
            self._is_done = False
            self._lock.release()
            if self._is_done and self._slices.is_over(end_s):
                self._clock.callLater(0, self._hand_on)
                break
        self._is_handing_on = False

    def _is_long(self, batch: Sequence[Keep]) -> bool:
        if not batch or len(batch) > PART or len(batch[0].tokens) < 2:  # as nearly always
            return False
        counts = [len(keep.tokens) for keep in batch]
        return sum(counts) > PART and min(counts) > 1 and not any(self._is_due(keep.message_id) for keep in batch)

    async def _in_steps(self, batch: Sequence[Keep]) -> Keeping:
        steps = self._held.keep_in_steps(batch)
        end_s = self._slices.start()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                keeping: Keeping = done.value
                return keeping
            if self._slices.is_over(end_s):
                await self._slices.turn()
                end_s = self._slices.start()
