"""Where a connection can change to another protocol than HTTP. Which one that is, is not known here."""

from collections.abc import Callable, Mapping

from push.errors import PushError
from push.iupgrade import IUpgrade
from push.web.exchange import ApiRequest
from push.web.measure import RequestMeasure

_SWITCHING_PROTOCOLS = 101


class Upgrades:
    """Paths of other protocols. Who may come in is theirs to decide: API keys are not asked for.

    Args:
        paths: path → the protocol to change to there.
        measure: counts the requests.
    """

    def __init__(self, paths: Mapping[str, IUpgrade], measure: RequestMeasure) -> None:
        self._paths = paths
        self._measure = measure

    def fixed(self) -> dict[tuple[bytes, bytes], Callable[[ApiRequest], None]]:
        """(method, path) → what serves it."""
        return {(b"GET", path.encode()): self._serve(path, to) for path, to in self._paths.items()}

    def _serve(self, path: str, to: IUpgrade) -> Callable[[ApiRequest], None]:
        def serve(request: ApiRequest) -> None:
            raw = request.requestHeaders.getAllRawHeaders()
            headers = [(name, value) for name, values in raw for value in values]
            try:
                response, protocol = to.upgrade(request.method, request.clientproto, headers)
            except PushError as error:
                self._measure.answered(path, error.status, 0.0)
                request.fail(error)
                return
            self._measure.answered(path, _SWITCHING_PROTOCOLS, 0.0)
            request.channel.change_protocol(response, protocol)

        return serve
