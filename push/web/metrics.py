"""What was measured, as Prometheus text (/metrics) and as JSON (/v1/stats)."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from twisted.internet.interfaces import IReactorTime

from push.errors import InvalidRequest
from push.ihealth import IMeasured
from push.model_health import Histogram, Sample
from push.web import schemas
from push.web.auth import RIGHT_READ
from push.web.errors import invalid
from push.web.exchange import ApiRequest
from push.web.group_requests import text_of
from push.web.routes import Page, Parameter, Route
from push.web.settings import ApiSettings

NODE, CLUSTER = "node", "cluster"
SCOPE = Parameter("scope", "query", "cluster: also what other nodes have told, each with its name.", False, NODE)


class _Samples(Collector):
    """Shows samples to prometheus_client, one family a name."""

    def __init__(self, measured: Sequence[IMeasured]) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for source in self._measured:
            for sample in source.samples():
                names = [name for name, _ in sample.labels]
                values = [value for _, value in sample.labels]
                family = families.get(sample.name)
                if family is None:
                    family = families[sample.name] = _FAMILIES[sample.kind](sample.name, sample.help, labels=names)
                if isinstance(sample.value, Histogram):
                    assert isinstance(family, HistogramMetricFamily)
                    family.add_metric(values, _buckets(sample.value), sample.value.total_s)
                else:
                    assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
                    family.add_metric(values, sample.value)
        return iter(families.values())


_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    buckets = []
    number = 0
    for bound_s, count in zip((*histogram.bounds_s, float("inf")), histogram.counts, strict=True):
        number += count
        buckets.append(("+Inf" if bound_s == float("inf") else repr(float(bound_s)), float(number)))
    return buckets


# What /v1/stats shows in front, and the samples that say it.
_SUMMARY = {
    "push_connections": "connections",
    "push_sessions": "sessions",
    "push_tokens": "tokens",
    "push_outbox_bytes": "outbox_bytes",
    "push_delivered_total": "delivered",
}


def _summary(samples: Sequence[Sample]) -> dict[str, int]:
    """The numbers in front; samples that differ only in their labels are added up."""
    found: dict[str, int] = {}
    for sample in samples:
        name = _SUMMARY.get(sample.name)
        if name is not None and not isinstance(sample.value, Histogram):
            found[name] = found.get(name, 0) + int(sample.value)
    return found


def sample_entry(sample: Sample) -> schemas.SampleEntry:
    """A sample as the API shows it."""
    value = sample.value
    return schemas.SampleEntry(
        name=sample.name,
        kind=sample.kind,
        labels=dict(sample.labels),
        value=schemas.HistogramValue(value.bounds_s, value.counts, value.total_s)
        if isinstance(value, Histogram)
        else value,
    )


class MetricRoutes:
    """/metrics and /v1/stats.

    Args:
        clock: tells the time.
        settings: version and start.
        measured: whose numbers are shown.
        others: numbers that other nodes have told, for /v1/stats where they are asked for.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        settings: ApiSettings,
        measured: Sequence[IMeasured],
        others: Sequence[IMeasured] = (),
    ) -> None:
        self._others = others
        self._clock = clock
        self._settings = settings
        self._measured = measured
        # A registry of our own: the global one would also show every other user of it in the process.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Samples(measured))

    def routes(self) -> tuple[Route, ...]:
        """What is served."""
        return (
            Route(
                operation="getStats",
                methods=("GET",),
                path="/v1/stats",
                call=self.stats,
                summary="What this process has measured since it started.",
                right=RIGHT_READ,
                tag="nodes",
                reply=schemas.StatsReply,
                parameters=(SCOPE,),
                failures=(InvalidRequest,),
            ),
            Route(
                operation="getMetrics",
                methods=("GET",),
                path="/metrics",
                call=self.metrics,
                summary="The same numbers, for Prometheus.",
                right=RIGHT_READ,
                tag="health",
                media="text/plain",
            ),
        )

    async def stats(self, request: ApiRequest) -> schemas.StatsReply:
        """Answer with all samples."""
        scope = text_of(request, SCOPE.name) or NODE
        if scope not in (NODE, CLUSTER):
            raise invalid(SCOPE.name, f"must be {NODE} or {CLUSTER}")
        samples = [sample for source in self._measured for sample in source.samples()]
        others = self._others if scope == CLUSTER else ()
        told = [sample for source in others for sample in source.samples()]
        return schemas.StatsReply(
            version=self._settings.version,
            uptime_s=round(max(0.0, self._clock.seconds() - self._settings.started_s), 3),
            samples=[sample_entry(sample) for sample in (*samples, *told)],
            **_summary(samples),
        )

    async def metrics(self, request: ApiRequest) -> Page:
        """Answer with all samples in Prometheus' text format."""
        return Page(generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4.encode())
