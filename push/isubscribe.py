"""The seams of tokens: who they are, whose they are, where they are online. The rules of push.ipush hold here.

Imports only the values and the wire core.
"""

from collections.abc import Awaitable, Mapping, Sequence

from zope.interface import Attribute, Interface

from push.model import Registration, TagQuery
from push.model_access import Identity
from push.model_subscribe import Located, TokenInfo
from push.protocols.wire.messages import SubRequest


class ISubscribe(Interface):
    """Keeps tokens: who they are, whose they are, where they are online."""

    def open(request: SubRequest, connector: str) -> Awaitable[Registration]:
        """Open a session: issue a token or keep the one presented.

        The token and what came with it are on disk before this returns. The new session is the one that
        `locate` finds from then on; the epoch is greater than that of any earlier session of the token.

        Raises:
            Unauthenticated: a credential is demanded and is missing or not valid.
            PermissionDenied: the token belongs to another uid, or the uid is not the credential's.
            Unavailable: the store cannot take it; nothing was changed.
        """

    def lend(connector: str) -> Awaitable[Registration]:
        """Open a session for a node's own probe: with a new token that is never stored, until it is closed."""

    def reopened(registrations: Sequence[Registration]) -> Awaitable[None]:
        """These sessions are open, whatever was said of their tokens: located again, unless another one is."""

    def closed(registrations: Sequence[Registration]) -> Awaitable[None]:
        """Sessions are over. One that has been replaced by a newer epoch stays as it is."""

    def locate(tokens: Sequence[str], owners: Mapping[str, str]) -> Awaitable[Located]:
        """Where tokens are online, and which are not registered at all.

        Args:
            tokens: any.
            owners: token → uid, for tokens that are meant only as that user's: one that is online for another
                user by now counts as offline.
        """

    def online(tokens: Sequence[str]) -> Awaitable[Mapping[str, Registration]]:
        """The sessions of those of these tokens that are online, as they are after this call was made."""

    def tokens_of(uids: Sequence[str]) -> Awaitable[Mapping[str, tuple[str, ...]]]:
        """The registered tokens of users; users without any are left out."""

    def tagged(query: TagQuery, after: str, limit: int) -> Awaitable[Sequence[str]]:
        """The next `limit` tokens that match, in the order of tokens, greater than `after` ("" to begin)."""

    def describe(token: str) -> Awaitable[TokenInfo | None]:
        """All that is known of a token, None if it is not registered."""

    def revoke(token: str) -> Awaitable[bool]:
        """Forget a token and what came with it. Its session must be kicked besides.

        A client that still has the token can register it again, unless authentication keeps it from that.

        Returns:
            Whether it was registered.
        """


class IAuthenticator(Interface):
    """Decides who a client is."""

    required: bool = Attribute("Whether clients must show a credential.")

    def identify(credential: str | None) -> Identity:
        """Who a credential proves that a client is, and for how long; nobody in particular where none is required.

        Raises:
            Unauthenticated: it is missing though required, malformed, expired or not signed by us.
        """


class ITokenStore(Interface):
    """Tokens on disk. What a returned awaitable promises has been committed."""

    def register(
        token: str, uid: str | None, device: str | None, tags: tuple[str, ...] | None, now_ms: int, *, owner_only: bool
    ) -> Awaitable[TokenInfo]:
        """Create a token or update it; None keeps what is stored.

        Args:
            token: well-formed.
            uid: its user.
            device: JSON text.
            tags: replaces all its tags.
            now_ms: milliseconds since 1970, for a new token.
            owner_only: refuse to touch a token that is stored with another uid, or with none.

        Returns:
            What is stored now.

        Raises:
            PermissionDenied: owner_only forbids it.
            Unavailable: nothing was stored: the disk, or the limit on tokens. From a store elsewhere, it may be stored
                where no answer came.
        """

    def known(tokens: Sequence[str]) -> Awaitable[frozenset[str]]:
        """Which of these are registered."""

    def get(token: str) -> Awaitable[TokenInfo | None]:
        """One token, without its session."""

    def tokens_of(uids: Sequence[str]) -> Awaitable[Mapping[str, tuple[str, ...]]]:
        """The tokens of users, oldest first; users without any are left out."""

    def tagged(query: TagQuery, after: str, limit: int) -> Awaitable[Sequence[str]]:
        """The next tokens that match, in the order of tokens."""

    def delete(token: str) -> Awaitable[bool]:
        """Forget a token. Returns whether it was there."""

    def count() -> int:
        """How many tokens are registered."""
