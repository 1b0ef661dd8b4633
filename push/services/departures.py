"""Sees to it that the sessions of connectors that have died are forgotten. Must not import adapters, stores or web."""

from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.services.cluster_subscribe import ClusterSubscribe
from push.services.members import Members
from push.services.tasks import Tasks
from push.services.turns import Slices

RETRY_S = 1.0


class Departures:
    """Of one node with the tokens; several that do the same do it once.

    Args:
        subscribe: has the sessions.
        members: knows who is there.
        clock: for the pauses between attempts.
    """

    def __init__(self, *, subscribe: ClusterSubscribe, members: Members, clock: IReactorTime) -> None:
        self._subscribe = subscribe
        self._members = members
        self._slices = Slices(clock)
        self._tasks = Tasks()

    def gone(self, name: str) -> None:
        """This node is not there any more: forget its sessions, unless it comes back before that is done."""
        self._tasks.spawn("forgetting the sessions of a dead node", self._forget(name))

    async def _forget(self, name: str) -> None:
        members = self._members
        while members.running and name not in members.all():
            try:
                await self._subscribe.departed(name, lambda: members.is_dead(name))
                return
            except PushError:
                await self._slices.pause(RETRY_S)
