"""Who the tokens are and where they are online: the store knows the first for good, a table in memory the second.

The table is lost with the process, and so are the connections that it speaks of where all roles share one.
Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from zope.interface import implementer

from push.errors import PushError
from push.igroup import ISessionWatcher
from push.ihealth import IMeasured
from push.isubscribe import IAuthenticator, ISubscribe, ITokenStore
from push.model import Registration, TagQuery
from push.model_health import Sample
from push.model_subscribe import Located, TokenInfo
from push.protocols.wire.messages import SubRequest
from push.services.admission import Admission

# Epochs are microseconds of the clock where it can be helped, one more than the last where not: only a thousand
# sessions a millisecond would make them run ahead of it. Below 2^53, so that they stay exact where numbers are doubles.
_EPOCHS_PER_MS = 1_000


_NO_TOKENS: frozenset[str] = frozenset()


@implementer(ISubscribe, IMeasured)
class Subscribe:
    """The tokens of one server.

    An epoch is greater than all before it in this process. It is also greater than those of earlier processes, unless
    the clock stands behind where theirs stood. Should it, nothing is undone by mistake: `closed` goes by
    the very epoch, not by the order of two.

    Args:
        store: keeps the tokens.
        authenticator: says who clients are, and whether a token belongs to its uid alone.
        now_ms: milliseconds since 1970.
        random_bytes: makes that many unpredictable bytes; the system's, without one.
        replaced: called with a session when its token has a newer one at another connector.
        watcher: told of sessions of clients that come and go.
    """

    def __init__(
        self,
        *,
        store: ITokenStore,
        authenticator: IAuthenticator,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes] | None = None,
        replaced: Callable[[Registration], None] = lambda registration: None,
        watcher: ISessionWatcher | None = None,
    ) -> None:
        self._store = store
        self._admission = Admission(store=store, authenticator=authenticator, now_ms=now_ms, random_bytes=random_bytes)
        self._now_ms = now_ms
        self._replaced = replaced
        self._watcher = watcher
        self._online: dict[str, Registration] = {}
        self._last_epoch = 0
        if watcher is not None:
            watcher.begin(self._online)

    async def open(self, request: SubRequest, connector: str) -> Registration:
        """See ISubscribe."""
        try:
            info, expires_s = await self._admission.register(request)
        except PushError as error:
            self._admission.refused(error)
            raise
        self._admission.opened()
        # Nothing is awaited from here on: of two sessions, the one that is found is the one with the greater epoch.
        previous = self._online.get(info.token)
        registration = self._put_online(info.token, info.uid, connector, bool(request.ack), expires_s)
        if self._watcher is not None:
            if previous is not None and previous.uid != registration.uid:
                self._watcher.left(previous)
            self._watcher.came(registration)
        return registration

    async def lend(self, connector: str) -> Registration:
        """See ISubscribe."""
        return self._put_online(self._admission.new_token(), None, connector)

    async def reopened(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        for registration in registrations:
            if self._online.setdefault(registration.token, registration) is registration and self._watcher is not None:
                self._watcher.came(registration)

    async def closed(self, registrations: Sequence[Registration]) -> None:
        """See ISubscribe."""
        for registration in registrations:
            current = self._online.get(registration.token)
            if current is not None and current.epoch == registration.epoch:
                del self._online[registration.token]
                if self._watcher is not None:
                    self._watcher.left(current)

    async def locate(self, tokens: Sequence[str], owners: Mapping[str, str]) -> Located:
        """See ISubscribe. Where all are online, this is one look-up each and does not suspend."""
        online = self._online
        sessions = list(map(online.get, tokens))
        if all(sessions):
            found: dict[str, Registration] = dict(zip(tokens, sessions, strict=True))  # type: ignore[arg-type]
            if owners:
                self._leave_out_strangers(found, owners)
            return Located(found, _NO_TOKENS)
        offline = [token for token, session in zip(tokens, sessions, strict=True) if session is None]
        known = await self._store.known(offline)
        # While the store was asked, some may have come, gone, or moved to another connector.
        found = {token: online[token] for token in tokens if token in online}
        unknown = [token for token in offline if token not in known and token not in online]
        # And it may be another user's by now: looked at last, as nothing is awaited from here to the delivery.
        self._leave_out_strangers(found, owners)
        return Located(found, frozenset(unknown))

    async def online(self, tokens: Sequence[str]) -> Mapping[str, Registration]:
        """See ISubscribe."""
        table = self._online
        return {token: table[token] for token in tokens if token in table}

    def _leave_out_strangers(self, found: dict[str, Registration], owners: Mapping[str, str]) -> None:
        for token, uid in owners.items():
            registration = self._online.get(token)
            if registration is not None and registration.uid != uid:
                found.pop(token, None)

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
        return TokenInfo(info.token, info.uid, info.device, info.tags, info.created_ms, self._online.get(token))

    async def revoke(self, token: str) -> bool:
        """See ISubscribe. From when this returns, the token is located nowhere."""
        was_registered = await self._store.delete(token)
        if was_registered:
            session = self._online.pop(token, None)
            if session is not None and self._watcher is not None:
                self._watcher.left(session)
        return was_registered

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_tokens", "gauge", "Registered tokens.", self._store.count())
        yield Sample("push_tokens_online", "gauge", "Tokens with an open session.", len(self._online))
        yield from self._admission.samples()

    def _put_online(
        self, token: str, uid: str | None, connector: str, acks: bool = False, expires_s: int = 0
    ) -> Registration:
        now_ms = self._now_ms()
        # CPython gives the product room for one digit more than it has, and `|` what it needs: 16 bytes a session.
        self._last_epoch = max(self._last_epoch + 1, now_ms * _EPOCHS_PER_MS) | 0
        previous = self._online.get(token)
        registration = Registration(token, uid, connector, self._last_epoch, acks, expires_s)
        self._online[token] = registration
        if previous is not None and previous.connector != connector:  # a connector sees to those of its own
            self._replaced(previous)
        return registration
