"""Whether the store takes writes."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.ihealth import IReadiness
from push.model_health import Check
from push.services.store_check import CHECK_TIMEOUT_S, StoreCheck
from tests.fakes_store import MemoryFloorStore


class StoreCheckTests(SynchronousTestCase):
    """A store that works, one that fails, and one that hangs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryFloorStore()
        self.check = StoreCheck(store=self.store, now_ms=lambda: 7, clock=self.clock)

    def asked(self) -> Check:
        """The answer, after all the time that it may take."""
        work = Deferred.fromCoroutine(self.check.check())
        self.clock.advance(CHECK_TIMEOUT_S)
        (check,) = self.successResultOf(work)
        return check

    def test_it_is_an_ireadiness(self) -> None:
        verifyObject(IReadiness, self.check)

    def test_a_store_that_takes_a_write_is_well(self) -> None:
        self.assertEqual(self.asked(), Check("store", True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_disk_is_not(self) -> None:
        self.store.failure = Unavailable("the disk is full")
        self.assertEqual(self.asked(), Check("store", False, "the disk is full"))

    def test_a_disk_that_hangs_is_not(self) -> None:
        self.patch(self.store, "raise_floor", lambda name, value: Deferred())
        self.assertFalse(self.asked().ok)
