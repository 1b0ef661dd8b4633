"""The tokens of a server in memory, for tests of what stands on them. Passes the contract that the real stores pass."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from push.errors import PermissionDenied, PushError, Unavailable
from push.isubscribe import ITokenStore
from push.model import TagQuery
from push.model_subscribe import TokenInfo


def matches(query: TagQuery, tags: Sequence[str]) -> bool:
    """What a tag query means, said as plainly as possible."""
    has = set(tags)
    return (not query.any or bool(has & set(query.any))) and has >= set(query.all) and not has & set(query.none)


@implementer(ITokenStore)
class MemoryTokenStore:
    """Tokens in a dict, oldest first.

    Attributes:
        failure: what every call fails with, where a test sets it.
        calls: names of the methods called.
    """

    def __init__(self, *, max_tokens: int = 1_000_000) -> None:
        self.failure: PushError | None = None
        self.calls: list[str] = []
        self._max_tokens = max_tokens
        self._tokens: dict[str, TokenInfo] = {}

    def register(
        self,
        token: str,
        uid: str | None,
        device: str | None,
        tags: tuple[str, ...] | None,
        now_ms: int,
        *,
        owner_only: bool,
    ) -> Deferred[TokenInfo]:
        """Create a token or update it."""
        self.calls.append("register")
        if self.failure is not None:
            return fail(self.failure)
        old = self._tokens.get(token)
        if old is None:
            if len(self._tokens) >= self._max_tokens:
                return fail(Unavailable("too many tokens"))
            old = TokenInfo(token, uid, device, tags or (), now_ms)
        elif owner_only and old.uid != uid:
            return fail(PermissionDenied("another user's"))
        if uid is not None:
            old = replace(old, uid=uid)
        if device is not None:
            old = replace(old, device=device)
        if tags is not None:
            old = replace(old, tags=tags)
        self._tokens[token] = old
        return succeed(old)

    def known(self, tokens: Sequence[str]) -> Deferred[frozenset[str]]:
        """Which of these are registered."""
        self.calls.append("known")
        if self.failure is not None:
            return fail(self.failure)
        return succeed(frozenset(token for token in tokens if token in self._tokens))

    def get(self, token: str) -> Deferred[TokenInfo | None]:
        """One token."""
        self.calls.append("get")
        if self.failure is not None:
            return fail(self.failure)
        return succeed(self._tokens.get(token))

    def tokens_of(self, uids: Sequence[str]) -> Deferred[Mapping[str, tuple[str, ...]]]:
        """The tokens of users."""
        self.calls.append("tokens_of")
        if self.failure is not None:
            return fail(self.failure)
        found: dict[str, tuple[str, ...]] = {}
        for info in self._tokens.values():
            if info.uid is not None and info.uid in uids:
                found[info.uid] = (*found.get(info.uid, ()), info.token)
        return succeed(found)

    def tagged(self, query: TagQuery, after: str, limit: int) -> Deferred[Sequence[str]]:
        """The next tokens that match."""
        self.calls.append("tagged")
        if self.failure is not None:
            return fail(self.failure)
        matching = [info.token for info in self._tokens.values() if info.token > after and matches(query, info.tags)]
        return succeed(sorted(matching)[:limit])

    def delete(self, token: str) -> Deferred[bool]:
        """Forget a token."""
        self.calls.append("delete")
        if self.failure is not None:
            return fail(self.failure)
        return succeed(self._tokens.pop(token, None) is not None)

    def count(self) -> int:
        """How many there are."""
        return len(self._tokens)
