"""What requests with keys were answered: on disk, and above that what is on its way there.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from push.icache import ICacheStore
from push.model import PushResult
from push.model_cache import StoredReply

# Final answers that wait for the disk; only a disk that fails makes them so many, and then they are worth the least.
MAX_WAITING = 10_000
# Those that have just been written: a reading that began before that does not see them. More than are ever written
# while one row is read.
MAX_RECENT = 10_000


def _sum(one: PushResult, other: PushResult) -> PushResult:
    return PushResult(
        one.message_id,
        one.targets + other.targets,
        one.sent + other.sent,
        one.cached + other.cached,
        rejected=one.rejected + other.rejected,
        is_logged=one.is_logged or other.is_logged,
        due_ms=one.due_ms if other.due_ms is None else other.due_ms,
    )


class Replies:
    """Key → answer.

    An answer is of use only once it is on disk: before, the request may still fail, and then it was never made.

    Args:
        store: has those that are on disk.
        now_ms: milliseconds since 1970.
        commit_end: makes what fires at the end of the next commit.
    """

    def __init__(
        self, store: ICacheStore, *, now_ms: Callable[[], int], commit_end: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._commit_end = commit_end
        # Key → the ticket of the keep that it goes with (0: none) and the answer.
        self._waiting: dict[str, tuple[int, StoredReply]] = {}
        self._written: dict[str, tuple[int, StoredReply]] = {}
        self._recent: dict[str, StoredReply] = {}

    @property
    def waiting(self) -> int:
        """How many are not on disk, nor on the way there."""
        return len(self._waiting)

    def begin(self, reply: StoredReply, ticket: int) -> None:
        """A request, or a part of it, is being accepted: this is its answer should nothing better be said."""
        waiting = self._waiting.get(reply.once.key)
        if waiting is not None and waiting[1].result.message_id == reply.result.message_id:
            reply = StoredReply(reply.once, _sum(waiting[1].result, reply.result), reply.expires_ms)
        self._waiting[reply.once.key] = (ticket, reply)

    def finish(self, reply: StoredReply) -> None:
        """The final answer."""
        ticket, _ = self._waiting.pop(reply.once.key, (0, None))
        self._waiting[reply.once.key] = (ticket, reply)
        if len(self._waiting) > MAX_WAITING:
            final = next((key for key, (of_ticket, _) in self._waiting.items() if not of_ticket), None)
            if final is not None:
                del self._waiting[final]

    async def find(self, keys: Sequence[str]) -> Mapping[str, StoredReply]:
        """The answers there are; waits for those that are just being accepted.

        Raises:
            Unavailable: the store cannot be read.
        """
        while any(self._is_uncertain(key) for key in keys):
            await self._commit_end()
        unknown = [key for key in keys if self.at_once(key) is None]
        stored = await self._store.replies(unknown) if unknown else {}
        while any(self._is_uncertain(key) for key in keys):
            await self._commit_end()
        now_ms = self._now_ms()
        found = ((key, self.at_once(key) or stored.get(key)) for key in keys)
        return {key: reply for key, reply in found if reply is not None and reply.expires_ms > now_ms}

    def take(self, ticket: int) -> list[StoredReply]:
        """What is to be written with everything up to a ticket; say what became of it."""
        self._written = {key: each for key, each in self._waiting.items() if each[0] <= ticket}
        self._waiting = {key: each for key, each in self._waiting.items() if each[0] > ticket}
        return [reply for _, reply in self._written.values()]

    def ended(self, *, is_on_disk: bool) -> None:
        """What was taken has been written, or not; then only final answers are tried again."""
        written, self._written = self._written, {}
        if is_on_disk:
            for key, (_, reply) in written.items():
                self._recent.pop(key, None)
                self._recent[key] = reply
            while len(self._recent) > MAX_RECENT:
                del self._recent[next(iter(self._recent))]
        else:
            final = {key: each for key, each in written.items() if not each[0]}
            self._waiting = {**final, **self._waiting}

    def _is_uncertain(self, key: str) -> bool:
        return self._waiting.get(key, (0,))[0] > 0 or self._written.get(key, (0,))[0] > 0

    def at_once(self, key: str) -> StoredReply | None:
        """What is known of it without the store."""
        for replies in (self._waiting, self._written):
            if key in replies:
                return replies[key][1]
        return self._recent.get(key)
