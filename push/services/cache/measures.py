"""The numbers of the cache. Must not import adapters, stores or web."""

from collections.abc import Iterable

from push.model_health import Sample
from push.model_receipts import Event
from push.services.cache.commits import Commits
from push.services.cache.dues import Dues
from push.services.cache.holdings import Holdings


def samples(held: Holdings, commits: Commits, dues: Dues) -> Iterable[Sample]:
    """As Prometheus names them."""
    yield Sample("push_cache_messages", "gauge", "Messages kept, one for each token.", held.index.count)
    yield Sample("push_cache_bytes", "gauge", "Bytes of the payloads kept.", held.size_bytes)
    yield Sample("push_cache_tokens", "gauge", "Tokens that messages are kept for.", len(held.index.tokens))
    yield Sample("push_cache_logged", "gauge", "Broadcasts kept for those who are away.", len(held.log))
    yield Sample("push_cache_scheduled", "gauge", "Messages to be sent later.", dues.count)
    yield Sample("push_cache_waiting", "gauge", "Messages that wait to be written.", len(held.staging.rows))
    for event in Event:
        if event is not Event.REJECTED:  # such a message is not kept
            times = held.endings.events[event]
            labels = (("event", event.name.lower()),)
            yield Sample("push_cache_events_total", "counter", "What happened to messages kept.", times, labels)
    yield Sample("push_cache_written_total", "counter", "Messages written to disk.", commits.messages)
    spared = held.staging.spared
    yield Sample("push_cache_spared_total", "counter", "Messages that were over before they were written.", spared)
    yield Sample("push_cache_failures_total", "counter", "Transactions of the cache that failed.", commits.failures)
    durations = commits.durations.histogram()
    yield Sample("push_cache_commit_seconds", "histogram", "How long transactions of the cache took.", durations)
