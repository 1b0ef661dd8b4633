"""What the server is meant to reach on one core, and where in the measurements one sees whether it does."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Row title → server → numbers; see report.summarise.
Summary = dict[str, dict[str, dict[str, Any]]]

SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    Attributes:
        what: in words.
        limit: the number to keep.
        is_ceiling: no more than the limit; else no less.
        row: the title of a row of the table; or "trial: " and the name of one.
        peer: the ratio to this server counts; "": the number itself.
        path: of a trial: the keys that lead to the number.
        digits: after the point.
    """

    what: str
    limit: float
    is_ceiling: bool
    row: str
    peer: str = ""
    path: tuple[str, ...] = ()
    digits: int = 2

    def found(
        self, summary: Summary, trials: Mapping[str, Any], sweep: Sequence[Mapping[str, Any]], first: str
    ) -> tuple[float, float, float] | None:
        """What was measured: the median of the rounds, the least and the greatest; None where it was not."""
        if self.row == SWEEP:
            costs = [row[self.path[0]] for row in sweep]
            return (max(costs) / min(costs),) * 3 if costs else None
        kind, _, name = self.row.partition("trial: ")
        if not kind:
            found: Any = trials.get(name)
            for key in self.path:
                found = None if found is None else found[key]
            if isinstance(found, list):
                return float(statistics.median(found)), float(min(found)), float(max(found))
            return None if found is None else (float(found),) * 3
        cell = summary.get(self.row, {}).get(self.peer or first)
        if self.peer and cell:
            cell = cell.get("ratio")
        return None if not cell else (float(cell["median"]), float(cell["min"]), float(cell["max"]))

    def is_met_by(self, value: float) -> bool:
        """Whether a number keeps the limit."""
        return value <= self.limit if self.is_ceiling else value >= self.limit

    def verdict(self, median: float, least: float, greatest: float) -> str:
        """Met or not, by the median; and whether every round says the same."""
        is_met = self.is_met_by(median)
        if self.is_met_by(least) == self.is_met_by(greatest):
            return "met" if is_met else "not met"
        return "met, but not in every round" if is_met else "not met, but in some rounds"


_SERIAL = "serial broadcast, last client, p50 ms"
_SUSTAINED = "sustained broadcast, deliveries/s"
_UNICAST = "unicast by batchSend, deliveries/s"
_HTTP = "single sends over HTTP, requests/s"
_IDLE = "memory of an idle session, bytes"

TARGETS = (
    Target("serial broadcast, time to the last client, of the C server's", 1.15, True, _SERIAL, "c"),
    Target("sustained broadcast, deliveries/s", 800_000, False, _SUSTAINED, digits=0),
    Target("sustained broadcast, of redis'", 1.5, False, _SUSTAINED, "redis"),
    Target("unicast through batchSend, deliveries/s, of the C server's", 0.75, False, _UNICAST, "c"),
    Target("unicast through batchSend, of redis'", 1.0, False, _UNICAST, "redis"),
    Target("unicast through batchSend, of mosquitto's", 1.0, False, _UNICAST, "mosquitto"),
    Target("unicast through batchSend, p50, of the C server's", 1.5, True, "unicast by batchSend, p50 ms", "c"),
    Target("lone unicast, p50, of the C server's", 1.5, True, "lone unicast, p50 ms", "c"),
    Target("accept + SUB, sessions/s", 10_000, False, "accept + SUB, sessions/s", digits=0),
    Target("memory of an idle session, bytes", 1024, True, _IDLE, digits=0),
    Target("single sends over HTTP, of a Klein route that echoes", 0.8, False, _HTTP, "echo"),
    Target("memory of a TLS session, bytes", 27 * 1024, True, "trial: tls", path=("bytes_per_session",), digits=0),
    Target("slow readers: readers' p50 with them, of without", 2, True, "trial: slow", path=("latency_p50_ms_ratio",)),
    Target("slow readers: readers' p99 with them, of without", 2, True, "trial: slow", path=("latency_p99_ms_ratio",)),
    Target("slow readers: part of them closed with 3003", 1, False, "trial: slow", path=("closed_slow_part",)),
    Target("slow readers: memory gained, of the ceiling", 1, True, "trial: slow", path=("gained_of_ceiling",)),
    Target("churn: messages lost, twice or to the wrong client", 0, True, "trial: churn", path=("wrong",), digits=0),
    Target(
        "messages cached for clients that are away, per s",
        30_000,
        False,
        "trial: cache",
        path=("cached_per_s",),
        digits=0,
    ),
    Target("acknowledged messages, per s", 30_000, False, "trial: cache", path=("acknowledged_per_s",), digits=0),
    Target(
        "10,000 come and go: bytes kept of each", 16, True, "trial: return", path=("growth_bytes_per_client",), digits=1
    ),
    Target("cost of a delivery in serial broadcast, dearest to cheapest", 1.25, True, SWEEP, path=("serial_us",)),
    Target("cost of a delivery in sustained broadcast, dearest to cheapest", 1.25, True, SWEEP, path=("sustained_us",)),
    Target("cost of a unicast, dearest to cheapest", 1.25, True, SWEEP, path=("unicast_us",)),
)
