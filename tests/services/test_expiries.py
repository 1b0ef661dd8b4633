"""Sessions end when their credentials do."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.signals import CloseCode
from push.services.expiries import LOOK_INTERVAL_S, MAX_AT_ONCE
from tests.fakes_auth import UntilThen
from tests.services.clients import Client, make_connector


class ExpiryTests(SynchronousTestCase):
    """A connector that is swept every second."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000.0)
        self.connector, _, _ = make_connector(
            self.clock,
            authenticator=UntilThen(),
            max_connections=10_000,
            max_connections_per_address=10_000,
            max_subs_per_s=10_000.0,
        )

    def online(self, until_s: int, **fields: Any) -> Client:
        """A client with a session."""
        client = Client(self.connector, self.clock)
        self.assertEqual(client.sub(auth=str(until_s), interval=1_800_000, **fields)["status"], 200)
        return client

    def pass_time(self, seconds: int) -> None:
        """Sweep after sweep."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.connector.sweep()

    def ended(self, clients: list[Client]) -> list[bool]:
        """Which are."""
        return [client.is_ended for client in clients]

    def test_each_ends_when_its_credential_does_and_is_to_come_back(self) -> None:
        clients = [self.online(until_s) for until_s in (1_010, 1_020, 0)]
        self.pass_time(9)
        self.assertEqual(self.ended(clients), [False, False, False])
        self.pass_time(1)
        self.assertEqual(self.ended(clients), [True, False, False])
        goodbye = clients[0].goodbye()
        self.assertEqual((goodbye["code"], goodbye["retry"]), (CloseCode.EXPIRED, "backoff"))
        self.assertEqual(CloseCode.EXPIRED, 3005)
        self.assertIn("expired", goodbye["reason"])
        self.pass_time(10 + LOOK_INTERVAL_S)
        self.assertEqual(self.ended(clients), [True, True, False])
        self.pass_time(1_000)
        self.assertEqual(self.ended(clients), [True, True, False])

    def test_who_comes_later_may_end_earlier(self) -> None:
        clients = [self.online(1_500)]
        self.pass_time(5)
        clients.append(self.online(1_010))
        self.pass_time(5)
        self.assertEqual(self.ended(clients), [False, True])

    def test_a_new_credential_in_the_same_session_prolongs_it(self) -> None:
        client = self.online(1_010)
        self.assertEqual(client.sub(auth="1100")["status"], 200)
        self.pass_time(50)
        self.assertFalse(client.is_ended)
        self.pass_time(50 + LOOK_INTERVAL_S)
        self.assertEqual(client.goodbye()["code"], CloseCode.EXPIRED)

    def test_many_that_end_together_do_so_one_sweep_after_another(self) -> None:
        clients = [self.online(1_010) for _ in range(MAX_AT_ONCE + 1)]
        self.pass_time(10)
        self.assertEqual(sum(self.ended(clients)), MAX_AT_ONCE)
        self.pass_time(1)
        self.assertEqual(sum(self.ended(clients)), MAX_AT_ONCE + 1)

    def test_it_ends_once(self) -> None:
        client = self.online(1_010)
        client.stop_reading()
        self.pass_time(12)
        closes = [sample for sample in self.connector.samples() if sample.name == "push_closes_total"]
        self.assertEqual([(dict(sample.labels)["code"], sample.value) for sample in closes], [("3005", 1)])
