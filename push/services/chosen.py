"""The tokens, the router and the messages of a cluster as a node has them that asks other nodes: one that is there.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from zlib import crc32

from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.ipush import IRouter
from push.ireceipts import IMessages
from push.isubscribe import ISubscribe
from push.model import PushRequest, PushResult, Registration, TagQuery
from push.model_receipts import Receipt
from push.model_subscribe import Located, TokenInfo
from push.protocols.wire.messages import SubRequest

T = TypeVar("T")


@implementer(ISubscribe)
class ChosenSubscribe:
    """The tokens, kept by any of several nodes that share them, asked in turn; and where one is away, another.

    Args:
        there: those nodes that can be asked now.
    """

    def __init__(self, there: Callable[[], Sequence[ISubscribe]]) -> None:
        self._there = there
        self._last = 0

    async def open(self, request: SubRequest, connector: str) -> Registration:
        """See ISubscribe. Opened twice, the second session replaces the first at the same connector."""
        return await self._ask(lambda each: each.open(request, connector))

    async def lend(self, connector: str) -> Registration:
        """See ISubscribe."""
        return await self._ask(lambda each: each.lend(connector))

    async def reopened(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        if registrations:
            await self._ask(lambda each: each.reopened(registrations))

    async def closed(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe. Where nobody can be told, the directory is wrong about them until their tokens come back."""
        if registrations:
            try:
                await self._ask(lambda each: each.closed(registrations))
            except PushError:
                return  # what is delivered there by mistake finds nobody, and is kept

    async def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Located:
        """See ISubscribe."""
        return await self._ask(lambda each: each.locate(tokens, owners))

    async def online(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """See ISubscribe."""
        return await self._ask(lambda each: each.online(tokens)) if tokens else {}

    async def tokens_of(self, uids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ISubscribe."""
        return await self._ask(lambda each: each.tokens_of(uids))

    async def tagged(self, query: TagQuery, after: str, limit: int) -> Sequence[str]:
        """See ISubscribe."""
        return await self._ask(lambda each: each.tagged(query, after, limit))

    async def describe(self, token: str) -> TokenInfo | None:
        """See ISubscribe."""
        return await self._ask(lambda each: each.describe(token))

    async def revoke(self, token: str) -> bool:
        """See ISubscribe. Asked twice, it may say that the token was not registered."""
        return await self._ask(lambda each: each.revoke(token))

    async def _ask(self, question: Callable[[ISubscribe], Awaitable[T]]) -> T:
        """Ask one of them what may be done twice."""
        there = self._there()
        if not there:
            raise Unavailable("no node with the role subscribe can be reached now", retry_after_s=1.0)
        first = self._last = (self._last + 1) % len(there)
        for each in (*there[first + 1 :], *there[:first]):
            try:
                return await question(each)
            except Unavailable:
                continue
        return await question(there[first])


@implementer(IRouter)
class ChosenRouter:
    """Any of several routers. Requests with the same key go to the same one, as long as the same ones are there.

    Args:
        there: name → router, for those that can be asked now.
    """

    def __init__(self, there: Callable[[], Mapping[str, IRouter]]) -> None:
        self._there = there
        self._last = 0

    async def push(self, requests: Sequence[PushRequest]) -> Sequence[PushResult | PushError]:
        """See IRouter. Never asked twice: what fails may have been accepted."""
        there = self._there()
        if not there:
            raise Unavailable("no node with the role router can be reached now", retry_after_s=1.0)
        names = sorted(there)
        once = next((each.options.once for each in requests if each.options.once is not None), None)
        if once is None:
            self._last = (self._last + 1) % len(names)
            name = names[self._last]
        else:
            key = once.key
            name = max(names, key=lambda each: crc32(f"{each} {key}".encode("utf-8", "surrogatepass")))
        return await there[name].push(requests)


@implementer(IMessages)
class ChosenMessages:
    """What is known of messages where the cache is.

    Args:
        holder: knows it; None while there is no telling.
    """

    def __init__(self, holder: Callable[[], IMessages | None]) -> None:
        self._holder = holder

    async def receipt(self, message_id: int) -> Receipt:
        """See IMessages."""
        return await self._messages().receipt(message_id)

    async def cancel(self, message_id: int) -> int:
        """See IMessages."""
        return await self._messages().cancel(message_id)

    async def forget(self, token: str) -> None:
        """See IMessages."""
        await self._messages().forget(token)

    async def explain(self, message_id: int, token: str) -> Sequence[str]:
        """See IMessages."""
        return await self._messages().explain(message_id, token)

    def _messages(self) -> IMessages:
        messages = self._holder()
        if messages is None:
            raise Unavailable("no node with the role cache can be reached now", retry_after_s=1.0)
        return messages
