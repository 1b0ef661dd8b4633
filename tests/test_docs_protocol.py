"""docs/protocol.md says of a session what the wire core does; its lists of numbers are in test_docs.py."""

import json
import re
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from push import config
from push.protocols.wire import liveness, messages, server, signals
from push.protocols.wire.frames import ID_BYTES, Frame
from push.protocols.wire.messages import SubRequest, parse_sub
from push.protocols.wire.signals import Signal, SubSignal
from push.services.connections import MAX_UNWELCOME
from tests.test_docs import DOCS, table


def new_session() -> server.ServerSession:
    """Nothing has been sent yet."""
    return server.ServerSession(0.0)


def opening_session() -> server.ServerSession:
    """A SUB has been sent and is not answered."""
    session = new_session()
    session.receive(Frame(Signal.SUB, 0, 1, b""))
    return session


def open_session() -> server.ServerSession:
    """The SUB has been answered."""
    session = opening_session()
    accept(session)
    return session


def replies(events: Sequence[server.Event]) -> list[server.Reply]:
    """What is sent back."""
    return [event for event in events if isinstance(event, server.Reply)]


def accept(session: server.ServerSession) -> list[server.Reply]:
    """Answer a SUB or CONNECT with 200."""
    return replies(session.accept(token="t", interval_ms=300_000, server_time_ms=0))


def ends_politely(events: Sequence[server.Event]) -> bool:
    """Whether the session is over because the peer said so."""
    return any(isinstance(event, server.Closed) and event.by_peer for event in events)


def reaction(session: server.ServerSession, signal: Signal) -> str:
    """What a session makes of a signal: "asks", "ends", a close code, a status, the answer's signal, or nothing."""
    events = session.receive(Frame(signal, SubSignal.MN if signal == Signal.PUB_ACK else 0, 7, b""))
    if ends_politely(events):
        return "ends"
    for event in events:
        if isinstance(event, server.Closed):
            return str(int(event.disconnect.code))
        if isinstance(event, server.OpenRequested | server.ChatAsked):
            return "asks"
        if isinstance(event, server.Reply):
            body = event.frame.body.partition(b"{")
            status = json.loads(body[1] + body[2]).get("status")
            return Signal(event.frame.signal).name if status is None else str(status)
    return ""


class ProtocolRules(SynchronousTestCase):
    """Where the page is not a list of numbers: the session does what it says."""

    def test_what_may_be_sent_when_is_what_a_session_allows(self) -> None:
        said = {
            "ends": "ends",
            "held": "",
            "taken": "",
            "asks": "asks",
            "3505": "3505",
            "501": "501",
            "opens": "asks",
            "renews": "asks",
        }
        for names, before, opening, opened in table(DOCS / "protocol.md", "signal of the client"):
            for name in names.split(", "):
                signal = Signal[name]
                said["answered"] = name
                for state, expected in (
                    (new_session(), before),
                    (opening_session(), opening),
                    (open_session(), opened),
                ):
                    self.assertEqual(reaction(state, signal), said[expected], f"{name}: {expected}")

    def test_connect_ack_has_the_subsignal_of_the_table(self) -> None:
        text = (DOCS / "protocol.md").read_text()
        rows = re.findall(r"^\| (\d+|others) \| (CONNECTION_\w+) (\d+) \|$", text, re.MULTILINE)
        self.assertEqual(len(rows), 6)
        for status, name, number in rows:
            session = new_session()
            session.receive(Frame(Signal.CONNECT, 0, 1, b""))
            if status == "200":
                (reply,) = accept(session)
            else:
                (reply,) = replies(session.refuse(503 if status == "others" else int(status), "because"))
            self.assertEqual(reply.frame.subsignal, signals.SubSignal[name])
            self.assertEqual(reply.frame.subsignal, int(number))

    def test_null_is_a_key_that_was_not_sent(self) -> None:
        body = b'{"token":null,"uid":null,"auth":null,"ack":null,"interval":null,"device":null,"tags":null}'
        self.assertEqual(parse_sub(body), SubRequest())

    def test_of_a_key_that_is_there_twice_the_last_counts(self) -> None:
        self.assertEqual(parse_sub(b'{"uid":"alice","uid":"bob"}').uid, "bob")

    def test_an_interval_with_a_point_is_taken_if_it_is_whole(self) -> None:
        self.assertEqual(parse_sub(b'{"interval":30000.0}').interval_ms, 30_000)
        self.assertRaises(messages.BodyError, parse_sub, b'{"interval":30000.5}')

    def test_an_empty_uid_is_one_that_was_not_sent(self) -> None:
        self.assertEqual(parse_sub(b'{"uid":""}'), SubRequest())

    def test_a_renewal_without_ack_goes_on_acknowledging(self) -> None:
        session = new_session()
        session.receive(Frame(Signal.SUB, 0, 1, b'{"ack":true}'))
        accept(session)
        self.assertEqual(session.unacknowledged, set())
        session.receive(Frame(Signal.SUB, 0, 2, b""))
        accept(session)
        self.assertEqual(session.unacknowledged, set())

    def test_a_ping_before_the_session_is_open_does_not_decide_its_interval(self) -> None:
        session = new_session()
        (answer,) = replies(session.receive(Frame(Signal.PING, 0, 1, b'{"interval":10000}')))
        self.assertEqual(answer.frame.body, b'{"interval":10000}')
        session.receive(Frame(Signal.SUB, 0, 2, b""))
        accept(session)
        self.assertEqual(session.interval_ms, 300_000)

    def test_numbers_in_the_text_are_those_of_the_code(self) -> None:
        text = re.sub(r"\s+", " ", (DOCS / "protocol.md").read_text())
        default = config.Config()
        for phrase in (
            f"limit on a body is {default.max_body_bytes:,} bytes",
            f"and {default.max_body_before_open_bytes:,} bytes until the session is open",
            f"Up to {server.MAX_HELD_FRAMES} frames",
            f"With the {server.MAX_REFUSALS}th refusal",
            f"within {default.handshake_timeout_s:g} s (`handshake_timeout_s`)",
            f"interval + {default.idle_grace_s:g} s (`idle_grace_s`)",
            f"between {liveness.MIN_INTERVAL_MS // 1000} s and {liveness.MAX_INTERVAL_MS // 60_000} min",
            f"held to {default.default_interval_s / 60:g} min (`default_interval_s`)",
            f"At most {default.ack_window} messages (`ack_window`)",
            f"`max_body_bytes` − {ID_BYTES} bytes ({default.max_body_bytes - ID_BYTES:,})",
            f"within {default.close_timeout_s:g} s (`close_timeout_s`)",
            f"list of at most {messages.MAX_TAGS} strings of 1–{messages.MAX_TAG_CHARS} characters",
            f"object, at most {messages.MAX_DEVICE_BYTES:,} bytes as compact JSON",
            f"1–{messages.MAX_AUTH_CHARS:,} characters, no control characters | credential",
            f"1–{messages.MAX_UID_CHARS} characters, no control characters, or",
            f"while {MAX_UNWELCOME} such are waiting",
            f"At most {server.MAX_ASKED} CONTACTs and PUBLISHs",
        ):
            self.assertIn(phrase, text)
