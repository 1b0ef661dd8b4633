"""The conversations that are in use, with their members, in memory: as they were at some version.

Whoever acts on one says by which version; the store refuses where that is not the newest, and then it is loaded again.
So what is here may be old, but nothing is done because of it. Must not import adapters, stores or web.
"""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from push.errors import Unavailable
from push.igroup import IGroupStore
from push.model_chat import Change, Conversation, Member

# Some 200 bytes each.
MAX_MEMBERS = 500_000
# As many as a page of the largest group there is by default.
_PAGE = 5_000
# A group that changes more often while it is being read is not to be read now.
_ATTEMPTS = 10


class Room:
    """One conversation, at one version.

    Attributes:
        head: as it was at some version; its numbers of messages may be older still.
        members: all of them at that version, by party. To be looked at only.
        audience: their parties.
    """

    __slots__ = ("_audience", "head", "members")

    def __init__(self, head: Conversation, members: dict[str, Member]) -> None:
        self.head = head
        self.members = members
        self._audience: tuple[str, ...] | None = None

    @property
    def audience(self) -> tuple[str, ...]:
        """The parties of all members."""
        if self._audience is None:
            self._audience = tuple(self.members)
        return self._audience

    def after(self, change: Change, head: Conversation) -> "Room":
        """As it is after a change that the store has made. This one stays: somebody may be deciding by it."""
        members = {} if change.is_gone else dict(self.members)
        for who in change.removed:
            members.pop(who, None)
        for member in change.put:
            old = members.get(member.who)
            joined_ms, since_seq = (change.at_ms, head.last_seq) if old is None else (old.joined_ms, old.since_seq)
            members[member.who] = msgspec.structs.replace(member, joined_ms=joined_ms, since_seq=since_seq)
        return Room(head, members)


class Rooms:
    """Those that were used last.

    Args:
        store: where all are.
        max_members: how many members may be held, of all together.
    """

    def __init__(self, store: IGroupStore, max_members: int = MAX_MEMBERS) -> None:
        self._store = store
        self._max_members = max_members
        self._rooms: OrderedDict[str, Room] = OrderedDict()
        self._held = 0
        self._loading: dict[str, list[Deferred[Room | None]]] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._rooms)

    async def get(self, conversation_id: str) -> Room | None:
        """A conversation as it was when it was last looked at; None where there is none, or it was dismissed."""
        room = self._rooms.get(conversation_id)
        if room is not None:
            self._rooms.move_to_end(conversation_id)
            return room
        return await self.fresh(conversation_id)

    async def fresh(self, conversation_id: str) -> Room | None:
        """A conversation as it is now, or was a moment after this was called. Who asks at once is answered at once."""
        waiting = self._loading.get(conversation_id)
        if waiting is not None:
            answer: Deferred[Room | None] = Deferred()
            waiting.append(answer)
            return await answer
        self._loading[conversation_id] = []
        try:
            room = await self._load(conversation_id)
        except BaseException:
            for other in self._loading.pop(conversation_id):
                other.errback(Failure())
            raise
        for other in self._loading.pop(conversation_id):
            other.callback(room)
        return room

    def changed(self, room: Room, change: Change, head: Conversation) -> Room:
        """The store has made a change of a room. Returns it as it is now."""
        after = room.after(change, head)
        self._put(after)
        return after

    def forget(self, conversation_id: str) -> None:
        """Look again next time."""
        room = self._rooms.pop(conversation_id, None)
        if room is not None:
            self._held -= _weight(room)

    async def _load(self, conversation_id: str) -> Room | None:
        for _ in range(_ATTEMPTS):
            head = await self._store.load(conversation_id)
            if head is None or head.is_gone:
                self.forget(conversation_id)
                return None
            held = self._rooms.get(conversation_id)
            if held is not None and held.head.version == head.version:
                held.head = head
                self._rooms.move_to_end(conversation_id)
                return held
            members = await self._members(conversation_id)
            again = await self._store.load(conversation_id)
            if again is not None and again.version == head.version:
                room = Room(again, dict(members))
                self._put(room)
                return room
        raise Unavailable("this conversation is changing all the time", retry_after_s=1.0)

    async def _members(self, conversation_id: str) -> Mapping[str, Member]:
        members: dict[str, Member] = {}
        after = ""
        while True:
            page = await self._store.members(conversation_id, after, _PAGE)
            members.update((member.who, member) for member in page)
            if len(page) < _PAGE:
                return members
            after = page[-1].who

    def _put(self, room: Room) -> None:
        self.forget(room.head.id)
        if room.head.is_gone:
            return
        self._rooms[room.head.id] = room
        self._held += _weight(room)
        while self._held > self._max_members and len(self._rooms) > 1:
            _, oldest = self._rooms.popitem(last=False)
            self._held -= _weight(oldest)


def _weight(room: Room) -> int:
    return room.head.members + 1
