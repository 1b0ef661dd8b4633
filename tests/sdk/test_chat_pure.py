"""The pure part of groups and chat that both SDKs share: reading, positions, requests, what is lacking."""

import json
import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.client import Answered, Notified
from push.protocols.wire.frames import Frame
from push.protocols.wire.signals import Signal, SubSignal
from push_client import chat_plans
from push_client.chat import (
    ChatError,
    ChatMessage,
    ChatNotice,
    Positions,
    place,
    read_answer,
    read_message,
    read_notice,
    request,
)
from push_client.requests import MAX_UNANSWERED, MAX_WAITING, Doing, Plan
from push_client.talk import Talk


class PositionsTests(SynchronousTestCase):
    """Which message is next."""

    def test_messages_are_handed_out_once_and_in_order(self) -> None:
        positions = Positions()
        self.assertTrue(positions.is_next("c", 1))
        self.assertFalse(positions.is_next("c", 1))
        self.assertFalse(positions.is_next("c", 3))
        self.assertTrue(positions.is_next("c", 2))
        self.assertTrue(positions.is_next("c", 3))
        self.assertTrue(positions.is_known("c", 2))
        self.assertFalse(positions.is_known("c", 4))

    def test_what_was_said_here_leaves_no_gap(self) -> None:
        positions = Positions()
        positions.said("c", 2)
        positions.said("c", 3)
        self.assertTrue(positions.is_known("c", 3))
        self.assertTrue(positions.is_next("c", 1))
        self.assertEqual((positions.handed, positions.own), ({"c": 3}, {}))
        self.assertTrue(positions.is_next("c", 4))
        positions.said("c", 2)
        self.assertEqual(positions.own, {})

    def test_what_begins_later_forgets_what_lies_before(self) -> None:
        positions = Positions()
        positions.said("c", 7)
        positions.begin("c", 6)
        self.assertEqual((positions.handed, positions.own), ({"c": 7}, {}))
        positions.begin("c", 3)
        self.assertEqual(positions.handed, {"c": 7})

    def test_what_was_said_here_before_anything_is_known_is_no_beginning(self) -> None:
        positions = Positions()
        positions.said("c", 7)
        self.assertEqual((positions.handed, positions.own), ({}, {"c": {7}}))
        self.assertEqual((len(positions), positions.known()), (1, {"c"}))
        positions.begin("d", 1)
        positions.forget(["c", "d", "e"])
        self.assertEqual(len(positions), 0)


class ReadingTests(SynchronousTestCase):
    """What a server sends is not trusted."""

    def test_a_place_is_said_once(self) -> None:
        self.assertEqual(place(group="g"), {"group": "g"})
        self.assertRaises(ValueError, place)
        self.assertRaises(ValueError, place, group="g", to="u")
        self.assertEqual(request({"a": 1, "b": None}), b'{"a":1}')

    def test_what_no_server_would_take_is_not_asked(self) -> None:
        whole = 65_536 - len(request({"text": ""}))
        self.assertEqual(len(request({"text": "x" * whole})), 65_536)
        self.assertEqual(self.assertRaises(ChatError, request, {"text": "x" * (whole + 1)}).status, 413)

    def test_refusals_are_raised(self) -> None:
        self.assertEqual(read_answer(Frame(Signal.PUB_ACK, 18, 1, b'\0{"a":1}')), {"a": 1})
        body = b'\x07{"status":429,"reason":"slowly","retry_after":1.5}'
        error = self.assertRaises(ChatError, read_answer, Frame(Signal.PUB_ACK, 18, 1, body))
        self.assertEqual((error.status, error.reason, error.retry_after_s), (429, "slowly", 1.5))
        for bad in (b"", b"\0[", b"\x01", b"\x01{", b'\x01{"status":"x"}'):
            error = self.assertRaises(ChatError, read_answer, Frame(Signal.PUB_ACK, 18, 1, bad)) if bad else error
        self.assertEqual(error.status, 503)

    def test_notices_that_are_no_messages_are_left_out(self) -> None:
        good = b'{"conversation":"g.a","seq":3,"text":"x","mentions":["b",7],"time":"x","data":[],"recalls":true}'
        message = read_notice(Notified(Frame(Signal.PUBLISH, SubSignal.MN, 0, good)))
        assert isinstance(message, ChatMessage)
        self.assertEqual((message.seq, message.text, message.mentions, message.time_ms), (3, "x", ("b",), 0))
        self.assertEqual((message.data, message.recalls), (None, None))
        for signal, subsignal, body in (
            (Signal.CONTACT, 0, good),
            (Signal.PUBLISH, SubSignal.MS, good),
            (Signal.PUBLISH, SubSignal.MN, b"\xff"),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":"g.a","read":"3"}'),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":"g.a","seq":true}'),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":7,"seq":3}'),
            (Signal.PUBLISH, SubSignal.MN, b'{"conversation":"g.a","seq":0}'),
        ):
            found = read_notice(Notified(Frame(signal, subsignal, 0, body)))
            self.assertIsNone(found, body)
        self.assertIsNone(read_message({}))

    def test_what_is_said_beside_messages_has_a_kind(self) -> None:
        for subsignal, body, expected in (
            (SubSignal.MN, b'{"conversation":"g.a","read":3,"reader":"bob"}', ("read", None)),
            (SubSignal.GAM, b'{"group":"a","by":"bob"}', ("added", "a")),
            (SubSignal.GKM, b'{"group":"a"}', ("removed", "a")),
            (SubSignal.GMI, b'{"group":"a","title":"A"}', ("changed", "a")),
            (SubSignal.GD, b'{"group":7}', ("dismissed", None)),
            (SubSignal.US, b'{"uid":"bob","online":true}', ("presence", None)),
        ):
            found = read_notice(Notified(Frame(Signal.PUBLISH, subsignal, 0, body)))
            assert isinstance(found, ChatNotice), body
            self.assertEqual((found.kind, found.group), expected)


class _ByHand:
    """A client's part, whose requests are answered by hand."""

    def __init__(self, max_waiting: int = 8) -> None:
        self.talk = Talk(max_waiting, hears_notices=True)
        self.asked: list[tuple[int, dict[str, Any]]] = []
        self.now_s = 0.0
        self._unanswered: list[int] = []

    def send(self) -> list[tuple[int, dict[str, Any]]]:
        """What is asked now: subsignals and bodies."""
        before = len(self.asked)
        self.talk.tick(self.now_s)
        self.talk.send(self._ask, self.now_s)
        return self.asked[before:]

    def answer(self, body: bytes) -> None:
        """Answer the oldest."""
        self.talk.heard(Answered(Frame(Signal.PUB_ACK, 0, self._unanswered.pop(0), body)), self.now_s)

    def lost(self) -> None:
        """The connection is gone."""
        self._unanswered.clear()
        self.talk.lost()

    def say(self, body: bytes) -> None:
        """Somebody else says something."""
        self.talk.heard(Notified(Frame(Signal.PUBLISH, SubSignal.MN, 0, body)), self.now_s)

    def taken(self) -> list[str | None]:
        """The texts that there are."""
        found = []
        while (message := self.talk.take()) is not None:
            found.append(message.text)
        return found

    def begin(self, plan: Plan[Any]) -> Doing[Any]:
        """Want something."""
        doing: Doing[Any] = Doing(plan)
        self.talk.begin(doing)
        return doing

    def _ask(self, subsignal: int, body: bytes) -> int:
        self.asked.append((subsignal, json.loads(body)))
        self._unanswered.append(len(self.asked))
        return len(self.asked)


def _page(*seqs: int, more: bool = False) -> bytes:
    messages = [{"conversation": "g.a", "seq": seq, "text": str(seq)} for seq in seqs]
    return b"\0" + json.dumps({"conversation": "g.a", "messages": messages, "more": more}).encode()


_SURVEY = b'\0{"conversations":[{"conversation":"g.a","last_seq":1,"first_seq":1,"read_seq":0}],"after":""}'
_REFUSAL = b'\x07{"status":429,"reason":"too much","retry_after":1.5}'
_BUSY = b'\x06{"status":503,"reason":"not now"}'
_GONE = b'\x04{"status":404,"reason":"no such group"}'


class AskingTests(SynchronousTestCase):
    """What is asked, and what becomes of it."""

    def setUp(self) -> None:
        self.server = _ByHand()

    def opened(self) -> None:
        """A session in which nothing was missed."""
        self.server.talk.opened()
        self.server.send()
        self.server.answer(b'\0{"conversations":[],"after":""}')

    def test_what_was_missed_is_asked_for_again_where_that_was_too_much(self) -> None:
        self.server.talk.opened()
        for answer in (_SURVEY, _page(1)):
            refused = self.server.send()
            self.assertEqual(len(refused), 1)
            self.server.answer(_REFUSAL)
            self.assertEqual(self.server.send(), [])
            self.server.now_s += 1.5
            self.assertEqual(self.server.talk.next_s(), self.server.now_s)
            self.assertEqual(self.server.send(), refused)
            self.server.answer(answer)
        self.assertEqual(self.server.taken(), ["1"])

    def test_what_was_read_is_said_again_and_only_once_at_a_time(self) -> None:
        self.opened()
        for seq in (1, 2, 3):
            self.server.say(b'{"conversation":"g.a","seq":%d,"text":"x"}' % seq)
        for _ in range(3):
            message = self.server.talk.take()
            assert message is not None
            self.server.talk.have_read(message)
        read = [(SubSignal.MN, {"conversation": "g.a", "seq": 1})]
        self.assertEqual(self.server.send(), read)
        self.server.answer(_REFUSAL)
        self.server.now_s += 1.5
        self.assertEqual(self.server.send(), read)
        self.server.answer(b"\0{}")
        self.assertEqual(self.server.send(), [(SubSignal.MN, {"conversation": "g.a", "seq": 3})])
        self.server.answer(_GONE)
        self.assertEqual(self.server.send(), [])

    def test_what_was_read_is_said_at_the_end(self) -> None:
        self.opened()
        self.server.say(b'{"conversation":"g.a","seq":1,"text":"x"}')
        message = self.server.talk.take()
        assert message is not None
        self.server.talk.have_read(message)
        self.server.talk.say_last(self.server._ask)
        self.assertEqual(self.server.asked[-1], (SubSignal.MN, {"conversation": "g.a", "seq": 1}))
        self.server.lost()
        count = len(self.server.asked)
        self.opened()  # nobody knows whether it was heard
        self.assertIn(SubSignal.MN, [subsignal for subsignal, _ in self.server.asked[count:]])

    def test_what_an_application_asks_is_refused(self) -> None:
        self.opened()
        for answer, status in ((_REFUSAL, 429), (_GONE, 404)):
            doing = self.server.begin(chat_plans.join("a"))
            self.server.send()
            self.server.answer(answer)
            self.assertIs(self.server.talk.take_over(), doing)
            assert isinstance(doing.error, ChatError)
            self.assertEqual(doing.error.status, status)

    def test_a_server_that_cannot_now_is_asked_ten_times(self) -> None:
        self.opened()
        doing = self.server.begin(chat_plans.join("a"))
        for _ in range(10):
            self.assertFalse(doing.is_over)
            self.assertEqual(len(self.server.send()), 1)
            self.server.answer(_BUSY)
            self.server.now_s += 0.5
        self.assertTrue(doing.is_over)

    def test_an_answer_that_does_not_come_in_time_comes_to_nothing(self) -> None:
        self.opened()
        once, again = self.server.begin(chat_plans.dismiss("a")), self.server.begin(chat_plans.quit("a"))
        self.server.send()
        self.assertEqual(self.server.talk.next_s(), 20.0)
        self.server.now_s = 20.0
        self.assertEqual(self.server.send(), [])
        self.assertEqual((once.is_over, again.is_over), (True, False))
        self.server.answer(b"\0{}")  # too late
        self.assertRaises(ChatError, lambda: once.result)
        self.server.now_s = 20.5
        self.assertEqual(self.server.send(), [(SubSignal.GQ, {"group": "a"})])

    def test_what_was_asked_on_a_lost_connection_is_asked_in_its_order_where_it_may_be(self) -> None:
        self.opened()
        doings = [
            self.server.begin(plan) for plan in (chat_plans.join("a"), chat_plans.dismiss("b"), chat_plans.quit("c"))
        ]
        self.server.send()
        waits = self.server.begin(chat_plans.join("d"))
        self.server.lost()
        self.assertEqual([each.is_over for each in doings], [False, True, False])
        self.server.talk.opened()
        asked = [body.get("group") for subsignal, body in self.server.send() if subsignal != SubSignal.MP]
        self.assertEqual(asked, ["a", "c", "d"])
        self.assertFalse(waits.is_over)

    def test_a_connection_has_so_many_unanswered_and_no_more(self) -> None:
        self.opened()
        for number in range(MAX_UNANSWERED + 2):
            self.server.begin(chat_plans.join(str(number)))
        self.assertEqual(len(self.server.send()), MAX_UNANSWERED)
        self.assertFalse(self.server.talk.is_ready)
        self.server.answer(b'\0{"changed":1}')
        self.assertTrue(self.server.talk.is_ready)
        self.assertEqual(len(self.server.send()), 1)

    def test_no_more_wait_than_anybody_can_want(self) -> None:
        doings = [self.server.begin(chat_plans.join("a")) for _ in range(MAX_WAITING + 1)]
        self.assertEqual([each for each in doings if each.is_over], doings[-1:])
        assert isinstance(doings[-1].error, ChatError)
        self.assertEqual(doings[-1].error.status, 429)

    def test_what_nobody_wants_any_more_is_not_asked(self) -> None:
        self.opened()
        sent, waits = self.server.begin(chat_plans.join("a")), self.server.begin(chat_plans.join("b"))
        self.server.talk.stop(waits)
        self.assertEqual(len(self.server.send()), 1)
        self.server.talk.stop(sent)
        self.server.answer(b'\0{"changed":1}')
        self.assertIsNone(self.server.talk.take_over())
        self.assertEqual(self.server.talk.next_s(), math.inf)

    def test_the_end_comes_to_all(self) -> None:
        self.opened()
        sent = self.server.begin(chat_plans.join("a"))
        self.server.send()
        waits = self.server.begin(chat_plans.members("b"))
        self.server.talk.end(RuntimeError("closed"))
        for doing in (sent, waits):
            with self.assertRaises(RuntimeError):
                _ = doing.result

    def test_pages_are_asked_for_until_there_are_no_more(self) -> None:
        self.opened()
        doing = self.server.begin(chat_plans.members("a"))
        for answer in (
            b'\0{"members":[{"uid":"bob"},7],"after":"bob"}',
            b'\0{"members":[{"uid":"carol"}],"after":"carol"}',
            b'\0{"members":[],"after":"for ever"}',
        ):
            self.server.send()
            self.server.answer(answer)
        self.assertEqual(doing.result, [{"uid": "bob"}, {"uid": "carol"}])
        self.assertEqual([body.get("after") for _, body in self.server.asked[1:]], [None, "bob", "carol"])

    def test_what_a_server_answers_wrongly_is_an_error_or_nothing(self) -> None:
        self.opened()
        for plan, answer, expected in (
            (chat_plans.join("a"), b'\0{"changed":"x"}', False),
            (chat_plans.add("a", ["b"]), b"\0{}", 0),
            (chat_plans.presence(["b"], watch=False), b'\0{"presence":7}', []),
            (
                chat_plans.history(group="a", to=None, conversation=None, before=None, limit=1),
                b'\0{"messages":[{}]}',
                [],
            ),
        ):
            doing = self.server.begin(plan)
            self.server.send()
            self.server.answer(answer)
            self.assertEqual(doing.result, expected)
        plan = chat_plans.say(
            self.server.talk.positions, {"group": "a"}, "x", data=None, type=0, mentions=(), client_id=None
        )
        doing = self.server.begin(plan)
        self.server.send()
        self.server.answer(b"\0{}")
        self.assertRaises(ChatError, lambda: doing.result)


class HearingTests(SynchronousTestCase):
    """What is lacking."""

    def setUp(self) -> None:
        self.server = _ByHand(max_waiting=4)
        self.server.talk.opened()
        self.server.send()
        self.server.answer(b'\0{"conversations":[],"after":""}')

    def say(self, *seqs: int) -> None:
        """Somebody says these."""
        for seq in seqs:
            self.server.say(b'{"conversation":"g.a","seq":%d,"text":"%d"}' % (seq, seq))

    def test_a_gap_is_asked_for(self) -> None:
        self.say(1, 3)
        self.assertEqual(self.server.taken(), ["1"])
        self.assertEqual(self.server.send(), [(SubSignal.MP, {"conversation": "g.a", "after": 1, "limit": 100})])
        self.say(4)
        self.server.answer(_page(2, 3))
        self.server.send()
        self.server.answer(_page(4))
        self.assertEqual(self.server.taken(), ["2", "3", "4"])

    def test_what_there_is_no_room_for_is_asked_for_when_there_is(self) -> None:
        self.say(1, 2, 3, 4, 5)
        self.assertEqual(self.server.send(), [])
        self.assertEqual(self.server.taken(), ["1", "2", "3", "4"])
        self.assertEqual(len(self.server.send()), 1)
        self.server.answer(_page(5))
        self.assertEqual(self.server.taken(), ["5"])

    def test_a_conversation_whose_name_cannot_be_said_is_passed_over(self) -> None:
        survey = b'\0{"conversations":[{"conversation":"%b","last_seq":1,"first_seq":1,"read_seq":0}],"after":""}'
        for name in (b"\\ud800", 70_000 * b"x"):
            server = _ByHand()
            server.talk.opened()
            server.send()
            server.answer(survey % name)
            server.say(b'{"conversation":"%b","seq":1,"text":"x"}' % name)
            self.assertEqual((server.send(), server.taken()), ([], []))

    def test_a_conversation_that_one_was_thrown_out_of_is_let_go(self) -> None:
        self.say(2)
        self.server.send()
        self.server.answer(_GONE)
        self.assertEqual(self.server.send(), [])
        self.assertEqual(self.server.talk.next_s(), math.inf)

    def test_a_server_that_promises_more_and_brings_nothing_is_not_asked_for_ever(self) -> None:
        self.say(2)
        self.server.send()
        self.server.answer(_page(more=True))
        self.assertEqual(self.server.send(), [])

    def test_what_was_being_asked_for_when_the_connection_broke_is_asked_for_again(self) -> None:
        self.say(1, 3)
        self.server.send()
        self.server.lost()
        self.server.talk.opened()
        self.server.send()
        self.server.answer(b'\0{"conversations":[],"after":""}')
        self.assertEqual(self.server.send(), [(SubSignal.MP, {"conversation": "g.a", "after": 1, "limit": 100})])
        self.server.answer(_page(2, 3))
        self.assertEqual(self.server.taken(), ["1", "2", "3"])

    def test_what_was_said_before_the_session_knew_how_far_one_has_read_brings_nothing_again(self) -> None:
        self.server.lost()
        self.server.begin(chat_plans.recall(self.server.talk.positions, self.message(7)))
        self.server.talk.opened()
        self.server.send()
        self.server.answer(b'\0{"seq":9}')
        standing = b'{"conversation":"g.a","last_seq":9,"first_seq":1,"read_seq":8}'
        self.server.answer(b'\0{"conversations":[%b],"after":""}' % standing)
        self.assertEqual(self.server.send(), [])

    def test_what_is_left_is_forgotten(self) -> None:
        self.server.say(b'{"conversation":"g.b","seq":1,"text":"x"}')
        self.say(1, 2)
        positions = self.server.talk.positions
        self.assertEqual(positions.handed, {"g.a": 2, "g.b": 1})
        self.reopen(b'{"conversation":"g.a","last_seq":2,"first_seq":1,"read_seq":0}')
        self.assertEqual(positions.handed, {"g.a": 2})
        self.say(4)
        self.server.send()
        self.server.answer(_GONE)
        self.assertEqual(positions.handed, {})

    def test_conversations_come_and_go_without_end_and_what_is_known_of_them_does_not_grow(self) -> None:
        stays = b'{"conversation":"g.a","last_seq":2,"first_seq":1,"read_seq":0}'
        positions, surveys, most = self.server.talk.positions, 0, 0
        self.say(1, 2)
        for number in range(5_000):
            self.server.say(b'{"conversation":"g.%d","seq":%d,"text":"x"}' % (number, 1 + number % 2))
            self.server.taken()
            for _, asked in self.server.send():
                surveys += "conversation" not in asked
                is_survey = "conversation" not in asked
                self.server.answer(b'\0{"conversations":[%b],"after":""}' % stays if is_survey else _page())
            most = max(most, len(positions))
        self.assertLess(most, 1_010)
        self.assertLess(surveys, 10)
        self.assertEqual(positions.handed["g.a"], 2)

    def test_message_that_there_was_no_room_to_know_of_is_found(self) -> None:
        for number in range(1_100):
            self.server.say(b'{"conversation":"g.%d","seq":1,"text":"x"}' % number)
            self.server.taken()
        # All of them are still ours.
        standing = b'{"conversation":"g.%d","last_seq":1,"first_seq":1,"read_seq":0}'
        survey = b'\0{"conversations":[%b],"after":""}' % b",".join(standing % each for each in range(1_100))
        found = 0
        while asked := self.server.send():
            name = asked[0][1].get("conversation", "").encode()
            message = b'\0{"messages":[{"conversation":"%b","seq":1,"text":"x"}]}' % name
            self.server.answer(message if name else survey)
            found += len(self.server.taken())
        self.assertEqual((found, len(self.server.talk.positions)), (100, 1_100))
        self.server.say(b'{"conversation":"g.new","seq":1,"text":"x"}')
        self.assertEqual(self.server.taken(), ["x"])

    def reopen(self, *standings: bytes) -> None:
        """Another session, that begins with these conversations."""
        self.server.lost()
        self.server.talk.opened()
        self.server.send()
        self.server.answer(b'\0{"conversations":[%b],"after":""}' % b",".join(standings))

    def message(self, seq: int) -> ChatMessage:
        """One that was said."""
        return ChatMessage("g.a", "a", seq, "1", 0)

    def test_of_too_many_notices_the_oldest_are_dropped(self) -> None:
        for number in range(6):
            body = b'{"uid":"%d"}' % number
            self.server.talk.heard(Notified(Frame(Signal.PUBLISH, SubSignal.US, 0, body)), 0.0)
        self.assertEqual([each.fields["uid"] for each in self.server.talk.notices], ["2", "3", "4", "5"])
