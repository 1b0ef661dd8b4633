"""Groups: who is in them, and who may change that.

Every change is decided by what a group was at some version, and made only if it still is: else it is decided anew.
Must not import adapters, stores or web.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import DeferredLock
from zope.interface import implementer

from push.errors import GroupConflict, InvalidRequest, NotFound, PermissionDenied, RateLimited, Unavailable
from push.igroup import IGroups, IGroupStore
from push.model_chat import Change, Conversation, Kind, Member, Role, group_id
from push.protocols.wire.messages import BodyError, check_text
from push.services.group.comings import Comings
from push.services.group.rooms import Room, Rooms
from push.services.group.telling import Telling

MAX_NAME_CHARS = 64
MAX_TITLE_CHARS = 128
# Changes of one group wait for one another in this process: more than so many tries means other processes' changes.
_ATTEMPTS = 20

Decide = Callable[[Room], Change | None]


def check_name(name: str) -> str:
    """A group's name.

    Raises:
        InvalidRequest: it cannot be one.
    """
    try:
        check_text(name, "the group's name", MAX_NAME_CHARS)
    except BodyError as error:
        raise InvalidRequest(str(error)) from None
    if "/" in name or ":" in name:
        raise InvalidRequest("the group's name must not contain / nor :")
    return name


def _check_title(title: str) -> str:
    try:
        return check_text(title, "title", MAX_TITLE_CHARS) if title else title
    except BodyError as error:
        raise InvalidRequest(str(error)) from None


@implementer(IGroups)
class Groups:
    """The groups.

    Args:
        store: where they are.
        rooms: those that are in use.
        telling: tells members what has changed.
        comings: tells them who has joined and left.
        now_ms: milliseconds since 1970.
        new_name: makes a name that nobody has.
        max_members: of one group.
        max_groups: that one party may be in.
    """

    def __init__(
        self,
        *,
        store: IGroupStore,
        rooms: Rooms,
        telling: Telling,
        comings: Comings,
        now_ms: Callable[[], int],
        new_name: Callable[[], str],
        max_members: int,
        max_groups: int,
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._telling = telling
        self._comings = comings
        self._now_ms = now_ms
        self._new_name = new_name
        self._max_members = max_members
        self._max_groups = max_groups
        self._locks: dict[str, DeferredLock] = {}

    async def create(
        self,
        name: str | None,
        *,
        title: str,
        owner: str | None,
        members: Sequence[str],
        is_open: bool,
        tells_reads: bool,
    ) -> Conversation:
        """See IGroups."""
        conversation_id = group_id(self._new_name() if name is None else check_name(name))
        _check_title(title)
        whos = dict.fromkeys((*(() if owner is None else (owner,)), *members))
        self._check_size(len(whos))
        for who in whos:
            await self._check_groups_of(who)
        before = await self._store.load(conversation_id)
        if before is not None and not before.is_gone:
            raise GroupConflict("there is a group of this name")
        put = [Member(who, Role.OWNER if who == owner else Role.MEMBER) for who in whos]
        seen = before or Conversation(conversation_id, Kind.GROUP, 0)
        change = Change(seen, title, is_open, tells_reads, put=put, at_ms=self._now_ms())
        head = await self._store.change(change)
        if head is None:
            raise GroupConflict("there is a group of this name")
        self._rooms.forget(conversation_id)
        self._telling.added(head, owner, [who for who in whos if who != owner])
        return head

    async def get(self, name: str, actor: str | None) -> Conversation:
        """See IGroups."""
        room = await self._room(name)
        if not room.head.is_open:
            _check_member(room, actor)
        return room.head

    async def modify(
        self, name: str, actor: str | None, *, title: str | None, is_open: bool | None, tells_reads: bool | None
    ) -> Conversation:
        """See IGroups."""
        if title is not None:
            _check_title(title)

        def decide(room: Room) -> Change | None:
            _check_right(room, actor, Role.ADMIN)
            head = room.head
            wanted = (
                head.title if title is None else title,
                head.is_open if is_open is None else is_open,
                head.tells_reads if tells_reads is None else tells_reads,
            )
            return None if wanted == (head.title, head.is_open, head.tells_reads) else Change(head, *wanted)

        room, _ = await self._change(name, decide)
        self._telling.modified(room, actor)
        return room.head

    async def set_role(self, name: str, actor: str | None, who: str, role: Role) -> None:
        """See IGroups."""

        def decide(room: Room) -> Change | None:
            _check_right(room, actor, Role.OWNER)
            member = room.members.get(who)
            if member is None:
                raise NotFound("there is no such member")
            if member.role is role:
                return None
            put = [Member(who, role)]
            if role is Role.OWNER:
                put += [Member(each.who, Role.ADMIN) for each in room.members.values() if each.role is Role.OWNER]
            elif member.role is Role.OWNER:
                raise GroupConflict("a group has an owner: make another member the owner instead")
            return _as_it_is(room.head, put=put)

        room, _ = await self._change(name, decide)
        self._telling.modified(room, actor)

    async def dismiss(self, name: str, actor: str | None) -> None:
        """See IGroups."""

        def decide(room: Room) -> Change | None:
            _check_right(room, actor, Role.OWNER)
            audience.extend(room.audience)
            return _as_it_is(room.head, is_gone=True)

        audience: list[str] = []
        room, _ = await self._change(name, decide)
        self._telling.dismissed(room.head, actor, audience)

    async def join(self, name: str, who: str, *, is_invited: bool = False) -> bool:
        """See IGroups."""
        await self._check_groups_of(who)

        def decide(room: Room) -> Change | None:
            if who in room.members:
                return None
            if not room.head.is_open and not is_invited:
                raise PermissionDenied("this group is not open: somebody who manages it has to add you")
            self._check_size(room.head.members + 1)
            return _as_it_is(room.head, put=[Member(who)])

        _, change = await self._change(name, decide)
        if change is None:
            return False
        self._comings.came(name, [who], None if is_invited else who)
        return True

    async def quit(self, name: str, who: str) -> bool:
        """See IGroups."""

        def decide(room: Room) -> Change | None:
            member = room.members.get(who)
            if member is None:
                return None
            if member.role is Role.OWNER and len(room.members) > 1:
                raise GroupConflict("the owner leaves last: make another member the owner first, or dismiss the group")
            return _as_it_is(room.head, removed=[who])

        _, change = await self._change(name, decide)
        if change is None:
            return False
        self._comings.went(name, [who], who)
        return True

    async def add(self, name: str, actor: str | None, whos: Sequence[str]) -> Sequence[str]:
        """See IGroups."""
        for who in whos:
            await self._check_groups_of(who)

        def decide(room: Room) -> Change | None:
            _check_right(room, actor, Role.ADMIN)
            new = [Member(who) for who in dict.fromkeys(whos) if who not in room.members]
            self._check_size(room.head.members + len(new))
            return _as_it_is(room.head, put=new) if new else None

        room, change = await self._change(name, decide)
        added = [] if change is None else [member.who for member in change.put]
        self._telling.added(room.head, actor, added)
        self._comings.came(name, added, actor)
        return added

    async def kick(self, name: str, actor: str | None, whos: Sequence[str]) -> Sequence[str]:
        """See IGroups."""

        def decide(room: Room) -> Change | None:
            right = _check_right(room, actor, Role.ADMIN)
            gone = [who for who in dict.fromkeys(whos) if who in room.members]
            if right is not None and any(room.members[who].role >= right for who in gone):
                raise PermissionDenied("only members of a lesser role can be removed")
            return _as_it_is(room.head, removed=gone) if gone else None

        room, change = await self._change(name, decide)
        removed = [] if change is None else change.removed
        self._telling.kicked(room.head, actor, removed)
        self._comings.went(name, removed, actor)
        return removed

    async def members(self, name: str, actor: str | None, after: str, limit: int) -> Sequence[Member]:
        """See IGroups."""
        room = await self._room(name)
        _check_member(room, actor)
        return await self._store.members(room.head.id, after, limit)

    async def everybody(self, name: str) -> Sequence[str]:
        """See IGroups."""
        return (await self._room(name)).audience

    async def _room(self, name: str) -> Room:
        room = await self._rooms.fresh(group_id(check_name(name)))
        if room is None:
            raise NotFound("there is no group of this name")
        return room

    async def _change(self, name: str, decide: Decide) -> tuple[Room, Change | None]:
        """Change a group as it is decided. Returns how it is then, and what was done."""
        lock = self._locks.setdefault(name, DeferredLock())
        await lock.acquire()
        try:
            for _ in range(_ATTEMPTS):
                room = await self._room(name)
                change = decide(room)
                if change is None:
                    return room, None
                change = _at(change, self._now_ms())
                head = await self._store.change(change)
                if head is not None:
                    return self._rooms.changed(room, change, head), change
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(name, None)
        raise Unavailable("too many change this group at once", retry_after_s=0.5)

    def _check_size(self, members: int) -> None:
        if members > self._max_members:
            raise GroupConflict(f"a group has at most {self._max_members} members")

    async def _check_groups_of(self, who: str) -> None:
        if await self._store.groups_of(who) >= self._max_groups:
            raise RateLimited(f"nobody may be in more than {self._max_groups} groups")


def _as_it_is(
    head: Conversation, *, put: Sequence[Member] = (), removed: Sequence[str] = (), is_gone: bool = False
) -> Change:
    return Change(head, head.title, head.is_open, head.tells_reads, is_gone, put, removed)


def _at(change: Change, at_ms: int) -> Change:
    return Change(
        change.before,
        change.title,
        change.is_open,
        change.tells_reads,
        change.is_gone,
        change.put,
        change.removed,
        at_ms,
    )


def _check_member(room: Room, actor: str | None) -> None:
    if actor is not None and actor not in room.members:
        raise PermissionDenied("you are no member of this group")


def _check_right(room: Room, actor: str | None, least: Role) -> Role | None:
    """The actor's role; None for an application, which may do everything."""
    if actor is None:
        return None
    _check_member(room, actor)
    role = room.members[actor].role
    if role < least:
        raise PermissionDenied("this needs a manager of the group" if least is Role.ADMIN else "this needs its owner")
    return role
