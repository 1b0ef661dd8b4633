"""The OpenAPI document, made of the route table and of the very schemas that validate; and the page that shows it."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import msgspec

from push.errors import (
    InvalidRequest,
    PermissionDenied,
    PushError,
    RateLimited,
    Unauthenticated,
)
from push.web import schemas
from push.web.errors import Internal
from push.web.exchange import ApiRequest
from push.web.lines import NDJSON
from push.web.routes import LEGACY, Page, Parameter, Route

_REFERENCE = "#/components/schemas/{name}"
_TAGS = {
    "messages": "Pushing messages to clients, and what became of them.",
    "tokens": "Clients: who they are, where they are online.",
    "nodes": "The connectors, and what was measured.",
    "health": "For load balancers and monitoring.",
    LEGACY: "As scripts of the older system call them. Failures are `{code, message}` there.",
    "docs": "This description.",
}
_COMMON = (InvalidRequest, Internal)
_GUARDED = (Unauthenticated, PermissionDenied, RateLimited)
_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """Describe the API.

    Args:
        routes: all of them.
        version: of the software.

    Returns:
        An OpenAPI 3.1 document.
    """
    types = {found for route in routes for found in (route.body, route.reply) if found is not None}
    types |= {found for route in routes if route.lines for found in (route.lines.line, route.lines.reply)}
    ordered = sorted(types | {schemas.ErrorReply, schemas.LegacyReply}, key=lambda found: str(found.__name__))
    references, components = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    named = dict(zip(ordered, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in route.methods:
            paths.setdefault(route.path, {})[method.lower()] = _operation(route, method, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "push",
            "version": version,
            "description": "Push messages to connected clients, and look after the nodes that hold them.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key. Without configured keys none is needed, from this host.",
                }
            },
        },
    }


def _operation(route: Route, method: str, named: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation if len(route.methods) == 1 else f"{route.operation}{method.capitalize()}",
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route, named),
    }
    if route.right is not None:
        operation["description"] = f"Needs a key with the right to {route.right}, where keys are configured."
        operation["security"] = [{"key": []}]
    if route.parameters:
        operation["parameters"] = [_parameter(parameter, method) for parameter in route.parameters]
    if route.body is not None:
        content: dict[str, Any] = {"schema": named[route.body]}
        if route.example is not None:
            content["example"] = route.example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        if route.lines is not None:
            line = named[route.lines.line]
            operation["requestBody"]["content"][NDJSON] = _lines(line, "One entry a line, as many as you like.")
    elif method == "POST" and any(parameter.where == "query" for parameter in route.parameters):
        operation["requestBody"] = {"required": False, "content": _form(route.parameters)}
    return operation


def _parameter(parameter: Parameter, method: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        # What a POST does not say in its query, it may say in its body.
        "required": parameter.required and (parameter.where == "path" or method == "GET"),
        "schema": {"type": "string"},
        "example": parameter.example,
    }


def _form(parameters: Iterable[Parameter]) -> dict[str, Any]:
    fields = {parameter.name: {"type": "string"} for parameter in parameters if parameter.where == "query"}
    return {
        "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": fields}},
        "text/plain": {"schema": {"type": "string"}},
    }


def _lines(line: dict[str, Any], description: str) -> dict[str, Any]:
    """A text of lines. JSON Schema can only speak of the content as a whole: what it says here is true of each line."""
    return {
        "schema": {
            "type": "string",
            "contentMediaType": NDJSON,
            "contentSchema": line,
            "description": description,
        }
    }


def _responses(route: Route, named: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    content = {route.media: {"schema": named[route.reply] if route.reply is not None else {"type": "string"}}}
    if route.media == "application/json" and route.reply is None:
        content = {route.media: {"schema": {"type": "object"}}}
    if route.lines is not None:
        either = {"oneOf": [named[route.lines.reply], named[schemas.ErrorReply]]}
        content[NDJSON] = _lines(either, "One result a line, while the lines of the request still come.")
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    for status, meaning in route.also:
        responses[str(status)] = {"description": meaning, "content": content}
    shape = named[schemas.LegacyReply if route.is_legacy else schemas.ErrorReply]
    by_status: dict[int, list[type[PushError]]] = {}
    failures = _COMMON + (_GUARDED if route.right is not None else ()) + route.failures
    for failure in dict.fromkeys(failures):
        by_status.setdefault(failure.status, []).append(failure)
    for status, classes in sorted(by_status.items()):
        text = " ".join(f"{found.reason}: {(found.__doc__ or '').splitlines()[0]}" for found in classes)
        responses.setdefault(str(status), {"description": text, "content": {"application/json": {"schema": shape}}})
    return responses


class DocRoutes:
    """/openapi.json and the page that shows it. Read from disk once, when this is made."""

    def __init__(self) -> None:
        static = files("push.web") / "static"
        headers = (
            (b"Content-Security-Policy", _SECURITY_POLICY),
            (b"Cache-Control", b"no-cache"),
            (b"Referrer-Policy", b"no-referrer"),
        )
        self._pages = {
            name: Page((static / name).read_bytes(), content_type, headers=headers)
            for name, content_type in (
                ("docs.html", b"text/html; charset=utf-8"),
                ("docs.css", b"text/css; charset=utf-8"),
                ("docs.js", b"text/javascript; charset=utf-8"),
            )
        }
        self._document = b""

    def describe(self, routes: Sequence[Route], version: str) -> None:
        """Make the document. To be called with all routes, these among them, before any is served."""
        self._document = msgspec.json.encode(document(routes, version))

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            _open("getOpenApi", "/openapi.json", self.openapi, "This description of the API.", "application/json"),
            _open("showDocs", "/docs", self._page("docs.html"), "A page that shows it.", "text/html"),
            _open("docsScript", "/docs/docs.js", self._page("docs.js"), "Of that page.", "text/javascript"),
            _open("docsStyle", "/docs/docs.css", self._page("docs.css"), "Of that page.", "text/css"),
            _open("showRoot", "/", self.root, "Leads to the page.", "text/html"),
        )

    async def openapi(self, request: ApiRequest) -> bytes:
        """Answer with the document."""
        return self._document

    async def root(self, request: ApiRequest) -> Page:
        """Lead to the page."""
        return Page(b"", b"text/html; charset=utf-8", status=302, headers=((b"Location", b"/docs"),))

    def _page(self, name: str) -> Any:
        page = self._pages[name]

        async def show(request: ApiRequest) -> Page:
            return page

        return show


def _open(operation: str, path: str, call: Any, summary: str, media: str) -> Route:
    return Route(
        operation=operation,
        methods=("GET",),
        path=path,
        call=call,
        summary=summary,
        right=None,
        tag="docs",
        media=media,
    )
