"""Sending the sessions of a connector elsewhere, some every moment, so that nobody is run over by them.

Each client is told where to go (302, unasked), and when; until it goes, it gets what comes. One that does not go is
closed. Where there is no elsewhere all stay. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Container, Iterator, Sequence

from push.ipush import IConnection
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.messages import RETRY_BACKOFF, Disconnect
from push.protocols.wire.signals import CloseCode
from push.services.tasks import Tasks
from push.services.turns import Slices

# Over how long those told in one moment are to spread their going.
SPREAD_S = 1.0
# How long one who was told may stay after its time has come, before it is closed.
GRACE_S = 10.0
_PAUSE_S = 0.1
# What could not be told at once, because the process was busy, is not made up for beyond this.
_MAX_BUDGET_S = 1.0
# After so many the clock is asked whether others should be served.
_STRIDE = 64

_DRAINED = "this connector is being emptied"


class Moving:
    """The draining of one connector.

    Args:
        with_session: gives a snapshot of the connections that have a session.
        elsewhere: where a client of a wire protocol may go now.
        slices: has the time, and waits.
        tasks: runs it.
        fraction: random numbers in [0, 1).
        now_s: seconds on the same clock.

    Attributes:
        is_draining: whether no new sessions are taken, as far as there is an elsewhere.
        moved: how many sessions have been told to go.
    """

    def __init__(
        self,
        *,
        with_session: Callable[[], Sequence[IConnection]],
        elsewhere: Callable[[str | None], Sequence[NodeAddress]],
        slices: Slices,
        tasks: Tasks,
        fraction: Callable[[], float],
        now_s: Callable[[], float],
    ) -> None:
        self._with_session = with_session
        self._elsewhere = elsewhere
        self._slices = slices
        self._tasks = tasks
        self._fraction = fraction
        self._now_s = now_s
        self._is_running = False
        self._sessions_per_s = 0.0
        # Who has been told, and when it is closed if it is still there.
        self._told: dict[IConnection, float] = {}
        # Of a snapshot, who comes next.
        self._untold: Iterator[IConnection] = iter(())
        self.is_draining = False
        self.moved = 0

    def begin(self, sessions_per_s: float) -> None:
        """Begin, or go on at another rate."""
        self._sessions_per_s = sessions_per_s
        self.is_draining = True
        if not self._is_running:
            self._is_running = True
            self._tasks.spawn("moving sessions elsewhere", self._move())

    def end(self) -> None:
        """Tell nobody else. Those who were told may stay, if they did not go yet."""
        self.is_draining = False
        self._told.clear()

    async def _move(self) -> None:
        budget = 0.0
        last_s = self._now_s()
        try:
            while self.is_draining:
                now_s = self._now_s()
                budget += (now_s - last_s) * self._sessions_per_s
                budget = min(budget, max(1.0, self._sessions_per_s * _MAX_BUDGET_S))
                last_s = now_s
                budget = await self._tell_some(budget)
                await self._close_overdue(now_s)
                await self._slices.pause(_PAUSE_S)
        finally:
            self._is_running = False

    async def _tell_some(self, budget: float) -> float:
        """Tell so many, as far as there are; what is left of the budget."""
        stuck: set[str] = set()
        end_s = self._slices.start()
        steps = 0
        while budget >= 1.0 and self.is_draining:
            steps += 1
            if not steps % _STRIDE and self._slices.is_over(end_s):
                await self._slices.turn()
                end_s = self._slices.start()
            connection = next(self._untold, None)
            if connection is None:
                left = self._left(stuck)
                if not left:
                    break
                self._untold = iter(left)
                continue
            if connection.registration is None or connection in self._told or connection.speaks in stuck:
                continue
            if self._tell(connection):
                budget -= 1.0
            else:
                stuck.add(connection.speaks)
        return budget

    def _left(self, stuck: Container[str]) -> list[IConnection]:
        """Who is still to be told, but for those whose wire protocol is spoken nowhere else now."""
        return [each for each in self._with_session() if each not in self._told and each.speaks not in stuck]

    def _tell(self, connection: IConnection) -> bool:
        nodes = self._elsewhere(connection.speaks)
        if not nodes:
            return False
        retry_after_s = round(self._fraction() * SPREAD_S, 3)
        self._told[connection] = self._now_s() + retry_after_s + GRACE_S
        self.moved += 1
        connection.redirected(nodes, retry_after_s)
        return True

    async def _close_overdue(self, now_s: float) -> None:
        # In the order of being told: what the spread makes of it is looked at a little later.
        end_s = self._slices.start()
        steps = 0
        while self._told:
            steps += 1
            if not steps % _STRIDE and self._slices.is_over(end_s):
                await self._slices.turn()
                end_s = self._slices.start()
                continue  # all that was told may be forgotten meanwhile
            connection, deadline_s = next(iter(self._told.items()))
            if deadline_s > now_s:
                return
            del self._told[connection]
            retry_after_s = round(self._fraction() * SPREAD_S, 3)
            connection.disconnect(Disconnect(CloseCode.DRAIN, _DRAINED, RETRY_BACKOFF, retry_after_s))
