"""A small cluster over a real Redis that dies, comes back empty, or stands still."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from push.errors import PushError, Unavailable
from push.model import PushRequest, PushResult, ToTokens
from push.model_cache import CacheLimits
from push.model_cluster import Lease
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal
from push.services.cache.cache import Cache
from push.services.cache_holder import CacheHolder, Term
from push.services.client_auth import OpenDoor
from push.services.cluster_subscribe import ClusterSubscribe
from push.services.connector import Connector
from push.services.leased_ids import LeasedIds
from push.services.ordered import OrderedServices
from push.services.receipts import Receipts
from push.services.router import Router
from push.services.session_keeper import SessionKeeper
from push.services.tenancy import Tenancy
from push.stores.redis.cache import CacheStore
from push.stores.redis.floors import FloorStore
from push.stores.redis.leases import Leases
from push.stores.redis.receipts import ReceiptStore
from push.stores.redis.sessions import SessionDirectory
from push.stores.redis.tokens import TokenStore
from push.testing.connections import LIMITS
from tests.fakes_cache import MemoryReceipts
from tests.services.clients import Client
from tests.services.holders import begun
from tests.stores.redis.test_connection import ServerCase

ADDRESS = "10.0.0.1:1"
LEASE_S = 2.0
# Longer than any time limit: of a look-up, and of a commit that is tried again.
PATIENCE_S = 12.0
HOUR_S = 3_600


class _Still:
    """Real time cannot be moved."""

    def advance(self, seconds: float) -> None:
        """It passes by itself."""


class RedisAwayTests(ServerCase):
    """A router, a connector and two that hold the cache in turn, each with connections of its own."""

    timeout = 120

    async def begin(self) -> None:
        """Start all, and a client."""
        self.server = self.make_server()
        self.holders = [self.make_holder() for _ in range(2)]
        self.subscribe = self.make_subscribe(self.connect(self.server.url))
        cache = Whoever(self.holders)
        redis = self.connect(self.server.url)
        self.connector = Connector(
            address=ADDRESS,
            limits=LIMITS,
            subscribe=self.make_subscribe(redis),
            cache=cache,  # type: ignore[arg-type]
            clock=reactor,
            now_ms=self.now_ms,
            version="test",
        )
        self.keeper = SessionKeeper(
            connector=self.connector,
            subscribe=self.make_subscribe(redis),
            cache=cache,  # type: ignore[arg-type]
            clock=reactor,
            look_s=1.0,
        )
        self.tenancy = Tenancy(
            lambda: (f"connector:{ADDRESS}",),
            leases=Leases(redis),
            details=b"",
            ttl_s=LEASE_S,
            clock=reactor,
            gained=lambda lease: self.keeper.back(),
            lost=self.keeper.lost,
        )
        redis = self.connect(self.server.url)
        self.ids = LeasedIds(
            leases=Leases(redis),
            floors=FloorStore(redis),
            name="router",
            clock=reactor,
            now_ms=self.now_ms,
            ttl_s=LEASE_S,
        )
        self.router = Router(
            subscribe=self.subscribe,
            nodes=self,  # type: ignore[arg-type]
            cache=cache,  # type: ignore[arg-type]
            receipts=MemoryReceipts(),
            ids=self.ids.ids,
        )
        for service in (self.keeper, self.tenancy, self.ids, *self.holders):
            service.startService()
            self.addCleanup(service.stopService)
        await self.until(lambda: self.tenancy.is_held and self.ids.ids.is_ready)
        await self.until(lambda: any(holder.is_serving for holder in self.holders))
        self.client = Client(self.connector, _Still())  # type: ignore[arg-type]
        self.client.send(Signal.SUB, json.dumps({"token": "t", "uid": "alice", "ack": True}).encode())
        await self.until(lambda: self.client.protocol.registration is not None)

    def now_ms(self) -> int:
        """The time of day."""
        return round(reactor.seconds() * 1000)

    def connectors(self) -> Mapping[str, Any]:
        """See INodes."""
        return {ADDRESS: self.connector} if hasattr(self, "connector") else {}

    def make_subscribe(self, redis: Any) -> ClusterSubscribe:
        """What a node knows of tokens."""
        return ClusterSubscribe(
            store=TokenStore(redis),
            directory=SessionDirectory(redis),
            authenticator=OpenDoor(),
            now_ms=self.now_ms,
            clock=reactor,
            is_alive=lambda address: True,
            replaced=lambda registration: None,
        )

    def make_holder(self) -> CacheHolder:
        """A node that holds the cache, or stands by."""
        redis = self.connect(self.server.url)
        subscribe = self.make_subscribe(redis)

        def build(lease: Lease) -> Term:
            chunks = ReceiptStore(redis, name="shared")
            receipts = Receipts(
                store=chunks,
                clock=reactor,
                now_ms=self.now_ms,
                max_in_memory=1_000,
                max_on_disk=1_000,
                keep_s=HOUR_S,
            )
            rows = CacheStore(redis, name="shared", patience_s=1.0)
            cache = Cache(
                store=rows,
                receipts=receipts,
                subscribe=subscribe,
                clock=reactor,
                now_ms=self.now_ms,
                limits=CacheLimits(),
                is_shared=True,
            )
            service = OrderedServices()
            receipts.setServiceParent(service)
            cache.setServiceParent(service)
            return Term(cache, receipts, service, (rows, chunks))

        return CacheHolder(
            leases=Leases(redis),
            build=build,
            floors=FloorStore(redis),
            subscribe=subscribe,
            nodes=self,  # type: ignore[arg-type]
            clock=reactor,
            now_ms=self.now_ms,
            ttl_s=LEASE_S,
        )

    async def push(self, token: str, payload: bytes) -> PushResult | PushError:
        """Push one; it must be answered in time."""
        began_s = reactor.seconds()
        try:
            (result,) = await begun(self.router.push([PushRequest(ToTokens((token,)), payload, HOUR_S)]))
        except PushError as error:
            result = error
        self.assertLess(reactor.seconds() - began_s, PATIENCE_S)
        return result

    async def arrives(self, payload: bytes) -> None:
        """A push works, perhaps not at once, and reaches the client."""
        end_s = reactor.seconds() + 30
        got: list[bytes] = []
        while True:
            result = await self.push("t", payload)
            got += [body[ID.size :] for body in self.client.pushes()]
            # One that Redis has lost is unknown until its connector says again that it is there.
            if isinstance(result, PushResult) and not result.unknown:
                break
            if not isinstance(result, PushResult):
                self.assertIsInstance(result, Unavailable)
                self.assertEqual(result.retry, "backoff")
            self.assertLess(reactor.seconds(), end_s, str(result))
            await self.later(0.2)

        def has_come() -> bool:
            got.extend(body[ID.size :] for body in self.client.pushes())
            return payload in got

        await self.until(has_come)

    async def refused(self) -> None:
        """Pushes fail, in time, and can be tried again; the client stays."""
        for token in ("t", "away"):
            result = await self.push(token, b"refused")
            self.assertIsInstance(result, Unavailable)
            self.assertEqual((result.status, result.retry), (503, "backoff"))
        self.assertFalse(self.client.is_ended)

    async def test_redis_that_dies_and_comes_back_empty(self) -> None:
        await self.begin()
        await self.arrives(b"before")
        epoch = self.client.protocol.registration.epoch
        self.server.kill()
        await self.until(lambda: not self.connector_redis_is_up())
        await self.refused()
        await self.later(LEASE_S + 0.5)
        await self.refused()
        self.server.start()
        await self.arrives(b"after")
        self.assertFalse(self.client.is_ended)
        self.assertEqual(self.client.protocol.registration.epoch, epoch)
        self.assertEqual(sum(holder.is_serving for holder in self.holders), 1)
        info = await begun(self.subscribe.describe("t"))
        self.assertEqual((info.uid, info.session.epoch), ("alice", epoch))

    async def test_redis_that_is_emptied_under_a_running_cluster(self) -> None:
        await self.begin()
        await self.arrives(b"before")
        self.server.command("FLUSHALL")
        await self.arrives(b"after")
        await self.arrives(b"and again")
        self.assertEqual(sum(holder.is_serving for holder in self.holders), 1)

    async def test_redis_that_stands_still_for_longer_than_the_leases(self) -> None:
        await self.begin()
        await self.arrives(b"before")
        self.server.freeze()
        await self.refused()
        await self.later(LEASE_S)
        await self.refused()
        self.server.thaw()
        await self.arrives(b"after")
        self.assertFalse(self.client.is_ended)
        self.assertEqual(sum(holder.is_serving for holder in self.holders), 1)

    async def test_what_was_accepted_is_there_when_another_node_has_the_cache(self) -> None:
        await self.begin()
        await self.arrives(b"before")
        self.client.hang_up()
        await self.until(lambda: not self.connector.connections.sessions)
        await self.later(0.2)
        accepted = []
        for number in range(20):
            result = await self.push("t", b"%d" % number)
            self.assertIsInstance(result, PushResult)
            accepted.append(b"%d" % number)
        serving = next(holder for holder in self.holders if holder.is_serving)
        # As kill -9: it does nothing any more, and lets nothing go.
        serving._tenancy._periodic.stopService()
        await self.until(lambda: any(each.is_serving for each in self.holders if each is not serving), LEASE_S + 5)
        self.client = Client(self.connector, _Still())  # type: ignore[arg-type]
        self.client.send(Signal.SUB, b'{"token":"t"}')
        got: list[bytes] = []

        def have_come() -> bool:
            got.extend(self.client.pushes())
            return len(got) >= len(accepted)

        await self.until(have_come)
        self.assertEqual([each for each in got if each in accepted], accepted)

    def connector_redis_is_up(self) -> bool:
        """Whether the router's Redis answers, as far as it knows."""
        return bool(self.subscribe._store._redis.reads.is_up)  # type: ignore[attr-defined]


class Whoever:
    """The cache of the node that holds it.

    Args:
        holders: all that may.
    """

    is_shared = True

    def __init__(self, holders: Sequence[CacheHolder]) -> None:
        self._holders = holders

    def has(self, token: str) -> bool:
        """See ICache."""
        return True

    def committed(self, ticket: int) -> Deferred[Any]:
        """See ICache: asked of the one that it was given to, whose tickets are the greatest below."""
        caches = sorted((each.cache for each in self._holders), key=lambda cache: cache._base)
        of_ticket = [cache for cache in caches if cache._base < ticket] or caches
        return of_ticket[-1].committed(ticket)

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            for holder in self._holders:
                if holder.is_serving:
                    return await getattr(holder.cache, name)(*args)
            raise Unavailable("nobody has the cache", retry_after_s=1.0)

        return call
