"""Who the tokens are and where they are online, where several nodes know it: all of it is in stores that they share.

Any number of these may work at once. Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError
from push.icluster import ISessionDirectory
from push.ihealth import IMeasured
from push.isubscribe import IAuthenticator, ISubscribe, ITokenStore
from push.model import Registration, TagQuery
from push.model_health import Sample
from push.model_subscribe import Located, TokenInfo
from push.protocols.wire.messages import SubRequest
from push.services.admission import Admission
from push.services.lookups import Lookups
from push.services.tasks import Tasks

# What tokens begin with that are lent and never stored.
_LENT = "~probe-"
# Sessions of a dead connector that are forgotten in one call: about a millisecond of Redis.
_LEAVE_AT_ONCE = 1_000
_RETRY_S = 1.0
MAX_UNCLOSED = 100_000


@implementer(ISubscribe, IMeasured)
class ClusterSubscribe:
    """The tokens of a cluster, as one node sees them.

    A session is the one that the directory has, as long as its connector lives. Nothing late can undo a newer one:
    sessions are closed by their epochs, and those that were replaced are told so until they have heard it (`replaced`).

    Args:
        store: keeps the tokens.
        directory: keeps the sessions.
        authenticator: says who clients are, and whether a token belongs to its uid alone.
        now_ms: milliseconds since 1970.
        clock: turns, and waiting.
        is_alive: whether a connector with this name is there, as far as this node knows.
        refresh: makes `is_alive` know what is so now; asked before a session counts as offline because of it.
        replaced: called with a session that has a newer one: its connector must close it.
        random_bytes: makes that many unpredictable bytes; the system's, without one.
        saw: called with the user whose session this node opens or closes: is there, or was until now.
    """

    def __init__(
        self,
        *,
        store: ITokenStore,
        directory: ISessionDirectory,
        authenticator: IAuthenticator,
        now_ms: Callable[[], int],
        clock: IReactorTime,
        is_alive: Callable[[str], bool],
        replaced: Callable[[Registration], None],
        random_bytes: Callable[[int], bytes] | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
        saw: Callable[[str], None] = lambda uid: None,
    ) -> None:
        self._store = store
        self._directory = directory
        self._admission = Admission(store=store, authenticator=authenticator, now_ms=now_ms, random_bytes=random_bytes)
        self._now_ms = now_ms
        self._clock = clock
        self._is_alive = is_alive
        self._replaced = replaced
        self._saw = saw
        self.tasks = Tasks()
        self._sessions: Lookups[Mapping[str, Registration]] = Lookups(
            "sessions", directory.find, clock=clock, tasks=self.tasks
        )
        self._refreshed: Lookups[None] | None = None
        if refresh is not None:
            self._refreshed = Lookups("nodes", lambda _: refresh(), clock=clock, tasks=self.tasks)
        self._known: Lookups[frozenset[str]] = Lookups("tokens", store.known, clock=clock, tasks=self.tasks)
        # Sessions that are over while that cannot be said.
        self._unclosed: dict[tuple[str, int], Registration] = {}
        self._is_closing = False

    async def open(self, request: SubRequest, connector: str) -> Registration:
        """See ISubscribe."""
        try:
            info, expires_s = await self._admission.register(request)
            session = await self._put_online(info.token, info.uid, connector, acks=bool(request.ack))
        except PushError as error:
            self._admission.refused(error)
            raise
        self._admission.opened()
        if session.uid is not None:
            self._saw(session.uid)
        return replace(session, expires_s=expires_s) if expires_s else session

    async def lend(self, connector: str) -> Registration:
        """See ISubscribe."""
        return await self._put_online(_LENT + self._admission.new_token(), None, connector, acks=False)

    async def reopened(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe. Tokens that the store has lost are registered again, with what their connector knows of them.

        Raises:
            Unavailable: not all of that is known to be done: do it again.
        """
        if not registrations:
            return
        for loser in await self._directory.reopen(registrations):
            self._replaced(loser)
        tokens = [each.token for each in registrations if not each.token.startswith(_LENT)]
        known = await self._known.ask(tokens) if tokens else frozenset()
        for each in registrations:
            if each.token not in known and not each.token.startswith(_LENT):
                await self._store.register(each.token, each.uid, None, None, self._now_ms(), owner_only=False)

    async def closed(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe. Where that cannot be said now, it is said later."""
        for each in registrations:
            if each.uid is not None:
                self._saw(each.uid)
        try:
            await self._directory.close(registrations)
        except PushError:
            for each in registrations[: max(0, MAX_UNCLOSED - len(self._unclosed))]:
                self._unclosed[each.token, each.epoch] = each
            if self._unclosed and not self._is_closing:
                self._is_closing = True
                self._clock.callLater(_RETRY_S, self._close_again)

    async def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Located:
        """See ISubscribe."""
        online = dict(await self.online(tokens))
        offline = [token for token in tokens if token not in online]
        for token, uid in owners.items():
            session = online.get(token)
            if session is not None and session.uid != uid:
                del online[token]
        known = await self._known.ask(offline) if offline else frozenset()
        return Located(online, frozenset(token for token in offline if token not in known))

    async def online(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """See ISubscribe. One whose connector is gone is not online."""
        if not tokens:
            return {}
        stored = await self._sessions.ask(tokens)
        found = {token: stored[token] for token in tokens if token in stored}
        alive = {address: self._is_alive(address) for address in {each.connector for each in found.values()}}
        if self._refreshed is not None and not all(alive.values()):
            # One that has come back a moment ago may have told its sessions, and has pulled for them: what is kept for
            # one that is taken for offline would not be brought to it.
            await self._refreshed.ask(())
            alive = {address: self._is_alive(address) for address in alive}
        if all(alive.values()):
            return found
        return {token: session for token, session in found.items() if alive[session.connector]}

    async def tokens_of(self, uids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ISubscribe."""
        return await self._store.tokens_of(uids)

    async def tagged(self, query: TagQuery, after: str, limit: int) -> Sequence[str]:
        """See ISubscribe."""
        return await self._store.tagged(query, after, limit)

    async def describe(self, token: str) -> TokenInfo | None:
        """See ISubscribe."""
        info = await self._store.get(token)
        if info is None:
            return None
        session = (await self.online([token])).get(token)
        return TokenInfo(info.token, info.uid, info.device, info.tags, info.created_ms, session)

    async def revoke(self, token: str) -> bool:
        """See ISubscribe. From when this returns, the token is located nowhere."""
        was_registered = await self._store.delete(token)
        session = await self._directory.remove(token)
        return was_registered or session is not None

    async def departed(self, connector: str, is_dead: Callable[[], Awaitable[bool]]) -> int:
        """Forget the sessions of a connector that has died. Done by several nodes at once, it is done once.

        Args:
            connector: its name.
            is_dead: asked when it is known up to which session: those of a successor with the same name stay.

        Returns:
            How many were forgotten.

        Raises:
            Unavailable: not all of that is known to be done: do it again.
        """
        last_epoch = await self._directory.last_epoch()
        if not await is_dead():
            return 0
        total = 0
        while True:
            gone = await self._directory.leave(connector, last_epoch, _LEAVE_AT_ONCE)
            total += gone
            if gone < _LEAVE_AT_ONCE:
                return total

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_tokens", "gauge", "Registered tokens.", self._store.count())
        yield from self._admission.samples()

    async def _put_online(self, token: str, uid: str | None, connector: str, *, acks: bool) -> Registration:
        opening = await self._directory.open(token, uid, connector, acks=acks)
        previous = opening.replaced
        if previous is not None and previous.connector != connector:  # a connector sees to those of its own
            self._replaced(previous)
        return opening.session

    def _close_again(self) -> None:
        self.tasks.spawn("closing sessions", self._close_unclosed())

    async def _close_unclosed(self) -> None:
        unclosed, self._unclosed = self._unclosed, {}
        self._is_closing = False
        await self.closed(list(unclosed.values()))
