"""What a route is, and the one place that turns routes into Klein's.

A route is a few lines: it takes a request that has been let in and returns a value of push.web.schemas, bytes of
JSON, or a Page. Rights, errors, encoding, headers and measuring are done here, once for all of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod
from werkzeug.routing import BaseConverter

from push.errors import NotFound, PushError
from push.unattended import run
from push.web import errors
from push.web.auth import Admission
from push.web.exchange import JSON, ApiRequest, BodyStream
from push.web.measure import RequestMeasure

LEGACY = "older paths"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the path or the query.

    Attributes:
        name: as it is spelt in the path template, the query or the headers.
        where: "path", "query" or "header".
        description: one sentence.
        required: whether it must be there.
        example: a value.
    """

    name: str
    where: str
    description: str
    required: bool = True
    example: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is not just JSON with status 200."""

    body: bytes
    content_type: bytes = JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class BeginStream(Protocol):
    """Takes a request whose head has come and whose sender is admitted."""

    def __call__(
        self, request: ApiRequest, *, count: Callable[[], None], answered: Callable[[int], None]
    ) -> BodyStream:
        """Make what reads its body.

        Args:
            request: the request.
            count: counts a further request of this sender; raises RateLimited.
            answered: to be told the status in the end.
        """


@dataclass(frozen=True, slots=True)
class Lines:
    """NDJSON, answered by NDJSON.

    Attributes:
        begin: makes what reads it.
        line: the type of a line of the body.
        reply: the type of a line of the answer that is not an error.
    """

    begin: BeginStream
    line: Any
    reply: Any


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API: what Klein serves and what /openapi.json says.

    Attributes:
        operation: its name, unique.
        methods: HTTP methods; HEAD comes with GET.
        path: with {name} where a parameter is. {uid} may hold slashes, {node} colons; others end before
            either.
        call: takes the request and the parameters of the path.
        summary: one sentence.
        right: what a key must allow; None for a route open to everybody.
        tag: the heading that it is shown under.
        body: the type of its JSON body.
        reply: the type of its JSON answer.
        media: the content type of its answer.
        also: further statuses that are answers and not failures, with what they mean.
        failures: what it may answer besides the failures common to all.
        parameters: of path, query and headers.
        example: a request body that works.
        lines: how it takes NDJSON besides, if it does.
    """

    operation: str
    methods: tuple[str, ...]
    path: str
    call: Callable[..., Awaitable[object]]
    summary: str
    right: str | None
    tag: str
    body: Any = None
    reply: Any = None
    media: str = "application/json"
    also: tuple[tuple[int, str], ...] = ()
    failures: tuple[type[PushError], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    example: Any = None
    lines: Lines | None = None

    @property
    def is_legacy(self) -> bool:
        """Whether it is one of the older paths, which say failures in their own way."""
        return self.tag == LEGACY


class _NameConverter(BaseConverter):
    """A name up to the next slash or colon, so that /v1/tokens/{token} does not match {token}:kick."""

    regex = "[^/:]+"


class _UidConverter(BaseConverter):
    """A user, who may have slashes in the name."""

    # Line feeds, too: that there is no such user is for the route to say.
    regex = "(?s:.+)"
    part_isolating = False


class _NodeConverter(BaseConverter):
    """A connector, whose name has colons; what is done to it comes behind the last one."""

    regex = "[^/]+"


def klein_path(path: str) -> str:
    """The path template in werkzeug's spelling."""
    return path.replace("{uid}", "<uid:uid>").replace("{node}", "<node:node>").replace("{", "<name:").replace("}", ">")


class Api:
    """Serves routes.

    Args:
        clock: tells the time, for measuring.
        admission: lets requests in.
        measure: counts them.
    """

    _log = Logger()

    def __init__(self, *, clock: IReactorTime, admission: Admission, measure: RequestMeasure) -> None:
        self._clock = clock
        self._admission = admission
        self._measure = measure

    def klein(self, routes: Sequence[Route]) -> Klein:
        """The Klein application of these routes."""
        app = Klein()
        app.url_map.converters.update(name=_NameConverter, uid=_UidConverter, node=_NodeConverter)
        # Every path has one spelling: werkzeug would answer others with redirects to a host that it was told.
        app.url_map.merge_slashes = False
        for route in routes:
            app.route(klein_path(route.path), methods=route.methods, endpoint=route.operation)(self._serve(route))
        no_route: Any = self._no_route  # klein's types want an IRequest
        app.handle_errors(HTTPException)(no_route)
        return app

    def fixed(self, routes: Sequence[Route]) -> dict[tuple[bytes, bytes], Callable[[ApiRequest], None]]:
        """The same routes, as far as their paths have no parameters: (method, path) → what serves it.

        Klein and werkzeug take about as long to find a route as all else takes together (measured 2026-11-23).
        """
        return {
            (method.encode(), route.path.encode()): self._serve_fixed(route)
            for route in routes
            if "{" not in route.path
            for method in route.methods
        }

    def _serve_fixed(self, route: Route) -> Callable[[ApiRequest], None]:
        async def answer(request: ApiRequest) -> None:
            await self._answer(route, request, {})
            request.done()

        def serve(request: ApiRequest) -> None:
            run(answer(request), request.unexpected)

        return serve

    def streams(self, routes: Sequence[Route]) -> dict[tuple[bytes, bytes], Callable[[ApiRequest], BodyStream]]:
        """What reads bodies of lines, by (method, path)."""
        return {
            (method.encode(), route.path.encode()): self._begin(route, route.lines)
            for route in routes
            if route.lines is not None
            for method in route.methods
        }

    def _begin(self, route: Route, lines: Lines) -> Callable[[ApiRequest], BodyStream]:
        def begin(request: ApiRequest) -> BodyStream:
            begun_s = self._clock.seconds()
            caller = self._admission.admit(request, route.right)

            def answered(status: int) -> None:
                self._measure.answered(route.path, status, self._clock.seconds() - begun_s)

            return lines.begin(request, count=lambda: self._admission.count(caller), answered=answered)

        return begin

    def _serve(self, route: Route) -> Callable[..., "Deferred[None]"]:
        def serve(request: ApiRequest, **path: str) -> "Deferred[None]":
            answer: Deferred[None] = Deferred.fromCoroutine(self._answer(route, request, path))
            # Klein cancels what it was given when the client goes away; what has been begun is finished all the same.
            shown: Deferred[None] = Deferred()
            answer.addBoth(shown.callback)
            return shown

        return serve

    async def _answer(self, route: Route, request: ApiRequest, path: dict[str, str]) -> None:
        begun_s = self._clock.seconds()
        try:
            self._admission.admit(request, route.right)
            reply = await route.call(request, **path)
            if type(reply) is Page:
                request.setResponseCode(reply.status)
                request.answer(reply.body, reply.content_type, reply.headers)
            else:
                request.answer(reply if type(reply) is bytes else msgspec.json.encode(reply))
        except PushError as error:
            request.answer_failure(error)
        except Exception:
            self._log.failure("Unexpected failure in request {request_id}", request_id=request.request_id)
            request.answer_failure(errors.Internal())
        self._measure.answered(route.path, request.code, self._clock.seconds() - begun_s)

    def _no_route(self, request: ApiRequest, failure: Failure) -> None:
        raised = failure.value
        error: PushError
        if isinstance(raised, NoSuchMethod):
            allowed = frozenset(raised.valid_methods or ())
            error = errors.NoSuchMethodHere(request.method.decode("ascii", "replace"), allowed)
        else:
            error = NotFound("There is nothing at this path. GET /docs lists what there is.")
        request.answer_failure(error)
        self._measure.answered("none", error.status, 0.0)
