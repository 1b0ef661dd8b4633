"""ISubscribe over a link: for a connector whose tokens are kept by another node. Must not import services or stores."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from zope.interface import implementer

from push.isubscribe import ISubscribe
from push.model import Registration, TagQuery
from push.model_subscribe import Located, TokenInfo
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import (
    Closed,
    Describe,
    Lend,
    Locate,
    Online,
    Open,
    Opened,
    Reader,
    Reopened,
    Revoke,
    Session,
    Tagged,
    TokensOf,
)
from push.protocols.peer.errors import LinkLost
from push.protocols.wire.messages import SubRequest

_OPENED: Reader[Opened] = Reader(Opened)
_NOTHING: Reader[None] = Reader(None)
_LOCATED: Reader[Located] = Reader(Located)
_ONLINE: Reader[dict[str, Registration]] = Reader(dict[str, Registration])
_TOKENS_OF: Reader[dict[str, tuple[str, ...]]] = Reader(dict[str, tuple[str, ...]])
_TAGGED: Reader[tuple[str, ...]] = Reader(tuple[str, ...])
_DESCRIBED: Reader[TokenInfo | None] = Reader(TokenInfo | None)
_YES_NO: Reader[bool] = Reader(bool)


@implementer(ISubscribe)
class RemoteSubscribe:
    """The tokens, kept elsewhere. Sessions that it opens are known there as this node's, whatever `connector` says.

    Args:
        connector: the name of this node, under which it has logged in.
        asking: the questions of this node.
        opened: called with a token whose session is about to begin, and whether the cache might have something for it.
        ends_with_link: whether the other node closes all that came over the link when that is lost.
    """

    def __init__(
        self,
        connector: str,
        asking: Asking,
        *,
        opened: Callable[[str, bool], None] = lambda token, has_kept: None,
        ends_with_link: bool = True,
    ) -> None:
        self._connector = connector
        self._asking = asking
        self._opened = opened
        self._needless: tuple[type[LinkLost], ...] = (LinkLost,) if ends_with_link else ()

    async def open(self, request: SubRequest, connector: str) -> Registration:
        """See ISubscribe."""
        wish = Open(request.token, request.uid, request.auth, request.ack, request.device, request.tags)
        return self._begin(await self._asking.ask(wish, _OPENED))

    async def lend(self, connector: str) -> Registration:
        """See ISubscribe."""
        return self._begin(await self._asking.ask(Lend(), _OPENED))

    async def reopened(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        with suppress(*self._needless):  # who lost the link has closed all that came over it
            await self._asking.ask(Reopened(tuple(map(Session.of, registrations))), _NOTHING)

    async def closed(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        with suppress(*self._needless):  # likewise
            await self._asking.ask(Closed(tuple(map(Session.of, registrations))), _NOTHING)

    async def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Located:
        """See ISubscribe."""
        return await self._asking.ask(Locate(tuple(tokens), dict(owners)), _LOCATED)

    async def online(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """See ISubscribe."""
        return await self._asking.ask(Online(tuple(tokens)), _ONLINE)

    async def tokens_of(self, uids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ISubscribe."""
        return await self._asking.ask(TokensOf(tuple(uids)), _TOKENS_OF)

    async def tagged(self, query: TagQuery, after: str, limit: int) -> Sequence[str]:
        """See ISubscribe."""
        return await self._asking.ask(Tagged(query, after, limit), _TAGGED)

    async def describe(self, token: str) -> TokenInfo | None:
        """See ISubscribe."""
        return await self._asking.ask(Describe(token), _DESCRIBED)

    async def revoke(self, token: str) -> bool:
        """See ISubscribe."""
        return await self._asking.ask(Revoke(token), _YES_NO)

    def _begin(self, opened: Opened) -> Registration:
        self._opened(opened.token, opened.has_kept)
        return opened.at(self._connector)
