"""The table of one connector's connections: who is here, with which token, and who may still come.

Plain bookkeeping in memory: no timers, no awaiting, no transports. Must not import adapters, stores or web.
"""

from collections.abc import Iterator

from push.ipush import IConnection
from push.model import ConnectionLimits, Registration
from push.protocols.wire.messages import RETRY_BACKOFF, Disconnect
from push.protocols.wire.signals import CloseCode

# Connections over a limit are kept just long enough to be told so, and no more than this many at once.
MAX_UNWELCOME = 256
_RETRY_AFTER_S = 30.0
# More sessions than are being opened at once.
MAX_OVERTAKEN = 10_000
FULL = Disconnect(
    CloseCode.OVERLOAD, "this connector has no room for another connection", RETRY_BACKOFF, _RETRY_AFTER_S
)
REPLACED = Disconnect(CloseCode.REPLACED, "another connection opened a session with this token")
_CROWD = Disconnect(CloseCode.OVERLOAD, "too many connections from this address", RETRY_BACKOFF, _RETRY_AFTER_S)


class Overtaken:
    """Sessions that are said to have been replaced before the answer to their opening came."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}

    def note(self, registration: Registration) -> None:
        """This one is over, and all before it."""
        self._epochs[registration.token] = max(registration.epoch, self._epochs.pop(registration.token, 0))
        if len(self._epochs) > MAX_OVERTAKEN:
            del self._epochs[next(iter(self._epochs))]

    def has(self, registration: Registration) -> bool:
        """Whether this one is over."""
        return self._epochs.get(registration.token, -1) >= registration.epoch


class Connections:
    """All connections of a connector. Each is in one table, as a place in a second one is 30 to 50 bytes of a session.

    Attributes:
        by_token: token → the connection that has its session.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        # Those that have no session yet, or no longer; in the order in which they came, or lost it.
        self._without: dict[IConnection, None] = {}
        self._unwelcome: set[IConnection] = set()
        # Have sessions, but are none of our clients: bound, and never added.
        self._apart: set[IConnection] = set()
        self._by_address: dict[str, int] = {}
        self.by_token: dict[str, IConnection] = {}

    def __len__(self) -> int:
        """How many connections there are, the unwelcome ones included."""
        return self.sessions + len(self._without) + len(self._unwelcome)

    def __iter__(self) -> Iterator[IConnection]:
        """Every connection, in a snapshot that later changes do not disturb."""
        return iter([*self.with_session(), *self._without, *self._unwelcome])

    @property
    def sessions(self) -> int:
        """How many connections have a session."""
        return len(self.by_token) - len(self._apart)

    def with_session(self) -> list[IConnection]:
        """A snapshot of the connections that have a session."""
        connections = list(self.by_token.values())
        for connection in self._apart:
            connections.remove(connection)
        return connections

    def add(self, connection: IConnection) -> Disconnect | None:
        """Take in a new connection.

        Returns:
            None, or why it is over a limit. Over MAX_UNWELCOME such it is aborted here and now.
        """
        limits = self._limits
        address = connection.peer_host
        here = self._by_address.get(address, 0)
        if len(self.by_token) - len(self._apart) + len(self._without) >= limits.max_connections:
            refusal = FULL
        elif here >= limits.max_connections_per_address:
            refusal = _CROWD
        else:
            self._without[connection] = None
            self._by_address[address] = here + 1
            return None
        if len(self._unwelcome) >= MAX_UNWELCOME:
            connection.abort()
        else:
            self._unwelcome.add(connection)
        return refusal

    def bind(self, connection: IConnection, token: str) -> IConnection | None:
        """Give a token's session to a connection.

        Returns:
            The other connection that had it, now without.
        """
        previous = self.by_token.get(token)
        if previous is connection:
            return None
        self.by_token[token] = connection
        if self._without.pop(connection, self) is self:
            self._apart.add(connection)
        if previous is not None:
            self._has_none(previous)
        return previous

    def unbind(self, connection: IConnection) -> Registration | None:
        """Take the session away from a connection.

        Returns:
            What it was registered as, None where it had no session or it is another's by now.
        """
        registration = connection.registration
        if registration is None or self.by_token.get(registration.token) is not connection:
            return None
        del self.by_token[registration.token]
        self._has_none(connection)
        return registration

    def remove(self, connection: IConnection) -> bool:
        """Forget a connection whose session has been taken away.

        Returns:
            Whether it was known.
        """
        if connection in self._unwelcome:
            self._unwelcome.discard(connection)
            return True
        if self._without.pop(connection, self) is self:
            return False
        address = connection.peer_host
        here = self._by_address[address] - 1
        if here:
            self._by_address[address] = here
        else:
            del self._by_address[address]
        return True

    def _has_none(self, connection: IConnection) -> None:
        """Its session has been taken away."""
        if connection in self._apart:
            self._apart.discard(connection)
        else:
            self._without[connection] = None
