"""A cache with a simulated clock, over doubles."""

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import PushError, Unavailable
from push.model import Options, Registration, TagQuery
from push.model_cache import CacheLimits, Cursor, Everybody, Keep, Keeping, Page
from push.services.cache.cache import Cache
from push.services.ids import first_id_at
from tests.services.cache.doubles import Disk, Tokens, Told

START_MS = 1_800_000_000_000
START = Cursor()
DISK_FULL = Unavailable("the disk is full")


class CacheCase(SynchronousTestCase):
    """With a loaded cache over an empty disk."""

    limits = CacheLimits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = Disk()
        self.told = Told()
        self.tokens = Tokens()
        self.next_id = first_id_at(START_MS)
        self.start()

    def start(self) -> None:
        """A life of the service, on what is on disk."""
        self.cache = Cache(
            store=self.disk,
            receipts=self.told,
            subscribe=self.tokens,
            clock=self.clock,
            now_ms=self.now_ms,
            limits=self.limits,
        )
        self.cache.startService()

    def crash(self) -> None:
        """The process is gone, and what was not on disk with it; then another one starts."""
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.disk.pull_out()
        self.start()
        self.assertTrue(self.cache.is_ready)

    def now_ms(self) -> int:
        """The time of day."""
        return START_MS + round(self.clock.seconds() * 1000)

    def begin(self, awaitable: Awaitable[Any]) -> Deferred[Any]:
        """Start something."""

        async def wait() -> Any:
            return await awaitable

        return Deferred.fromCoroutine(wait())

    def now(self, awaitable: Awaitable[Any]) -> Any:
        """The result of something that need not wait."""
        return self.successResultOf(self.begin(awaitable))

    def turn(self) -> None:
        """The next turn of the reactor."""
        self.clock.advance(0)

    def message(self, *tokens: str, ttl_s: float = 60.0, payload: bytes = b"", **fields: Any) -> Keep:
        """A message with the next id."""
        self.next_id += 1
        audience = fields.pop("audience", None)
        is_ahead = fields.pop("is_ahead", False)
        owner = fields.pop("owner", None)
        message_id = fields.pop("message_id", self.next_id)
        options = Options(**fields) if fields else Keep(0, b"", (), 0).options
        expires_ms = self.now_ms() + round(ttl_s * 1000)
        return Keep(message_id, payload or b"m%d" % message_id, tokens, expires_ms, options, audience, is_ahead, owner)

    def keep(self, *batch: Keep) -> Keeping:
        """Give messages to the cache."""
        return self.now(self.cache.keep(batch))

    def put(self, *tokens: str, **fields: Any) -> int:
        """Keep one. Returns its id."""
        message = self.message(*tokens, **fields)
        self.keep(message)
        return message.message_id

    def put_on_disk(self, *tokens: str, **fields: Any) -> int:
        """Keep one, and see it written."""
        message = self.message(*tokens, **fields)
        keeping = self.keep(message)
        self.turn()
        self.assertIsNone(self.now(self.cache.committed(keeping.ticket)))
        return message.message_id

    def log(self, query: TagQuery | None = None, **fields: Any) -> int:
        """Keep a broadcast. Returns its id."""
        return self.put(audience=query or Everybody(), **fields)

    def hold(self) -> None:
        """Everything that was kept is on its way to disk now, and gets no further."""
        self.disk.is_held = True
        self.turn()

    def release(self, error: PushError | None = None) -> None:
        """It gets there, or not."""
        self.disk.is_held = False
        self.disk.step(error)

    def break_disk(self, error: PushError = DISK_FULL) -> None:
        """It does not get there."""
        self.release(error)

    def session(self, token: str = "t", uid: str | None = None) -> Registration:
        """A session."""
        return Registration(token, uid, "a:1", 1, True)

    def page(self, token: str = "t", cursor: Cursor = START, count: int = 100, size_bytes: int = 1_000_000) -> Page:
        """What a session gets next."""
        return self.now(self.cache.pull(self.session(token), cursor, count, size_bytes))

    def pulled(self, token: str = "t", count: int = 100) -> list[int]:
        """All that a session gets."""
        cursor, ids, has_more = Cursor(), [], True
        while has_more:
            page = self.page(token, cursor, count)
            ids += [message.message_id for message in page.messages]
            cursor, has_more = page.cursor, page.has_more
        return ids

    def ack(self, *ids: int, token: str = "t") -> None:
        """A client has messages."""
        self.now(self.cache.acknowledged([(token, ids)]))

    def ticket(self, *batch: Keep) -> "Deferred[PushError | None]":
        """Keep messages, and wait for the disk."""
        return self.begin(self.cache.committed(self.keep(*batch).ticket))

    def samples(self) -> dict[tuple[str, ...], Any]:
        """The numbers."""
        return {(each.name, *(value for _, value in each.labels)): each.value for each in self.cache.samples()}

    def assert_empty(self) -> None:
        """Nothing is left anywhere, in memory or on disk."""
        self.disk.is_held, self.disk.failure = False, None
        while self.disk.held:
            self.disk.step()
        for _ in range(3):
            self.clock.advance(1)
        samples = self.samples()
        for name in ("messages", "bytes", "tokens", "logged", "waiting"):
            self.assertEqual(samples[f"push_cache_{name}",], 0, name)
        self.assertEqual((self.disk.rows, self.disk.done_rows), ({}, set()))
