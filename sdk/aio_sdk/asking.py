"""Asking where to connect, over asyncio's streams."""

import ssl

from aio_sdk.line import Line
from aio_sdk.settings import Surroundings
from aio_sdk.waiting import expire, first
from push.protocols.wire.answers import NodeAddress
from push_client.allocation import Allocation, AllocationAnswer


async def allocated(
    allocation: Allocation, *, tls: ssl.SSLContext | None, timeout_s: float, surroundings: Surroundings
) -> tuple[NodeAddress, ...]:
    """Ask for nodes.

    Args:
        allocation: whom to ask.
        tls: for https.
        timeout_s: for all of it.
        surroundings: clock and connections.

    Returns:
        The nodes, the best first.

    Raises:
        OSError: there is no answer, or none that names a node.
        UnicodeError: the host cannot be a name in DNS.
    """
    return await first(
        _exchanged(allocation, tls, surroundings), expire(surroundings.clock, timeout_s, "no answer in time")
    )


async def _exchanged(
    allocation: Allocation, tls: ssl.SSLContext | None, surroundings: Surroundings
) -> tuple[NodeAddress, ...]:
    connected = surroundings.connect(allocation.host, allocation.port, ssl=tls if allocation.tls else None)
    line = Line(await connected, surroundings.clock)
    try:
        line.write(allocation.request())
        answer = AllocationAnswer()
        while data := await line.read():
            if answer.feed(data):
                break
        return answer.nodes()
    finally:
        await line.close(0.0)
