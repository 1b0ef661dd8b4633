"""Starting and stopping what faces clients: told, flushed, spread, and cut at the deadline."""

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from push.errors import StartError
from push.model import Delivery
from push.protocols.framed import FramedFactory
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.signals import Signal
from push.services.clients import Clients
from push.services.listening import Listener
from push.services.ordered import OpenClose, OrderedServices
from tests.services.clients import Client, make_connector


class ClientsCase(SynchronousTestCase):
    """A connector behind a listener in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.reactor = MemoryReactor()
        self.elsewhere: list[NodeAddress] = []
        self.connector, self.subscribe, self.store = make_connector(
            self.clock, elsewhere=lambda protocol: self.elsewhere
        )
        factory = FramedFactory(self.connector)
        endpoint = TCP4ServerEndpoint(self.reactor, 6789, interface="127.0.0.1")
        self.listener = Listener("--listen", description="tcp:6789", endpoint=endpoint, factory=factory)
        fractions = iter(number / 8 for number in range(1000))
        self.clients = Clients(
            self.connector,
            listeners=[self.listener],
            clock=self.clock,
            stop_timeout_s=10.0,
            stop_spread_s=8.0,
            fraction=fractions.__next__,
            drain_timeout_s=20.0,
        )
        self.clients.privilegedStartService()
        self.clients.startService()

    def online(self) -> Client:
        """A client with a session."""
        client = Client(self.connector, self.clock)
        client.sub()
        return client

    def test_it_listens_while_it_runs(self) -> None:
        self.assertTrue(self.listener.is_listening)
        self.clients.stopService()
        self.clock.pump([0.02] * 3)
        self.assertFalse(self.listener.is_listening)

    def test_clients_are_told_to_come_back_at_different_times(self) -> None:
        clients = [self.online() for _ in range(3)]
        stopped = self.clients.stopService()
        goodbyes = [client.goodbye() for client in clients]
        self.assertEqual([goodbye["code"] for goodbye in goodbyes], [3000] * 3)
        self.assertEqual([goodbye["retry"] for goodbye in goodbyes], ["backoff"] * 3)
        self.assertEqual([goodbye["retry_after"] for goodbye in goodbyes], [0.0, 1.0, 2.0])
        self.assertNoResult(stopped)
        for client in clients:
            client.hang_up()
        self.clock.pump([0.02] * 3)
        self.assertIsNone(self.successResultOf(stopped))

    def test_what_is_queued_is_written_before_the_goodbye(self) -> None:
        client = self.online()
        registration = client.protocol.registration
        assert registration is not None
        client.stop_reading()
        Deferred.fromCoroutine(self.connector.deliver([Delivery(1, b"last words", [registration.token])]))
        self.clients.stopService()
        self.assertEqual([frame.signal for frame in client.frames()], [Signal.PUSH, Signal.DISCONNECT])

    def test_who_does_not_hang_up_is_cut_off(self) -> None:
        rude = self.online()
        stopped = self.clients.stopService()
        self.clock.pump([0.1] * 90)  # over close_timeout_s: it has until stop_timeout_s to read what is left
        self.assertFalse(rude.transport.aborted)
        self.clock.pump([0.1] * 20)
        self.assertTrue(rude.transport.aborted)
        rude.hang_up()
        self.clock.pump([0.02] * 3)
        self.assertIsNone(self.successResultOf(stopped))

    def test_no_session_is_opened_while_it_stops(self) -> None:
        waiting = Client(self.connector, self.clock)
        late = Client(self.connector, self.clock)
        self.connector.leave(0.0)
        self.assertEqual(late.sub()["status"], 503)
        self.assertEqual(waiting.sub()["retry_after"], 1.0)

    def test_sessions_go_elsewhere_first_and_then_it_stops_at_once(self) -> None:
        self.elsewhere.append(NodeAddress("10.0.0.2", 6789))
        clients = [self.online() for _ in range(4)]
        stopped = self.clients.stopService()
        for client in clients:
            for _ in range(100):
                self.clock.advance(0.05)
                if client.frames():
                    break
            self.assertTrue(self.listener.is_listening)  # who comes meanwhile is told where to go
            self.assertEqual(Client(self.connector, self.clock).sub()["status"], 302)
            self.assertNoResult(stopped)
            client.hang_up()
        late = [each for each in self.connector.connections if each.registration is None]
        for each in late:
            each.abort()
        self.clock.pump([0.1] * 3)
        self.assertFalse(self.listener.is_listening)
        self.assertLess(self.clock.seconds(), 16.0)

    def test_who_does_not_go_in_time_is_told_that_it_stops(self) -> None:
        self.elsewhere.append(NodeAddress("10.0.0.2", 6789))
        client = self.online()
        self.clients.stopService()
        for _ in range(90):
            self.clock.advance(0.1)
        self.assertEqual(client.goodbye(), {})
        self.elsewhere.clear()  # the others are gone as well: there is no point in waiting any longer
        self.clock.advance(0.1)
        self.assertEqual(client.goodbye()["code"], 3000)

    def test_silent_clients_are_swept(self) -> None:
        client = Client(self.connector, self.clock)
        self.clock.pump([1.0] * 21)
        self.assertTrue(client.is_ended)

    def test_a_sweep_that_fails_does_not_end_the_sweeping(self) -> None:
        client = Client(self.connector, self.clock)
        broken = Client(self.connector, self.clock)
        self.patch(type(broken.protocol), "deadline_s", lambda self: 1 / 0)
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(type(broken.protocol), "deadline_s", lambda self: 0.0)
        self.clock.advance(1)
        self.assertTrue(client.is_ended)


class ListenerTests(SynchronousTestCase):
    """What cannot be listened on."""

    def test_a_port_that_is_taken_is_named(self) -> None:
        from errno import EADDRINUSE

        from twisted.internet.error import CannotListenError

        class Taken:
            def listen(self, factory: object) -> "Deferred[object]":
                failed: Deferred[object] = Deferred()
                error = OSError(EADDRINUSE, "Address already in use")
                failed.errback(CannotListenError("127.0.0.1", 6789, error))
                return failed

        listener = Listener("--api", description="tcp:6789", endpoint=Taken(), factory=None)  # type: ignore[arg-type]
        error = self.assertRaises(StartError, listener.privilegedStartService)
        self.assertEqual(
            str(error),
            "--api: cannot listen on tcp:6789: Address already in use; choose another port or address",
        )


class OrderedTests(SynchronousTestCase):
    """One after the other."""

    def test_children_stop_in_reverse_order_each_after_the_one_before(self) -> None:
        said: list[str] = []
        slow: Deferred[None] = Deferred()
        services = OrderedServices()
        OpenClose(lambda: said.append("open a"), lambda: said.append("close a")).setServiceParent(services)
        OpenClose(lambda: said.append("open b"), lambda: said.append("close b") or slow).setServiceParent(services)
        services.startService()
        stopped, again = services.stopService(), services.stopService()
        self.assertEqual(said, ["open a", "open b", "close b"])
        slow.callback(None)
        self.assertEqual(said[3:], ["close a"])
        self.successResultOf(stopped)
        self.successResultOf(again)

    def test_a_child_that_cannot_stop_does_not_keep_the_others(self) -> None:
        said: list[str] = []
        services = OrderedServices()
        OpenClose(lambda: None, lambda: said.append("closed")).setServiceParent(services)
        OpenClose(lambda: None, lambda: 1 / 0).setServiceParent(services)
        services.startService()
        self.successResultOf(services.stopService())
        self.assertEqual(said, ["closed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_it_is_a_multiservice_whose_children_run(self) -> None:
        services = OrderedServices()
        child = Service()
        child.setServiceParent(services)
        services.startService()
        self.assertIsInstance(services, MultiService)
        self.assertTrue(child.running)
