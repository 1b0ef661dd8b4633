"""The server's session table: every pair of state and signal, and what each answer says."""

import json
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import Disconnect, SubRequest
from push.protocols.wire.server import (
    MAX_ASKED,
    MAX_HELD_FRAMES,
    MAX_REFUSALS,
    Acknowledged,
    ChatAsked,
    Closed,
    Event,
    OpenRequested,
    Reply,
    ServerSession,
    State,
)
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

TOKEN = "0123456789abcdef0123456789abcdef"
SUB = Frame(Signal.SUB, 0, 0, b"")


def opened(body: bytes = b"") -> ServerSession:
    """A session that is open."""
    session = ServerSession(0.0)
    session.receive(Frame(Signal.SUB, 0, 0, body))
    session.accept(token=TOKEN, interval_ms=60_000, server_time_ms=1)
    return session


class SessionCase(SynchronousTestCase):
    """Assertions about events."""

    def assertReplies(
        self, events: Sequence[Event], signal: int, subsignal: int = 0, message_id: int = 0
    ) -> dict[str, object]:
        """One reply with these numbers; returns its JSON."""
        self.assertEqual(len(events), 1)
        reply = events[0]
        assert isinstance(reply, Reply), reply
        frame = reply.frame
        self.assertEqual((frame.signal, frame.subsignal, frame.message_id), (signal, subsignal, message_id))
        fields: dict[str, object] = json.loads(frame.body)
        return fields

    def assertFails(self, events: Sequence[Event]) -> Disconnect:
        """The session ended, and the peer is to be told."""
        closed = events[-1]
        assert isinstance(closed, Closed), closed
        self.assertFalse(closed.by_peer)
        self.assertEqual(closed.disconnect.code, CloseCode.PROTOCOL_ERROR)
        return closed.disconnect


class MissedTests(SessionCase):
    """Messages were lost on their way to a client."""

    def test_who_asked_to_be_told_is_told_unasked_and_again(self) -> None:
        session = opened(b'{"missed":true}')
        for _ in range(2):
            self.assertEqual(self.assertReplies(session.missed(), Signal.SUB)["status"], 205)

    def test_nobody_else_ever_sees_it(self) -> None:
        for body in (b"", b'{"ack":true}', b'{"missed":false}'):
            self.assertEqual(opened(body).missed(), ())

    def test_it_can_be_changed_with_a_later_sub_and_stays_where_that_says_nothing(self) -> None:
        session = opened(b'{"missed":true}')
        for body, count in ((b"", 1), (b'{"missed":false}', 0), (b'{"missed":true}', 1)):
            session.receive(SUB._replace(body=body))
            session.accept(token=TOKEN, interval_ms=None, server_time_ms=1)
            self.assertEqual(len(session.missed()), count)

    def test_before_the_session_and_after_it_nothing_is_said(self) -> None:
        session = ServerSession(0.0)
        session.receive(SUB._replace(body=b'{"missed":true}'))
        self.assertEqual(session.missed(), ())
        session = opened(b'{"missed":true}')
        session.close()
        self.assertEqual(session.missed(), ())

    def test_what_is_neither_true_nor_false_is_refused(self) -> None:
        events = ServerSession(0.0).receive(SUB._replace(body=b'{"missed":1}'))
        self.assertEqual(self.assertReplies(events, Signal.SUB)["status"], 400)


class Opening(SessionCase):
    """SUB and CONNECT."""

    def test_an_empty_sub_asks_for_a_session(self) -> None:
        session = ServerSession(0.0)
        self.assertEqual(session.receive(SUB), (OpenRequested(SubRequest()),))
        self.assertEqual(session.state, State.OPENING)

    def test_the_answer_carries_the_message_id_of_the_sub(self) -> None:
        session = ServerSession(0.0)
        session.receive(Frame(Signal.SUB, 0, 99, b"{}"))
        fields = self.assertReplies(
            session.accept(token=TOKEN, interval_ms=60_000, server_time_ms=123), Signal.SUB, message_id=99
        )
        self.assertEqual(fields, {"status": 200, "token": TOKEN, "interval": 60_000, "server_time": 123})

    def test_every_key_of_the_body_is_read_and_unknown_ones_are_ignored(self) -> None:
        body = {
            "token": TOKEN, "uid": "alice", "auth": "a.b.c", "ack": True, "interval": 30_000,
            "device": {"platform": "x"}, "tags": ["a", "b", "a"], "color": "red",
        }  # fmt: skip
        (event,) = ServerSession(0.0).receive(Frame(Signal.SUB, 0, 0, json.dumps(body).encode()))
        assert isinstance(event, OpenRequested)
        self.assertEqual(
            event.request,
            SubRequest(
                token=TOKEN, uid="alice", auth="a.b.c", ack=True, interval_ms=30_000,
                device='{"platform":"x"}', tags=("a", "b"),
            ),
        )  # fmt: skip

    def test_a_bad_body_is_answered_with_400_and_the_client_may_try_again(self) -> None:
        bad = {
            "not JSON": b"{",
            "two objects": b"{} {}",
            "a value that is missing": b'{"a":}',
            "a uid that is no string": b'{"uid":0}',
            "not an object": b"[]",
            "not UTF-8": b'{"uid":"\xff"}',
            "UTF-16": '{"uid":"a"}'.encode("utf-16"),
            "a NUL in the uid": b'{"uid":"a\\u0000b"}',
            "a lone surrogate": b'{"uid":"\\ud800"}',
            "a uid that is too long": b'{"uid":"' + b"x" * 129 + b'"}',
            "a token with a slash": b'{"token":"a/b"}',
            "a token that is too long": b'{"token":"' + b"x" * 129 + b'"}',
            "a token that is no string": b'{"token":5}',
            "a newline behind the token": b'{"token":"abc\\n"}',
            "an interval that is no number": b'{"interval":"1"}',
            "an interval that is true": b'{"interval":true}',
            "an infinite interval": b'{"interval":1e999}',
            "NaN": b'{"interval":NaN}',
            "33 tags": json.dumps({"tags": [str(n) for n in range(33)]}).encode(),
            "a tag that is no string": b'{"tags":[1]}',
            "an empty tag": b'{"tags":[""]}',
            "a device of over 1 KiB": json.dumps({"device": {"x": "y" * 1024}}).encode(),
            "a device that is no object": b'{"device":"phone"}',
            "ack that is no boolean": b'{"ack":"yes"}',
            "nested too deeply": b'{"device":' + b'{"a":' * 3000,
            "a number in the device that JSON cannot say": b'{"device":{"x":1e999}}',
            "a number with too many digits": b'{"interval":' + b"9" * 4000 + b"e4000}",
        }
        for name, body in bad.items():
            session = ServerSession(0.0)
            fields = self.assertReplies(session.receive(Frame(Signal.SUB, 0, 5, body)), Signal.SUB, message_id=5)
            self.assertEqual(fields["status"], 400, name)
            self.assertTrue(fields["reason"], name)
            self.assertEqual(session.state, State.NEW, name)
            self.assertIsInstance(session.receive(SUB)[0], OpenRequested, name)

    def test_white_space_around_the_body_is_json_too(self) -> None:
        for body in (b' {"uid":"alice"}', b'{"uid":"alice"}\r\n', b'\t{"uid":"alice"} '):
            (event,) = ServerSession(0.0).receive(SUB._replace(body=body))
            self.assertEqual(event, OpenRequested(SubRequest(uid="alice")))

    def test_empty_token_and_uid_count_as_not_given(self) -> None:
        (event,) = ServerSession(0.0).receive(Frame(Signal.SUB, 0, 0, b'{"token":"","uid":""}'))
        self.assertEqual(event, OpenRequested(SubRequest()))

    def test_a_refusal_says_why_and_when_to_come_back(self) -> None:
        session = ServerSession(0.0)
        session.receive(SUB)
        fields = self.assertReplies(session.refuse(503, "full", 2.5), Signal.SUB)
        self.assertEqual(fields, {"status": 503, "reason": "full", "retry_after": 2.5})

    def test_a_client_cannot_be_refused_for_ever(self) -> None:
        session = ServerSession(0.0)
        for _ in range(MAX_REFUSALS - 1):
            session.receive(SUB)
            session.refuse(401, "no")
        session.receive(SUB)
        self.assertFails(session.refuse(401, "no"))

    def test_to_be_told_to_come_back_later_is_no_fault(self) -> None:
        session = ServerSession(0.0)
        for _ in range(3 * MAX_REFUSALS):
            session.receive(SUB)
            self.assertReplies(session.refuse(503, "busy", 1.0), Signal.SUB)

    def test_connect_is_answered_with_connect_ack(self) -> None:
        body = json.dumps({"userName": "bob", "password": "a.b.c", "clientIdentifier": "phone"}).encode()
        session = ServerSession(0.0)
        (event,) = session.receive(Frame(Signal.CONNECT, 0, 3, body))
        self.assertEqual(event, OpenRequested(SubRequest(uid="bob", auth="a.b.c", device='{"client":"phone"}')))
        events = session.accept(token=TOKEN, interval_ms=60_000, server_time_ms=1)
        self.assertReplies(events, Signal.CONNECT_ACK, SubSignal.CONNECTION_ACCEPTED, 3)

    def test_the_password_of_connect_may_be_a_token(self) -> None:
        (event,) = ServerSession(0.0).receive(Frame(Signal.CONNECT, 0, 0, b'{"password":"' + TOKEN.encode() + b'"}'))
        self.assertEqual(event, OpenRequested(SubRequest(token=TOKEN)))

    def test_connect_refusals_have_subsignals_of_their_own(self) -> None:
        expected = {
            302: SubSignal.CONNECTION_REFUSED_UNEXPECT_NODE,
            400: SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED,
            401: SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD,
            403: SubSignal.CONNECTION_REFUSED_NOT_AUTHORIZED,
            429: SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE,
            503: SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE,
        }
        for status, subsignal in expected.items():
            session = ServerSession(0.0)
            session.receive(Frame(Signal.CONNECT, 0, 0, b""))
            self.assertReplies(session.refuse(status, "no"), Signal.CONNECT_ACK, subsignal)

    def test_what_is_sent_behind_the_sub_is_answered_behind_its_answer(self) -> None:
        """The Java SDKs send PING right behind SUB."""
        session = ServerSession(0.0)
        session.receive(SUB)
        self.assertEqual(session.receive(Frame(Signal.PING, 0, 0, b"")), ())
        events = session.accept(token=TOKEN, interval_ms=60_000, server_time_ms=1)
        self.assertEqual(
            [event.frame.signal for event in events if isinstance(event, Reply)], [Signal.SUB, Signal.PING]
        )

    def test_a_flood_behind_the_sub_ends_the_session(self) -> None:
        session = ServerSession(0.0)
        session.receive(SUB)
        for _ in range(MAX_HELD_FRAMES):
            self.assertEqual(session.receive(Frame(Signal.PING, 0, 0, b"")), ())
        self.assertFails(session.receive(Frame(Signal.PING, 0, 0, b"")))

    def test_a_second_sub_on_an_open_session_renews_it(self) -> None:
        session = opened()
        (event,) = session.receive(Frame(Signal.SUB, 0, 0, b'{"uid":"carol","ack":true}'))
        self.assertEqual(event, OpenRequested(SubRequest(uid="carol", ack=True)))
        session.accept(token=TOKEN, interval_ms=30_000, server_time_ms=1)
        self.assertEqual(session.unacknowledged, set())
        self.assertEqual(session.interval_ms, 30_000)

    def test_what_a_renewing_sub_does_not_say_stays_as_it_is(self) -> None:
        session = opened(b'{"ack":true}')
        session.may_push(1, 256)
        session.receive(SUB)
        fields = self.assertReplies(session.accept(token=TOKEN, interval_ms=None, server_time_ms=1), Signal.SUB)
        self.assertEqual((fields["interval"], session.unacknowledged), (60_000, {1}))
        session.receive(Frame(Signal.SUB, 0, 0, b'{"ack":false}'))
        session.accept(token=TOKEN, interval_ms=None, server_time_ms=1)
        self.assertIsNone(session.unacknowledged)

    def test_a_second_sub_with_another_token_is_refused_and_the_session_stays_open(self) -> None:
        session = opened()
        fields = self.assertReplies(session.receive(Frame(Signal.SUB, 0, 0, b'{"token":"other"}')), Signal.SUB)
        self.assertEqual(fields["status"], 400)
        self.assertEqual((session.state, session.token), (State.OPEN, TOKEN))


class Table(SessionCase):
    """Every pair of state and signal."""

    def test_only_these_are_legal_before_the_session_is_open(self) -> None:
        legal = {Signal.SUB, Signal.CONNECT, Signal.AUTH, Signal.PING, Signal.DISCONNECT}
        for signal in list(Signal)[1:]:
            events = ServerSession(0.0).receive(Frame(signal, 0, 1, b""))
            ended = any(isinstance(event, Closed) and not event.by_peer for event in events)
            self.assertEqual(ended, signal not in legal, signal.name)

    def test_only_these_are_illegal_when_it_is_open(self) -> None:
        illegal = {Signal.PUSH, Signal.CONNECT_ACK}
        for signal in list(Signal)[1:]:
            events = opened().receive(Frame(signal, 0, 1, b""))
            ended = any(isinstance(event, Closed) and not event.by_peer for event in events)
            self.assertEqual(ended, signal in illegal, signal.name)

    def test_nothing_comes_out_of_a_closed_session(self) -> None:
        session = opened()
        session.close()
        for signal in list(Signal)[1:]:
            self.assertEqual(session.receive(Frame(signal, 0, 1, b"")), ())

    def test_accept_without_a_request_is_a_mistake_of_ours(self) -> None:
        self.assertRaises(RuntimeError, ServerSession(0.0).accept, token=TOKEN, interval_ms=1, server_time_ms=1)

    def test_disconnect_ends_the_session_without_an_answer(self) -> None:
        body = b'{"code":3000,"reason":"bye"}'
        self.assertEqual(
            opened().receive(Frame(Signal.DISCONNECT, 0, 0, body)),
            (Closed(Disconnect(3000, "bye", "backoff"), by_peer=True),),
        )

    def test_disconnect_while_opening_ends_it_too(self) -> None:
        session = ServerSession(0.0)
        session.receive(SUB)
        (event,) = session.receive(Frame(Signal.DISCONNECT, 0, 0, b"\xff"))
        self.assertIsInstance(event, Closed)


class WhileOpen(SessionCase):
    """PING, acknowledgement, and what has no meaning here."""

    def test_ping_is_answered_with_the_interval_in_force(self) -> None:
        fields = self.assertReplies(opened().receive(Frame(Signal.PING, 0, 8, b"")), Signal.PING, message_id=8)
        self.assertEqual(fields, {"interval": 60_000})

    def test_ping_may_change_the_interval_within_its_bounds(self) -> None:
        session = opened()
        for promised_ms, held_ms in ((20_000, 20_000), (1, 10_000), (-5, 10_000), (10**9, 1_800_000)):
            body = json.dumps({"interval": promised_ms}).encode()
            fields = self.assertReplies(session.receive(Frame(Signal.PING, 0, 0, body)), Signal.PING)
            self.assertEqual((fields["interval"], session.interval_ms), (held_ms, held_ms))

    def test_a_ping_with_a_bad_body_ends_the_session_and_names_what_is_wrong(self) -> None:
        disconnect = self.assertFails(opened().receive(Frame(Signal.PING, 0, 0, b'{"interval":"x"}')))
        self.assertIn("interval", disconnect.reason)

    def test_a_client_that_does_not_acknowledge_has_no_window(self) -> None:
        session = opened()
        self.assertTrue(all(session.may_push(number, 2) for number in range(5)))

    def test_at_most_a_window_of_messages_is_unacknowledged(self) -> None:
        session = opened(b'{"ack":true}')
        self.assertEqual([session.may_push(number, 2) for number in (1, 2, 3)], [True, True, False])
        ids = b"\0\0\0\0\0\0\0\2" + b"\0\0\0\0\0\0\0\x63"
        events = session.receive(Frame(Signal.PUB_ACK, SubSignal.MN, 0, ids))
        self.assertEqual(events, (Acknowledged((2, 99), 1),))
        self.assertEqual([session.may_push(number, 2) for number in (3, 4)], [True, False])

    def test_lone_acknowledgements_make_room_as_others_do(self) -> None:
        session = opened(b'{"ack":true}')
        session.may_push(1, 1)
        self.assertEqual(session.acknowledge(99), 0)
        self.assertFalse(session.may_push(2, 1))
        self.assertEqual(session.acknowledge(1), 1)
        self.assertEqual(session.acknowledge(1), 0)
        self.assertTrue(session.may_push(2, 1))

    def test_lone_acknowledgement_at_another_time_is_a_frame_as_any_other(self) -> None:
        self.assertIsNone(opened().acknowledge(1))
        self.assertIsNone(ServerSession(0.0).acknowledge(1))
        renewing = opened(b'{"ack":true}')
        renewing.may_push(1, 1)
        renewing.receive(Frame(Signal.SUB, 0, 0, b""))
        self.assertIsNone(renewing.acknowledge(1))
        self.assertEqual(renewing.unacknowledged, {1})
        closed = opened(b'{"ack":true}')
        closed.close()
        self.assertIsNone(closed.acknowledge(1))

    def test_half_an_id_ends_the_session(self) -> None:
        self.assertFails(opened(b'{"ack":true}').receive(Frame(Signal.PUB_ACK, SubSignal.MN, 0, b"1234567")))

    def test_an_acknowledgement_that_nobody_asked_for_is_ignored(self) -> None:
        self.assertEqual(opened().receive(Frame(Signal.PUB_ACK, SubSignal.MN, 0, bytes(8))), ())

    def test_chat_is_asked_for_and_answered_with_the_same_id(self) -> None:
        session = opened()
        for signal, subsignal, answered in (
            (Signal.PUBLISH, SubSignal.MS, SubSignal.MS),
            (Signal.PUBLISH, 127, 127),
            (Signal.CONTACT, 0, 0),
            (Signal.CONTACT, SubSignal.MS, 0),
        ):
            frame = Frame(signal, subsignal, 4, b"{}")
            self.assertEqual(session.receive(frame), (ChatAsked(frame),))
            self.assertEqual(session.asked, 1)
            self.assertEqual(session.answer(frame, b"body"), (Reply(Frame(Signal.PUB_ACK, answered, 4, b"body")),))
            self.assertEqual(session.asked, 0)
        self.assertEqual(session.state, State.OPEN)

    def test_chat_with_message_id_0_is_not_answered(self) -> None:
        session = opened()
        for signal in (Signal.PUBLISH, Signal.CONTACT):
            frame = Frame(signal, SubSignal.MS, 0, b"{}")
            self.assertEqual(session.receive(frame), (ChatAsked(frame),))
            self.assertEqual(session.answer(frame, b"body"), ())

    def test_who_does_not_wait_for_answers_is_refused_more(self) -> None:
        session = opened()
        asked = [Frame(Signal.CONTACT, 0, number, b"{}") for number in range(1, MAX_ASKED + 1)]
        for frame in asked:
            self.assertEqual(session.receive(frame), (ChatAsked(frame),))
        refused = session.receive(Frame(Signal.CONTACT, 0, 999, b"{}"))
        self.assertEqual(self.assertReplies(refused, Signal.PUB_ACK, message_id=999)["status"], 429)
        (event,) = session.receive(Frame(Signal.PUBLISH, SubSignal.MS, 998, b"{}"))
        assert isinstance(event, Reply)
        self.assertEqual((event.frame.body[0], json.loads(event.frame.body[1:])["status"]), (7, 429))
        self.assertEqual(session.receive(Frame(Signal.CONTACT, 0, 0, b"{}")), ())
        session.answer(asked[0], b"")
        self.assertEqual(session.receive(asked[0]), (ChatAsked(asked[0]),))

    def test_an_answer_after_the_end_is_not_sent(self) -> None:
        session = opened()
        frame = Frame(Signal.PUBLISH, SubSignal.MS, 4, b"{}")
        session.receive(frame)
        session.close()
        self.assertEqual(session.answer(frame, b"body"), ())

    def test_a_client_that_publishes_or_connects_understands_publish(self) -> None:
        session = opened()
        session.receive(Frame(Signal.CONTACT, 0, 1, b"{}"))
        self.assertFalse(session.is_chat)
        session.receive(Frame(Signal.PUBLISH, SubSignal.MP, 2, b"{}"))
        self.assertTrue(session.is_chat)
        session = ServerSession(0.0)
        session.receive(Frame(Signal.CONNECT, 0, 1, b"{}"))
        session.accept(token="t", interval_ms=60_000, server_time_ms=5)
        self.assertTrue(session.is_chat)


class Deadlines(SessionCase):
    """When a silent connection is given up."""

    def test_bytes_buy_no_time_before_the_session_is_open(self) -> None:
        session = ServerSession(100.0)
        session.heard(110.0)
        self.assertEqual(session.deadline_s(20.0), 120.0)

    def test_an_open_session_is_held_to_its_interval_and_a_minute(self) -> None:
        session = opened()
        session.heard(1000.0)
        self.assertEqual(session.deadline_s(20.0), 1000.0 + 60.0 + 60.0)
