"""Emptying connectors on request: which are meant, whether their sessions can go elsewhere, and telling them.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import NotFound, NowhereElse, PushError, Unavailable
from push.inodes import IDraining, INodes, IPlaces
from push.ipush import IConnector
from push.model_cluster import Node

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
            await self._check_elsewhere(chosen)
            sessions_per_s /= len(chosen)
        found = await self._answers([_drain(each, sessions_per_s) for each in chosen])
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

    async def _check_elsewhere(self, chosen: Sequence[IConnector]) -> None:
        """What is known of others may be some seconds old: somebody may have begun to drain them a moment ago."""
        here = {connector.address.partition("#")[0] for connector in chosen}
        known = [each for each in self._places.known() if _is_welcoming(each) and each.public_address not in here]
        connectors = self._nodes.connectors()
        if not all(node.address in connectors for node in known):
            return  # this node cannot ask all of them
        if any(map(_is_welcoming, await self._answers([connectors[node.address].node() for node in known]))):
            return
        raise NowhereElse(
            "no connector at another address takes sessions: start one, or undrain one, and then drain this one"
        )

    async def _answers(self, asked: Sequence[Awaitable[Node]]) -> list[Node]:
        """What those say that answer in time."""
        answers = [Deferred.fromCoroutine(_awaited(each)) for each in asked]
        for answer in answers:
            answer.addTimeout(TIMEOUT_S, self._clock)
        found: list[Node] = []
        for answer in answers:
            try:
                found.append(await answer)
            except (PushError, TimeoutError):
                continue
        return found


def _is_welcoming(node: Node) -> bool:
    return not node.draining and node.connections < node.max_connections


async def _awaited(answer: Awaitable[Node]) -> Node:
    return await answer


async def _drain(connector: IConnector, sessions_per_s: float | None) -> Node:
    await connector.drain(sessions_per_s)
    return await connector.node()
