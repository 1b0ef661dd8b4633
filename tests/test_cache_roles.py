"""What a node of a cluster has of the cache while it holds it, over a real Redis."""

from twisted.internet import reactor

from push.cache_roles import term_builder
from push.config import Config
from push.ihealth import IMeasured
from push.model_cluster import Lease
from push.services.cache_holder import Term
from push.services.client_auth import OpenDoor
from push.services.steady_clock import SteadyClock
from push.services.subscribe import Subscribe
from tests.fakes_store import MemoryTokenStore
from tests.stores.redis.case import RedisCase

NOW_MS = 1_800_000_000_000


class TermTests(RedisCase):
    """Terms of one node."""

    def setUp(self) -> None:
        self.measured: list[IMeasured] = []
        self.build = term_builder(
            Config(),
            redis=self.make_redis(),
            subscribe=Subscribe(store=MemoryTokenStore(), authenticator=OpenDoor(), now_ms=lambda: NOW_MS),
            reactor=reactor,
            clock=SteadyClock(wall_ms=lambda: NOW_MS, monotonic_s=reactor.seconds),
            measured=self.measured,
            give_up=self.fail,
        )

    def shown(self) -> list[str]:
        """The names of the numbers that this node shows."""
        return [sample.name for each in self.measured for sample in each.samples()]

    async def begin(self, number: int) -> Term:
        """Hold the cache."""
        term = self.build(Lease("cache", number, b""))
        for store in term.stores:
            await store.open(number, lambda: None)
        term.service.startService()
        self.addCleanup(term.service.stopService)
        await self.until(lambda: term.cache.is_ready)
        return term

    async def test_numbers_are_shown_by_whoever_holds_the_cache_and_by_nobody_who_does_not_any_more(self) -> None:
        self.assertEqual(self.shown(), [])
        first = await self.begin(1)
        names = self.shown()
        self.assertIn("push_cache_messages", names)
        await first.service.stopService()
        self.assertEqual(self.shown(), [])
        second = await self.begin(2)
        self.assertEqual(self.shown(), names)
        await second.service.stopService()
        self.assertEqual(self.shown(), [])
