"""A link, whatever a server sends: it raises nothing, and says why it has ended."""

import math
import struct
from typing import Any
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from push.protocols.wire.client import Opened, Received
from push.protocols.wire.frames import encode
from push.protocols.wire.messages import SubRequest, write_json
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from push_client import chat_plans
from push_client.address import Address
from push_client.intervals import Intervals
from push_client.link import Link
from push_client.receipts import Receipts
from push_client.requests import Doing
from push_client.status import Lost
from push_client.talk import Talk
from push_client.tuning import Tuning

TOKEN = "0123456789abcdef0123456789abcdef"
OPENED = encode(
    Signal.SUB, write_json({"status": 200, "token": TOKEN, "interval": 60_000, "server_time": 1}), message_id=1
)
FRAMES = st.builds(
    encode,
    st.integers(0, 12),
    st.one_of(
        st.binary(max_size=40), st.sampled_from([b"{}", b'{"status":302,"host":"h","port":1}', b'{"code":3500}'])
    ),
    subsignal=st.integers(0, 40),
    message_id=st.integers(0, 3),
)


def make() -> Link:
    """A link at a time of 0."""
    return Link(
        Address("h", 1, False),
        SubRequest(ack=True, interval_ms=60_000),
        receipts=Receipts(),
        intervals=Intervals(60.0, 300.0),
        tuning=Tuning(max_body_bytes=1_000),
        now_s=0.0,
    )


def push(message_id: int) -> bytes:
    """A message."""
    return encode(Signal.PUSH, struct.pack(">Q", message_id) + b"x", subsignal=SubSignal.MN)


def drain(link: Link, now_s: float = 0.0) -> list[object]:
    """All that has come."""
    events: list[object] = []
    while (event := link.next_event(now_s)) is not None:
        events.append(event)
    return events


class LinkTests(TestCase):
    """One link."""

    @given(st.booleans(), st.lists(st.one_of(FRAMES, st.binary(max_size=60)), max_size=12), st.integers(1, 50))
    def test_whatever_comes_it_raises_nothing_and_keeps_little(
        self, is_open: bool, parts: list[bytes], step: int
    ) -> None:
        link = make()
        data = (OPENED if is_open else b"") + b"".join(parts)
        for number, start in enumerate(range(0, len(data), step)):
            link.receive(data[start : start + step], float(number))
            drain(link, float(number))
            link.tick(float(number))
            self.assertLess(len(link.take_output(float(number))), 2_000)
        self.assertGreater(link.next_s(1e9), 0.0)
        link.lost("the end")
        self.assertIsNotNone(link.ending)
        self.assertEqual(drain(link), [])
        self.assertEqual(link.next_s(1e9), math.inf)
        link.close(1e9)

    @given(st.integers(1, 30))
    def test_however_a_stream_is_cut_the_same_comes_out(self, step: int) -> None:
        link = make()
        data = OPENED + push(1) + push(2) + push(1)
        events = []
        for start in range(0, len(data), step):
            link.receive(data[start : start + step], 0.0)
            events += drain(link)
        self.assertEqual(events, [Opened(TOKEN, 60_000, 1), Received(1, b"x"), Received(2, b"x")])

    def test_what_is_not_asked_for_does_not_count_as_received(self) -> None:
        link = make()
        link.receive(OPENED + push(1) + push(2), 0.0)
        self.assertIsInstance(link.next_event(0.0), Opened)
        self.assertEqual(link.next_event(0.0), Received(1, b"x"))
        self.assertEqual(link.next_event(0.0), Received(2, b"x"))

    def test_a_server_that_is_deaf_to_the_chat_alone_is_left_before_it_has_cost_too_much(self) -> None:
        link = make()
        talk = Talk(8, hears_notices=False)
        link.attend(talk)
        link.receive(OPENED, 0.0)
        drain(link)
        unanswered = 0
        for now_s in range(10_000):  # each is given up before it is answered, and the heartbeat is answered well
            doing: Doing[Any] = Doing(chat_plans.dismiss("a"))
            talk.begin(doing)
            link.take_output(float(now_s))
            talk.stop(doing)
            if link.next_s(float(now_s)) <= now_s:
                link.tick(float(now_s))
            link.receive(encode(Signal.PUSH, b"x"), float(now_s))
            drain(link, float(now_s))
            if link.ending is not None:
                break
            unanswered += 1
        self.assertIsInstance(link.ending and link.ending.status, Lost)
        self.assertLess(unanswered, 1_024)

    def test_frames_that_come_in_pieces_are_not_one_that_takes_its_time(self) -> None:
        link = make()
        link.receive(OPENED + push(1)[:-1], 0.0)
        drain(link)
        for number in range(1, 31):  # never is there a moment without a part of one
            now_s = 10.0 * number
            link.receive(push(number)[-1:] + push(number + 1)[:-1], now_s)
            self.assertEqual(len(drain(link, now_s)), 1)
            link.tick(now_s)
            self.assertIsNone(link.ending)

    def test_too_large_a_frame_is_refused_by_its_header(self) -> None:
        link = make()
        link.receive(OPENED + encode(Signal.PUSH, bytes(1_000)), 0.0)
        self.assertEqual(len(drain(link)), 2)
        link.receive(encode(Signal.PUSH, bytes(1_001))[:10], 0.0)
        drain(link)
        assert link.ending is not None
        assert isinstance(link.ending.status, Lost)
        self.assertEqual(link.ending.status.code, CloseCode.TOO_LARGE)

    def test_a_pause_costs_no_frame_its_time(self) -> None:
        link = make()
        link.receive(OPENED + push(1)[:-1], 0.0)
        drain(link)
        link.pause()
        link.tick(1_000.0)
        self.assertIsNone(link.ending)
        link.resume(1_000.0)
        link.tick(1_019.0)
        self.assertIsNone(link.ending)
        link.tick(1_120.0)
        self.assertIsNotNone(link.ending)
