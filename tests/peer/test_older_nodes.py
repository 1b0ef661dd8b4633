"""What nodes of older minor versions are told and asked: nothing that they do not know."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.cluster_links import Neighbours
from push.config import Config
from push.errors import Unavailable
from push.model import Delivery, Place
from push.model_cache import Keep, Keeping
from push.model_cluster import Member
from push.protocols.peer import joining
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import MAJOR, MINOR, MINOR_GROUPS, MINOR_PLACES, Passed, encode
from push.protocols.peer.remote_connector import RemoteConnector
from push.protocols.peer.remote_node import RemoteNode
from push.protocols.peer.remote_receipts import RemoteReceipts
from push.protocols.wire.batch_reports import AllSent, write_reports
from push.protocols.wire.batches import BatchReader, ToEverybody
from tests.fakes_cluster import MemoryLeases
from tests.peer.test_twins import Twins

NOT_SAID = -1


class Link:
    """To a connector that takes everything."""

    is_lost = False

    def __init__(self) -> None:
        self._reader = BatchReader(1_000, Delivery, Place)
        self.arrived: list[Any] = []
        self._broadcasts = 0

    def when_lost(self, call: Any) -> None:
        """Never."""

    def broken(self, failure: Any) -> None:
        """Should not happen."""
        failure.raiseException()

    def call(self, name: str, data: bytes = b"", **more: Any) -> Deferred[bytes]:
        """What a door gets."""
        if name == "passed":
            return succeed(encode((Passed(self._broadcasts, 7),)))
        assert name == "deliver"
        found = self._reader.feed(data)
        self.arrived += found
        broadcasts = sum(isinstance(each, ToEverybody) for each in found)
        self._broadcasts += broadcasts
        return succeed(write_reports([AllSent(len(found) - broadcasts)] if len(found) > broadcasts else []))


class OlderConnectorTests(SynchronousTestCase):
    """Of the log of broadcasts they know only that they are to look into it."""

    def setUp(self) -> None:
        self.link: Any = Link()
        self.connector = RemoteConnector("c:1", self.link, max_waiting_bytes=10_000, minor=MINOR_PLACES - 1)

    def deliver(self, *batch: Delivery) -> list[int]:
        """To how many tokens each was sent."""
        report = self.successResultOf(Deferred.fromCoroutine(self.connector.deliver(batch)))
        return list(report.sent)

    def test_what_is_logged_is_pulled_and_has_no_place(self) -> None:
        self.assertEqual(self.deliver(Delivery(5, b"x", ("t", "u"), True, True, Place(5, (0, 0), 3))), [2])
        (told,) = self.link.arrived
        self.assertEqual((told.message_id, tuple(told.tokens), told.payload), (5, ("t", "u"), None))
        self.assertEqual((told.is_kept, told.is_logged, told.place), (True, True, None))

    def test_what_is_kept_comes_after_what_is_logged_before_it(self) -> None:
        kept = Delivery(9, b"x", ("t", "u"), True, False, Place(9, (2, 8), 5))
        self.assertEqual(self.deliver(kept, Delivery(10, b"y", ("t",))), [2, 1])
        placed, plain = self.link.arrived
        self.assertEqual((placed.payload, placed.place), (b"x", Place(9, (5, 8), NOT_SAID)))
        self.assertEqual((plain.payload, plain.place), (b"y", None))

    def test_that_all_have_what_is_logged_is_not_said(self) -> None:
        self.assertEqual(self.deliver(Delivery(5, None, (), True, True, Place(5, (), 3))), [0])
        self.assertEqual(self.link.arrived, [])

    def test_a_logged_broadcast_is_pulled_and_another_one_is_not(self) -> None:
        for place, payload in ((Place(5, (), 3), None), (None, b"x")):
            call = self.connector.broadcast(5, b"x", place is not None, place)
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(call)), 7)
            self.assertEqual(self.link.arrived.pop(), ToEverybody(5, payload, False, place is not None, False, None))

    def test_a_newer_one_is_told_all_of_it(self) -> None:
        self.connector = RemoteConnector("c:1", self.link, max_waiting_bytes=10_000, minor=MINOR_PLACES)
        batch = [
            Delivery(5, b"x", ("t",), True, True, Place(5, (0,), 3)),
            Delivery(9, b"x", ("t",), True, False, Place(9, (2,), 5)),
        ]
        self.assertEqual(self.deliver(*batch), [1, 1])
        self.assertEqual([each.place for each in self.link.arrived], [each.place for each in batch])


class OlderRouterTests(Twins):
    """They take what a message comes after for all that it comes after: of the log they are told nothing besides."""

    def setUp(self) -> None:
        self.patch(joining, "MINOR", MINOR_PLACES - 1)
        super().setUp()

    def test_what_is_kept_comes_after_what_is_logged_before_it(self) -> None:
        self.house.told_cache.answers["keep"] = Keeping(
            1, {}, [Place(9, (2, 8), 5), Place(10, (9,), 0), Place(11, (), 5)]
        )
        keeping = self.get(self.keeper.keep([Keep(1, b"x", ("t",), 2_000_000_000_000)] * 3))
        self.assertEqual(keeping.places, [Place(9, [5, 8]), Place(10, [9]), Place(11, [])])


class OlderGroupTests(SynchronousTestCase):
    """An API asks those with the group role that know its questions."""

    def setUp(self) -> None:
        path = self.mktemp()
        Path(path).write_text("s" * 32)
        config = Config(
            role=("api",), redis="redis://10.0.0.1", peer="tcp:7460:interface=10.0.0.8", peer_secret_file=path
        )
        clock = Clock()
        self.neighbours = Neighbours(config, leases=MemoryLeases(clock), reactor=clock, now_ms=lambda: 1)
        self.there: list[Any] = []
        self.patch(self.neighbours.links, "nodes", lambda role: self.there)

    def node(self, name: str, minor: int) -> RemoteNode:
        """One with the group role that can be asked."""
        asking = Asking()
        member = Member(name, ("group",), name, MAJOR, minor)
        return RemoteNode(member, self.neighbours.name, asking, RemoteReceipts(asking, clock=Clock()))

    def test_only_those_are_asked_and_the_same_one_of_them_about_one_thing(self) -> None:
        self.there = [self.node("old:1", MINOR_GROUPS - 1)]
        self.assertRaises(Unavailable, self.neighbours.group_of, "g.room")
        news = [self.node(f"new:{number}", MINOR) for number in range(3)]
        self.there += news
        asked = {self.neighbours.group_of(f"g.{number}") for number in range(50)}
        self.assertEqual(asked, {each.asking for each in news})
        self.assertIs(self.neighbours.group_of("g.room"), self.neighbours.group_of("g.room"))
