"""A cache in memory that does as ICache says with the least effort, and receipts that only remember."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from push.errors import PushError
from push.icache import ICache
from push.ireceipts import IReceipts
from push.model import OnFull, Place, Registration, TagQuery
from push.model_cache import Cursor, Everybody, Keep, Keeping, Kept, Page, StoredDue, StoredMessage, StoredReply
from push.model_receipts import Event, Receipt


@dataclass
class Entry:
    """One message and who still needs it."""

    position: int
    keep: Keep
    tokens: list[str]
    is_on_disk: bool = False


@implementer(ICache)
class MemoryCache:
    """Messages in a list.

    Attributes:
        entries: what is kept, in order.
        max_per_token: over that, tokens are full.
        holds: whether commits wait until `commit` is called.
        error: what the next calls of keep fail with.
        log_positions: what `moved` said; the log is for everybody, whatever its tags.
        is_shared: whether it tells places; any of them, as what is before is not looked at.
        recalled: what was asked of `recall`.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.max_per_token = 1_000
        self.holds = False
        self.error: PushError | None = None
        self.pull_error: PushError | None = None
        self.log_positions: dict[str, int] = {}
        self.pulls = 0
        self.is_shared = False
        self.recalled: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self._position = 0
        self._tickets: dict[int, list[Entry]] = {}
        self._commits: list[tuple[list[Entry], Deferred[PushError | None]]] = []
        self._replies: dict[str, StoredReply] = {}
        self._due: dict[int, StoredDue] = {}

    def of(self, token: str) -> list[bytes]:
        """The payloads that are kept for a token itself."""
        return [entry.keep.payload for entry in self.entries if token in entry.tokens]

    def commit(self, error: PushError | None = None) -> None:
        """Put what waits on disk, or fail."""
        commits, self._commits = self._commits, []
        for entries, done in commits:
            for entry in entries:
                entry.is_on_disk = error is None
                if error is not None and entry in self.entries:
                    self.entries.remove(entry)
            done.callback(error)

    async def keep(self, batch: Sequence[Keep]) -> Keeping:
        """See ICache."""
        if self.error is not None:
            raise self.error
        refused: dict[int, list[str]] = {}
        taken: list[Entry] = []
        places: list[Place] = []
        for at, keep in enumerate(batch):
            tokens = []
            for token in keep.tokens:
                mine = [entry for entry in self.entries if token in entry.tokens]
                if len(mine) >= self.max_per_token and keep.options.on_full is OnFull.REJECT:
                    refused.setdefault(at, []).append(token)
                    continue
                if len(mine) >= self.max_per_token:
                    mine[0].tokens.remove(token)
                tokens.append(token)
            self._position = max(self._position + 1, keep.message_id)
            places.append(Place(self._position, [0] * len(keep.tokens)))
            if tokens or keep.audience is not None:
                taken.append(Entry(self._position, keep, tokens))
        self.entries += taken
        ticket = len(self._tickets) + 1
        self._tickets[ticket] = taken
        return Keeping(ticket, refused, places if self.is_shared or (batch and batch[0].audience is not None) else ())

    def committed(self, ticket: int) -> Awaitable[PushError | None]:
        """See ICache."""
        entries = self._tickets[ticket]
        done: Deferred[PushError | None] = Deferred()
        self._commits.append((entries, done))
        if not self.holds:
            self.commit()
        return done

    async def pull(self, registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Page:
        """See ICache."""
        self.pulls += 1
        if self.pull_error is not None:
            raise self.pull_error
        token = registration.token
        log = self.log_positions.get(token, 0) if cursor.log < 0 else cursor.log
        found = []
        for entry in self.entries:
            if entry.keep.owner not in (None, registration.uid):
                continue
            if (token in entry.tokens and entry.position > cursor.normal) or (
                isinstance(entry.keep.audience, Everybody | TagQuery) and entry.position > log
            ):
                found.append(entry)
        page = found[:max_messages]
        normal = max((each.position for each in page if each.tokens), default=cursor.normal)
        log = max((each.position for each in page if not each.tokens), default=log)
        kept = [
            Kept(each.keep.message_id, each.keep.payload, not each.tokens, 0 if each.tokens else each.position)
            for each in page
        ]
        return Page(kept, Cursor(0, normal, log), len(found) > len(page), self._position)

    def has(self, token: str) -> bool:
        """See ICache."""
        return any(token in entry.tokens or entry.keep.audience is not None for entry in self.entries)

    async def waiting(self, tokens: Sequence[str]) -> Sequence[str]:
        """See ICache."""
        return [token for token in tokens if self.has(token)]

    async def recall(self, tokens: Sequence[str], connectors: Sequence[str] = ()) -> None:
        """See ICache."""
        self.recalled.append((tuple(tokens), tuple(connectors)))

    async def acknowledged(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        for token, message_ids in batch:
            for entry in self.entries:
                if entry.keep.message_id in message_ids and token in entry.tokens:
                    entry.tokens.remove(token)
        self.entries = [entry for entry in self.entries if entry.tokens or entry.keep.audience is not None]

    async def handed(self, batch: Sequence[tuple[str, Sequence[int]]]) -> None:
        """See ICache."""
        await self.acknowledged(batch)

    async def moved(self, positions: Sequence[tuple[str, int]]) -> None:
        """See ICache."""
        self.log_positions.update(positions)

    async def kept(self, message_id: int) -> StoredMessage | None:
        """See ICache."""
        for entry in self.entries:
            if entry.keep.message_id == message_id:
                keep = entry.keep
                return StoredMessage(
                    entry.position,
                    message_id,
                    keep.expires_ms,
                    len(keep.payload),
                    False,
                    "",
                    entry.tokens,
                    keep.audience,
                )
        return None

    async def cancel(self, message_id: int) -> int:
        """See ICache."""
        gone = [entry for entry in self.entries if entry.keep.message_id == message_id]
        self.entries = [entry for entry in self.entries if entry not in gone]
        return sum(len(entry.tokens) or 1 for entry in gone)

    async def forget(self, token: str) -> None:
        """See ICache."""
        for entry in self.entries:
            if token in entry.tokens:
                entry.tokens.remove(token)

    async def replies(self, keys: Sequence[str]) -> Mapping[str, StoredReply]:
        """See ICache."""
        return {key: self._replies[key] for key in keys if key in self._replies}

    def answered(self, reply: StoredReply) -> None:
        """See ICache."""
        self._replies[reply.once.key] = reply

    async def schedule(self, due: StoredDue) -> None:
        """See ICache."""
        self._due[due.message_id] = due

    def scheduled(self) -> Sequence[StoredDue]:
        """See ICache."""
        return sorted(self._due.values(), key=lambda due: due.due_ms)

    async def unschedule(self, message_id: int) -> bool:
        """See ICache."""
        return self._due.pop(message_id, None) is not None


@dataclass
class Life:
    """What was told of a message."""

    targets: int = 0
    expires_ms: int | None = None
    due_ms: int | None = None
    events: list[tuple[Event, str]] = field(default_factory=list)


@implementer(IReceipts)
class MemoryReceipts:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lives: dict[int, Life] = {}

    def lone_each(self, event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """See IReceipts."""
        for message_id, token, expires_ms in messages:
            life = self.lives.setdefault(message_id, Life())
            life.targets, life.expires_ms = 1, expires_ms
            if event is not None:
                life.events.append((event, token))

    def sent_each(self, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        self.lone_each(Event.SENT, [(message_id, token, None) for message_id, token in messages])

    def accepted(
        self,
        message_id: int,
        *,
        targets: int,
        tokens: Sequence[str] | None,
        expires_ms: int | None,
        due_ms: int | None,
        is_logged: bool,
    ) -> None:
        """See IReceipts."""
        life = self.lives.setdefault(message_id, Life())
        life.targets += targets
        life.expires_ms = expires_ms
        life.due_ms = life.due_ms if due_ms is None else due_ms

    def happened(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        self.lives.setdefault(message_id, Life()).events += [(event, token) for token in tokens]

    def happened_each(self, event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        for message_id, token in messages:
            self.happened(event, message_id, (token,))

    def handed(self, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        self.happened(Event.SENT, message_id, tokens)

    def counted(self, event: Event, message_id: int, count: int) -> None:
        """See IReceipts."""
        self.lives.setdefault(message_id, Life()).events += [(event, "")] * count

    def find(self, message_id: int) -> Awaitable[Receipt | None]:
        """See IReceipts."""
        life = self.lives.get(message_id)
        if life is None:
            return succeed(None)
        counts = {event: sum(each is event for each, _ in life.events) for event in Event}
        return succeed(Receipt(message_id, 0, life.expires_ms, None, life.targets, counts, ()))

    async def delivered(self, message_id: int, timeout_s: float) -> Receipt:
        """See IReceipts: at once."""
        receipt = await self.find(message_id)
        return receipt or Receipt(message_id, 0, None, None, 0, {}, ())
