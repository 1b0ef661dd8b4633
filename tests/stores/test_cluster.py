"""The fakes of tests.fakes_cluster keep the contracts, or tests that use them prove nothing."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from push.icluster import IBroadcastBus, ISessionDirectory
from push.ileases import ILeases
from tests.fakes_cluster import MemoryBus, MemoryChannel, MemoryLeases, MemorySessionDirectory
from tests.stores.contract_cluster import BroadcastBusContract, Heard, LeasesContract, SessionDirectoryContract


class MemorySessionDirectoryTests(SessionDirectoryContract, TestCase):
    """Sessions."""

    def make_directory(self) -> ISessionDirectory:
        """A new one."""
        return MemorySessionDirectory()


class MemoryLeasesTests(LeasesContract, TestCase):
    """Leases."""

    def make_leases(self) -> ILeases:
        """New ones."""
        self.clock = Clock()
        return MemoryLeases(self.clock)

    def pass_time(self, seconds: float) -> Deferred[None]:
        """At once."""
        self.clock.advance(seconds)
        return succeed(None)


class MemoryBusTests(BroadcastBusContract, TestCase):
    """The bus."""

    def setUp(self) -> None:
        self.channel = MemoryChannel()

    def make_bus(self) -> IBroadcastBus:
        """Of one more node."""
        return MemoryBus(self.channel)

    async def until(self, condition: object) -> None:
        """It is so, or never will be."""
        self.assertTrue(condition())

    async def test_interrupted_bus_misses_what_is_published_and_says_so(self) -> None:
        bus, listener = MemoryBus(self.channel), Heard()
        bus.listen(listener)
        bus.interrupt()
        self.assertEqual(await bus.publish(b"lost"), 0)
        bus.resume()
        bus.is_deaf = True
        self.assertEqual(await bus.publish(b"unheard"), 1)
        bus.is_deaf = False
        await bus.publish(b"heard")
        self.assertEqual(listener.told, ["resumed", "interrupted", "resumed", b"heard"])
