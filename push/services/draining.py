"""Emptying connectors on request: which are meant, whether their sessions can go elsewhere, and telling them.

Must not import adapters, stores or web.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import NotFound, NowhereElse, PushError, Unavailable
from push.ipush import IConnector, IDraining, INodes, IPlaces
from push.model import Node

TIMEOUT_S = 5.0


@implementer(IDraining)
class Draining:
    """Drains the connectors that this node can call.

    Args:
        nodes: which there are.
        places: how all of them are.
        clock: bounds the waiting for them.
    """

    def __init__(self, *, nodes: INodes, places: IPlaces, clock: IReactorTime) -> None:
        self._nodes = nodes
        self._places = places
        self._clock = clock

    async def drain(self, name: str, sessions_per_s: float | None) -> Sequence[Node]:
        """See IDraining."""
        chosen = self._chosen(name)
        if sessions_per_s is not None:
            self._check_elsewhere(chosen)
            sessions_per_s /= len(chosen)
        asked = [Deferred.fromCoroutine(_drain(each, sessions_per_s)) for each in chosen]
        for answer in asked:
            answer.addTimeout(TIMEOUT_S, self._clock)
        found: list[Node] = []
        for answer in asked:
            try:
                found.append(await answer)
            except (PushError, TimeoutError):
                continue
        if len(found) < len(chosen):
            raise Unavailable(f"{len(chosen) - len(found)} of {len(chosen)} connectors did not answer", retry_after_s=1)
        return found

    def _chosen(self, name: str) -> Sequence[IConnector]:
        connectors = self._nodes.connectors()
        if name in connectors:
            return [connectors[name]]
        chosen = [each for address, each in connectors.items() if address.partition("#")[0] == name]
        if not chosen:
            raise NotFound("no connector has this name: GET /v1/nodes lists those there are")
        return chosen

    def _check_elsewhere(self, chosen: Sequence[IConnector]) -> None:
        here = {connector.address.partition("#")[0] for connector in chosen}
        for node in self._places.known():
            is_welcoming = not node.draining and node.connections < node.max_connections
            if is_welcoming and node.public_address not in here:
                return
        raise NowhereElse(
            "no connector at another address takes sessions: start one, or undrain one, and then drain this one"
        )


async def _drain(connector: IConnector, sessions_per_s: float | None) -> Node:
    await connector.drain(sessions_per_s)
    return await connector.node()
