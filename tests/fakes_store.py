"""The store interfaces in memory, for tests of what stands on them. They pass the contracts of tests/stores/."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from push.errors import PushError
from push.icache import ICacheStore
from push.ileases import IFloorStore
from push.ireceipts import IReceiptStore
from push.model_cache import CacheChanges, StoredDue, StoredMessage, StoredReply
from push.model_receipts import StoredLives
from push.testing.tokens import MemoryTokenStore as MemoryTokenStore
from push.testing.tokens import matches as matches


@implementer(IFloorStore)
class MemoryFloorStore:
    """Floors in a dict.

    Attributes:
        failure: what every call fails with, where a test sets it.
    """

    def __init__(self) -> None:
        self.failure: PushError | None = None
        self._floors: dict[str, int] = {}

    def floor(self, name: str) -> Deferred[int]:
        """The number stored."""
        return succeed(self._floors.get(name, 0)) if self.failure is None else fail(self.failure)

    def raise_floor(self, name: str, value: int) -> Deferred[None]:
        """Store a number, unless a greater one is stored."""
        if self.failure is not None:
            return fail(self.failure)
        self._floors[name] = max(value, self._floors.get(name, 0))
        return succeed(None)


@implementer(ICacheStore)
class MemoryCacheStore:
    """The cache's rows in dicts: what is on the disk of a server that a test may end and start again.

    Attributes:
        failure: what every call fails with, where a test sets it.
        calls: names of the methods called.
        commits: what was committed, whether or not it succeeded.
        is_held: commits wait for `release`; what still waits when the test starts another server never happened.
    """

    def __init__(self) -> None:
        self.failure: PushError | None = None
        self.calls: list[str] = []
        self.commits: list[CacheChanges] = []
        self.is_held = False
        self._held: list[tuple[CacheChanges, Deferred[None]]] = []
        self._messages: dict[int, StoredMessage] = {}
        self._done: set[tuple[int, str]] = set()
        self._log_positions: dict[str, int] = {}
        self._replies: dict[str, StoredReply] = {}
        self._due: dict[int, StoredDue] = {}

    def commit(self, changes: CacheChanges) -> Deferred[None]:
        """Write everything, or nothing, now or when it is released."""
        self.calls.append("commit")
        copy = CacheChanges(**{field.name: getattr(changes, field.name).copy() for field in fields(changes)})
        self.commits.append(copy)
        answer: Deferred[None] = Deferred()
        self._held.append((copy, answer))
        if not self.is_held:
            self.release()
        return answer

    def release(self, count: int | None = None) -> None:
        """Write what is held, or the first so many, and answer."""
        released, self._held = self._held[:count], self._held[len(self._held) if count is None else count :]
        for changes, answer in released:
            if self.failure is not None:
                answer.errback(self.failure)
            elif (error := self._error(changes)) is not None:
                answer.errback(error)
            else:
                self._apply(changes)
                answer.callback(None)

    def cut_power(self) -> object:
        """What is held never happened, nor is it ever answered. Returns what waits for that, not to be collected."""
        held, self._held = self._held, []
        return held

    def messages(self, after: int, limit: int) -> Deferred[Sequence[StoredMessage]]:
        """The next rows."""
        rows = [
            msgspec.structs.replace(self._messages[at], payload=None) for at in sorted(self._messages) if at > after
        ]
        return self._answer("messages", rows[:limit])

    def done(self, after: tuple[int, str], limit: int) -> Deferred[Sequence[tuple[int, str]]]:
        """The next pairs."""
        return self._answer("done", sorted(pair for pair in self._done if pair > after)[:limit])

    def due(self) -> Deferred[Sequence[StoredDue]]:
        """All that is to be sent later."""
        return self._answer("due", sorted(self._due.values(), key=lambda due: (due.due_ms, due.message_id)))

    def payloads(self, positions: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        """Payloads by position."""
        found = {at: self._messages[at].payload for at in positions if at in self._messages}
        return self._answer("payloads", found)

    def log_positions(self, tokens: Sequence[str]) -> Deferred[Mapping[str, int]]:
        """Places in the log."""
        found = {token: self._log_positions[token] for token in tokens if token in self._log_positions}
        return self._answer("log_positions", found)

    def replies(self, keys: Sequence[str]) -> Deferred[Mapping[str, StoredReply]]:
        """Answers by key."""
        return self._answer("replies", {key: self._replies[key] for key in keys if key in self._replies})

    def prune(self, now_ms: int, log_position: int) -> Deferred[None]:
        """Delete what is of no use any more."""
        if self.failure is None:
            self._replies = {key: reply for key, reply in self._replies.items() if reply.expires_ms > now_ms}
            self._log_positions = {token: at for token, at in self._log_positions.items() if at >= log_position}
        return self._answer("prune", None)

    def _answer(self, name: str, value: Any) -> Deferred[Any]:
        self.calls.append(name)
        return succeed(value) if self.failure is None else fail(self.failure)

    def _error(self, changes: CacheChanges) -> Exception | None:
        positions = [message.position for message in changes.messages]
        if len({*positions, *self._messages}) < len(positions) + len(self._messages):
            return KeyError("a position is taken")
        texts = [token for message in changes.messages for token in (*message.tokens, message.collapse_key)]
        texts += [*changes.log_positions, *(reply.once.key for reply in changes.replies)]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            return error
        return None

    def _apply(self, changes: CacheChanges) -> None:
        self._messages.update((message.position, message) for message in changes.messages)
        finished = set(changes.finished)
        self._done = {pair for pair in {*self._done, *changes.done} if pair[0] not in finished}
        for position in finished:
            self._messages.pop(position, None)
        self._log_positions.update(changes.log_positions)
        self._replies.update((reply.once.key, reply) for reply in changes.replies)
        self._due.update((due.message_id, due) for due in changes.due)
        for message_id in changes.undue:
            self._due.pop(message_id, None)


@implementer(IReceiptStore)
class MemoryReceiptStore:
    """Chunks in a list.

    Attributes:
        failure: what every call fails with, where a test sets it.
        chunks: what was appended and not deleted, with its number.
        looked: how many chunks were asked for.
        tried: how often something was to be appended.
    """

    def __init__(self) -> None:
        self.failure: PushError | None = None
        self.chunks: list[tuple[int, StoredLives]] = []
        self.looked = 0
        self.tried = 0
        self._number = 0

    def append(self, chunk: StoredLives) -> Deferred[None]:
        """Write a chunk behind all earlier ones."""
        self.tried += 1
        if self.failure is not None:
            return fail(self.failure)
        self._number += 1
        self.chunks.append((self._number, chunk))
        return succeed(None)

    def newest(self, message_id: int, before: int | None) -> Deferred[tuple[int, bytes] | None]:
        """The newest chunk in which a message is."""
        self.looked += 1
        if self.failure is not None:
            return fail(self.failure)
        for number, chunk in reversed(self.chunks):
            if (before is None or number < before) and message_id in chunk.ids:
                return succeed((number, chunk.lives))
        return succeed(None)

    def prune(self, max_weight: int, before_ms: int) -> Deferred[None]:
        """Delete the oldest chunks."""
        if self.failure is not None:
            return fail(self.failure)
        chunks = self.chunks
        while chunks and (chunks[0][1].at_ms < before_ms or sum(chunk.weight for _, chunk in chunks[1:]) >= max_weight):
            del chunks[0]
        return succeed(None)
