"""The client's session table: what each state allows, and what a bad server gets."""

import json
import struct
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.client import (
    MAX_IDS_PER_ACK,
    MAX_UNANSWERED,
    Answered,
    ClientSession,
    Closed,
    Event,
    Missed,
    Notified,
    Opened,
    PongReceived,
    Received,
    Redirected,
    Refused,
    State,
)
from push.protocols.wire.frames import Frame
from push.protocols.wire.messages import Disconnect, SubRequest, write_json
from push.protocols.wire.server import ChatAsked, OpenRequested, Reply, ServerSession
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

TOKEN = "0123456789abcdef0123456789abcdef"


def answer(frame: Frame, **fields: object) -> Frame:
    """A server's answer to a SUB."""
    return Frame(Signal.SUB, 0, frame.message_id, write_json(fields))


def accepted(frame: Frame, **other: object) -> Frame:
    """The answer that opens a session."""
    return answer(frame, **{"status": 200, "token": TOKEN, "interval": 60_000, "server_time": 1, **other})


def opened() -> ClientSession:
    """A session that is open."""
    session = ClientSession()
    session.receive(accepted(session.sub(SubRequest(ack=True))))
    return session


class SessionCase(SynchronousTestCase):
    """What all of these ask of a session."""

    def assertEnds(self, session: ClientSession, frame: Frame, reason: str) -> None:
        (event,) = session.receive(frame)
        assert isinstance(event, Closed)
        self.assertFalse(event.by_peer)
        self.assertEqual(event.disconnect.code, CloseCode.PROTOCOL_ERROR)
        self.assertIn(reason, event.disconnect.reason)
        self.assertIs(session.state, State.CLOSED)
        self.assertEqual(session.receive(frame), ())


class OpeningTests(SessionCase):
    """SUB and its answers."""

    def test_a_sub_says_what_was_asked_for_and_nothing_else(self) -> None:
        request = SubRequest(token="t", uid="alice", ack=True, interval_ms=60_000, device='{"os":"x"}', tags=("a",))
        frame = ClientSession().sub(request)
        self.assertEqual((frame.signal, frame.message_id), (Signal.SUB, 1))
        self.assertEqual(
            json.loads(frame.body),
            {"token": "t", "uid": "alice", "ack": True, "interval": 60_000, "device": {"os": "x"}, "tags": ["a"]},
        )

    def test_an_empty_request_is_an_empty_body(self) -> None:
        self.assertEqual(ClientSession().sub(SubRequest()).body, b"")

    def test_it_opens_with_what_the_server_says(self) -> None:
        session = ClientSession()
        events = session.receive(accepted(session.sub(SubRequest()), server_time=1_700_000_000_000))
        self.assertEqual(events, (Opened(TOKEN, 60_000, 1_700_000_000_000),))
        self.assertEqual((session.state, session.token, session.interval_ms), (State.OPEN, TOKEN, 60_000))

    def test_an_interval_out_of_bounds_is_moved_to_the_bound(self) -> None:
        for said_ms, held_ms in ((0, 10_000), (-5, 10_000), (10**30, 1_800_000)):
            session = ClientSession()
            (event,) = session.receive(accepted(session.sub(SubRequest()), interval=said_ms))
            assert isinstance(event, Opened)
            self.assertEqual(event.interval_ms, held_ms)

    def test_another_token_than_the_one_asked_for_ends_it(self) -> None:
        session = ClientSession()
        frame = session.sub(SubRequest(token="mine"))
        self.assertEnds(session, accepted(frame), "token is not the one")

    def test_an_answer_with_another_id_ends_it(self) -> None:
        session = ClientSession()
        frame = session.sub(SubRequest())
        self.assertEnds(session, accepted(frame._replace(message_id=0)), "message id 0 answers nothing")

    def test_malformed_answers_end_it(self) -> None:
        bad: list[tuple[dict[str, object], str]] = [
            ({}, "status"),
            ({"status": True}, "status"),
            ({"status": "200"}, "status"),
            ({"status": 100}, "status"),
            ({"status": 600}, "status"),
            ({"status": 200, "interval": 1, "server_time": 1}, "token"),
            ({"status": 200, "token": "a b", "interval": 1, "server_time": 1}, "token"),
            ({"status": 200, "token": "t", "server_time": 1}, "interval"),
            ({"status": 200, "token": "t", "interval": "1", "server_time": 1}, "interval"),
            ({"status": 200, "token": "t", "interval": 1}, "server_time"),
            ({"status": 200, "token": "t", "interval": 1, "server_time": -1}, "server_time"),
            ({"status": 302}, "name a node"),
            ({"status": 302, "nodes": []}, "name a node"),
            ({"status": 302, "nodes": {}}, "nodes"),
            ({"status": 302, "nodes": ["h:1"]}, "nodes"),
            ({"status": 302, "nodes": [{"host": "h"}]}, "port"),
            ({"status": 302, "nodes": [{"host": "h", "port": 0}]}, "port"),
            ({"status": 302, "nodes": [{"host": "h", "port": 65_536}]}, "port"),
            ({"status": 302, "host": 5, "port": 1}, "host"),
            ({"status": 302, "host": "", "port": 1}, "host"),
            ({"status": 302, "host": "a\nb", "port": 1}, "host"),
            ({"status": 503, "retry_after": "soon"}, "retry_after"),
            ({"status": 503, "retry_after": -1}, "retry_after"),
            ({"status": 503, "retry_after": 1e300}, "retry_after"),
        ]
        for fields, reason in bad:
            session = ClientSession()
            self.assertEnds(session, answer(session.sub(SubRequest()), **fields), reason)

    def test_bodies_that_are_not_json_objects_end_it(self) -> None:
        for body in (b"", b"{", b"[]", b"\xff", b"[" * 4_000, b'{"status": NaN}', b'{"status":' + b"1" * 5_000 + b"}"):
            session = ClientSession()
            frame = session.sub(SubRequest())
            self.assertEnds(session, frame._replace(body=body), "SUB: ")

    def test_a_second_sub_is_the_callers_mistake(self) -> None:
        session = ClientSession()
        session.sub(SubRequest())
        self.assertRaises(RuntimeError, session.sub, SubRequest())
        self.assertRaises(RuntimeError, opened().sub, SubRequest())

    def test_a_refusal_says_whether_to_come_back(self) -> None:
        for status, retry in ((400, "no"), (401, "no"), (403, "no"), (429, "backoff"), (503, "backoff"), (418, "no")):
            session = ClientSession()
            events = session.receive(answer(session.sub(SubRequest()), status=status, reason="why", retry_after=3))
            self.assertEqual(events, (Refused(status, "why", 3.0, retry),))
            self.assertIs(session.state, State.NEW)

    def test_after_a_refusal_it_may_ask_again_on_the_same_connection(self) -> None:
        session = ClientSession()
        first = session.sub(SubRequest(token="bad"))
        session.receive(answer(first, status=400))
        second = session.sub(SubRequest())
        self.assertNotEqual(first.message_id, second.message_id)
        self.assertEqual(session.receive(accepted(second)), (Opened(TOKEN, 60_000, 1),))

    def test_a_long_reason_is_cut(self) -> None:
        session = ClientSession()
        (event,) = session.receive(answer(session.sub(SubRequest()), status=403, reason="x" * 2_000))
        assert isinstance(event, Refused)
        self.assertEqual(len(event.reason), 200)


class RedirectTests(SessionCase):
    """302, asked for and not."""

    def test_the_named_host_comes_first_and_none_comes_twice(self) -> None:
        nodes = [{"host": "b", "port": 2}, {"host": "a", "port": 1}]
        session = ClientSession()
        events = session.receive(
            answer(session.sub(SubRequest()), status=302, host="a", port=1, nodes=nodes, retry_after=0.5)
        )
        self.assertEqual(events, (Redirected((NodeAddress("a", 1), NodeAddress("b", 2)), 0.5),))
        self.assertIs(session.state, State.NEW)

    def test_only_so_many_nodes_are_kept(self) -> None:
        nodes = [{"host": "h", "port": port} for port in range(1, 1_000)]
        session = ClientSession()
        (event,) = session.receive(answer(session.sub(SubRequest()), status=302, nodes=nodes))
        assert isinstance(event, Redirected)
        self.assertEqual(len(event.nodes), 16)

    def test_it_may_come_unasked_and_leaves_the_session_open(self) -> None:
        session = opened()
        frame = Frame(Signal.SUB, 0, 0, write_json({"status": 302, "host": "b", "port": 2}))
        self.assertEqual(session.receive(frame), (Redirected((NodeAddress("b", 2),), None),))
        self.assertIs(session.state, State.OPEN)

    def test_it_may_cross_a_sub_whose_answer_still_comes(self) -> None:
        session = ClientSession()
        sub = session.sub(SubRequest())
        session.receive(Frame(Signal.SUB, 0, 0, write_json({"status": 302, "host": "b", "port": 2})))
        self.assertEqual(session.receive(accepted(sub)), (Opened(TOKEN, 60_000, 1),))

    def test_that_messages_were_lost_comes_unasked_and_leaves_the_session_open(self) -> None:
        session = opened()
        body = write_json({"status": 205, "reason": "lost"})
        self.assertEqual(session.receive(Frame(Signal.SUB, 0, 0, body)), (Missed("lost"),))
        self.assertIs(session.state, State.OPEN)

    def test_that_messages_were_lost_answers_no_sub(self) -> None:
        session = ClientSession()
        sub = session.sub(SubRequest(missed=True))
        self.assertEqual(json.loads(sub.body), {"missed": True})
        self.assertEnds(session, answer(sub, status=205), "205 answers nothing")

    def test_any_other_unasked_sub_ends_it(self) -> None:
        session = opened()
        self.assertEnds(session, accepted(Frame(Signal.SUB, 0, 0, b"")), "answers nothing")


class MessageTests(SessionCase):
    """PUSH and PUB_ACK."""

    def test_with_an_id(self) -> None:
        frame = Frame(Signal.PUSH, SubSignal.MN, 0, struct.pack(">Q", 2**63 + 5) + b"hello")
        self.assertEqual(opened().receive(frame), (Received(2**63 + 5, b"hello"),))

    def test_without_an_id(self) -> None:
        self.assertEqual(opened().receive(Frame(Signal.PUSH, 0, 0, b"hello")), (Received(None, b"hello"),))

    def test_an_empty_payload_is_a_message(self) -> None:
        self.assertEqual(opened().receive(Frame(Signal.PUSH, 0, 0, b"")), (Received(None, b""),))

    def test_one_of_a_newer_kind_is_passed_over(self) -> None:
        session = opened()
        self.assertEqual(session.receive(Frame(Signal.PUSH, 99, 0, b"?")), ())
        self.assertIs(session.state, State.OPEN)

    def test_half_an_id_and_the_id_zero_end_it(self) -> None:
        self.assertEnds(opened(), Frame(Signal.PUSH, SubSignal.MN, 0, b"1234567"), "id of 8 bytes")
        self.assertEnds(opened(), Frame(Signal.PUSH, SubSignal.MN, 0, bytes(8)), "0 is not the id")

    def test_acknowledgements_are_batched_within_the_servers_least_limit(self) -> None:
        ids = range(1, 2 * MAX_IDS_PER_ACK + 2)
        frames = opened().acknowledge(ids)
        self.assertEqual([len(frame.body) // 8 for frame in frames], [512, 512, 1])
        self.assertEqual({(f.signal, f.subsignal, f.message_id) for f in frames}, {(Signal.PUB_ACK, SubSignal.MN, 0)})
        got = [number for frame in frames for (number,) in struct.iter_unpack(">Q", frame.body)]
        self.assertEqual(got, list(ids))

    def test_nothing_to_acknowledge_is_no_frame(self) -> None:
        self.assertEqual(opened().acknowledge([]), [])

    def test_acknowledging_needs_an_open_session(self) -> None:
        self.assertRaises(RuntimeError, ClientSession().acknowledge, [1])


class PingTests(SessionCase):
    """PING and the ids that it shares with requests."""

    def test_the_answer_may_change_the_interval(self) -> None:
        session = opened()
        ping = session.ping(20_000)
        self.assertEqual(json.loads(ping.body), {"interval": 20_000})
        self.assertEqual(session.receive(ping._replace(body=b'{"interval":20000}')), (PongReceived(20_000),))
        self.assertEqual((session.interval_ms, session.unanswered), (20_000, 0))

    def test_an_empty_answer_leaves_the_interval(self) -> None:
        session = opened()
        self.assertEqual(session.receive(session.ping()), (PongReceived(60_000),))

    def test_an_answer_to_no_ping_ends_it(self) -> None:
        session = opened()
        ping = session.ping()
        session.receive(ping)
        self.assertEnds(session, ping, "answers nothing")
        self.assertEnds(opened(), Frame(Signal.PING, 0, 0, b""), "answers nothing")

    def test_it_is_allowed_before_the_session_is_open(self) -> None:
        session = ClientSession()
        self.assertEqual(session.receive(session.ping()), (PongReceived(0),))

    def test_unanswered_pings_are_bounded(self) -> None:
        session = opened()
        for _ in range(MAX_UNANSWERED):
            session.ping()
        self.assertRaises(RuntimeError, session.ping)

    def test_ids_wrap_without_zero_and_pass_over_what_is_awaited(self) -> None:
        session = opened()
        first = session.ping()
        seen = set()
        for _ in range(0xFFFF - 1):
            ping = session.ping()
            seen.add(ping.message_id)
            session.receive(ping)
        self.assertEqual(seen, set(range(1, 0x10000)) - {first.message_id})


class RequestTests(SessionCase):
    """What chat will be built on."""

    def test_an_answer_comes_back_with_its_id(self) -> None:
        for signal in (Signal.CONTACT, Signal.PUBLISH):
            session = opened()
            request = session.request(signal, b"{}", subsignal=SubSignal.GC)
            reply = Frame(Signal.PUB_ACK, SubSignal.GC, request.message_id, b"\x00{}")
            self.assertEqual(session.receive(reply), (Answered(reply),))
            self.assertEnds(session, reply, "answers nothing")

    def test_an_answer_of_the_wrong_signal_ends_it(self) -> None:
        session = opened()
        request = session.request(Signal.AUTH, b"")
        self.assertEnds(session, Frame(Signal.PUB_ACK, 0, request.message_id, b""), "answers nothing")

    def test_what_others_say_is_handed_on(self) -> None:
        session = opened()
        for signal in (Signal.CONTACT, Signal.PUBLISH):
            frame = Frame(signal, SubSignal.MN, 0, b"{}")
            self.assertEqual(session.receive(frame), (Notified(frame),))

    def test_a_request_needs_an_open_session(self) -> None:
        self.assertRaises(RuntimeError, ClientSession().request, Signal.AUTH, b"")


class EndTests(SessionCase):
    """Illegal signals, DISCONNECT, closing."""

    def test_illegal_pairs_end_it(self) -> None:
        legal = {
            State.NEW: {Signal.SUB, Signal.PING, Signal.DISCONNECT},
            State.SUBSCRIBING: {Signal.SUB, Signal.PING, Signal.DISCONNECT},
            State.OPEN: set(Signal) - {Signal.NONE, Signal.CONNECT, Signal.CONNECT_ACK},
        }
        for state, allowed in legal.items():
            for signal in set(Signal) - allowed:
                session = opened() if state is State.OPEN else ClientSession()
                if state is State.SUBSCRIBING:
                    session.sub(SubRequest())
                self.assertEnds(session, Frame(signal, 0, 1, b""), f"{signal.name} is not allowed")

    def test_a_signal_that_does_not_exist_ends_it(self) -> None:
        self.assertEnds(opened(), Frame(77, 0, 0, b""), "signal 77 is not allowed")

    def test_a_disconnect_ends_it_in_any_state(self) -> None:
        body = write_json({"code": 3500, "reason": "replaced", "retry": "no"})
        subscribing = ClientSession()
        subscribing.sub(SubRequest())
        for session in (ClientSession(), subscribing, opened()):
            events = session.receive(Frame(Signal.DISCONNECT, 0, 0, body))
            self.assertEqual(events, (Closed(Disconnect(3500, "replaced", "no"), by_peer=True),))
            self.assertRaises(RuntimeError, session.ping)
            self.assertIsNone(session.close(Disconnect(3000, "")))

    def test_closing_says_so_once(self) -> None:
        session = opened()
        frame = session.close(Disconnect(3000, "bye"))
        assert frame is not None
        self.assertEqual((frame.signal, json.loads(frame.body)["code"]), (Signal.DISCONNECT, 3000))
        self.assertIsNone(session.close(Disconnect(3000, "bye")))
        self.assertEqual(session.receive(Frame(Signal.PUSH, 0, 0, b"late")), ())


FRAMES = st.builds(
    Frame,
    st.integers(0, 127),
    st.integers(0, 127),
    st.integers(0, 3),
    st.one_of(st.binary(max_size=40), st.just(b"{}")),
)


class UntrustedServerTests(SynchronousTestCase):
    """Whatever a server sends."""

    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 2), st.lists(FRAMES, max_size=8))
    def test_no_frame_raises_and_nothing_follows_the_end(self, stage: int, frames: list[Frame]) -> None:
        session = ClientSession()
        if stage:
            sub = session.sub(SubRequest())
            if stage == 2:
                session.receive(accepted(sub))
        events: list[Event] = []
        for frame in frames:
            events += session.receive(frame)
        ends = [index for index, event in enumerate(events) if isinstance(event, Closed)]
        self.assertIn(ends, ([], [len(events) - 1]))


class MirrorTests(SynchronousTestCase):
    """Both tables against one another."""

    def replies(self, server: ServerSession, frame: Frame) -> Sequence[Frame]:
        return [event.frame for event in server.receive(frame) if isinstance(event, Reply)]

    def test_a_session_from_sub_to_acknowledgement(self) -> None:
        client, server = ClientSession(), ServerSession(0.0)
        (asked,) = server.receive(client.sub(SubRequest(uid="alice", ack=True)))
        assert isinstance(asked, OpenRequested)
        (reply,) = server.accept(token=TOKEN, interval_ms=60_000, server_time_ms=5)
        assert isinstance(reply, Reply)
        self.assertEqual(client.receive(reply.frame), (Opened(TOKEN, 60_000, 5),))
        (pong,) = self.replies(server, client.ping(30_000))
        self.assertEqual(client.receive(pong), (PongReceived(30_000),))
        self.assertTrue(server.may_push(9, 256))
        (ack,) = client.acknowledge([9])
        server.receive(ack)
        self.assertEqual(server.unacknowledged, set())
        (refused,) = self.replies(server, client.request(Signal.AUTH, b""))
        self.assertEqual(client.receive(refused), (Answered(refused),))
        (asked,) = server.receive(client.request(Signal.PUBLISH, b"{}"))
        assert isinstance(asked, ChatAsked)
        (answer,) = server.answer(asked.frame, b"\0{}")
        assert isinstance(answer, Reply)
        self.assertEqual(client.receive(answer.frame), (Answered(answer.frame),))
