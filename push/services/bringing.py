"""Brings what one push has given to the cache to sessions that it could not be delivered to.

Where routers of other processes keep messages in the same cache, everything may have changed between the look-up that a
push begins with and the cache's answer: a token that was away is online, or it is online elsewhere. So all are looked
up once more when the cache has answered. A session that is found then is told that there is something for it. One that
is not, because it opens later, asks the cache later than that: it finds the message there. Must not import
adapters, stores or web.
"""

from collections.abc import Iterable, Mapping, Sequence

from push.errors import PushError
from push.icache import ICache
from push.ipush import IConnector
from push.isubscribe import ISubscribe
from push.model import Registration


class Bringing:
    """Of one push.

    Args:
        cache: has what is to be brought.
        subscribe: says who is online.
        connectors: address → connector.
    """

    def __init__(self, *, cache: ICache, subscribe: ISubscribe, connectors: Mapping[str, IConnector]) -> None:
        self._cache = cache
        self._subscribe = subscribe
        self._connectors = connectors
        # Tokens for which something is kept that was not brought to a session of theirs.
        self._stray: list[str] = []
        # Token → the session that it is delivered to, 0 for none.
        self._epochs: dict[str, int] = {}
        # Those of connectors that cannot be reached from here, and connectors with something in the log.
        self._lost: list[str] = []
        self._lost_connectors: list[str] = []

    @property
    def is_unsure(self) -> bool:
        """Whether anybody is to be looked up again."""
        return bool(self._epochs)

    def located(self, tokens: Iterable[str], online: Mapping[str, Registration]) -> None:
        """A message for these tokens is kept, and is delivered to those who are online."""
        for token in tokens:
            session = online.get(token)
            self._epochs[token] = 0 if session is None else session.epoch

    def stray(self, tokens: Iterable[str]) -> None:
        """What is kept for these is delivered nowhere; they may be online by now."""
        if self._cache.is_shared:
            self.located(tokens, {})
        else:
            self._stray += tokens

    def missed(self, tokens: Iterable[str]) -> None:
        """What is kept for these did not find the session that it was for: what comes after that, pulls."""
        if not self._cache.is_shared:
            self._stray += tokens

    def lost(self, tokens: Iterable[str]) -> None:
        """Their connector could not be reached, or not be told."""
        if self._cache.is_shared:
            self._lost += tokens
        else:
            self._stray += tokens

    def unreached(self, tokens: Iterable[str]) -> None:
        """Their connector is not known here, or not any more."""
        if self._cache.is_shared:
            self._lost += tokens

    def lost_connector(self, address: str) -> None:
        """It could not be told that something is in the log."""
        if self._cache.is_shared:
            self._lost_connectors.append(address)

    async def look_again(self) -> None:
        """Look up all that were located; tell those who have come or moved.

        Raises:
            PushError: it is not known who has.
        """
        epochs, self._epochs = self._epochs, {}
        sessions = await self._subscribe.online(list(epochs))
        await self._refill([each for token, each in sessions.items() if each.epoch != epochs.get(token)])

    async def settle(self) -> None:
        """See to all that is left.

        Raises:
            PushError: something is kept and nobody will bring it before the next session.
        """
        if self._stray:
            stray, self._stray = self._stray, []
            await self._refill((await self._subscribe.online(stray)).values())
        if self._epochs:
            await self.look_again()
        if self._lost or self._lost_connectors:
            lost, self._lost = self._lost, []
            connectors, self._lost_connectors = self._lost_connectors, []
            await self._cache.recall(lost, connectors)

    async def _refill(self, sessions: Iterable[Registration]) -> None:
        by_connector: dict[str, list[str]] = {}
        for session in sessions:
            by_connector.setdefault(session.connector, []).append(session.token)
        for address, here in by_connector.items():
            if not await self._told(address, here) and self._cache.is_shared:
                self._lost += here

    async def _told(self, address: str, tokens: Sequence[str]) -> bool:
        connector = self._connectors.get(address)
        if connector is None:
            return False
        try:
            await connector.refill(tokens)
        except PushError:
            return False  # with a cache of its own process, it is lost: its sessions end, and the next ones pull
        return True
