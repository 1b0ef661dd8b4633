"""How a node joins another one: it connects, logs in, greets.

Must not import services, stores or web.
"""

from collections.abc import Sequence

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.spread import pb

from push import __version__
from push.errors import PushError
from push.protocols.peer.envelopes import CONNECTOR, MAJOR, MINOR, Hello, Reader, Welcome, encode
from push.protocols.peer.errors import LinkLost, from_remote
from push.protocols.peer.link import PULSE_LIMIT_S, Link
from push.protocols.peer.login import LOGIN_LIMIT_S, PeerClientFactory

_WELCOME: Reader[Welcome] = Reader(Welcome)


async def join(
    endpoint: IStreamClientEndpoint,
    *,
    name: str,
    secret: str,
    door: pb.Referenceable,
    clock: IReactorTime,
    limit_s: float = LOGIN_LIMIT_S,
    pulse_limit_s: float = PULSE_LIMIT_S,
    major: int = MAJOR,
    roles: Sequence[str] = (CONNECTOR,),
    peer: str = "the node with the tokens",
) -> Link:
    """Join.

    Args:
        endpoint: of the other node.
        name: of this one.
        secret: for it.
        door: what can be called on this node.
        clock: for the limits.
        limit_s: how long it may take as a whole, in seconds.
        pulse_limit_s: how long the other node may take to show that it is there, in seconds.
        major: the version to claim.
        roles: of this node.
        peer: the other one, in messages.

    Returns:
        The link.

    Raises:
        LinkLost: the node cannot be reached, or did not answer in time.
        PushError: it refused, and why.
    """
    factory = PeerClientFactory()
    hello = Hello(major, MINOR, __version__, tuple(roles))
    joining = Deferred.fromCoroutine(_log_in(endpoint, factory, name, secret, door, hello, peer))
    joining.addTimeout(limit_s, clock)
    try:
        avatar = await joining
    except (TimeoutError, ConnectingCancelledError):  # the second where not even the connection was made
        factory.disconnect()
        raise LinkLost(f"{peer} did not answer within {limit_s:g} s") from None
    return Link(avatar, name=peer, clock=clock, pulse_limit_s=pulse_limit_s)


async def _log_in(
    endpoint: IStreamClientEndpoint,
    factory: PeerClientFactory,
    name: str,
    secret: str,
    door: pb.Referenceable,
    hello: Hello,
    peer: str,
) -> pb.RemoteReference:
    try:
        await endpoint.connect(factory)
        avatar: pb.RemoteReference = await factory.login(UsernamePassword(name.encode(), secret.encode()), door)
        welcome = _WELCOME.read(await avatar.callRemote("hello", encode(hello)))
    except pb.RemoteError as error:
        factory.disconnect()
        kind = error.remoteType
        raise from_remote(kind.decode() if isinstance(kind, bytes) else str(kind), str(error)) from None
    except (ConnectError, pb.PBConnectionLost, pb.DeadReferenceError) as error:
        raise LinkLost(f"{peer} cannot be reached: {error}") from None
    if welcome.major != MAJOR:
        factory.disconnect()
        raise PushError(f"{peer} speaks version {welcome.major} between nodes, this one {MAJOR}")
    return avatar
