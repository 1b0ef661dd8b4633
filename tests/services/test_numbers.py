"""Tests of push.services.numbers: what the nodes of a cluster tell one another of what they have measured."""

from collections.abc import Iterable

import msgspec
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.ihealth import IMeasured
from push.model_cluster import Member
from push.model_health import Histogram, Sample
from push.services.numbers import OthersNumbers, numbers_of
from tests.web.fakes import FakeMeasured

SENDING = Histogram((0.1, 1.0), (1, 2, 3), 4.0)
MEASURED = FakeMeasured(
    Sample("push_messages_total", "counter", "h", 3, (("target", "uids"), ("outcome", "sent"))),
    Sample("push_messages_total", "counter", "h", 4, (("target", "all"), ("outcome", "sent"))),
    Sample("push_messages_total", "counter", "h", 50, (("target", "all"), ("outcome", "cached"))),
    Sample("push_tokens", "gauge", "h", 7),
    Sample("push_store_commits_total", "counter", "h", 9),
    Sample("push_api_request_seconds", "histogram", "h", SENDING, (("route", "/v1/messages:send"),)),
    Sample("push_api_request_seconds", "histogram", "h", SENDING, (("route", "/healthz"),)),
)


class Broken:
    """Something whose numbers cannot be had."""

    def samples(self) -> Iterable[Sample]:
        """Fail."""
        raise RuntimeError("away")


class NumbersTests(SynchronousTestCase):
    """From one node to another."""

    def others(self, *members: Member) -> list[Sample]:
        """What is shown of these at c:1."""
        shown = OthersNumbers(lambda: {each.name: each for each in members}, "c:1")
        verifyObject(IMeasured, shown)
        return list(shown.samples())

    def test_a_few_are_told_added_up(self) -> None:
        numbers = numbers_of([MEASURED, FakeMeasured(Sample("push_tokens", "gauge", "h", 1))], 5)
        self.assertEqual(numbers.taken_ms, 5)
        self.assertEqual(numbers.counted, {"push_messages_total": 7, "push_tokens": 8})
        self.assertEqual(numbers.timed, {"push_api_request_seconds": SENDING})

    def test_what_cannot_be_had_costs_nothing_but_itself(self) -> None:
        numbers = numbers_of([Broken(), MEASURED], 5)  # type: ignore[list-item]
        self.assertEqual(numbers.counted["push_tokens"], 7)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_they_arrive_as_samples_with_the_name_of_their_node(self) -> None:
        told = msgspec.msgpack.encode(Member("a:1", ("router",), numbers=numbers_of([MEASURED], 5)))
        self.assertLess(len(told), 400)
        member = msgspec.msgpack.decode(told, type=Member)
        found = {each.name: each for each in self.others(member)}
        self.assertEqual(found["push_taken_ms"].value, 5)
        sent = found["push_messages_total"]
        self.assertEqual((sent.value, dict(sent.labels)), (7, {"node": "a:1", "outcome": "sent"}))
        timed = found["push_api_request_seconds"]
        self.assertEqual((timed.value, timed.labels[0]), (SENDING, ("node", "a:1")))

    def test_own_ones_and_those_of_nodes_that_do_not_say_are_left_out(self) -> None:
        own = Member("c:1", ("api",), numbers=numbers_of([MEASURED], 5))
        self.assertEqual(self.others(own, Member("b:1", ("router",))), [])
