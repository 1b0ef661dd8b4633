"""A path at which an HTTP connection becomes one of another protocol: from then on HTTP has no part in it."""

from collections.abc import Iterable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import PermissionDenied, UpgradeRequired
from push.iupgrade import IUpgrade
from tests.web.fakes import World, request_bytes

RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout\r\nConnection: Upgrade\r\n\r\n"


class Shout(Protocol):
    """Says everything again, louder."""

    ended = False

    def dataReceived(self, data: bytes) -> None:
        """Shout it."""
        assert self.transport is not None
        self.transport.write(data.upper())

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """It is over."""
        self.ended = True


@implementer(IUpgrade)
class FakeUpgrade:
    """Changes to Shout whoever asks for it."""

    def __init__(self) -> None:
        self.built: list[Shout] = []
        self.refuses = False

    def upgrade(self, method: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, IProtocol]:
        """See IUpgrade."""
        if self.refuses:
            raise PermissionDenied("Not you.")
        if (b"upgrade", b"shout") not in {(name.lower(), value) for name, value in headers}:
            raise UpgradeRequired("Only shouting here.")
        self.built.append(Shout())
        return RESPONSE, self.built[-1]


class UpgradeTests(SynchronousTestCase):
    """One path, one protocol."""

    def setUp(self) -> None:
        self.fake = FakeUpgrade()
        verifyObject(IUpgrade, self.fake)
        self.world = World(upgrades={"/shout": self.fake})
        self.connection = self.world.connect()

    def ask(self, rest: bytes = b"") -> bytes:
        """Ask for the change, with what comes behind it in the same packet."""
        self.connection.send(request_bytes("GET", "/shout", headers={"Upgrade": "shout"}) + rest)
        return self.written()

    def written(self) -> bytes:
        """What was written since the last look."""
        data: bytes = self.connection.transport.value()
        self.connection.transport.clear()
        return data

    def test_what_follows_goes_to_the_other_protocol_and_its_answers_to_the_client(self) -> None:
        self.assertEqual(self.ask(), RESPONSE)
        self.connection.send(b"hello")
        self.connection.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.written(), b"HELLOGET / HTTP/1.1\r\n\r\n")

    def test_what_comes_in_the_same_packet_is_not_lost(self) -> None:
        self.assertEqual(self.ask(b"a\r\nb"), RESPONSE + b"A\r\nB")

    def test_the_time_limit_of_requests_does_not_end_it(self) -> None:
        self.ask()
        self.world.clock.pump([10.0] * 60)
        self.assertFalse(self.connection.transport.disconnecting)

    def test_the_transport_is_the_other_protocols_alone(self) -> None:
        self.ask()
        self.assertIsNone(self.connection.transport.producer)
        self.connection.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.fake.built[0].ended)

    def test_it_is_no_connection_of_the_api_any_more(self) -> None:
        world = World(upgrades={"/shout": self.fake}, settings={"max_connections": 1})
        first = world.connect()
        first.send(request_bytes("GET", "/shout", headers={"Upgrade": "shout"}))
        self.assertEqual(world.call("GET", "/healthz").status, 200)

    def test_a_stop_of_the_api_leaves_it_to_its_own_server(self) -> None:
        self.ask()
        self.assertTrue(self.world.site.stop(1.0) is None or self.world.site.stop(1.0).called)
        self.assertFalse(self.connection.transport.disconnecting)

    def test_who_does_not_ask_for_it_is_told_and_may_go_on_with_http(self) -> None:
        reply = self.world.call("GET", "/shout")
        self.assertEqual((reply.status, reply.error["message"]), (426, "Only shouting here."))

    def test_who_may_not_is_told(self) -> None:
        self.fake.refuses = True
        self.assertEqual(self.world.call("GET", "/shout").status, 403)

    def test_requests_are_counted_by_path(self) -> None:
        self.ask()
        self.assertIn(
            'push_api_requests_total{route="/shout",status="101"}', self.world.call("GET", "/metrics").body.decode()
        )
