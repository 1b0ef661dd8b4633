"""Tests of push.services.signpost: who comes to a process that holds no clients is told where to go."""

import json
from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.ihealth import IMeasured
from push.ipush import IConnectionHost
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.signals import CloseCode, Signal
from push.services.signpost import MAX_CONNECTIONS, Signpost
from push.testing.connections import LIMITS
from tests.services.clients import Client
from tests.web.fakes import FakeAllocation


class SignpostTests(SynchronousTestCase):
    """Clients of a process without a connector."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.allocation = FakeAllocation()
        self.signpost = Signpost(allocation=self.allocation, limits=LIMITS, clock=self.clock)
        self.signpost.startService()
        self.addCleanup(self.signpost.stopService)

    def client(self, host: str = "127.0.0.1") -> Any:
        """A connection."""
        return Client(self.signpost, self.clock, host)  # type: ignore[arg-type]

    def test_interfaces_are_kept(self) -> None:
        verifyObject(IConnectionHost, self.signpost)
        verifyObject(IMeasured, self.signpost)

    def test_who_asks_for_a_session_is_told_where_by_what_it_speaks(self) -> None:
        self.allocation.nodes = [NodeAddress("10.0.0.7", 6789), NodeAddress("10.0.0.8", 6789)]
        answer = self.client().sub()
        self.assertEqual((answer["status"], answer["host"], answer["port"]), (302, "10.0.0.7", 6789))
        self.assertEqual([node["host"] for node in answer["nodes"]], ["10.0.0.7", "10.0.0.8"])
        self.assertEqual(self.allocation.asked, ["framed"])
        (sample,) = self.signpost.samples()
        self.assertEqual(sample.value, 1)

    def test_where_there_is_no_room_it_is_to_come_back(self) -> None:
        self.allocation.nodes = []
        answer = self.client().sub()
        self.assertEqual((answer["status"], answer["retry_after"]), (503, 5))

    def test_who_says_nothing_or_stays_is_closed_and_then_cut_off(self) -> None:
        silent, staying = self.client(), self.client()
        staying.sub()
        self.clock.pump([1.0] * 9)
        self.assertFalse(silent.is_ended)
        self.clock.pump([1.0] * (int(LIMITS.handshake_timeout_s) - 8))
        for client in (silent, staying):
            self.assertEqual(client.goodbye()["code"], CloseCode.IDLE)
            self.assertTrue(client.is_ended)
        self.clock.pump([1.0] * (int(LIMITS.close_timeout_s) + 1))
        self.assertTrue(silent.transport.aborted)

    def test_there_are_only_so_many_and_none_is_left_over(self) -> None:
        limits = replace(LIMITS, max_connections=2 * MAX_CONNECTIONS)
        self.signpost = Signpost(allocation=self.allocation, limits=limits, clock=self.clock)
        clients = [self.client(f"10.0.{n >> 8}.{n & 255}") for n in range(MAX_CONNECTIONS)]
        self.assertEqual(self.client("10.1.0.1").sub()["status"], 503)
        clients[0].hang_up()
        self.assertEqual(self.client("10.1.0.2").sub()["status"], 302)

    def test_nobody_gets_anywhere_by_asking_for_something_else(self) -> None:
        client = self.client()
        client.send(Signal.CONTACT, json.dumps({"to": "t", "message": "m"}).encode(), message_id=1)
        self.assertEqual(client.goodbye()["code"], CloseCode.PROTOCOL_ERROR)

    def test_at_the_end_all_are_told(self) -> None:
        client = self.client()
        self.signpost.stopService()
        self.assertEqual(client.goodbye()["code"], CloseCode.SHUTDOWN)
