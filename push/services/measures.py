"""What a connector counts. Plain integers on the hot path; turned into samples only when somebody asks.

Must not import adapters, stores or web.
"""

from bisect import bisect_left
from collections.abc import Iterable

from push.model_health import Histogram, Sample

# From "at once" to "something is wrong": a broadcast to 10,000 clients takes about a tenth of a second.
DELIVERY_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Distribution:
    """Counts values by upper bound.

    Args:
        bounds_s: growing, in seconds.
    """

    __slots__ = ("_bounds_s", "_counts", "_total_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._total_s = 0.0

    def observe(self, value_s: float, times: int = 1) -> None:
        """Count a value, in seconds, as often as it occurred."""
        self._counts[bisect_left(self._bounds_s, value_s)] += times
        self._total_s += value_s * times

    def histogram(self) -> Histogram:
        """The counts as they are now."""
        return Histogram(self._bounds_s, tuple(self._counts), self._total_s)


class ConnectorMeasures:
    """The numbers of one connector since it started.

    Attributes:
        accepted: connections accepted by the listeners.
        unwelcome: of these, over a limit.
        opened: sessions opened.
        redirected: of those who wanted a session, sent elsewhere.
        rate_limited: SUBs refused because too many came at once.
        acknowledged: message ids that came back.
        sent: messages handed to live connections, broadcasts not included.
        delivery: seconds from a call to this connector until its messages were queued to live connections.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.unwelcome = 0
        self.opened = 0
        self.redirected = 0
        self.rate_limited = 0
        self.acknowledged = 0
        self.sent = 0
        self.delivery = Distribution(DELIVERY_BOUNDS_S)
        self._closes: dict[tuple[int, bool], int] = {}

    def closed(self, code: int, by_peer: bool) -> None:
        """Count the end of a connection; those without a code, or with one that is not ours, as code 0."""
        key = (code if 3000 <= code <= 3999 else 0, by_peer)
        if key not in self._closes and len(self._closes) > 64:  # a peer may say any code
            key = (0, by_peer)
        self._closes[key] = self._closes.get(key, 0) + 1

    def samples(self) -> Iterable[Sample]:
        """As Prometheus names them."""
        yield Sample("push_accepts_total", "counter", "Connections accepted.", self.accepted)
        yield Sample("push_unwelcome_total", "counter", "Connections over a limit.", self.unwelcome)
        yield Sample("push_opened_total", "counter", "Sessions opened.", self.opened)
        yield Sample("push_redirected_total", "counter", "SUBs answered with other addresses.", self.redirected)
        yield Sample("push_rate_limited_subs_total", "counter", "SUBs refused as too many.", self.rate_limited)
        yield Sample("push_acknowledged_total", "counter", "Messages acknowledged by clients.", self.acknowledged)
        yield Sample("push_delivered_total", "counter", "Messages handed to one connection.", self.sent)
        yield Sample(
            "push_delivery_seconds",
            "histogram",
            "From a delivery call until its messages were queued to live connections.",
            self.delivery.histogram(),
        )
        for (code, by_peer), times in sorted(self._closes.items()):
            labels = (("code", str(code)), ("by", "client" if by_peer else "server"))
            yield Sample("push_closes_total", "counter", "Connections closed, by close code.", times, labels)
