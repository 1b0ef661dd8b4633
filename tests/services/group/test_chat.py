"""Tests of push.services.group: what clients of the chat form may ask, and what others are told."""

import json
from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from push.chat_json import content
from push.errors import PermissionDenied, Unavailable
from push.igroup import IPresenceStore
from push.model import Registration
from push.model_chat import SYSTEM, ChatMessage
from push.protocols.wire.signals import Signal, SubSignal
from push.services.group import presence, sightings, talk
from push.services.group.sightings import Sightings
from push.services.tasks import Tasks
from tests.services.group.world import Person, World
from tests.stores.contract import deferred

MS, MN, MP, MR, RMN, LRM = (
    SubSignal.MS,
    SubSignal.MN,
    SubSignal.MP,
    SubSignal.MR,
    SubSignal.RMN,
    SubSignal.LRM,
)


@implementer(IPresenceStore)
class HeldPresence:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.looks: list[Deferred[Mapping[str, int]]] = []
        self.written: list[Mapping[str, int]] = []
        self.failure: Exception | None = None

    def saw(self, seen: Mapping[str, int]) -> Deferred[None]:
        """See IPresenceStore."""
        if self.failure is not None:
            return fail(self.failure)
        self.written.append(seen)
        return succeed(None)

    def seen(self, whos: Sequence[str]) -> Deferred[Mapping[str, int]]:
        """See IPresenceStore."""
        self.looks.append(Deferred())
        return self.looks[-1]


class Saying(World):
    """MS and MN."""

    def test_what_is_said_in_a_group_comes_to_all_devices_but_the_one_that_said_it(self) -> None:
        alice, bob, phone = self.users("alice", "bob", "alice")
        carol, stranger = self.users("carol", "stranger")
        self.room(alice, "bob", "carol")
        for each in (alice, bob, carol, phone):
            each.frames()
        sent = alice.ask(MS, group="room", text="hello", type=3, data={"a": [1]}, mentions=["bob"], client_id="c-1")
        expected = {
            "conversation": "g.room",
            "group": "room",
            "seq": 1,
            "id": sent["id"],
            "time": sent["time"],
            "from": "alice",
            "type": 3,
            "text": "hello",
            "data": {"a": [1]},
            "mentions": ["bob"],
            "client_id": "c-1",
        }
        for each in (bob, carol, phone):
            self.assertEqual(each.told(), [(MN, expected)])
        self.assertEqual(alice.told(), [])
        self.assertEqual(stranger.told(), [])
        self.assertEqual((sent["conversation"], sent["seq"]), ("g.room", 1))

    def test_what_is_said_to_a_user_comes_to_both_users_devices(self) -> None:
        alice, bob, phone, tablet = self.users("alice", "bob", "alice", "bob")
        sent = alice.ask(MS, to="bob", text="psst")
        for each in (bob, tablet, phone):
            ((subsignal, body),) = each.told()
            self.assertEqual((subsignal, body["from"], body["text"], body["id"]), (MN, "alice", "psst", sent["id"]))
            self.assertNotIn("group", body)
        again = bob.ask(MS, to="alice", text="yes?")
        self.assertEqual((again["conversation"], again["seq"]), (sent["conversation"], 2))
        self.assertEqual(alice.heard(), ["yes?"])

    def test_a_note_to_oneself_comes_to_one_s_other_devices(self) -> None:
        alice, phone = self.users("alice", "alice")
        alice.ask(MS, to="alice", text="milk")
        self.assertEqual(phone.heard(), ["milk"])
        self.assertEqual(alice.heard(), [])

    def test_messages_of_one_turn_arrive_in_their_order(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        bob.frames()
        for number in range(30):
            alice.send(Signal.PUBLISH, json.dumps({"group": "room", "text": str(number)}).encode(), subsignal=MS)
        self.assertEqual(bob.heard(), [str(number) for number in range(30)])

    def test_the_same_client_id_is_one_message_and_the_same_answer(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        bob.frames()
        first = alice.ask(MS, group="room", text="once", client_id="c-1")
        self.assertEqual(alice.ask(MS, group="room", text="once", client_id="c-1"), first)
        self.assertEqual(bob.heard(), ["once"])
        self.assertEqual(alice.refused(MS, group="room", text="twice", client_id="c-1"), 409)
        self.assertEqual(alice.refused(MS, group="room", text="once", type=1, client_id="c-1"), 409)
        self.assertEqual(bob.ask(MS, group="room", text="mine", client_id="c-1")["seq"], 2)

    def test_who_may_not_speak_is_refused(self) -> None:
        alice, bob, mallory = self.users("alice", "bob", "mallory")
        self.room(alice, "bob")
        private = alice.ask(MS, to="bob", text="x")["conversation"]
        for status, where in (
            (403, {"group": "room"}),
            (403, {"conversation": "g.room"}),
            (403, {"conversation": private}),
            (404, {"group": "nowhere"}),
            (404, {"conversation": "p.0"}),
            (404, {"to": "nobody"}),
            (400, {"group": "a/b"}),
            (400, {"to": "\u0007"}),
            (400, {}),
            (400, {"group": "room", "to": "bob"}),
        ):
            self.assertEqual(mallory.refused(MS, text="x", **where), status, where)
        self.assertEqual(bob.heard(), ["x"])
        self.assertEqual(len(alice.ask(MP, group="room")["messages"]), 0)

    def test_the_system_speaks_in_groups_and_to_nobody_alone(self) -> None:
        alice, _ = self.users("alice", "bob")
        self.room(alice, "bob")
        pair = alice.ask(MS, to="bob", text="x")["conversation"]
        alice.frames()
        say = self.group.side.talk.say
        held = content(text="listen")
        self.successResultOf(deferred(say(ChatMessage("g.room", 0, 0, SYSTEM, 0, held), to=None)))
        self.assertEqual(alice.heard(), ["listen"])
        self.failureResultOf(deferred(say(ChatMessage(pair, 0, 0, SYSTEM, 0, held), to=None)), PermissionDenied)

    def test_nobody_speaks_as_somebody_else(self) -> None:
        alice, bob, carol = self.users("alice", "bob", "carol")
        self.room(alice, "bob", "carol")
        carol.frames()
        for forged in ({"from": "bob"}, {"from": "ubob", "sender": "bob"}, {"from_token": bob.token, "uid": "bob"}):
            alice.ask(MS, group="room", text="I am bob", **forged)
            ((_, heard),) = carol.told()
            self.assertEqual((heard["from"], heard.get("from_token")), ("alice", None))

    def test_the_same_client_id_at_once_on_two_devices_is_one_message(self) -> None:
        alice, desk, bob = self.users("alice", "alice", "bob")
        self.room(alice, "bob")
        for each in (alice, desk, bob):
            each.frames()
        body = json.dumps({"group": "room", "text": "once", "client_id": "c-1"}).encode()
        for each in (alice, desk):
            each._number += 1
            each.send(Signal.PUBLISH, body, subsignal=MS, message_id=each._number)
        self.assertEqual(alice.answer(MS), desk.answer(MS))
        self.assertEqual(bob.heard(), ["once"])
        other = bob.ask(MS, group="room", text="mine", client_id="c-1")  # a name is its sender's own
        self.assertEqual(other["seq"], 2)

    def test_bad_bodies_are_refused_and_the_session_stays(self) -> None:
        alice, _ = self.users("alice", "bob")
        self.room(alice, "bob")
        bodies = [
            b"",
            b"[]",
            b"\xff",
            b"{",
            b"[" * 5_000,
            b'{"group":"room"}',
            b'{"group":"room","text":""}',
            b'{"group":"room","text":7}',
            b'{"group":"room","text":"x","type":-1}',
            b'{"group":"room","text":"x","type":2147483648}',
            b'{"group":"room","data":[1]}',
            b'{"group":"room","text":"x","mentions":["\\u0000"]}',
            b'{"group":"room","text":"x","client_id":"\\n"}',
            json.dumps({"group": "room", "text": "x", "client_id": 65 * "c"}).encode(),
            json.dumps({"group": "room", "text": "x", "mentions": 101 * ["u"]}).encode(),
        ]
        for body in bodies:
            alice._number += 1
            alice.send(Signal.PUBLISH, body, subsignal=MS, message_id=alice._number)
            status, answer = alice.answer(MS)
            self.assertEqual((status, answer["status"]), (1, 400), body)
        self.assertEqual(alice.refused(MS, group="room", text="é" * 9_000), 413)
        self.assertEqual(alice.refused(35), 501)
        self.assertEqual(alice.ask(MS, group="room", text="fine")["seq"], 1)

    def test_who_asks_too_much_is_told_when_to_come_back(self) -> None:
        self.make(chat_requests_per_s=2.0, chat_messages_per_s=1_000.0)
        alice, bob, phone = self.users("alice", "bob", "alice")
        self.room(alice, "bob")
        for _ in range(3):
            alice.ask(MS, group="room", text="x")
        status, answer = alice.publish(MS, group="room", text="x")
        self.assertEqual((status, answer["status"], answer["retry_after"]), (7, 429, 0.5))
        self.assertEqual(phone.refused(MS, group="room", text="x"), 429)  # it is the user who does
        bob.ask(MS, group="room", text="mine")
        self.clock.advance(0.5)
        alice.ask(MS, group="room", text="x")

    def test_a_group_in_which_too_much_is_said_takes_no_more(self) -> None:
        self.make(chat_requests_per_s=1_000.0, chat_messages_per_s=2.0)
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        for each in (alice, bob, alice, bob):
            each.ask(MS, group="room", text="x")
        self.assertEqual(alice.refused(MS, group="room", text="x"), 429)
        alice.ask(MS, to="bob", text="elsewhere")

    def test_a_stranger_uses_up_nothing_of_what_a_group_takes(self) -> None:
        self.make(chat_requests_per_s=1_000.0, chat_messages_per_s=2.0)
        alice, mallory = self.users("alice", "mallory")
        self.room(alice)
        for _ in range(9):
            self.assertEqual(mallory.refused(MS, group="room", text="x"), 403)
        alice.ask(MS, group="room", text="mine")

    def test_one_who_is_kicked_while_sending_is_refused_or_was_heard(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        body = json.dumps({"group": "room", "text": "last words"}).encode()
        alice.send(Signal.PUBLISH, b'{"group":"room","uids":["bob"]}', subsignal=SubSignal.GKM)
        bob._number += 1
        bob.send(Signal.PUBLISH, body, subsignal=MS, message_id=bob._number)
        status, answer = bob.answer(MS)
        self.assertEqual((status, answer["status"]), (3, 403))
        self.assertEqual(alice.heard(), [])
        self.assertEqual(alice.ask(MP, group="room")["messages"], [])


class SayingWithoutBeingTold(Saying):
    """Of a group role that has to ask where members are."""

    asks = True

    def test_a_token_that_became_another_user_s_hears_nothing_of_the_former_s(self) -> None:
        alice, _ = self.users("alice", "bob")
        phone = Person(self, uid="bob")
        other = Person(self, uid="carol", token=phone.token)
        alice.ask(MS, to="bob", text="for bob")
        self.assertEqual(other.heard_in_old_form(), [])


class Blocks(World):
    """MMI: not being written to by somebody."""

    def test_who_is_blocked_is_refused_until_let_in_again(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.MMI, uid="bob")
        self.assertEqual(bob.refused(MS, to="alice", text="x"), 403)
        self.assertEqual(alice.heard(), [])
        alice.ask(MS, to="bob", text="I may")
        self.assertEqual(bob.heard(), ["I may"])
        alice.ask(SubSignal.MMI, uid="bob", block=False)
        bob.ask(MS, to="alice", text="thanks")
        self.assertEqual(alice.heard(), ["thanks"])

    def test_who_is_blocked_is_not_heard_taking_something_back_either(self) -> None:
        alice, bob = self.users("alice", "bob")
        bob.ask(MS, to="alice", text="x")
        alice.ask(SubSignal.MMI, uid="bob")
        alice.frames()
        self.assertEqual(bob.refused(MR, to="alice", seq=1), 403)
        self.assertEqual(alice.told(), [])

    def test_a_block_says_nothing_about_groups(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        alice.ask(SubSignal.MMI, uid="bob")
        bob.ask(MS, group="room", text="still here")
        self.assertEqual(alice.heard(), ["still here"])

    def test_nobody_unknown_is_blocked(self) -> None:
        (alice,) = self.users("alice")
        self.assertEqual(alice.refused(SubSignal.MMI, uid="nobody"), 404)
        alice.ask(SubSignal.MMI, uid="nobody", block=False)


class Returning(World):
    """MP, LRM: what was missed, and what was long ago."""

    def test_who_was_away_finds_what_was_missed(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        alice.ask(MS, group="room", text="before")
        self.assertEqual(bob.heard(), ["before"])
        bob.hang_up()
        for number in range(5):
            alice.ask(MS, group="room", text=f"missed {number}")
        alice.ask(MS, to="bob", text="where are you?")
        (bob,) = self.users("bob")
        found = {each["conversation"]: each for each in bob.ask(MP)["conversations"]}
        self.assertEqual(len(found), 2)
        room = found.pop("g.room")
        self.assertEqual((room["last_seq"], room["read_seq"], room["unread"], room["role"]), (6, 0, 6, "member"))
        ((pair, private),) = found.items()
        self.assertEqual(private["unread"], 1)
        self.assertEqual([each["text"] for each in bob.ask(MP, conversation=pair)["messages"]], ["where are you?"])
        answer = bob.ask(MP, group="room", after=1, limit=3)
        self.assertEqual([each["text"] for each in answer["messages"]], ["missed 0", "missed 1", "missed 2"])
        self.assertEqual((answer["more"], answer["last_seq"]), (True, 6))
        answer = bob.ask(MP, group="room", after=4)
        self.assertEqual([each["seq"] for each in answer["messages"]], [5, 6])
        self.assertFalse(answer["more"])
        self.assertEqual(bob.ask(MP, group="room", after=6)["messages"], [])

    def test_all_is_there_after_a_restart(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        first = alice.ask(MS, group="room", text="before", client_id="c-1")
        self.successResultOf(self.group.service.stopService())
        self.successResultOf(self.database.close())
        self.clock.advance(5)
        self.begin()
        alice, bob = self.users("alice", "bob")
        self.assertEqual(alice.ask(MS, group="room", text="before", client_id="c-1"), first)
        self.assertEqual(bob.ask(MP, group="room")["messages"][0]["text"], "before")
        self.assertEqual(alice.ask(MS, group="room", text="after")["seq"], 2)
        self.assertEqual(bob.heard(), ["after"])

    def test_earlier_messages_come_by_pages_from_the_end(self) -> None:
        alice, _ = self.users("alice", "bob")
        self.room(alice, "bob")
        for number in range(1, 11):
            alice.ask(MS, group="room", text=str(number))
        answer = alice.ask(LRM, group="room", limit=4)
        self.assertEqual([each["text"] for each in answer["messages"]], ["7", "8", "9", "10"])
        self.assertTrue(answer["more"])
        answer = alice.ask(LRM, group="room", before=7, limit=10)
        self.assertEqual([each["text"] for each in answer["messages"]], ["1", "2", "3", "4", "5", "6"])
        self.assertFalse(answer["more"])

    def test_a_page_fits_into_a_frame_and_what_is_left_comes_with_the_next(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        for number in range(8):
            alice.ask(MS, group="room", text=f"{number}" + "x" * 15_000)
        seqs: list[int] = []
        pages = 0
        while True:
            answer = bob.ask(MP, group="room", after=seqs[-1] if seqs else 0)
            seqs += [each["seq"] for each in answer["messages"]]
            pages += 1
            if not answer["more"]:
                break
        self.assertEqual(seqs, list(range(1, 9)))
        self.assertGreater(pages, 2)
        answer = bob.ask(LRM, group="room")
        self.assertEqual(answer["messages"][-1]["seq"], 8)
        self.assertTrue(answer["more"])

    def test_a_new_member_sees_what_is_said_from_then_on(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice)
        alice.ask(MS, group="room", text="secret")
        bob.ask(SubSignal.GAM, group="room")
        alice.ask(MS, group="room", text="public")
        for subsignal in (MP, LRM):
            self.assertEqual([each["text"] for each in bob.ask(subsignal, group="room")["messages"]], ["public"])
        (standing,) = bob.ask(MP)["conversations"]
        self.assertEqual((standing["first_seq"], standing["unread"]), (2, 1))

    def test_conversations_come_by_pages(self) -> None:
        (alice,) = self.users("alice")
        for number in range(5):
            self.room(alice, group=f"room-{number}")
        first = alice.ask(MP, limit=3)
        self.assertEqual([each["group"] for each in first["conversations"]], ["room-0", "room-1", "room-2"])
        second = alice.ask(MP, limit=3, after=first["after"])
        self.assertEqual([each["group"] for each in second["conversations"]], ["room-3", "room-4"])
        self.assertEqual(second["after"], "")

    def test_no_page_is_longer_than_200_whoever_asks(self) -> None:
        (alice,) = self.users("alice")
        for number in range(4):
            self.room(alice, group=f"room-{number}")
            alice.ask(MS, group="room-0", text="x")
        for subsignal, fields in ((MP, {"group": "room-0"}), (LRM, {"group": "room-0"}), (MP, {})):
            alice.ask(subsignal, limit=200, **fields)
            self.assertEqual(alice.refused(subsignal, limit=201, **fields), 400)
        self.assertEqual(alice.refused(SubSignal.GPGM, group="room-0", limit=201), 400)
        self.patch(talk, "MAX_PAGE", 3)
        side = self.group.side.talk
        for before in (None, 9):
            asked = side.history("g.room-0", None, after=0, before=before, limit=1_000)
            self.assertEqual(len(self.successResultOf(deferred(asked))[1]), 3)
        self.assertEqual(len(self.successResultOf(deferred(side.standings("ualice", "", 1_000)))), 3)

    def test_history_is_kept_up_to_its_limits(self) -> None:
        self.make(chat_history_messages=3, chat_history_s=100)
        alice, _ = self.users("alice", "bob")
        self.room(alice, "bob")
        for number in range(1, 6):
            alice.ask(MS, group="room", text=str(number))
        self.assertEqual([each["seq"] for each in alice.ask(MP, group="room")["messages"]], [3, 4, 5])
        self.clock.advance(101)
        self.clock.advance(600)
        self.assertEqual(alice.ask(MP, group="room")["messages"], [])
        self.assertEqual(alice.ask(MS, group="room", text="6")["seq"], 6)


class Reading(World):
    """MN from a client: up to where it has read."""

    def test_reading_moves_on_and_is_told_to_the_other(self) -> None:
        alice, bob, phone = self.users("alice", "bob", "bob")
        alice.ask(MS, to="bob", text="1")
        pair = alice.ask(MS, to="bob", text="2")["conversation"]
        alice.frames()
        phone.frames()
        bob.frames()
        bob.send(Signal.PUBLISH, json.dumps({"to": "alice", "seq": 1}).encode(), subsignal=MN, message_id=99)
        (answer,) = bob.frames()  # and no notice to the device that said so
        self.assertEqual(json.loads(answer.body[1:]), {"conversation": pair, "read": 1})
        expected = [(MN, {"conversation": pair, "read": 1, "reader": "bob"})]
        self.assertEqual(alice.told(), expected)
        self.assertEqual(phone.told(), expected)
        self.assertEqual(bob.ask(MN, to="alice", seq=99)["read"], 2)
        alice.frames()
        self.assertEqual(bob.ask(MN, conversation=pair, seq=1)["read"], 2)
        self.assertEqual(alice.told(), [])
        (standing,) = bob.ask(MP)["conversations"]
        self.assertEqual((standing["read_seq"], standing["unread"]), (2, 0))

    def test_in_groups_it_is_told_where_that_is_wanted(self) -> None:
        alice, bob, phone = self.users("alice", "bob", "bob")
        self.room(alice, "bob")
        self.room(alice, "bob", group="telling", receipts=True)
        for name in ("room", "telling"):
            alice.ask(MS, group=name, text="x")
        for each in (alice, phone):
            each.frames()
        bob.ask(MN, group="room", seq=1)
        self.assertEqual(alice.told(), [])
        self.assertEqual(len(phone.told()), 1)
        bob.ask(MN, group="telling", seq=1)
        self.assertEqual([body["reader"] for _, body in alice.told()], ["bob"])

    def test_who_has_no_part_in_it_reads_nothing(self) -> None:
        alice, bob, mallory = self.users("alice", "bob", "mallory")
        self.room(alice, "bob")
        for subsignal in (MN, MP, LRM, MR):
            self.assertEqual(mallory.refused(subsignal, group="room", **({} if subsignal == MP else {"seq": 1})), 403)
            self.assertEqual(mallory.refused(subsignal, group="nowhere"), 404)
        self.assertEqual(bob.refused(MN, group="room", seq=-1), 400)
        self.assertEqual(bob.refused(MP, group="room", after="x"), 400)


class Recalling(World):
    """MR and RMN."""

    def test_what_is_recalled_is_gone_and_all_are_told(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice, "bob")
        alice.frames()
        bob.frames()
        bob.ask(MS, group="room", text="oops", data={"a": 1})
        alice.frames()
        sent = bob.ask(MR, group="room", seq=1)
        self.assertEqual(sent["seq"], 2)
        ((subsignal, body),) = alice.told()
        self.assertEqual((subsignal, body["recalls"], body["from"], body["type"], body["seq"]), (RMN, 1, "bob", -1, 2))
        first, second = alice.ask(MP, group="room")["messages"]
        self.assertTrue(first["recalled"])
        self.assertNotIn("text", first)
        self.assertNotIn("data", first)
        self.assertEqual(second["recalls"], 1)
        self.assertEqual(bob.refused(MR, group="room", seq=1), 409)
        self.assertEqual(bob.refused(MR, group="room", seq=2), 404)
        self.assertEqual(bob.refused(MR, group="room", seq=9), 404)

    def test_only_one_s_own_and_only_for_a_while_but_for_admins(self) -> None:
        alice, bob, carol = self.users("alice", "bob", "carol")
        self.room(alice, "bob", "carol")
        bob.ask(MS, group="room", text="1")
        bob.ask(MS, group="room", text="2")
        self.assertEqual(carol.refused(MR, group="room", seq=1), 403)
        self.clock.advance(121)
        self.assertEqual(bob.refused(MR, group="room", seq=1), 403)
        alice.ask(MR, group="room", seq=1)
        first, second, _ = carol.ask(MP, group="room")["messages"]
        self.assertEqual((first.get("recalled"), second["text"]), (True, "2"))

    def test_who_was_not_there_yet_takes_nothing_back_admin_or_not(self) -> None:
        alice, bob = self.users("alice", "bob")
        self.room(alice)
        alice.ask(MS, group="room", text="before")
        alice.ask(SubSignal.GAM, group="room", uids=["bob"])
        alice.ask(SubSignal.GMI, group="room", uid="bob", role="admin")
        self.assertEqual(bob.refused(MR, group="room", seq=1), 404)
        alice.ask(MS, group="room", text="since")
        bob.ask(MR, group="room", seq=2)

    def test_an_application_recalls_what_was_said_to_one_alone(self) -> None:
        alice, bob = self.users("alice", "bob")
        pair = alice.ask(MS, to="bob", text="oops")["conversation"]
        bob.frames()
        self.successResultOf(deferred(self.group.side.talk.recall(pair, None, 1)))
        ((subsignal, body),) = bob.told()
        self.assertEqual((subsignal, body["recalls"]), (RMN, 1))
        self.assertNotIn("from", body)
        self.assertTrue(alice.ask(MP, conversation=pair)["messages"][0]["recalled"])

    def test_a_recalled_message_is_not_said_again_by_its_repetition(self) -> None:
        alice, bob = self.users("alice", "bob")
        sent = alice.ask(MS, to="bob", text="oops", client_id="c-1")
        alice.ask(MR, to="bob", seq=1)
        bob.frames()
        self.assertEqual(alice.ask(MS, to="bob", text="oops", client_id="c-1"), sent)
        self.assertEqual(bob.told(), [])


class Presence(World):
    """US: who is there."""

    def test_watchers_are_told_of_who_has_stayed_as_it_is(self) -> None:
        alice, bob = self.users("alice", "bob")
        (first,) = alice.ask(SubSignal.US, uids=["bob"])["presence"]
        self.assertEqual((first["uid"], first["online"], first["sessions"]), ("bob", True, 1))
        bob.hang_up()
        self.clock.advance(4)
        self.assertEqual(alice.told(), [])
        self.clock.advance(2)
        self.clock.advance(5)
        ((subsignal, body),) = alice.told()
        self.assertEqual((subsignal, body["uid"], body["online"]), (SubSignal.US, "bob", False))
        self.assertEqual(body["last_seen"], self.now_ms() - 11_000)
        self.users("bob")
        self.clock.advance(10)
        self.assertEqual([body["online"] for _, body in alice.told()], [True])

    def test_a_phone_that_flaps_is_not_told_of(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob"])
        for _ in range(10):
            bob.hang_up()
            self.clock.advance(1)
            (bob,) = self.users("bob")
            self.clock.advance(1)
        for _ in range(5):
            self.clock.advance(5)
        self.assertEqual(alice.told(), [])

    def test_watching_others_ends_watching_these(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob"])
        alice.ask(SubSignal.US, uids=[])
        bob.hang_up()
        self.clock.advance(20)
        self.assertEqual(alice.told(), [])

    def test_a_watcher_that_leaves_is_forgotten(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob", "alice"])
        presences = self.group.side.presence
        self.assertEqual(presences._watches, 2)
        alice.hang_up()
        self.assertEqual((presences._watches, presences._watchers, presences._watched), (0, {}, {}))
        self.assertEqual(bob.refused(SubSignal.US, uids=[f"u{n}" for n in range(501)]), 400)

    def test_of_all_sessions_together_no_more_watch_than_can_be_borne(self) -> None:
        self.patch(presence, "MAX_WATCHES", 3)
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["a", "b"])
        self.assertEqual(bob.refused(SubSignal.US, uids=["a", "b"]), 429)
        bob.ask(SubSignal.US, uids=["a"])
        alice.ask(SubSignal.US, uids=["c", "d"])  # in place of the others

    def test_the_end_of_a_session_is_not_that_of_the_one_that_renewed_it(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob"])
        (before,) = self.group.side.presence.watching()
        alice = Person(self, uid="alice", token=alice.token)
        alice.ask(SubSignal.US, uids=["bob"])
        self.group.side.presence.over(before)
        bob.hang_up()
        self.clock.pump([5] * 3)
        self.assertEqual([subsignal for subsignal, _ in alice.told()], [SubSignal.US])

    def test_a_watcher_that_leaves_before_it_is_answered_is_forgotten(self) -> None:
        alice, bob = self.users("alice", "bob")
        presences = self.group.side.presence
        store = presences._sightings._store = HeldPresence()
        for _ in range(2):
            alice.send(Signal.PUBLISH, b'{"uids":["nobody"]}', subsignal=SubSignal.US)
        store.looks[1].callback({})
        store.looks[0].callback({})
        self.assertEqual(presences._watches, 1)
        bob.send(Signal.PUBLISH, b'{"uids":["nobody"]}', subsignal=SubSignal.US)
        bob.hang_up()
        store.looks[2].callback({})
        self.assertEqual((presences._watches, list(presences._watched)), (1, [alice.token]))

    def test_when_one_was_last_seen_survives_a_restart(self) -> None:
        alice, bob = self.users("alice", "bob")
        at_ms = self.now_ms()
        bob.hang_up()
        self.clock.advance(1)
        self.successResultOf(self.group.service.stopService())
        self.successResultOf(self.database.close())
        self.begin()
        (alice,) = self.users("alice")
        first, second = alice.ask(SubSignal.US, uids=["bob", "nobody"], watch=False)["presence"]
        self.assertEqual((first["online"], first["last_seen"]), (False, at_ms))
        self.assertEqual((second["online"], second["last_seen"]), (False, None))


class PresenceWithoutBeingTold(World):
    """Of a group role that nobody tells who comes and goes: it looks."""

    asks = True

    def test_watchers_are_told_of_who_has_stayed_as_it_is(self) -> None:
        alice, bob = self.users("alice", "bob")
        (found,) = alice.ask(SubSignal.US, uids=["bob"])["presence"]
        self.assertEqual((found["online"], found["sessions"]), (True, 1))
        self.clock.pump([5] * 3)
        self.assertEqual(alice.told(), [])
        bob.hang_up()
        self.clock.advance(5)
        self.assertEqual(alice.told(), [])
        self.clock.advance(5)
        ((subsignal, body),) = alice.told()
        self.assertEqual((subsignal, body["uid"], body["online"]), (SubSignal.US, "bob", False))
        self.users("bob")
        self.clock.pump([5] * 4)
        self.assertEqual([body["online"] for _, body in alice.told()], [True])

    def test_a_phone_that_flaps_is_not_told_of(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob"])
        for _ in range(3):
            self.clock.advance(3)
            bob.hang_up()
            self.clock.advance(4)
            (bob,) = self.users("bob")
            self.clock.advance(3)
        self.clock.pump([5] * 4)
        self.assertEqual(alice.told(), [])

    def test_who_watches_and_is_gone_is_forgotten(self) -> None:
        alice, bob, carol = self.users("alice", "bob", "carol")
        for each in (alice, carol):
            each.ask(SubSignal.US, uids=["bob"])
        presences = self.group.side.presence
        self.assertEqual(presences._watches, 2)
        alice.hang_up()
        self.clock.pump([5] * 9)
        self.assertEqual(presences._watches, 2)  # its connector may still say that it is there
        self.clock.advance(5)
        self.assertEqual((presences._watches, list(presences._watched)), (1, [carol.token]))
        phone = Person(self, uid="carol", token=carol.token)  # renewed: what it watched before is over
        self.clock.advance(5)
        self.assertEqual((presences._watches, presences._watchers, presences._watched), (0, {}, {}))
        bob.hang_up()
        self.clock.pump([5] * 3)
        self.assertEqual(phone.told(), [])

    def test_who_was_unknown_for_a_while_watches_on(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob"])
        online, self.subscribe.online = self.subscribe.online, self.lost
        self.clock.pump([5] * 7)
        self.subscribe.online = online
        self.clock.pump([5] * 3)
        alice.told()
        bob.hang_up()
        self.clock.pump([5] * 3)
        self.assertEqual([body["online"] for _, body in alice.told()], [False])

    def test_what_is_otherwise_than_one_knew_is_told_as_a_change(self) -> None:
        alice, bob = self.users("alice", "bob")
        known = {"bob": False, "nobody": False, "somebody": True}
        shown = alice.ask(SubSignal.US, uids=["bob", "nobody"], known=known)["presence"]
        self.assertEqual([each["online"] for each in shown], [True, False])
        self.clock.advance(4)
        self.assertEqual(alice.told(), [])
        self.clock.pump([5] * 3)
        self.assertEqual([(body["uid"], body["online"]) for _, body in alice.told()], [("bob", True)])
        self.assertEqual(bob.refused(SubSignal.US, uids=["alice"], known={f"u{n}": True for n in range(501)}), 400)
        self.assertEqual(bob.refused(SubSignal.US, uids=["alice"], known={"alice": 1}), 400)

    def test_a_connector_that_is_lost_asks_again(self) -> None:
        alice, bob = self.users("alice", "bob")
        for each in (alice, bob):
            each.ask(SubSignal.US, uids=["alice", "bob"])
        presences = self.group.side.presence
        self.group.left(self.connectors[1].address)
        self.assertEqual((presences._watches, list(presences._watched)), (2, [alice.token]))

    def test_who_cannot_watch_more_watches_the_same_as_before(self) -> None:
        self.patch(presence, "MAX_WATCHES", 2)
        alice, bob, carol = self.users("alice", "bob", "carol")
        for each in (alice, carol):
            each.ask(SubSignal.US, uids=["bob"])
        self.assertEqual(alice.refused(SubSignal.US, uids=["bob", "alice"]), 429)
        self.assertEqual(bob.told(), [])
        self.assertEqual(self.group.side.presence._watches, 2)
        alice.ask(SubSignal.US, uids=["alice"])
        self.assertEqual(list(self.group.side.presence._watchers), ["ubob", "ualice"])

    def test_while_a_look_takes_its_time_there_is_no_other(self) -> None:
        async def slow(tokens: Sequence[str]) -> Mapping[str, Registration]:
            looks.append(Deferred())
            await looks[-1]
            return await online(tokens)

        looks: list[Deferred[None]] = []
        (alice,) = self.users("alice")
        alice.ask(SubSignal.US, uids=["bob"])
        online, self.subscribe.online = self.subscribe.online, slow
        self.clock.pump([5] * 4)
        self.assertEqual(len(looks), 1)
        self.subscribe.online = online
        looks[0].callback(None)

    def test_while_nobody_knows_nobody_is_told(self) -> None:
        alice, bob = self.users("alice", "bob")
        alice.ask(SubSignal.US, uids=["bob"])
        self.clock.advance(5)
        online, self.subscribe.online = self.subscribe.online, self.away
        bob.hang_up()
        self.clock.pump([5] * 3)
        self.assertEqual(alice.told(), [])
        self.subscribe.online = online
        self.clock.advance(5)
        self.assertEqual(alice.told(), [])
        self.clock.advance(5)
        self.assertEqual([body["online"] for _, body in alice.told()], [False])

    async def lost(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """What is answered where all sessions were lost."""
        return {}

    async def away(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """What a subscribe role that cannot be asked answers."""
        raise Unavailable("away")


class SightingsTests(SynchronousTestCase):
    """When parties were last seen."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = HeldPresence()
        self.sightings = Sightings(
            self.store, clock=self.clock, now_ms=lambda: int(self.clock.seconds()), tasks=Tasks(), every_s=5.0
        )

    def test_they_are_written_together_and_known_before(self) -> None:
        for who in ("ualice", "ubob", "ualice"):
            self.clock.advance(1)
            self.sightings.saw(who)
        look = deferred(self.sightings.seen(["ualice", "ubob", "ucarol"]))
        self.store.looks[0].callback({"ucarol": 7, "ubob": 1})
        self.assertEqual(self.successResultOf(look), {"ualice": 3, "ubob": 2, "ucarol": 7})
        self.assertEqual(self.store.written, [])
        self.clock.advance(4)
        self.assertEqual(self.store.written, [{"ualice": 3, "ubob": 2}])
        self.clock.advance(100)
        self.assertEqual(len(self.store.written), 1)

    def test_only_what_is_asked_for_is_told(self) -> None:
        self.sightings.saw("ualice")
        look = deferred(self.sightings.seen(["ubob"]))
        self.store.looks[0].callback({})
        self.assertEqual(self.successResultOf(look), {})

    def test_what_a_store_does_not_take_is_lost_and_the_next_is_not(self) -> None:
        self.store.failure = Unavailable("away")
        self.sightings.saw("ualice")
        self.clock.advance(5)
        self.store.failure = None
        self.sightings.saw("ubob")
        self.clock.advance(5)
        self.assertEqual(self.store.written, [{"ubob": 5}])

    def test_what_is_held_is_bounded(self) -> None:
        self.patch(sightings, "MAX_HELD", 2)
        for who in ("ualice", "ubob", "ucarol", "ualice"):
            self.sightings.saw(who)
        self.successResultOf(deferred(self.sightings.flush()))
        self.assertEqual([sorted(each) for each in self.store.written], [["ualice", "ubob"]])


class OldForm(World):
    """CONTACT."""

    def setUp(self) -> None:
        super().setUp()
        self.successResultOf(
            deferred(
                self.group.side.groups.create("test", title="", owner=None, members=(), is_open=True, tells_reads=False)
            )
        )

    def join(self, *people: Person) -> None:
        """Become members of `test`."""
        for person in people:
            who = self.successResultOf(deferred(self.group.side.parties.of_token(person.token)))
            self.assertTrue(self.successResultOf(deferred(self.group.side.groups.join("test", who))))

    def test_every_other_member_gets_the_same_object_with_id_and_time(self) -> None:
        one, two, three, stranger = (Person(self, at % 2) for at in range(4))
        self.join(one, two, three)
        answer = one.contact(group="test", type=0, message="hello", messageType=5, extra=[1, None])
        self.assertEqual(answer["status"], 200)
        expected = {
            "from": one.token,
            "group": "test",
            "type": 0,
            "messageType": 5,
            "message": "hello",
            "extra": [1, None],
            "id": answer["id"],
            "time": self.now_ms(),
        }
        for each in (two, three):
            self.assertEqual(each.heard_in_old_form(), [expected])
        self.assertEqual(one.heard_in_old_form(), [])
        self.assertEqual(stranger.heard_in_old_form(), [])

    def test_a_token_is_written_to_alone(self) -> None:
        one, two, three = Person(self), Person(self, 1), Person(self)
        self.assertEqual(one.contact(to=two.token, type=1, message="psst")["status"], 200)
        (heard,) = two.heard_in_old_form()
        self.assertEqual((heard["from"], heard["to"], heard["message"]), (one.token, two.token, "psst"))
        self.assertEqual(three.heard_in_old_form(), [])

    def test_a_message_without_message_id_is_not_answered(self) -> None:
        one, two = Person(self), Person(self)
        self.join(one, two)
        one.send(Signal.CONTACT, json.dumps({"from": one.token, "group": "test", "type": 0, "message": "x"}).encode())
        one.send(Signal.CONTACT, b"nonsense")
        self.assertEqual(one.frames(), [])
        self.assertEqual(len(two.heard_in_old_form()), 1)

    def test_both_forms_talk_to_one_another(self) -> None:
        old = Person(self)
        (alice,) = self.users("alice")
        self.join(old)
        alice.ask(SubSignal.GAM, group="test")
        alice.frames()
        old.contact(group="test", type=0, message="from old", messageType=2)
        ((_, body),) = alice.told()
        self.assertEqual((body["text"], body["from_token"], body["type"]), ("from old", old.token, 2))
        alice.ask(MS, group="test", text="from new", type=4)
        (heard,) = old.heard_in_old_form()
        self.assertEqual((heard["from"], heard["group"], heard["type"]), ("alice", "test", 0))
        self.assertEqual((heard["message"], heard["messageType"]), ("from new", 4))
        texts = [each["text"] for each in alice.ask(MP, group="test")["messages"]]
        self.assertEqual(texts, ["from old", "from new"])

    def test_what_is_wrong_is_refused(self) -> None:
        one, two = Person(self), Person(self)
        self.join(one)
        for status, fields in (
            (403, {"from": two.token, "group": "test", "type": 0, "message": "forged"}),
            (403, {"from": None, "group": "test", "type": 0, "message": "forged"}),
            (404, {"group": "nowhere", "type": 0, "message": "x"}),
            (404, {"to": "unknown", "type": 1, "message": "x"}),
            (400, {"to": "not a token", "type": 1, "message": "x"}),
            (400, {"group": "test", "type": 0}),
            (400, {"group": "test", "type": 0, "message": ""}),
            (400, {"group": "test", "type": 0, "message": ["x"]}),
            (400, {"group": "test", "type": 2, "message": "x"}),
            (400, {"group": "test", "type": True, "message": "x"}),
            (400, {"group": "test", "type": False, "message": "x"}),
            (400, {"group": 7, "type": 0, "message": "x"}),
            (400, {"group": "test", "type": 0, "message": "x", "messageType": "1"}),
            (400, {"group": "test", "type": 0, "message": "x", "messageType": -1}),
            (400, {"group": "test", "type": 0, "message": "x", "messageType": 2**31}),
            (413, {"group": "test", "type": 0, "message": "x" * 20_000}),
        ):
            answer = one.contact(**fields)
            self.assertEqual(answer["status"], status, fields)
            self.assertTrue(answer["reason"])
            self.assertNotIn(two.token, answer["reason"])
        self.assertEqual(two.contact(group="test", type=0, message="no member")["status"], 403)
        body = b'{"from":"%s","group":"test","type":0,"message":"\\ud800"}' % one.token.encode()
        one.send(Signal.CONTACT, body, message_id=77)
        (frame,) = one.frames()
        self.assertEqual(json.loads(frame.body)["status"], 400)
