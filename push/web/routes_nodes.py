"""Which connectors there are, and how they are."""

from twisted.internet.interfaces import IReactorTime

from push.ipush import INodes
from push.model import Node
from push.web import schemas
from push.web.auth import RIGHT_READ
from push.web.exchange import ApiRequest
from push.web.routes import Route
from push.web.waiting import answers


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
        clock: bounds the waiting for them.
    """

    def __init__(self, *, nodes: INodes, clock: IReactorTime) -> None:
        self._nodes = nodes
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            Route(
                operation="listNodes",
                methods=("GET",),
                path="/v1/nodes",
                call=self.list_nodes,
                summary="The connectors, and how they are.",
                right=RIGHT_READ,
                tag="nodes",
                reply=schemas.NodesReply,
            ),
        )

    async def list_nodes(self, request: ApiRequest) -> schemas.NodesReply:
        """List the connectors."""
        found, missing = await reachable(self._nodes, self._clock)
        return schemas.NodesReply(
            nodes=[
                schemas.NodeEntry(
                    address=node.public_address,
                    name=node.address,
                    connections=node.connections,
                    sessions=node.sessions,
                    max_connections=node.max_connections,
                    started=node.started_ms,
                    draining=node.draining,
                    version=node.version,
                )
                for node in found
            ],
            unreachable=missing,
        )
