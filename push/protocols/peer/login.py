"""Who may be a peer: nodes log in through cred, with a secret that was given to each of them for one login.

What Perspective Broker would otherwise accept, pickled instances, classes, functions, is refused. Must not import
services, stores or web.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.spread import jelly, pb
from zope.interface import Interface, implementer

from push.protocols.peer.errors import NotAdmitted

# A connection that has not been greeted by then is cut.
LOGIN_LIMIT_S = 10.0
# Of connections that have not logged in.
MAX_STRANGERS = 64
_SECRET_BYTES = 32
# "host:port" of a name in the DNS (RFC 1035, 2.3.4), or an address.
MAX_NAME_CHARS = 264


def security() -> jelly.SecurityOptions:
    """What may be in a call: numbers, text, bytes, tuples and lists of them, references, failures."""
    options = jelly.SecurityOptions()
    options.allowTypes("list", "tuple", "dictionary", "remote", "local", "reference", "dereference")
    options.allowTypes("twisted.spread.pb.CopyableFailure")
    return options


@implementer(ICredentialsChecker)
class OneTimeSecrets:
    """Secrets by name, each good for one login.

    Args:
        random_text: makes a secret; unpredictable.
    """

    credentialInterfaces = (IUsernameHashedPassword,)

    def __init__(self, random_text: Callable[[], str] = lambda: secrets.token_hex(_SECRET_BYTES)) -> None:
        self._random_text = random_text
        self._secrets: dict[str, bytes] = {}

    def issue(self, name: str) -> str:
        """Make the secret with which somebody of this name may log in, once; an earlier one is void."""
        secret = self._random_text()
        self._secrets[name] = secret.encode()
        return secret

    def revoke(self, name: str) -> None:
        """Let nobody log in with this name."""
        self._secrets.pop(name, None)

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        """See ICredentialsChecker."""
        name = credentials.username
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        secret = self._secrets.get(name) if isinstance(name, str) else None
        if secret is None or not credentials.checkPassword(secret):
            return fail(NotAdmitted("no such node, or not its secret"))
        del self._secrets[name]
        return succeed(name.encode())


@implementer(ICredentialsChecker)
class SharedSecrets:
    """One secret for all nodes of a cluster, and another one while it is being changed; by whatever name they go.

    Args:
        secrets: any of which will do.
    """

    credentialInterfaces = (IUsernameHashedPassword,)

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def requestAvatarId(self, credentials: Any) -> "Deferred[bytes | tuple[()]]":
        """See ICredentialsChecker."""
        name = credentials.username
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
            return fail(NotAdmitted(f"a node has a name of up to {MAX_NAME_CHARS} characters"))
        if not any(credentials.checkPassword(secret) for secret in self._secrets):
            return fail(NotAdmitted("the secret is not that of this cluster"))
        return succeed(name.encode())


@implementer(IRealm)
class Realm:
    """Gives each node that logs in an avatar.

    Args:
        avatar: builds one, for a name and what can be called on the node; it has a method `lost`.
    """

    def __init__(self, avatar: "Callable[[str, pb.RemoteReference], Any]") -> None:
        self._avatar = avatar

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], Any, Callable[[], None]]:
        """See IRealm."""
        is_node = isinstance(avatarId, bytes) and isinstance(mind, pb.RemoteReference)
        if pb.IPerspective not in interfaces or not is_node:
            raise LoginFailed("a node must log in through Perspective Broker, with what can be called on it")
        avatar = self._avatar(avatarId.decode(), mind)  # type: ignore[union-attr,arg-type]
        return pb.IPerspective, avatar, avatar.lost


class _Stranger(pb.Broker):
    """A connection that is cut unless it has logged in and greeted in time."""

    factory: "PeerServerFactory"  # type: ignore[assignment]  # Broker says None
    transport: Any
    _too_late: IDelayedCall | None = None

    def connectionMade(self) -> None:
        factory = self.factory
        self._too_late = factory.clock.callLater(LOGIN_LIMIT_S, self.transport.abortConnection)
        factory.strangers.add(self)
        super().connectionMade()
        if len(factory.strangers) > MAX_STRANGERS:
            self.transport.abortConnection()

    def is_known(self) -> None:
        """It has greeted."""
        self.factory.strangers.discard(self)
        too_late, self._too_late = self._too_late, None
        if too_late is not None and too_late.active():
            too_late.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_known()
        super().connectionLost(reason)


class PeerServerFactory(pb.PBServerFactory):
    """Accepts nodes.

    Args:
        realm: gives them their avatars.
        checker: says who they are.
        clock: for the limit on logging in.
    """

    protocol = _Stranger
    noisy = False

    def __init__(self, realm: IRealm, checker: ICredentialsChecker, *, clock: IReactorTime) -> None:
        super().__init__(Portal(realm, [checker]), security=security())
        self.clock = clock
        self.strangers: set[_Stranger] = set()


class PeerClientFactory(pb.PBClientFactory):
    """Connects to a node."""

    noisy = False

    def __init__(self) -> None:
        super().__init__(security=security())
