"""ICache over a link: for a router whose messages are kept by another node. Must not import services or stores."""

from collections.abc import Iterator, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import PushError, Unanswered
from push.icache import ICache
from push.model import Place
from push.model_cache import Keep, Keeping, StoredDue, StoredMessage, StoredReply
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import Reader
from push.protocols.peer.errors import LinkLost, Trouble, error_of, undecided
from push.protocols.peer.remote_cache import RemoteCache
from push.protocols.peer.wishes_cache import (
    MAX_KEEPS,
    Answered,
    Cancel,
    Committed,
    Forget,
    KeepingTold,
    KeepMany,
    KeepOne,
    KeptOf,
    KeptOne,
    Recall,
    Replies,
    Schedule,
    Unschedule,
)
from push.protocols.peer.wishes_router import Request
from push.unattended import run

# Of the payloads and tokens of one wish: well below what an envelope may have.
MAX_KEEP_BYTES = 8_388_608
# What a message costs besides its payload and its tokens, at most.
_HEAD_BYTES = 256

_KEEPING: Reader[KeepingTold] = Reader(KeepingTold)
_TROUBLE: Reader[Trouble | None] = Reader(Trouble | None)
_KEPT: Reader[KeptOne | None] = Reader(KeptOne | None)
_REPLIES: Reader[dict[str, StoredReply]] = Reader(dict[str, StoredReply])
_COUNT: Reader[int] = Reader(int)
_YES_NO: Reader[bool] = Reader(bool)
_NOTHING: Reader[None] = Reader(None)


@implementer(ICache)
class RemoteKeeper(RemoteCache):
    """The cache, kept elsewhere: what fails with LinkLost or Unanswered may have been done there.

    What is to be sent later is sent by the node that has the cache, so nothing is `scheduled` here.

    Args:
        asking: the questions of this node.
    """

    _log = Logger()

    def __init__(self, asking: Asking) -> None:
        super().__init__(asking, is_shared=True)
        # Of what was too long for one wish: the last ticket → those before it.
        self._before: dict[int, Sequence[int]] = {}

    async def keep(self, batch: Sequence[Keep]) -> Keeping:
        """See ICache. What is too long for one wish goes in several, and may then be taken in part: Unanswered."""
        parts = list(_parts(batch))
        # All are asked before any is awaited: nothing else comes between them.
        asked = [self._keep(part) for part in parts]
        tickets: list[int] = []
        refused: dict[int, Sequence[str]] = {}
        places: list[Place] = []
        start = 0
        failure: PushError | None = None
        for part, answer in zip(parts, asked, strict=True):
            try:
                told = await answer
            except PushError as error:
                failure = failure or error
                continue
            tickets.append(told.ticket)
            places += told.places
            for position, tokens in told.refused.items():
                if position < len(part):
                    refused[start + position] = tokens
            start += len(part)
        if failure is not None:
            raise Unanswered(f"a part of this was accepted: {failure}") if tickets else failure
        ticket = tickets[-1] if tickets else 0
        if len(tickets) > 1:
            self._before[ticket] = tickets[:-1]
        return Keeping(ticket, refused, places if len(places) == len(batch) else ())

    async def committed(self, ticket: int) -> PushError | None:
        """See ICache."""
        error: PushError | None = None
        for each in (*self._before.pop(ticket, ()), ticket):
            try:
                trouble = await self._asking.ask(Committed(each), _TROUBLE)
            except LinkLost as failure:  # it may be on disk, and it may not
                error = error or undecided(failure)
            except PushError as failure:
                error = error or failure
            else:
                error = error or (None if trouble is None else error_of(trouble))
        return error

    async def recall(self, tokens: Sequence[str], connectors: Sequence[str] = ()) -> None:
        """See ICache."""
        await self._asking.ask(Recall(tuple(tokens), tuple(connectors)), _NOTHING)

    async def kept(self, message_id: int) -> StoredMessage | None:
        """See ICache."""
        kept = await self._asking.ask(KeptOf(message_id), _KEPT)
        return None if kept is None else kept.message

    async def cancel(self, message_id: int) -> int:
        """See ICache."""
        return await self._asking.ask(Cancel(message_id), _COUNT)

    async def forget(self, token: str) -> None:
        """See ICache."""
        await self._asking.ask(Forget(token), _NOTHING)

    async def replies(self, keys: Sequence[str]) -> Mapping[str, StoredReply]:
        """See ICache."""
        return await self._asking.ask(Replies(tuple(keys)), _REPLIES)

    def answered(self, reply: StoredReply) -> None:
        """See ICache. What does not arrive there leaves the answer that was noted at first."""
        run(self._tell_answer(Answered(reply)), self._failed)

    async def schedule(self, due: StoredDue) -> None:
        """See ICache."""
        try:
            await self._asking.ask(Schedule(due.message_id, due.due_ms, Request.of(due.request)), _NOTHING)
        except LinkLost as error:
            raise undecided(error) from None

    def scheduled(self) -> Sequence[StoredDue]:
        """See ICache. None here."""
        return ()

    async def unschedule(self, message_id: int) -> bool:
        """See ICache."""
        return await self._asking.ask(Unschedule(message_id), _YES_NO)

    def _keep(self, part: Sequence[Keep]) -> "Deferred[KeepingTold]":
        return Deferred.fromCoroutine(self._given(KeepMany(tuple(map(KeepOne.of, part)))))

    async def _given(self, wish: KeepMany) -> KeepingTold:
        try:
            return await self._asking.ask(wish, _KEEPING)
        except LinkLost as error:
            raise undecided(error) from None

    async def _tell_answer(self, wish: Answered) -> None:
        try:
            await self._asking.ask(wish, _NOTHING)
        except LinkLost:
            return

    def _failed(self, failure: Failure) -> None:
        self._log.warn("the cache did not take an answer: {reason}", reason=failure.getErrorMessage())


def _parts(batch: Sequence[Keep]) -> Iterator[Sequence[Keep]]:
    """A batch in parts that an envelope has room for; one message at least in each."""
    begin = size = 0
    for end, keep in enumerate(batch):
        size_bytes = _HEAD_BYTES + len(keep.payload) + sum(map(len, keep.tokens)) + 4 * len(keep.tokens)
        if end > begin and (size + size_bytes > MAX_KEEP_BYTES or end - begin >= MAX_KEEPS):
            yield batch[begin:end]
            begin, size = end, 0
        size += size_bytes
    if begin < len(batch):
        yield batch[begin:]
