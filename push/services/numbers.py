"""The few numbers of a node that the other nodes of its cluster are told, with its lease: what a console shows.

Not for Prometheus, which asks each node itself. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from twisted.logger import Logger
from zope.interface import implementer

from push.ihealth import IMeasured
from push.model_cluster import Member, Numbers
from push.model_health import Histogram, Sample

# Name → the label that a sample must have; all that have it are added up. Every one costs each node of a cluster some
# 30 bytes a second from each other.
_COUNTED: Mapping[str, tuple[str, str] | None] = {
    "push_acknowledged_total": None,
    "push_cache_messages": None,
    "push_messages_total": ("outcome", "sent"),
    "push_outbox_bytes": None,
    "push_tokens": None,
}
_TIMED: Mapping[str, tuple[str, str] | None] = {"push_api_request_seconds": ("route", "/v1/messages:send")}
# On the clock of their node.
_TAKEN = Sample("push_taken_ms", "gauge", "When a node told its numbers.", 0)

_log = Logger()


def numbers_of(measured: Sequence[IMeasured], now_ms: int) -> Numbers:
    """What is told of a node.

    Args:
        measured: what it has measured.
        now_ms: milliseconds since 1970.
    """
    counted: dict[str, float] = {}
    timed: dict[str, Histogram] = {}
    for sample in _samples(measured):
        value = sample.value
        if isinstance(value, Histogram):
            if _is_meant(sample, _TIMED):
                timed[sample.name] = value
        elif _is_meant(sample, _COUNTED):
            counted[sample.name] = counted.get(sample.name, 0) + value
    return Numbers(now_ms, counted, timed)


def _samples(measured: Sequence[IMeasured]) -> Iterator[Sample]:
    for source in measured:
        try:
            yield from source.samples()
        except Exception:  # a number that cannot be had must not cost the node its lease
            _log.failure("the numbers of {source} cannot be had", source=type(source).__name__)


def _is_meant(sample: Sample, names: Mapping[str, tuple[str, str] | None]) -> bool:
    label = names.get(sample.name)
    return sample.name in names and (label is None or label in tuple(sample.labels))


@implementer(IMeasured)
class OthersNumbers:
    """What the other nodes of a cluster have told.

    Args:
        members: the nodes, by name.
        own_name: of this node, whose numbers are known better.
    """

    def __init__(self, members: Callable[[], Mapping[str, Member]], own_name: str) -> None:
        self._members = members
        self._own_name = own_name

    def samples(self) -> Iterable[Sample]:
        """Each with the name of its node; and for each node when they were taken."""
        for name, member in sorted(self._members().items()):
            if name == self._own_name or member.numbers is None:
                continue
            node = ("node", name)
            yield replace(_TAKEN, value=member.numbers.taken_ms, labels=(node,))
            for counted, value in member.numbers.counted.items():
                kind = "counter" if counted.endswith("_total") else "gauge"
                yield _told(counted, kind, value, node, _COUNTED.get(counted))
            for timed, histogram in member.numbers.timed.items():
                yield _told(timed, "histogram", histogram, node, _TIMED.get(timed))


def _told(
    name: str, kind: str, value: float | Histogram, node: tuple[str, str], label: tuple[str, str] | None
) -> Sample:
    labels = (node,) if label is None else (node, label)
    return replace(_TAKEN, name=name, kind=kind, help="As a node told it.", value=value, labels=labels)
