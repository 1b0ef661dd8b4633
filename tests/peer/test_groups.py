"""Groups and chat as an API has them whose group role is another node's: the link real, the role in memory."""

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from push.errors import (
    GroupConflict,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PushError,
    RateLimited,
    Unanswered,
    Unavailable,
)
from push.igroup import GroupSide, IGroups, IParties, IPresence, ITalk
from push.model_chat import ChatMessage, Conversation, Kind, Member, Presence, Role, Standing
from push.protocols.peer.answers import Answers, Parts
from push.protocols.peer.asking import Asking
from push.protocols.peer.avatar import Answerer
from push.protocols.peer.envelopes import Reader, encode
from push.protocols.peer.errors import CallMalformed, LinkLost, NoLink
from push.protocols.peer.remote_groups import remote_side
from push.protocols.peer.wishes_groups import GroupWish
from tests.peer.test_twins import ClusterHouse, Told, Twins

HEAD = Conversation("g.room", Kind.GROUP, 3, "Room", False, True, 5, 2, 7, 70, 1, False)
SAID = ChatMessage("g.room", 8, 80, "ualice", 3, b'{"text":"h\\u00e9"}', "c-1", False)
RAW = ChatMessage("", 0, 0, "tphone", 0, b"{}", "", True)
MEMBERS = (Member("ualice", Role.OWNER, 5, 0), Member("tphone", Role.MEMBER, 6, 3, True))
# Of each interface: method, arguments, named arguments, answer.
CALLS: dict[str, list[tuple[str, tuple[Any, ...], dict[str, Any], Any]]] = {
    "groups": [
        (
            "create",
            ("room",),
            {"title": "T", "owner": "ualice", "members": ("ubob",), "is_open": True, "tells_reads": False},
            HEAD,
        ),
        ("create", (None,), {"title": "", "owner": None, "members": (), "is_open": False, "tells_reads": True}, HEAD),
        ("get", ("room", "ualice"), {}, HEAD),
        ("modify", ("room", None), {"title": "T", "is_open": None, "tells_reads": True}, HEAD),
        ("set_role", ("room", None, "ubob", Role.ADMIN), {}, None),
        ("dismiss", ("room", "ualice"), {}, None),
        ("join", ("room", "tphone"), {"is_invited": True}, True),
        ("quit", ("room", "ubob"), {}, False),
        ("add", ("room", None, ("ubob", "tphone")), {}, ("ubob",)),
        ("kick", ("room", "ualice", ("ubob",)), {}, ()),
        ("members", ("room", None, "ualice", 200), {}, MEMBERS),
        ("everybody", ("room",), {}, ("ualice", "tphone")),
    ],
    "talk": [
        ("say", (SAID,), {"to": None, "contact": b"", "sent_by": ""}, SAID),
        ("say", (RAW,), {"to": "ubob", "contact": b"{}", "sent_by": "phone"}, SAID),
        ("recall", ("g.room", None, 8), {}, SAID),
        ("history", ("g.room", "ualice"), {"after": 3, "before": None, "limit": 50}, (HEAD, (SAID,))),
        ("history", ("g.room", None), {"after": 0, "before": 9, "limit": 1}, (HEAD, ())),
        ("read", ("g.room", "ualice", 8), {"sent_by": "phone"}, 7),
        ("standings", ("ualice", "", 50), {}, (Standing(HEAD, MEMBERS[0], 4),)),
        ("block", ("ualice", "ubob", True), {}, None),
    ],
    "presence": [("presence", (("ualice", "ubob"),), {}, (Presence("ualice", 2, 7), Presence("ubob", 0, None)))],
    "parties": [("of_token", ("phone",), {}, "ualice"), ("check", ("ualice",), {}, None)],
}


class GroupHouse(ClusterHouse):
    """A node with the group role."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.groups: Any = Told()
        self.talk: Any = Told()
        self.presence: Any = Told()
        self.parties: Any = Told()

    def answers(self, name: str) -> Answerer:
        """That alone."""
        side = GroupSide(self.groups, self.talk, self.presence, self.parties)
        return Answers(name, Parts(group=side))


class GroupTwinTests(Twins):
    """A node without the group role, joined to one that has it."""

    make_house = GroupHouse
    house: GroupHouse

    def setUp(self) -> None:
        super().setUp()
        self.abouts: list[str] = []
        self.side = remote_side(self.choose)

    def choose(self, about: str) -> Asking:
        """There is one node."""
        self.abouts.append(about)
        return self.asking

    def test_they_are_what_they_stand_for(self) -> None:
        for interface, each in (
            (IGroups, self.side.groups),
            (ITalk, self.side.talk),
            (IPresence, self.side.presence),
            (IParties, self.side.parties),
        ):
            verifyObject(interface, each)

    def test_all_questions_arrive_as_they_were_and_so_do_the_answers(self) -> None:
        for part, calls in CALLS.items():
            told: Told = getattr(self.house, part)
            interface = {"groups": IGroups, "talk": ITalk, "presence": IPresence, "parties": IParties}[part]
            self.assertEqual({name for name, *_ in calls}, set(interface))
            for name, arguments, named, answer in calls:
                told.answers[name] = answer
                self.assertEqual(self.get(getattr(getattr(self.side, part), name)(*arguments, **named)), answer)
                self.assertEqual(told.calls[-1], (name, *arguments, *named.values()))

    def test_what_is_about_one_group_goes_to_one_node(self) -> None:
        self.house.groups.answers["get"] = HEAD
        self.house.talk.answers["recall"] = SAID
        self.get(self.side.groups.get("room", None))
        self.get(self.side.talk.recall("g.room", None, 1))
        self.assertEqual(self.abouts, ["g.room", "g.room"])

    def test_refusals_arrive_as_what_they_are(self) -> None:
        for error in (
            NotFound("no such group"),
            PermissionDenied("for admins"),
            InvalidRequest("no"),
            GroupConflict("it is taken"),
            RateLimited("too much", retry_after_s=2.0),
            Unavailable("away"),
        ):
            self.house.groups.answers["get"] = error
            found: PushError = self.failure(self.side.groups.get("room", None))
            self.assertEqual((type(found), str(found)), (type(error), str(error)))
            self.assertEqual((found.status, found.retry_after_s), (error.status, error.retry_after_s))

    def test_a_link_that_breaks_says_so_and_whether_it_may_have_been_done(self) -> None:
        read = {"get", "members", "everybody", "history", "standings", "presence", "of_token", "check"}
        waiting: list[tuple[str, Deferred[Any]]] = []
        for part, calls in CALLS.items():
            for name, arguments, named, _ in calls:
                getattr(self.house, part).answers[name] = Deferred()
                asked = getattr(getattr(self.side, part), name)(*arguments, **named)
                waiting.append((name, self.begin(asked)))
        self.link.lose("cut by the test")
        self.settle()
        for name, begun in waiting:
            kind = LinkLost if name in read else Unanswered
            self.assertIs(type(self.failureResultOf(begun).value), kind, name)
        self.assertIs(type(self.failure(self.side.groups.get("room", None))), NoLink)
        self.assertIs(type(self.failure(self.side.talk.say(SAID, to=None))), NoLink, "nothing was asked")

    def test_what_cannot_be_is_refused_by_itself_and_costs_nobody_the_link(self) -> None:
        """Names come out of paths as somebody has sent them."""
        waits: Deferred[Conversation] = Deferred()
        self.house.groups.answers["get"] = waits
        waiting = self.begin(self.side.groups.get("room", None))
        long = "x" * 4_000
        for asked in (
            self.side.groups.get(long, None),
            self.side.groups.members("room", None, long, 50),
            self.side.talk.history(long, None, after=0, before=None, limit=50),
        ):
            self.assertIs(type(self.failure(asked)), InvalidRequest)
        self.assertFalse(self.link.is_lost)
        waits.callback(HEAD)
        self.settle()
        self.assertEqual(self.successResultOf(waiting), HEAD)
        self.assertEqual(len(self.house.groups.calls), 1)

    def test_what_cannot_be_asked_is_refused_at_the_door(self) -> None:
        reader: Reader[GroupWish] = Reader(GroupWish)
        for bad in (
            [],
            ["g.get"],
            ["g.get", 7, None],
            ["g.get", "room", ""],
            ["g.get", "room", "xalice"],
            ["g.get", "x" * 257, None],
            ["g.role", "room", None, "ubob", 3],
            ["g.members", "room", None, "", 0],
            ["t.recall", "g.room", None, -1],
            ["t.read", "g.room", "ualice", 1, "a token"],
            ["t.say", {"conversation": "g.room"}, None, b"", ""],
            ["g.nothing", "room"],
        ):
            self.assertRaises(CallMalformed, reader.read, encode(bad))
