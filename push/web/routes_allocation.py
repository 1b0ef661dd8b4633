"""Where clients may connect. Open to everybody, as clients have no key; each address may ask so often and no more."""

import ipaddress
from functools import lru_cache

import msgspec

from push.errors import InvalidRequest, RateLimited, Unavailable
from push.inodes import IAllocation
from push.model_cluster import FRAMED
from push.protocols.wire.answers import NodeAddress
from push.web import schemas
from push.web.exchange import JSON, ApiRequest
from push.web.group_requests import text_of
from push.web.limits import RequestRates
from push.web.routes import LEGACY, Page, Parameter, Route

RETRY_AFTER_S = 5.0
PROTOCOL = Parameter("protocol", "query", "The wire protocol that the client speaks.", False, FRAMED)
# Whoever has one IPv6 address has this many bits of others (RFC 6177).
_IPV6_PREFIX = 64


@lru_cache(maxsize=1_024)
def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the network that one customer gets of IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> _IPV6_PREFIX << _IPV6_PREFIX, _IPV6_PREFIX)))


class AllocationRoutes:
    """/v1/allocate, and /manager/redirect as the older system's clients ask for it.

    Args:
        allocation: chooses.
        rates: how often each address may ask.
    """

    def __init__(self, *, allocation: IAllocation, rates: RequestRates) -> None:
        self._allocation = allocation
        self._rates = rates

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        failures = (InvalidRequest, RateLimited, Unavailable)
        return (
            Route(
                operation="allocate",
                methods=("GET",),
                path="/v1/allocate",
                call=self.allocate,
                summary="Where a client may connect: a few connectors with room, the best first, others each time.",
                right=None,
                tag="nodes",
                reply=schemas.AllocateReply,
                parameters=(PROTOCOL,),
                failures=failures,
            ),
            Route(
                operation="redirect",
                methods=("GET", "POST"),
                path="/manager/redirect",
                call=self.redirect,
                summary="Where clients may connect, the best first.",
                right=None,
                tag=LEGACY,
                reply=schemas.LegacyNodes,
                parameters=(PROTOCOL,),
                failures=failures,
            ),
        )

    async def allocate(self, request: ApiRequest) -> Page:
        """Name a few connectors; web pages of any site may ask, as their clients do."""
        places = [schemas.Place(node.host, node.port) for node in self._nodes(request)]
        return Page(
            msgspec.json.encode(schemas.AllocateReply(places)), JSON, headers=((b"Access-Control-Allow-Origin", b"*"),)
        )

    async def redirect(self, request: ApiRequest) -> schemas.LegacyNodes:
        """Name a few connectors in the older form."""
        places = [schemas.LegacyAddress(node.host, node.port) for node in self._nodes(request)]
        return schemas.LegacyNodes(200, "success", places)

    def _nodes(self, request: ApiRequest) -> list[NodeAddress]:
        self._rates.take(network_of(request.peer_host))
        protocol = text_of(request, PROTOCOL.name) or FRAMED
        nodes = list(self._allocation.draw(protocol))
        if not nodes:
            raise Unavailable(
                "No connector has room for another client, or none says where clients of this protocol reach it.",
                retry_after_s=RETRY_AFTER_S,
            )
        return nodes
