"""What tests of stores in Redis have in common."""

import itertools
import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from push.stores.redis.address import parse_address
from push.stores.redis.client import Redis
from tests.redis_server import shared_url

_numbers = itertools.count(1)


class RedisCase(TestCase):
    """A test with a part of Redis for itself, emptied after it."""

    timeout = 60

    def make_redis(self, url: str | None = None, **more: Any) -> Redis:
        """Connections of another process, as it were; in the same part of Redis as all of this test."""
        redis = Redis(parse_address(url or shared_url()), reactor=reactor, prefix=self.prefix, **more)
        redis.start()
        self.addCleanup(redis.stop)
        return redis

    @property
    def prefix(self) -> str:
        """Of the keys of this test."""
        if not hasattr(self, "_prefix"):
            self._prefix = f"test-{os.getpid()}-{next(_numbers)}"
            self.addCleanup(self._empty)
        return self._prefix

    def later(self, seconds: float) -> Deferred[None]:
        """Wait, really."""
        return deferLater(reactor, seconds)

    async def until(self, condition: Any, within_s: float = 10.0) -> None:
        """Wait until something is so."""
        end_s = reactor.seconds() + within_s
        while not condition():
            if reactor.seconds() > end_s:
                self.fail("it did not become so in time")
            await self.later(0.01)

    async def lasting_keys(self) -> list[str]:
        """The names of keys of this test that do not expire, without the prefix."""
        reads = self.make_redis().reads
        keys = await reads.call("KEYS", f"{self.prefix}:*")
        lasting = [key.decode() for key in keys if await reads.call("PTTL", key) == -1]
        return sorted(key.removeprefix(f"{self.prefix}:") for key in lasting)

    def _empty(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.delete_all())

    async def delete_all(self) -> None:
        """Delete all keys of this test."""
        if not self.is_shared:
            return
        redis = Redis(parse_address(shared_url()), reactor=reactor, prefix=self.prefix)
        redis.start()
        try:
            cursor: bytes = b"0"
            while True:
                cursor, keys = await redis.writes.call("SCAN", cursor, "MATCH", f"{self.prefix}:*", "COUNT", 1_000)
                if keys:
                    await redis.writes.call("UNLINK", *keys)
                if cursor == b"0":
                    break
        finally:
            await redis.stop()

    # Whether it uses the server that all tests share.
    is_shared = True
