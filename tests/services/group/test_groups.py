"""Tests of push.services.group.groups: who may change what, and that nothing is half done."""

import json
from typing import Any

from twisted.internet.defer import gatherResults

from push.errors import GroupConflict, InvalidRequest, NotFound, PermissionDenied, PushError
from push.model_chat import Change, Conversation, Member, Role
from push.protocols.tcp import FramedProtocol
from push.protocols.wire.signals import Signal, SubSignal
from push.services.group import comings
from push.services.group.rooms import Rooms
from tests.services.group.world import Person, World
from tests.stores.contract import deferred

GC, GPGI, GPGM, GAM, GKM, GQ, GMI, GD, MS = (
    SubSignal.GC,
    SubSignal.GPGI,
    SubSignal.GPGM,
    SubSignal.GAM,
    SubSignal.GKM,
    SubSignal.GQ,
    SubSignal.GMI,
    SubSignal.GD,
    SubSignal.MS,
)


class GroupCase(World):
    """Groups, from outside."""

    def roles(self, asker: Person, group: str = "room") -> dict[str, str]:
        """Who is in it as what."""
        members = asker.ask(GPGM, group=group)["members"]
        return {each.get("uid") or each["token"]: each["role"] for each in members}


class Making(GroupCase):
    """GC, GPGI, GPGM."""

    def test_a_group_has_its_maker_as_owner_and_tells_the_others(self) -> None:
        alice, bob = self.users("alice", "bob")
        made = alice.ask(GC, group="room", title="The room", uids=["bob", "alice"], open=False, receipts=True)
        expected = {
            "group": "room",
            "conversation": "g.room",
            "title": "The room",
            "open": False,
            "receipts": True,
            "members": 2,
            "created": self.now_ms(),
            "last_seq": 0,
        }
        self.assertEqual(made, expected)
        self.assertEqual(bob.told(), [(GAM, {"group": "room", "by": "alice"})])
        self.assertEqual(bob.ask(GPGI, group="room"), expected)
        self.assertEqual(self.roles(bob), {"alice": "owner", "bob": "member"})

    def test_without_a_name_it_gets_one(self) -> None:
        (alice,) = self.users("alice")
        names = {alice.ask(GC, title="x")["group"] for _ in range(3)}
        self.assertEqual(len(names), 3)

    def test_a_name_is_given_once(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice)
        self.assertEqual(bob.refused(GC, group="room"), 409)
        self.assertEqual(self.roles(alice), {"alice": "owner"})

    def test_who_is_no_member_sees_open_groups_alone(self) -> None:
        alice, mallory = self.users("alice", "mallory")
        self.room(alice)
        self.room(alice, group="closed", open=False)
        self.assertEqual(mallory.ask(GPGI, group="room")["members"], 1)
        self.assertEqual(mallory.refused(GPGM, group="room"), 403)
        self.assertEqual(mallory.refused(GPGI, group="closed"), 403)
        self.assertEqual(mallory.refused(GPGI, group="nowhere"), 404)

    def test_bad_names_and_titles_are_refused(self) -> None:
        (alice,) = self.users("alice")
        for fields in (
            {"group": ""},
            {"group": "x" * 65},
            {"group": "a/b"},
            {"group": "a:b"},
            {"group": "\n"},
            {"group": 7},
            {"group": "g", "title": "x" * 129},
            {"group": "g", "title": "\u0000"},
            {"group": "g", "uids": ["\u0001"]},
            {"group": "g", "uids": [""]},
            {"group": "g", "uids": 1_001 * ["u"]},
        ):
            self.assertEqual(alice.refused(GC, **fields), 400, fields)
        self.assertEqual(alice.refused(GAM, group="g", tokens=1_001 * ["t"]), 400)
        self.assertEqual(alice.ask(SubSignal.MP)["conversations"], [])

    def test_members_come_by_pages(self) -> None:
        (alice,) = self.users("alice")
        self.room(alice, *(f"user{number:02}" for number in range(9)))
        first = alice.ask(GPGM, group="room", limit=6)
        second = alice.ask(GPGM, group="room", limit=6, after=first["after"])
        self.assertEqual((len(first["members"]), len(second["members"]), second["after"]), (6, 4, ""))


class Comings(GroupCase):
    """GMI: what members are told of who joins and leaves."""

    def setUp(self) -> None:
        super().setUp()
        self.make(group_changes_s=1.0)

    def changes(self, person: Person) -> list[dict[str, Any]]:
        """What somebody was told of it: how many there are, and who has come or gone."""
        told = [body for subsignal, body in person.told() if subsignal == GMI]
        return [{name: body[name] for name in ("members", "joined", "left", "more") if name in body} for body in told]

    def test_members_are_told_who_joins_is_added_leaves_and_is_removed(self) -> None:
        alice, bob, carol, dave = self.users("alice", "bob", "carol", "dave")
        self.room(alice, "dave", title="The room")
        dave.told()
        bob.ask(GAM, group="room")
        self.assertEqual(alice.told()[0][1]["title"], "The room")
        self.assertEqual(self.changes(dave), [{"members": 3, "joined": [{"uid": "bob", "by": "bob"}]}])
        self.clock.advance(5)
        alice.ask(GAM, group="room", uids=["carol"])
        expected = [{"members": 4, "joined": [{"uid": "carol", "by": "alice"}]}]
        self.assertEqual((self.changes(bob), self.changes(dave)), (expected, expected))
        self.assertEqual([subsignal for subsignal, _ in carol.told()], [GAM, GMI])
        self.clock.advance(5)
        carol.ask(GQ, group="room")
        expected = [{"members": 3, "left": [{"uid": "carol", "by": "carol"}]}]
        self.assertEqual((self.changes(alice), self.changes(dave), self.changes(carol)), (expected, expected, []))
        self.clock.advance(5)
        bob.told()
        alice.ask(GKM, group="room", uids=["bob"])
        self.assertEqual([subsignal for subsignal, _ in bob.told()], [GKM])
        self.assertEqual(self.changes(dave), [{"members": 2, "left": [{"uid": "bob", "by": "alice"}]}])

    def test_what_applications_do_is_by_nobody_and_a_token_is_named_as_one(self) -> None:
        alice, old = self.users("alice")[0], Person(self)
        self.room(alice)
        groups = self.group.side.groups
        self.assertTrue(self.successResultOf(deferred(groups.join("room", "t" + old.token, is_invited=True))))
        self.assertFalse(self.successResultOf(deferred(groups.join("room", "t" + old.token, is_invited=True))))
        self.assertEqual(self.changes(alice), [{"members": 2, "joined": [{"token": old.token}]}])
        self.assertEqual(old.frames(), [])
        self.clock.advance(5)
        self.successResultOf(deferred(groups.quit("room", "t" + old.token)))
        gone = {"token": old.token, "by_token": old.token}
        self.assertEqual(self.changes(alice), [{"members": 1, "left": [gone]}])

    def test_what_follows_at_once_is_told_together_a_second_later(self) -> None:
        alice, *others = self.users("alice", *(f"user{n}" for n in range(6)))
        self.room(alice)
        for each in others:
            each.ask(GAM, group="room")
        others[5].ask(GQ, group="room")  # of whom nobody has heard yet
        others[0].ask(GQ, group="room")
        (first,) = self.changes(alice)
        self.assertEqual(first["joined"], [{"uid": "user0", "by": "user0"}])
        self.clock.advance(0.9)
        self.assertEqual(self.changes(alice), [])
        self.clock.advance(0.2)
        joined = [{"uid": f"user{n}", "by": f"user{n}"} for n in range(1, 5)]
        left = [{"uid": "user0", "by": "user0"}]
        self.assertEqual(self.changes(alice), [{"members": 5, "joined": joined, "left": left}])
        self.clock.pump([1] * 5)
        self.assertEqual(self.changes(alice), [])
        self.assertEqual([call for call in self.clock.getDelayedCalls() if "Comings" in repr(call.func)], [])
        self.assertEqual(len(self.group.side.groups._comings), 0)

    def test_a_large_group_is_told_the_later(self) -> None:
        self.patch(comings, "MEMBERS_AT_ONCE", 2)
        alice, *others = self.users("alice", *(f"user{n}" for n in range(10)))
        self.room(alice, *(f"away{n}" for n in range(9)))
        told: list[float] = []
        for each in others:
            each.ask(GAM, group="room")
            self.clock.advance(1)
            told += [self.clock.seconds()] * len(self.changes(alice))
        self.assertEqual([at_s - told[0] for at_s in told], [0.0, 5.0])

    def test_hundreds_who_join_one_after_the_other_are_not_hundreds_of_notices_to_hundreds(self) -> None:
        self.patch(comings, "MEMBERS_AT_ONCE", 30)
        (alice,) = self.users("alice")
        self.room(alice)
        groups = self.group.side.groups
        for number in range(300):
            self.successResultOf(deferred(groups.join("room", f"uuser{number}")))
            self.clock.advance(0.1)
        self.clock.pump([1] * 12)
        told = self.changes(alice)
        self.assertEqual(told[-1]["members"], 301)
        # Thirty seconds' worth, and the last one; it would be 45,000 if each were told.
        self.assertLessEqual(sum(each["members"] for each in told), 30 * 30 + 301)

    def test_a_notice_names_so_many_and_says_that_there_are_more(self) -> None:
        self.patch(comings, "MAX_NAMED", 3)
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        alice.ask(GAM, group="room", uids=[f"user{n}" for n in range(5)])
        (told,) = self.changes(bob)
        self.assertEqual((told["members"], len(told["joined"]), told["more"]), (7, 3, True))

    def test_a_group_that_is_no_more_is_not_told_of(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "carol", "dave")
        bob.ask(GAM, group="room")
        alice.ask(GKM, group="room", uids=["carol"])
        alice.ask(GD, group="room")
        bob.told()
        self.clock.pump([1] * 5)
        self.assertEqual((self.changes(alice), self.changes(bob)), ([], []))


class Membership(GroupCase):
    """GAM, GKM, GQ."""

    def test_an_open_group_is_joined_and_left_by_oneself(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice)
        self.assertEqual(bob.ask(GAM, group="room")["changed"], 1)
        self.assertEqual(bob.ask(GAM, group="room")["changed"], 0)
        self.assertEqual(self.roles(alice), {"alice": "owner", "bob": "member"})
        self.assertEqual(bob.ask(GQ, group="room")["changed"], 1)
        self.assertEqual(bob.ask(GQ, group="room")["changed"], 0)
        self.assertEqual(bob.refused(GAM, group="nowhere"), 404)

    def test_a_closed_group_is_joined_by_being_added(self) -> None:
        alice, bob, carol = self.users("alice", "bob", "carol")
        self.room(alice, open=False)
        self.assertEqual(bob.refused(GAM, group="room"), 403)
        self.assertEqual(bob.refused(GAM, group="room", uids=["carol"]), 403)
        self.assertEqual(alice.ask(GAM, group="room", uids=["bob", "bob", "alice"])["changed"], 1)
        self.assertEqual(bob.told(), [(GAM, {"group": "room", "by": "alice"})])
        self.assertEqual(bob.refused(GAM, group="room", uids=["carol"]), 403)
        self.assertEqual(carol.told(), [])

    def test_who_is_kicked_is_told_and_is_out(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        bob.frames()
        self.assertEqual(bob.refused(GKM, group="room", uids=["alice"]), 403)
        self.assertEqual(alice.ask(GKM, group="room", uids=["bob", "nobody"])["changed"], 1)
        self.assertEqual(bob.told(), [(GKM, {"group": "room", "by": "alice"})])
        self.assertEqual(bob.refused(MS, group="room", text="x"), 403)
        alice.ask(MS, group="room", text="alone")
        self.assertEqual(bob.heard(), [])
        self.assertEqual(alice.refused(GKM, group="room"), 400)

    def test_a_role_reaches_as_far_as_it_should(self) -> None:
        alice, bob, carol = self.users("alice", "bob", "carol")
        self.room(alice, "bob", "carol", "dave")
        self.assertEqual(bob.refused(GMI, group="room", uid="bob", role="admin"), 403)
        alice.ask(GMI, group="room", uid="bob", role="admin")
        alice.ask(GMI, group="room", uid="carol", role="admin")
        for whom in ("alice", "carol", "bob"):
            self.assertEqual(bob.refused(GKM, group="room", uids=["dave", whom]), 403)
        self.assertEqual(len(self.roles(alice)), 4)
        self.assertEqual(bob.ask(GKM, group="room", uids=["dave"])["changed"], 1)
        self.assertEqual(bob.refused(GMI, group="room", uid="carol", role="member"), 403)
        self.assertEqual(bob.refused(GD, group="room"), 403)
        alice.ask(GMI, group="room", uid="carol", role="owner")
        self.assertEqual(self.roles(alice), {"alice": "admin", "bob": "admin", "carol": "owner"})
        self.assertEqual(carol.refused(GMI, group="room", uid="carol", role="member"), 409)
        self.assertEqual(carol.refused(GMI, group="room", uid="nobody", role="admin"), 404)
        self.assertEqual(carol.refused(GMI, group="room", uid="bob", role="king"), 400)
        self.assertEqual(carol.refused(GMI, group="room", uid="bob", role="member", title="x"), 400)

    def test_an_owner_leaves_last(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        self.assertEqual(alice.refused(GQ, group="room"), 409)
        bob.ask(GQ, group="room")
        self.assertEqual(alice.ask(GQ, group="room")["changed"], 1)

    def test_no_group_grows_over_its_limit(self) -> None:
        self.make(max_group_members=3)
        alice, _, carol = self.users("alice", "bob", "carol")
        self.room(alice, "bob")
        self.assertEqual(alice.refused(GAM, group="room", uids=["carol", "dave"]), 409)
        self.assertEqual(len(self.roles(alice)), 2)
        carol.ask(GAM, group="room")
        self.assertEqual(self.users("dave")[0].refused(GAM, group="room"), 409)
        self.assertEqual(alice.refused(GC, group="other", uids=["b", "c", "d"]), 409)

    def test_nobody_is_in_more_groups_than_allowed(self) -> None:
        self.make(max_groups_per_user=2)
        alice, bob = self.users("alice", "bob")
        self.room(alice, group="one")
        self.room(alice, group="two")
        self.assertEqual(alice.refused(GC, group="three"), 429)
        self.room(bob, group="three")
        self.assertEqual(alice.refused(GAM, group="three"), 429)
        self.assertEqual(bob.refused(GAM, group="three", uids=["alice"]), 429)
        alice.ask(MS, to="bob", text="is no group")


class Managing(GroupCase):
    """GMI, GD."""

    def test_members_are_told_of_another_title(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob", title="Old")
        bob.frames()
        self.assertEqual(bob.refused(GMI, group="room", title="Mine"), 403)
        self.assertEqual(alice.ask(GMI, group="room", title="New")["title"], "New")
        ((subsignal, body),) = bob.told()
        self.assertEqual((subsignal, body["title"], body["open"]), (GMI, "New", True))
        self.assertEqual(alice.refused(GMI, group="room", title="x" * 129), 400)
        self.assertEqual(bob.told(), [])
        alice.ask(GMI, group="room", open=False, receipts=True)
        self.assertEqual(self.users("carol")[0].refused(GAM, group="room"), 403)

    def test_a_dismissed_group_is_gone_with_what_was_said(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        alice.ask(MS, group="room", text="x")
        bob.frames()
        alice.ask(GD, group="room")
        self.assertEqual(bob.told(), [(GD, {"group": "room", "by": "alice"})])
        for subsignal, fields in ((MS, {"text": "x"}), (SubSignal.MP, {}), (GPGI, {}), (GAM, {}), (GD, {})):
            self.assertEqual(bob.refused(subsignal, group="room", **fields), 404)
        self.assertEqual(bob.ask(SubSignal.MP)["conversations"], [])
        self.room(bob, "alice")
        self.assertEqual(alice.ask(SubSignal.MP, group="room")["messages"], [])
        self.assertEqual(bob.ask(MS, group="room", text="new")["seq"], 2)


class AtOnce(GroupCase):
    """Two who want something at the same time."""

    def change(self, *calls: Any) -> list[Any]:
        """Start all, then wait for all; what each gave, or the error that it raised."""
        started = [
            deferred(call).addErrback(lambda failure: failure.trap(PushError) and failure.value) for call in calls
        ]
        return self.successResultOf(gatherResults(started))

    def test_two_admins_who_kick_one_another(self) -> None:
        alice, *_ = self.users("alice", "bob", "carol")
        self.room(alice, "bob", "carol")
        for uid in ("bob", "carol"):
            alice.ask(GMI, group="room", uid=uid, role="admin")
        groups = self.group.side.groups
        alice.ask(GMI, group="room", uid="bob", role="owner")
        first, second = self.change(
            groups.kick("room", "ubob", ["ucarol"]), groups.kick("room", "ucarol", ["udave", "ualice"])
        )
        self.assertEqual(first, ["ucarol"])
        self.assertIsInstance(second, PermissionDenied)
        self.assertEqual(self.roles(alice), {"alice": "admin", "bob": "owner"})

    def test_two_owners_who_dismiss_and_add(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        groups = self.group.side.groups
        first, second = self.change(groups.dismiss("room", "ualice"), groups.add("room", "ualice", ["ucarol"]))
        self.assertIsNone(first)
        self.assertIsInstance(second, NotFound)
        self.assertEqual(bob.ask(SubSignal.MP)["conversations"], [])

    def test_many_join_at_once(self) -> None:
        alice, *_ = self.users("alice")
        self.room(alice)
        groups = self.group.side.groups
        joined = self.change(*(groups.join("room", f"uu{number:02}") for number in range(50)))
        self.assertEqual(joined, 50 * [True])
        self.assertEqual(len(self.roles(alice)), 51)

    def test_two_groups_of_one_name_are_one(self) -> None:
        groups = self.group.side.groups
        options: dict[str, Any] = {"title": "", "members": (), "is_open": True, "tells_reads": False}
        first, second = self.change(
            groups.create("room", owner="ualice", **options), groups.create("room", owner="ubob", **options)
        )
        self.assertIsInstance(first, Conversation)
        self.assertIsInstance(second, GroupConflict)

    def test_what_another_process_changes_meanwhile_is_seen_before_anything_is_done(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        alice.ask(MS, group="room", text="warm")
        bob.frames()
        store = self.stores().groups
        other = Rooms(store)
        room = self.successResultOf(deferred(other.get("g.room")))
        head = room.head
        change = Change(head, "Elsewhere", True, False, removed=["ubob"])
        self.assertIsNotNone(self.successResultOf(store.change(change)))
        self.assertEqual(bob.refused(MS, group="room", text="x"), 403)
        alice.ask(MS, group="room", text="without bob")
        self.assertEqual(bob.heard(), [])
        self.assertEqual(alice.ask(GPGI, group="room")["title"], "Elsewhere")

    def test_who_comes_by_another_process_may_speak_at_once(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice)
        alice.ask(MS, group="room", text="warm")
        store = self.stores().groups
        room = self.successResultOf(deferred(Rooms(store).get("g.room")))
        change = Change(room.head, "", True, False, put=[Member("ubob")])
        self.assertIsNotNone(self.successResultOf(store.change(change)))
        bob.ask(MS, group="room", text="here")
        self.assertEqual(alice.heard(), ["here"])

    def test_who_decides_by_how_a_room_was_sees_no_change_of_it(self) -> None:
        alice, _ = self.users("alice", "bob")
        self.room(alice, "bob")
        store = self.stores().groups
        rooms = Rooms(store)
        seen = self.successResultOf(deferred(rooms.get("g.room")))
        change = Change(seen.head, "", True, False, put=[Member("ucarol")], removed=["ubob"])
        after = rooms.changed(seen, change, self.successResultOf(store.change(change)))
        self.assertEqual(set(seen.members), {"ualice", "ubob"})
        self.assertEqual(set(after.members), {"ualice", "ucarol"})

    def test_applications_may_do_everything(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob", open=False)
        groups = self.group.side.groups
        added, kicked, _, _ = self.change(
            groups.add("room", None, ["ucarol"]),
            groups.kick("room", None, ["ualice"]),
            groups.set_role("room", None, "ubob", Role.OWNER),
            groups.modify("room", None, title="Ours", is_open=None, tells_reads=None),
        )
        self.assertEqual((added, kicked), (["ucarol"], ["ualice"]))
        self.assertEqual(self.roles(bob), {"bob": "owner", "carol": "member"})
        self.assertEqual(self.change(groups.everybody("room")), [("ubob", "ucarol")])
        wrong = self.change(groups.everybody("a/b"), groups.everybody("nowhere"))
        self.assertEqual([type(each) for each in wrong], [InvalidRequest, NotFound])


class Sizes(GroupCase):
    """Large groups."""

    def test_rooms_in_memory_are_bounded(self) -> None:
        (alice,) = self.users("alice")
        for number in range(6):
            self.room(alice, *(f"u{each}" for each in range(10)), group=f"room-{number}")
        rooms = Rooms(self.stores().groups, max_members=30)
        for number in range(6):
            self.assertEqual(len(self.successResultOf(deferred(rooms.get(f"g.room-{number}"))).members), 11)
        self.assertEqual(len(rooms), 2)

    def test_a_message_to_5_000_is_stored_once_and_written_once_a_connector(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.successResultOf(
            deferred(
                self.group.side.groups.create(
                    "big",
                    title="",
                    owner="ualice",
                    members=["ubob", *(f"uaway{number}" for number in range(4_998))],
                    is_open=True,
                    tells_reads=False,
                )
            )
        )
        written: list[bytes] = []
        write = FramedProtocol.write_notice

        def counted(protocol: FramedProtocol, subsignal: int, body: bytes) -> bytes:
            written.append(body)
            return write(protocol, subsignal, body)

        self.patch(FramedProtocol, "write_notice", counted)
        carol, dave = self.users("away1", "away2")
        for person in (carol, dave):
            person.ask(SubSignal.MP)
        bob.frames()
        alice.send(Signal.PUBLISH, json.dumps({"group": "big", "text": "x"}).encode(), subsignal=MS)
        for person in (bob, carol, dave):
            self.assertEqual(person.heard(), ["x"])
        self.assertEqual(len(written), 2)  # connectors
        stored = self.successResultOf(deferred(self.stores().said.history("g.big", 0, 1 << 53, 10)))
        self.assertEqual([message.seq for message in stored], [1])
