"""Who may open a session with which token: the part of keeping tokens that is the same wherever sessions are kept.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Mapping

from push.errors import PermissionDenied, PushError, Unauthenticated, Unavailable
from push.isubscribe import IAuthenticator, ITokenStore
from push.model_access import Identity
from push.model_health import Sample
from push.model_subscribe import TokenInfo
from push.protocols.wire.messages import SubRequest
from push.services.random_blocks import RandomBlocks

# 128 bits, 32 hexadecimal characters: docs/protocol.md, "Opening a session".
TOKEN_BYTES = 16

_OUTCOMES: Mapping[type[PushError], str] = {
    Unauthenticated: "unauthenticated",
    PermissionDenied: "denied",
    Unavailable: "unavailable",
}


class Admission:
    """Lets clients in, and counts them.

    Args:
        store: keeps tokens.
        authenticator: says who clients are, and whether a token belongs to its uid alone.
        now_ms: milliseconds since 1970.
        random_bytes: makes that many unpredictable bytes; None: the system does.
    """

    def __init__(
        self,
        *,
        store: ITokenStore,
        authenticator: IAuthenticator,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes] | None,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._now_ms = now_ms
        self._random_bytes = random_bytes or RandomBlocks()
        self._subs = dict.fromkeys(("opened", *_OUTCOMES.values()), 0)

    async def register(self, request: SubRequest) -> tuple[TokenInfo, int]:
        """Issue a token, or keep the one presented; stored when this returns.

        Returns:
            The token, and when the credential that was shown is over, as in Registration.

        Raises:
            PushError: as ISubscribe.open.
        """
        identity = self._authenticator.identify(request.auth)
        info = await self._store.register(
            request.token or self.new_token(),
            _uid(request, identity),
            request.device,
            request.tags,
            self._now_ms(),
            owner_only=self._authenticator.required,
        )
        return info, identity.expires_s

    def new_token(self) -> str:
        """A token that nobody has or can guess."""
        return self._random_bytes(TOKEN_BYTES).hex()

    def opened(self) -> None:
        """Count a session."""
        self._subs["opened"] += 1

    def refused(self, error: PushError) -> None:
        """Count one that was not opened."""
        outcome = next((name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), None)
        if outcome is not None:
            self._subs[outcome] += 1

    def samples(self) -> Iterable[Sample]:
        """How many were let in or not."""
        for outcome, times in self._subs.items():
            yield Sample("push_subs_total", "counter", "Requests for a session.", times, (("outcome", outcome),))


def _uid(request: SubRequest, identity: Identity) -> str | None:
    if identity.uid is None:
        return request.uid
    if request.uid not in (None, identity.uid):
        raise PermissionDenied("the uid is not the one that the credential is for")
    return identity.uid
