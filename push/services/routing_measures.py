"""What a router counts: messages by target, and what became of them. Must not import adapters, stores or web."""

from collections.abc import Iterable

from push.model import Outcome, ToAll, ToConnector, ToGroup, ToTags, ToTokens, ToUids
from push.model_health import Sample

_NAMES: dict[type, str] = {
    ToTokens: "tokens",
    ToUids: "uids",
    ToGroup: "group",
    ToTags: "tags",
    ToConnector: "connector",
    ToAll: "all",
}


class RoutingMeasures:
    """The numbers of one router since it started."""

    def __init__(self) -> None:
        self._requested: dict[type, int] = dict.fromkeys(_NAMES, 0)
        self._became: dict[tuple[type, str], int] = {}

    def requested(self, target: type, times: int) -> None:
        """Count messages for a kind of target."""
        self._requested[target] += times

    def became(self, target: type, outcome: Outcome, times: int) -> None:
        """Count what became of a message for some tokens."""
        self._count(target, outcome.name.lower(), times)

    def cached(self, target: type, times: int) -> None:
        """Count tokens for which a message is kept, and to which it was not sent."""
        self._count(target, "cached", times)

    def _count(self, target: type, outcome: str, times: int) -> None:
        if times:
            key = (target, outcome)
            self._became[key] = self._became.get(key, 0) + times

    def samples(self) -> Iterable[Sample]:
        """As Prometheus names them."""
        for target, times in self._requested.items():
            yield Sample("push_requests_total", "counter", "Messages routed.", times, (("target", _NAMES[target]),))
        for (target, outcome), times in self._became.items():
            labels = (("target", _NAMES[target]), ("outcome", outcome))
            yield Sample("push_messages_total", "counter", "Messages by what became of them.", times, labels)
