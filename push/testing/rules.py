"""What the rules of the session stand on: a connector, and clients of it that speak the protocol under test."""

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from push.ipush import IWireProtocol
from push.model import Delivery
from push.testing.connections import Client, make_connector
from push.testing.dialects import Dialect

if TYPE_CHECKING:
    from unittest import TestCase
else:  # were they TestCases themselves, importing them would run them
    TestCase = object


class Rules(TestCase):
    """A connector, and clients of it that speak the protocol under test. Has no tests itself."""

    def make_wire(self) -> IWireProtocol:
        """The protocol under test."""
        raise NotImplementedError

    def make_dialect(self) -> Dialect:
        """The client's side of a new connection."""
        raise NotImplementedError

    def connect(self, host: str = "127.0.0.1", **limits: Any) -> Client:
        """A new connection. The first one makes the connector, with these limits."""
        if not hasattr(self, "connector"):
            self.clock = Clock()
            self.connector, self.subscribe, self.store = make_connector(self.clock, **limits)
        return Client(self.connector, self.clock, wire=self.make_wire(), dialect=self.make_dialect(), host=host)

    def online(self, client: Client | None = None, **fields: Any) -> tuple[Client, str]:
        """A client with a session, and its token."""
        client = client or self.connect()
        answer = client.sub(**fields)
        self.assertEqual(answer["status"], 200, answer)
        return client, answer["token"]

    def deliver(self, token: str, *messages: tuple[int, bytes]) -> None:
        """Deliver messages to a token, and let the turn end."""
        batch = [Delivery(message_id, payload, [token]) for message_id, payload in messages]
        work = Deferred.fromCoroutine(self.connector.deliver(batch))
        self.clock.pump([0, 0])
        self.assertTrue(work.called)

    def assertEnded(self, client: Client, code: int) -> None:
        """The client is told why, and the server ends the connection: at once, or when its time is over."""
        self.assertEqual(client.goodbye().get("code"), code)
        self.assertTrue(client.is_ended)
