"""Groups and their members."""

from msgspec.json import Decoder

from push.chat_json import GroupEntry, group_entry, member_entry
from push.errors import GroupConflict, InvalidRequest, NotFound, RateLimited, Unanswered, Unavailable
from push.igroup import GroupSide
from push.model_chat import Role
from push.web import group_requests as read
from push.web import group_schemas as schemas
from push.web.auth import RIGHT_MANAGE, RIGHT_READ
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.headings import Heading
from push.web.routes import Parameter, Route

_route = Heading("groups", RIGHT_MANAGE, (InvalidRequest, NotFound, GroupConflict, Unavailable, Unanswered)).route
_TOKEN = Parameter("token", "path", "A token.", example="0123456789abcdef0123456789abcdef")


class GroupRoutes:
    """Groups.

    Args:
        side: the group role.
    """

    def __init__(self, side: GroupSide) -> None:
        self._groups = side.groups
        self._parties = side.parties
        self._create = Decoder(schemas.CreateGroup)
        self._modify = Decoder(schemas.ModifyGroup)
        self._add = Decoder(schemas.AddMembers)
        self._put = Decoder(schemas.PutMember)

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        one, members = "/v1/groups/{group}", "/v1/groups/{group}/members"
        group, uid = (read.GROUP,), (read.GROUP, read.UID)
        return (
            _route(
                "createGroup", "POST", "/v1/groups", self.create, "Make a group.", GroupEntry, RateLimited,
                body=schemas.CreateGroup, example={"group": "friends", "title": "Friends", "uids": ["alice", "bob"]},
            ),
            _route("getGroup", "GET", one, self.get, "A group.", GroupEntry, parameters=group, right=RIGHT_READ),
            _route(
                "modifyGroup", "PATCH", one, self.modify, "Change a group's title or settings.", GroupEntry,
                parameters=group, body=schemas.ModifyGroup, example={"title": "Best friends"},
            ),
            _route(
                "dismissGroup", "DELETE", one, self.dismiss, "End a group, and forget what was said in it.",
                schemas.DismissReply, parameters=group,
            ),
            _route(
                "getMembers", "GET", members, self.members, "A page of a group's members.", schemas.MembersReply,
                parameters=(read.GROUP, read.AFTER, read.LIMIT), right=RIGHT_READ,
            ),
            _route(
                "addMembers", "POST", members, self.add, "Make users, or tokens, members.", schemas.ChangedReply,
                RateLimited, parameters=group, body=schemas.AddMembers, example={"uids": ["carol"]},
            ),
            _route(
                "putMember", "PUT", members + "/{uid}", self.put, "Make a user a member, with a role.",
                schemas.ChangedReply, RateLimited, parameters=uid, body=schemas.PutMember, example={"role": "admin"},
            ),
            _route(
                "removeMember", "DELETE", members + "/{uid}", self.remove, "Remove a user.", schemas.ChangedReply,
                parameters=uid,
            ),
            _route(
                "removeToken", "DELETE", one + "/tokens/{token}", self.remove_token,
                "Remove a member that is only a token.", schemas.ChangedReply, parameters=(read.GROUP, _TOKEN),
            ),
        )  # fmt: skip

    async def create(self, request: ApiRequest) -> GroupEntry:
        """Make a group."""
        wish = read.body(self._create, request)
        owner = read.given(wish.owner)
        head = await self._groups.create(
            read.given(wish.group),
            title=wish.title,
            owner=None if owner is None else read.user(owner, "owner"),
            members=[read.user(uid, "uids") for uid in wish.uids],
            is_open=wish.open,
            tells_reads=wish.receipts,
        )
        return group_entry(head)

    async def get(self, request: ApiRequest, group: str) -> GroupEntry:
        """Show a group."""
        return group_entry(await self._groups.get(group, None))

    async def modify(self, request: ApiRequest, group: str) -> GroupEntry:
        """Change a group."""
        wish = read.body(self._modify, request)
        head = await self._groups.modify(
            group,
            None,
            title=read.given(wish.title),
            is_open=read.given(wish.open),
            tells_reads=read.given(wish.receipts),
        )
        return group_entry(head)

    async def dismiss(self, request: ApiRequest, group: str) -> schemas.DismissReply:
        """End a group."""
        await self._groups.dismiss(group, None)
        return schemas.DismissReply(group, True)

    async def members(self, request: ApiRequest, group: str) -> schemas.MembersReply:
        """Show members."""
        limit = read.limit_of(request)
        found = await self._groups.members(group, None, read.text_of(request, "after"), limit)
        after = found[-1].who if len(found) == limit else ""
        return schemas.MembersReply(group, [member_entry(member) for member in found], after)

    async def add(self, request: ApiRequest, group: str) -> schemas.ChangedReply:
        """Make members."""
        wish = read.body(self._add, request)
        whos = [read.user(uid, "uids") for uid in wish.uids]
        whos += [await self._parties.of_token(read.token(text)) for text in wish.tokens]
        if not whos:
            raise invalid("uids", "is missing, and so is tokens")
        return schemas.ChangedReply(group, len(await self._groups.add(group, None, whos)))

    async def put(self, request: ApiRequest, group: str, uid: str) -> schemas.ChangedReply:
        """Make a member, with a role."""
        who = read.user(uid)
        role = read.role(read.body(self._put, request).role) if request.body() else Role.MEMBER
        added = await self._groups.add(group, None, [who])
        if not added or role is not Role.MEMBER:
            await self._groups.set_role(group, None, who, role)
        return schemas.ChangedReply(group, len(added))

    async def remove(self, request: ApiRequest, group: str, uid: str) -> schemas.ChangedReply:
        """Remove a user."""
        return schemas.ChangedReply(group, len(await self._groups.kick(group, None, [read.user(uid)])))

    async def remove_token(self, request: ApiRequest, group: str, token: str) -> schemas.ChangedReply:
        """Remove a token."""
        return schemas.ChangedReply(group, len(await self._groups.kick(group, None, ["t" + read.token(token)])))
