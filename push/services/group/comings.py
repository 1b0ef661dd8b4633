"""Tells members who has joined and who has left.

The first is told at once, and what follows together, the larger the group the later: thousands who join one after the
other are not thousands of notices to thousands. Nothing of it is kept, as who is in a group can be asked. Must not
import adapters, stores or web.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.model_chat import group_id
from push.services.group.rooms import Rooms
from push.services.group.telling import Coming, Telling
from push.services.tasks import Tasks

# A group of ten times as many members is told a tenth as often: so many copies of notices at most go out for each group
# in the least time between two.
MEMBERS_AT_ONCE = 500
# Between two looks, however short the pauses may be.
LEAST_S = 0.1
# Who is named in one notice; of more it says only that there are more.
MAX_NAMED = 100
# Groups that are waited for; what changes in others meanwhile is not told.
MAX_GROUPS = 100_000


@dataclass(slots=True, eq=False)
class _Pending:
    """What one group's members are still to be told.

    Attributes:
        due_s: not before.
        comings: party → how it came or went.
        has_more: others did, too.
    """

    due_s: float
    comings: dict[str, Coming] = field(default_factory=dict)
    has_more: bool = False


class Comings:
    """Of all groups, as far as this process changes them.

    Args:
        rooms: who is in them.
        telling: tells members.
        clock: for the pauses.
        tasks: runs the telling.
        every_s: the least time between two notices about one group, in seconds; 0: there are none.
    """

    def __init__(self, *, rooms: Rooms, telling: Telling, clock: IReactorTime, tasks: Tasks, every_s: float) -> None:
        self._rooms = rooms
        self._telling = telling
        self._clock = clock
        self._tasks = tasks
        self._every_s = every_s
        # The groups whose members have something coming, or were told something a moment ago.
        self._groups: dict[str, _Pending] = {}
        self._is_waiting = False

    def __len__(self) -> int:
        """How many groups are waited for."""
        return len(self._groups)

    def came(self, name: str, whos: Iterable[str], by: str | None) -> None:
        """These have become members; by whom, None for an application."""
        self._note(name, [Coming(who, True, by) for who in whos])

    def went(self, name: str, whos: Iterable[str], by: str | None) -> None:
        """These are members no more."""
        self._note(name, [Coming(who, False, by) for who in whos])

    def _note(self, name: str, comings: Iterable[Coming]) -> None:
        conversation_id = group_id(name)
        pending = self._groups.get(conversation_id)
        if not self._every_s or (pending is None and len(self._groups) >= MAX_GROUPS):
            return
        is_first = pending is None
        if pending is None:
            pending = self._groups[conversation_id] = _Pending(self._clock.seconds())
        for coming in comings:
            before = pending.comings.pop(coming.who, None)
            if before is not None and before.is_here is not coming.is_here:
                continue  # nobody knows of the one: the other need not be known either
            if len(pending.comings) < MAX_NAMED:
                pending.comings[coming.who] = coming
            else:
                pending.has_more = True
        if is_first:
            self._tell(conversation_id, pending)
            self._wait()

    def _wait(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._clock.callLater(max(self._every_s, LEAST_S), self._look)

    def _look(self) -> None:
        """Tell what is due; who has nothing coming for as long is not waited for."""
        self._is_waiting = False
        now_s = self._clock.seconds()
        for conversation_id, pending in [each for each in self._groups.items() if each[1].due_s <= now_s]:
            if pending.comings or pending.has_more:
                self._tell(conversation_id, pending)
            else:
                del self._groups[conversation_id]
        if self._groups:
            self._wait()

    def _tell(self, conversation_id: str, pending: _Pending) -> None:
        comings, has_more = list(pending.comings.values()), pending.has_more
        pending.comings, pending.has_more = {}, False
        pending.due_s = self._clock.seconds() + self._every_s
        if comings or has_more:
            self._tasks.spawn("telling who came", self._told(conversation_id, pending, comings, has_more))

    async def _told(self, conversation_id: str, pending: _Pending, comings: list[Coming], has_more: bool) -> None:
        try:
            room = await self._rooms.fresh(conversation_id)
        except PushError:
            return  # who wants to know looks again
        if room is not None:
            self._telling.came(room, comings, has_more)
            pending.due_s += self._every_s * max(0.0, room.head.members / MEMBERS_AT_ONCE - 1.0)
