"""The values by which a node says how it does: numbers and checks. Imports nothing else of the project."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound, as Prometheus has them but not yet cumulated.

    Attributes:
        bounds_s: upper bounds in seconds, growing; one more count than bounds, for what is above.
        counts: how many fell under each bound and over the one before it.
        total_s: the sum of all values, in seconds.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value.

    Attributes:
        name: as Prometheus wants it, e.g. "push_messages_total".
        kind: "counter", "gauge" or "histogram".
        help: one sentence.
        labels: (name, value) pairs.
        value: a number, or a Histogram for that kind.
    """

    name: str
    kind: str
    help: str
    value: float | Histogram
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold for a node to be ready; `detail` says why it does not."""

    name: str
    ok: bool
    detail: str = ""
