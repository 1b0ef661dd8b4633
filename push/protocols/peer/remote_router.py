"""IRouter and IMessages over a link: for an API whose router is another node. Must not import services or stores."""

from collections.abc import Iterator, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.ipush import IRouter
from push.ireceipts import IMessages
from push.model import PushRequest, PushResult, ToTokens, ToUids
from push.model_receipts import Receipt
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import Reader
from push.protocols.peer.errors import LinkLost, undecided
from push.protocols.peer.wishes_router import (
    MAX_REQUESTS,
    Explain,
    ForgetToken,
    PushMany,
    ReceiptOf,
    Request,
    Result,
    TakeBack,
)

# Of the payloads and targets of one wish: well below what an envelope may have.
MAX_PUSH_BYTES = 8_388_608
_HEAD_BYTES = 512

_RESULTS: Reader[tuple[Result, ...]] = Reader(tuple[Result, ...])
_RECEIPT: Reader[Receipt] = Reader(Receipt)
_COUNT: Reader[int] = Reader(int)
_NOTHING: Reader[None] = Reader(None)
_SENTENCES: Reader[tuple[str, ...]] = Reader(tuple[str, ...])


@implementer(IRouter)
class RemoteRouter:
    """A router elsewhere.

    Args:
        asking: the questions of this node.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter. With Unanswered requests may have been accepted: only those with a key can be repeated safely.

        What is too long for one wish goes in several, in order; where one fails, that is said of what is in it.
        """
        parts = list(_parts(requests))
        asked = [Deferred.fromCoroutine(self._ask(part)) for part in parts]
        results: list[PushResult | PushError] = []
        for part, each in zip(parts, asked, strict=True):
            try:
                results += await each
            except PushError as error:
                if len(parts) == 1:
                    raise
                results += [error] * len(part)
        return results

    async def _ask(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        try:
            told = await self._asking.ask(PushMany(tuple(map(Request.of, requests))), _RESULTS)
        except LinkLost as error:
            raise undecided(error) from None
        if len(told) != len(requests):
            raise Unavailable("the router answered for another number of messages than it was asked", retry_after_s=5.0)
        return [each.result for each in told]


@implementer(IMessages)
class RemoteMessages:
    """What is known of messages elsewhere.

    Args:
        asking: the questions of this node.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def receipt(self, message_id: int) -> Receipt:
        """See IMessages."""
        return await self._asking.ask(ReceiptOf(message_id), _RECEIPT)

    async def cancel(self, message_id: int) -> int:
        """See IMessages."""
        return await self._asking.ask(TakeBack(message_id), _COUNT)

    async def forget(self, token: str) -> None:
        """See IMessages."""
        await self._asking.ask(ForgetToken(token), _NOTHING)

    async def explain(self, message_id: int, token: str) -> Sequence[str]:
        """See IMessages."""
        return await self._asking.ask(Explain(message_id, token), _SENTENCES)


def _parts(requests: Sequence[PushRequest]) -> Iterator[Sequence[PushRequest]]:
    """Requests in parts that an envelope has room for; one at least in each."""
    begin = size = 0
    for end, request in enumerate(requests):
        target = request.target
        names: Sequence[str] = ()
        if isinstance(target, ToTokens):
            names = target.tokens
        elif isinstance(target, ToUids):
            names = target.uids
        size_bytes = _HEAD_BYTES + len(request.payload) + 4 * sum(map(len, names)) + 4 * len(names)
        if end > begin and (size + size_bytes > MAX_PUSH_BYTES or end - begin >= MAX_REQUESTS):
            yield requests[begin:end]
            begin, size = end, 0
        size += size_bytes
    if begin < len(requests):
        yield requests[begin:]
