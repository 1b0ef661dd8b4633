"""How a connector leaves: every client is told so and asked to come back at its own time; then the rest is cut.

Must not import adapters, stores or web.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.protocols.wire.messages import RETRY_BACKOFF, Disconnect
from push.protocols.wire.signals import CloseCode
from push.services.connector import Connector
from push.services.turns import Slices

_POLL_S = 0.02
_STRIDE = 64

_log = Logger()


async def depart(
    connector: Connector,
    *,
    clock: IReactorTime,
    timeout_s: float,
    spread_s: float,
    fraction: Callable[[], float],
) -> None:
    """Close every connection in order.

    Args:
        connector: whose listeners are closed already.
        clock: for the deadline.
        timeout_s: how long queued messages may take to be written and clients to hang up.
        spread_s: over how long clients are asked to spread their return.
        fraction: random numbers in [0, 1).
    """
    deadline_s = clock.seconds() + timeout_s
    slices = Slices(clock)
    connector.leave(deadline_s)
    end_s = slices.start()
    told = 0
    for connection in connector.connections:
        retry_after_s = round(fraction() * spread_s, 3)
        connection.disconnect(Disconnect(CloseCode.SHUTDOWN, "the server is stopping", RETRY_BACKOFF, retry_after_s))
        told += 1
        if not told % _STRIDE and slices.is_over(end_s):
            await slices.turn()
            end_s = slices.start()
    while len(connector.connections) and clock.seconds() < deadline_s:
        await slices.pause(_POLL_S)
    cut = list(connector.connections)
    for connection in cut:
        connection.abort()
    while len(connector.connections) and clock.seconds() < deadline_s + 1:
        await slices.pause(_POLL_S)
    await connector.tasks.settled()
    _log.info("told {told} clients to come back later, cut {cut} that did not hang up", told=told, cut=len(cut))
