"""/healthz and /readyz."""

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from push.ihealth import IReadiness
from push.model_health import Check
from push.web import schemas
from push.web.exchange import ApiRequest
from push.web.routes import Page, Route

# These routes are open to everybody, and a check is real work: all who ask within this time share one.
FRESH_S = 1.0


class HealthRoutes:
    """Says whether the process turns, and whether it can do its work.

    Args:
        readiness: tries.
        clock: tells the time.
    """

    def __init__(self, *, readiness: IReadiness, clock: IReactorTime) -> None:
        self._readiness = readiness
        self._clock = clock
        self._page: Page | None = None
        self._tried_s = 0.0
        self._waiting: list[Deferred[Page]] | None = None

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            Route(
                operation="getHealth",
                methods=("GET",),
                path="/healthz",
                call=self.healthz,
                summary="Always 200 while the process turns.",
                right=None,
                tag="health",
                reply=schemas.AliveReply,
            ),
            Route(
                operation="getReadiness",
                methods=("GET",),
                path="/readyz",
                call=self.readyz,
                summary="Whether this node can do its work now: it sends itself a message and waits for it.",
                right=None,
                tag="health",
                reply=schemas.ReadyReply,
                also=((503, "It cannot; the checks say why."),),
            ),
        )

    async def healthz(self, request: ApiRequest) -> schemas.AliveReply:
        """Answer."""
        return schemas.AliveReply("ok")

    async def readyz(self, request: ApiRequest) -> Page:
        """Answer with a check that is at most FRESH_S old."""
        if self._page is not None and 0 <= self._clock.seconds() - self._tried_s < FRESH_S:
            return self._page
        if self._waiting is not None:
            shared: Deferred[Page] = Deferred()
            self._waiting.append(shared)
            return await shared
        self._waiting = []
        self._page = None
        try:
            self._page = _page(await self._readiness.check())
            self._tried_s = self._clock.seconds()
        except Exception:
            self._share(Failure())
            raise
        self._share(self._page)
        return self._page

    def _share(self, page: Page | Failure) -> None:
        waiting, self._waiting = self._waiting or [], None
        for shared in waiting:
            shared.callback(page)  # a Failure given to callback is raised where it is awaited


def _page(checks: Sequence[Check]) -> Page:
    ready = all(check.ok for check in checks)
    entries = [schemas.CheckEntry(check.name, check.ok, check.detail) for check in checks]
    body = msgspec.json.encode(schemas.ReadyReply(ready, entries))
    return Page(body, status=200 if ready else 503)
