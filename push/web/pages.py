"""The console and the demo: pages that come with the server, and need nothing from anywhere else.

They are the same for everybody; what they show, they ask the API and the connector for, with the rights of who looks.
"""

from importlib.resources import files
from typing import Any

from push.web.exchange import ApiRequest
from push.web.routes import Page, Route

# Both follow a redirect to another node, so they may connect to others than this one.
_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'%s; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ANYWHERE = b" ws: wss:"
_HTML, _CSS, _JS = b"text/html; charset=utf-8", b"text/css; charset=utf-8", b"text/javascript; charset=utf-8"
# Path → file, kind, where its script may connect to besides here, operation, what it is.
_PAGES = (
    (
        "/console",
        "console.html",
        _HTML,
        _ANYWHERE,
        "showConsole",
        "A page that shows how servers are, and manages them.",
    ),
    ("/console/console.js", "console.js", _JS, b"", "consoleScript", "Of that page."),
    ("/console/pages.css", "pages.css", _CSS, b"", "consoleStyle", "Of that page."),
    ("/demo", "demo.html", _HTML, _ANYWHERE, "showDemo", "A client of this server, in a page."),
    ("/demo/demo.js", "demo.js", _JS, b"", "demoScript", "Of that page."),
)


def page_routes() -> tuple[Route, ...]:
    """What is served; read from disk once, when this is called."""
    static = files("push.web") / "static"
    return tuple(
        Route(
            operation=operation,
            methods=("GET",),
            path=path,
            call=_shows((static / name).read_bytes(), kind, others),
            summary=summary,
            right=None,
            tag="docs",
            media=kind.partition(b";")[0].decode(),
        )
        for path, name, kind, others, operation, summary in _PAGES
    )


def _shows(body: bytes, kind: bytes, others: bytes) -> Any:
    headers = (
        (b"Content-Security-Policy", _SECURITY_POLICY % others),
        (b"Cache-Control", b"no-cache"),
        (b"Referrer-Policy", b"no-referrer"),
    )
    page = Page(body, kind, headers=headers)

    async def show(request: ApiRequest) -> Page:
        return page

    return show
