"""Puts the HTTP API together. Importing this imports klein, and that installs the reactor."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.igroup import GroupSide
from push.ihealth import IMeasured, IReadiness
from push.inodes import IAllocation, IDraining, INodes
from push.ipush import IRouter
from push.ireceipts import IMessages
from push.isubscribe import ISubscribe
from push.iupgrade import IUpgrade
from push.web.api_site import ApiSite
from push.web.auth import Admission
from push.web.health import HealthRoutes
from push.web.legacy import LegacyRoutes
from push.web.legacy_groups import LegacyGroupRoutes
from push.web.limits import RequestRates
from push.web.measure import RequestMeasure
from push.web.metrics import MetricRoutes
from push.web.openapi import DocRoutes
from push.web.pages import page_routes
from push.web.requests import MessageReader
from push.web.routes import Api, Route
from push.web.routes_allocation import AllocationRoutes
from push.web.routes_conversations import ConversationRoutes
from push.web.routes_groups import GroupRoutes
from push.web.routes_messages import MessageRoutes
from push.web.routes_nodes import NodeRoutes
from push.web.routes_receipts import ReceiptRoutes
from push.web.routes_tokens import TokenRoutes
from push.web.routes_watch import WatchRoutes
from push.web.settings import ApiSettings
from push.web.upgrades import Upgrades


def build_site(
    *,
    router: IRouter,
    subscribe: ISubscribe,
    nodes: INodes,
    allocation: IAllocation,
    draining: IDraining,
    messages: IMessages,
    readiness: IReadiness,
    measured: Sequence[IMeasured],
    others: Sequence[IMeasured] = (),
    settings: ApiSettings,
    group: GroupSide | None = None,
    clock: IReactorTime,
    now_ms: Callable[[], int],
    random_bytes: Callable[[int], bytes] = os.urandom,
    upgrades: Mapping[str, IUpgrade] | None = None,
) -> ApiSite:
    """Build the HTTP API, ready to be listened with.

    Args:
        router: takes the messages.
        subscribe: knows the tokens.
        nodes: the connectors.
        allocation: chooses one for a client.
        draining: empties them.
        messages: knows what was accepted.
        readiness: tries whether this node works.
        measured: whose numbers /metrics and /v1/stats show; those of the API itself are added.
        others: numbers that other nodes have told.
        settings: keys and limits.
        group: the group role, if there is one.
        clock: the reactor, or what stands for it.
        now_ms: milliseconds since 1970.
        random_bytes: makes ids of requests unlike those of other processes.
        upgrades: path → the protocol that a connection can change to there.

    Returns:
        The factory of its connections.
    """
    measure = RequestMeasure()
    rates = RequestRates(clock=clock, requests_per_s=settings.requests_per_s, burst=settings.burst)
    admission = Admission(settings.keys, rates)
    reader = MessageReader(settings, now_ms=now_ms)
    docs = DocRoutes()
    node_routes = NodeRoutes(nodes=nodes, draining=draining, clock=clock)
    routes: tuple[Route, ...] = (
        *MessageRoutes(router=router, reader=reader, clock=clock, settings=settings).routes(),
        *ReceiptRoutes(messages).routes(),
        *TokenRoutes(subscribe=subscribe, nodes=nodes, messages=messages, clock=clock).routes(),
        *node_routes.routes(),
        *WatchRoutes(
            router=router,
            subscribe=subscribe,
            nodes=node_routes,
            measured=(*measured, measure),
            others=others,
            clock=clock,
            now_ms=now_ms,
            max_payload_bytes=settings.max_payload_bytes,
        ).routes(),
        *AllocationRoutes(allocation=allocation, rates=_allocation_rates(settings, clock)).routes(),
        *MetricRoutes(clock=clock, settings=settings, measured=(*measured, measure), others=others).routes(),
        *HealthRoutes(readiness=readiness, clock=clock).routes(),
        *_group_routes(group, settings),
        *docs.routes(),
        *page_routes(),
        *LegacyRoutes(router=router, subscribe=subscribe, nodes=nodes, reader=reader, clock=clock).routes(),
    )
    docs.describe(routes, settings.version)
    api = Api(clock=clock, admission=admission, measure=measure)

    def refused(error: PushError) -> None:
        measure.answered("none", error.status, 0.0)

    return ApiSite(
        api.klein(routes).resource(),
        fixed=api.fixed(routes) | Upgrades(upgrades or {}, measure).fixed(),
        streams=api.streams(routes),
        clock=clock,
        settings=settings,
        admission=admission,
        new_request_id=_request_ids(random_bytes(6).hex()).__next__,
        refused=refused,
        measure=measure,
    )


def build_health_site(
    *, readiness: IReadiness, measured: Sequence[IMeasured], settings: ApiSettings, clock: IReactorTime
) -> ApiSite:
    """Build what says only how a node is: /healthz, /readyz, /metrics and /v1/stats.

    Args:
        readiness: tries whether this node works.
        measured: whose numbers are shown.
        settings: keys and limits.
        clock: the reactor, or what stands for it.

    Returns:
        The factory of its connections.
    """
    measure = RequestMeasure()
    rates = RequestRates(clock=clock, requests_per_s=settings.requests_per_s, burst=settings.burst)
    admission = Admission(settings.keys, rates)
    routes: tuple[Route, ...] = (
        *MetricRoutes(clock=clock, settings=settings, measured=measured).routes(),
        *HealthRoutes(readiness=readiness, clock=clock).routes(),
    )
    api = Api(clock=clock, admission=admission, measure=measure)
    return ApiSite(
        api.klein(routes).resource(),
        fixed=api.fixed(routes),
        streams={},
        clock=clock,
        settings=settings,
        admission=admission,
        new_request_id=_request_ids(os.urandom(6).hex()).__next__,
        refused=lambda error: None,
        measure=measure,
    )


def _allocation_rates(settings: ApiSettings, clock: IReactorTime) -> RequestRates:
    per_s = settings.allocate_per_s
    return RequestRates(clock=clock, requests_per_s=per_s, burst=max(1, int(per_s)))


def _group_routes(group: GroupSide | None, settings: ApiSettings) -> tuple[Route, ...]:
    if group is None:
        return ()
    return (
        *GroupRoutes(group).routes(),
        *ConversationRoutes(group).routes(),
        *LegacyGroupRoutes(group, max_payload_bytes=settings.max_payload_bytes).routes(),
    )


def _request_ids(process: str) -> Iterator[str]:
    """Ids that no other process makes, without asking for randomness for each."""
    return (f"{process}-{number:x}" for number in count(1))
