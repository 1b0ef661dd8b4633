"""What the API measures of itself."""

from bisect import bisect_left
from collections.abc import Iterable

from zope.interface import implementer

from push.ihealth import IMeasured
from push.model_health import Histogram, Sample

# From a no-op send (0.2 ms) to a batch that waits for the disk of another node.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@implementer(IMeasured)
class RequestMeasure:
    """Counts the requests of the API. Routes are templates, so that the number of series is bounded."""

    def __init__(self) -> None:
        self._statuses: dict[tuple[str, int], int] = {}
        self._counts: dict[str, list[int]] = {}
        self._totals_s: dict[str, float] = {}

    def answered(self, route: str, status: int, took_s: float) -> None:
        """Count a request.

        Args:
            route: the path template, or "none".
            status: that was answered.
            took_s: how long that took, in seconds.
        """
        key = (route, status)
        self._statuses[key] = self._statuses.get(key, 0) + 1
        counts = self._counts.get(route)
        if counts is None:
            counts = self._counts[route] = [0] * (len(BOUNDS_S) + 1)
            self._totals_s[route] = 0.0
        counts[bisect_left(BOUNDS_S, took_s)] += 1
        self._totals_s[route] += max(0.0, took_s)

    def samples(self) -> Iterable[Sample]:
        """The numbers as they are now."""
        for (route, status), number in self._statuses.items():
            yield Sample(
                "push_api_requests_total",
                "counter",
                "Requests answered by the HTTP API.",
                number,
                (("route", route), ("status", str(status))),
            )
        for route, counts in self._counts.items():
            yield Sample(
                "push_api_request_seconds",
                "histogram",
                "Time from a whole request to its answer.",
                Histogram(BOUNDS_S, tuple(counts), self._totals_s[route]),
                (("route", route),),
            )
