"""A Klein route that only echoes, to compare single sends over HTTP with: what the framework alone costs.

    python bench/echo.py PORT

The reactor is the one that twistd takes, and nothing is logged. Must not import push.
"""

import sys
from typing import Any

from klein import Klein
from twisted.internet import reactor
from twisted.web.server import Request, Site


class QuietSite(Site):
    """Keeps no access log."""

    noisy = False

    def log(self, request: object) -> None:
        """Say nothing."""


app = Klein()


@app.route("/v1/messages:send", methods=["POST"])
def echo(request: Request) -> bytes:
    """Answer with the body of the request."""
    request.setHeader(b"Content-Type", b"application/json")  # type: ignore[no-untyped-call]
    assert request.content is not None
    body: bytes = request.content.read()
    return body


@app.route("/readyz")
def readyz(request: Request) -> bytes:
    """Say that it listens."""
    return b"ready"


if __name__ == "__main__":
    site: Any = QuietSite(app.resource())  # type: ignore[no-untyped-call]
    reactor.listenTCP(int(sys.argv[1]), site, interface="127.0.0.1", backlog=4096)
    reactor.run()
