"""A connector in memory, and clients of it that speak the framed protocol."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.task import Clock

from push.icache import ICache
from push.ipush import IWireProtocol
from push.isubscribe import IAuthenticator
from push.protocols.framed import FramedWireProtocol
from push.protocols.wire.answers import NodeAddress
from push.services.connector import Connector
from push.services.subscribe import Subscribe
from push.testing import connections
from push.testing.connections import ADDRESS, LIMITS, Transport
from push.testing.dialects import FramedDialect
from push.testing.tokens import MemoryTokenStore
from tests.fakes_cache import MemoryCache

__all__ = ["ADDRESS", "LIMITS", "Client", "Transport", "make_connector"]


class Client(connections.Client):
    """What one client sends and gets.

    Args:
        connector: whose client it is.
        clock: the connector's.
        host: where it connects from.
        wire: what the connector takes it to speak, if that is not the framed protocol.
    """

    def __init__(
        self, connector: Connector, clock: Clock, host: str = "127.0.0.1", wire: IWireProtocol | None = None
    ) -> None:
        super().__init__(connector, clock, wire=wire or FramedWireProtocol(), dialect=FramedDialect(), host=host)


def make_connector(
    clock: Clock,
    cache: ICache | None = None,
    elsewhere: Callable[[str | None], Sequence[NodeAddress]] = lambda protocol: (),
    authenticator: IAuthenticator | None = None,
    **limits: Any,
) -> tuple[Connector, Subscribe, MemoryTokenStore]:
    """A connector over a store in memory, and a cache of its own if none is given."""
    return connections.make_connector(
        clock, cache or MemoryCache(), elsewhere=elsewhere, authenticator=authenticator, **limits
    )
