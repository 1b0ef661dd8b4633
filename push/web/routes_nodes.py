"""Which connectors there are, how they are, and emptying them."""

import msgspec
from twisted.internet.interfaces import IReactorTime

from push.errors import InvalidRequest, NotFound, NowhereElse, Unavailable
from push.inodes import IDraining, INodes
from push.model_cluster import Node
from push.web import schemas
from push.web.auth import RIGHT_MANAGE, RIGHT_READ
from push.web.decoding import check_nothing, decode
from push.web.exchange import ApiRequest
from push.web.headings import Heading
from push.web.routes import Parameter, Route
from push.web.waiting import answers

_route = Heading("nodes", RIGHT_MANAGE, ()).route
_NODE = Parameter("node", "path", "A connector's name, or the address that several share.", example="10.0.0.1:6789")
_ORDER = msgspec.json.Decoder(schemas.DrainOrder)


async def reachable(nodes: INodes, clock: IReactorTime) -> tuple[list[Node], list[str]]:
    """Ask every connector how it is.

    Returns:
        Those that answered, by address; and the addresses of those that did not.
    """
    connectors = sorted(nodes.connectors().items())
    asked = await answers(clock, [connector.node() for _, connector in connectors])
    found = [node for node in asked if isinstance(node, Node)]
    missing = [address for (address, _), node in zip(connectors, asked, strict=True) if not isinstance(node, Node)]
    return found, missing


class NodeRoutes:
    """/v1/nodes.

    Args:
        nodes: the connectors.
        draining: empties them.
        clock: bounds the waiting for them.
    """

    def __init__(self, *, nodes: INodes, draining: IDraining, clock: IReactorTime) -> None:
        self._nodes = nodes
        self._draining = draining
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        one = "/v1/nodes/{node}"
        return (
            _route(
                "listNodes", "GET", "/v1/nodes", self.list_nodes, "The connectors, and how they are.",
                schemas.NodesReply, right=RIGHT_READ,
            ),
            _route(
                "drainNode", "POST", one + ":drain", self.drain,
                "Let a connector take no new sessions, and send those it has to others; or end that.",
                schemas.DrainReply, NotFound, NowhereElse, Unavailable, parameters=(_NODE,), body=schemas.DrainOrder,
                example={"sessions_per_s": 500},
            ),
            _route(
                "undrainNode", "POST", one + ":undrain", self.undrain,
                "Let a connector take sessions again; those that it still has stay.", schemas.DrainReply,
                InvalidRequest, NotFound, Unavailable, parameters=(_NODE,),
            ),
        )  # fmt: skip

    async def drain(self, request: ApiRequest, node: str) -> schemas.DrainReply:
        """Begin to empty a connector, or end that; an empty body says to begin at the usual rate."""
        body = request.body()
        order = decode(_ORDER, body) if body else schemas.DrainOrder()
        return await self._drain(node, order.sessions_per_s if order.drain else None)

    async def undrain(self, request: ApiRequest, node: str) -> schemas.DrainReply:
        """Let a connector take sessions again."""
        check_nothing(request.body())
        return await self._drain(node, None)

    async def _drain(self, name: str, sessions_per_s: float | None) -> schemas.DrainReply:
        nodes = await self._draining.drain(name, sessions_per_s)
        return schemas.DrainReply([_entry(node) for node in nodes])

    async def list_nodes(self, request: ApiRequest) -> schemas.NodesReply:
        """List the connectors."""
        return await self.listed()

    async def listed(self) -> schemas.NodesReply:
        """All of them, as they are now."""
        found, missing = await reachable(self._nodes, self._clock)
        return schemas.NodesReply(
            nodes=[_entry(node) for node in found],
            unreachable=missing,
        )


def _entry(node: Node) -> schemas.NodeEntry:
    return schemas.NodeEntry(
        address=node.public_address,
        name=node.address,
        connections=node.connections,
        sessions=node.sessions,
        max_connections=node.max_connections,
        started=node.started_ms,
        draining=node.draining,
        version=node.version,
        places=dict(node.places),
    )
