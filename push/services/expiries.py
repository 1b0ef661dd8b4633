"""Ends sessions whose credentials are over, so that a user who may not come in any more does not stay in for ever.

No timer, and nothing kept for a session but what its Registration says: all are looked at when the first of them is
due. Must not import adapters, stores or web.
"""

from collections.abc import Callable

from push.model import Registration
from push.protocols.wire.messages import RETRY_BACKOFF, Disconnect
from push.protocols.wire.signals import CloseCode
from push.services.connections import Connections

# To look at 100,000 sessions takes some 10 ms: not every second, where they end all the time.
LOOK_INTERVAL_S = 5
# Those that end together come back together.
MAX_AT_ONCE = 1_000
_EXPIRED = Disconnect(
    CloseCode.EXPIRED, "the credential of this session has expired: connect again with a new one", RETRY_BACKOFF
)


class Expiries:
    """Those of one connector.

    Args:
        connections: that have the sessions.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, connections: Connections, now_ms: Callable[[], int]) -> None:
        self._connections = connections
        self._now_ms = now_ms
        # No session is to be ended before this; 0: none is to be at all.
        self._next_s = 0

    def note(self, registration: Registration) -> None:
        """A session has begun, or has shown a new credential."""
        expires_s = registration.expires_s
        if expires_s and (not self._next_s or expires_s < self._next_s):
            self._next_s = expires_s

    def sweep(self) -> None:
        """Close sessions that are due; to be called every second or so."""
        now_s = self._now_ms() // 1_000
        if not 0 < self._next_s <= now_s:
            return
        due = []
        next_s = 0
        for connection in self._connections.by_token.values():
            registration = connection.registration
            expires_s = 0 if registration is None else registration.expires_s
            if 0 < expires_s <= now_s:
                due.append(connection)
            elif expires_s and (not next_s or expires_s < next_s):
                next_s = expires_s
        if len(due) > MAX_AT_ONCE:
            self._next_s = now_s
        else:
            self._next_s = next_s and max(next_s, now_s + LOOK_INTERVAL_S)
        for connection in due[:MAX_AT_ONCE]:
            connection.disconnect(_EXPIRED)
