"""What a linked connector may wish of the node that keeps tokens, and the sessions that it has because of that.

When the link is lost its sessions are closed in the same moment, by epoch: whatever has been opened elsewhere stays.
Must not import services, stores or web.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from push.errors import NotImplementedHere, Unavailable
from push.icache import IPulling
from push.igroup import IChat
from push.isubscribe import ISubscribe
from push.model import Registration
from push.protocols.peer.asks import Wish
from push.protocols.peer.envelopes import (
    Acknowledged,
    Chat,
    Closed,
    Describe,
    Handed,
    Lend,
    Locate,
    Moved,
    Online,
    Open,
    Opened,
    Pull,
    Reopened,
    Revoke,
    Session,
    Tagged,
    TokensOf,
    Waiting,
)
from push.unattended import run


class Sessions:
    """One linked connector's sessions.

    Args:
        connector: the name under which it has logged in; what it opens is registered there and nowhere else.
        subscribe: keeps the tokens.
        pulling: the cache.
        chat: answers what its clients ask of the group role; None: nobody does.
    """

    _log = Logger()

    def __init__(self, connector: str, subscribe: ISubscribe, pulling: IPulling, chat: IChat | None = None) -> None:
        self._connector = connector
        self._subscribe = subscribe
        self._pulling = pulling
        self._chat = chat
        self._open: dict[str, Registration] = {}
        self._is_over = False
        self._answers: dict[type, Callable[[Any], Awaitable[object]]] = {
            Open: lambda wish: self._opened(self._subscribe.open(wish.request, self._connector)),
            Lend: lambda wish: self._opened(self._subscribe.lend(self._connector)),
            Reopened: lambda wish: self._reopened(wish.sessions),
            Closed: lambda wish: self._closed(wish.sessions),
            Locate: lambda wish: self._subscribe.locate(wish.tokens, wish.owners),
            Online: lambda wish: self._subscribe.online(wish.tokens),
            TokensOf: lambda wish: self._subscribe.tokens_of(wish.uids),
            Tagged: lambda wish: self._subscribe.tagged(wish.query, wish.after, wish.limit),
            Describe: lambda wish: self._subscribe.describe(wish.token),
            Revoke: lambda wish: self._subscribe.revoke(wish.token),
            Pull: lambda wish: self._pulling.pull(
                wish.session.at(self._connector), wish.cursor, wish.max_messages, wish.max_bytes
            ),
            Waiting: lambda wish: self._pulling.waiting(wish.tokens),
            Acknowledged: lambda wish: self._pulling.acknowledged(wish.batch),
            Handed: lambda wish: self._pulling.handed(wish.batch),
            Moved: lambda wish: self._pulling.moved(wish.positions),
            Chat: self._asked,
        }

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def greeted(self, minor: int) -> None:
        """A worker is of this very version."""

    def answer(self, wish: Wish) -> Awaitable[object]:
        """Do what is wished for."""
        return self._answers[type(wish)](wish)

    def lost(self, why: str) -> None:
        """The connector is gone: so are its sessions."""
        self._is_over = True
        registrations, self._open = list(self._open.values()), {}
        run(_awaited(self._subscribe.closed(registrations)), self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("closing sessions failed", failure)

    async def _opened(self, opening: Awaitable[Registration]) -> Opened:
        registration = await opening
        if self._is_over:  # lost while it was being opened: nobody holds this session
            await self._subscribe.closed([registration])
            raise Unavailable("the connector is gone")
        token = registration.token
        self._open[token] = registration
        # Asked in the moment of opening: what is kept from now on is also delivered to the session.
        return Opened.by(registration, self._pulling.has(token))

    async def _asked(self, wish: Chat) -> bytes:
        if self._chat is None:
            raise NotImplementedHere("this server runs no group role")
        return await self._chat.ask(wish.session.at(self._connector), wish.signal, wish.subsignal, wish.body)

    async def _reopened(self, sessions: Sequence[Session]) -> None:
        registrations = [session.at(self._connector) for session in sessions]
        await self._subscribe.reopened(registrations)
        if self._is_over:
            await self._subscribe.closed(registrations)
            return
        for registration in registrations:
            self._open[registration.token] = registration

    async def _closed(self, sessions: Sequence[Session]) -> None:
        registrations = [session.at(self._connector) for session in sessions]
        for registration in registrations:
            held = self._open.get(registration.token)
            if held is not None and held.epoch == registration.epoch:
                del self._open[registration.token]
        await self._subscribe.closed(registrations)


async def _awaited(work: Awaitable[None]) -> None:
    await work
