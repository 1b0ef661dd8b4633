"""Part of the composition root: the cache role, and what stands before the router because of it."""

import os
import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import IService
from zope.interface import implementer

from push import __version__
from push.config import Config
from push.icache import ICacheStore
from push.ihealth import IMeasured
from push.ipush import IRouter
from push.ireceipts import IMessages, IReceiptStore
from push.isubscribe import ISubscribe
from push.model_cache import CacheLimits
from push.model_cluster import Lease
from push.model_health import Sample
from push.model_receipts import Event
from push.secret_file import load_secrets
from push.services.acceptance import Acceptance
from push.services.cache.cache import Cache
from push.services.cache_holder import Term
from push.services.ids import MessageIds
from push.services.messages import Messages
from push.services.ordered import OpenClose, OrderedServices
from push.services.receipts import Receipts
from push.services.router import Router
from push.services.schedule import Schedule
from push.services.steady_clock import SteadyClock
from push.services.tasks import Tasks
from push.services.webhook import Webhook
from push.services.webhook_post import Poster
from push.settings import SettingError
from push.stores.redis.cache import CacheStore as RedisCacheStore
from push.stores.redis.client import Redis
from push.stores.redis.receipts import ReceiptStore as RedisReceiptStore
from push.stores.sqlite.cache import CacheStore
from push.stores.sqlite.database import Database
from push.stores.sqlite.receipts import ReceiptStore

# In whose name the one cache of a cluster is kept.
_CLUSTER = "cluster"
SECRET_VARIABLE = "PUSH_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the cache role is.

    Attributes:
        cache: the cache.
        receipts: the lives of messages.
        service: all of it, in order.
        measured: whose numbers are shown.
    """

    cache: Cache
    receipts: Receipts
    service: OrderedServices
    measured: Sequence[IMeasured]


def build_cache(
    config: Config,
    *,
    database: Database,
    subscribe: ISubscribe,
    reactor: Any,
    clock: SteadyClock,
    give_up: Callable[[str], None],
) -> Keeping:
    """Build the cache and the receipts, in SQLite, and the webhook if there is one.

    Args:
        config: all settings.
        database: where both are.
        subscribe: knows tokens.
        reactor: time and turns.
        clock: milliseconds since 1970 that never run back.
        give_up: ends the server, with a sentence, where what it kept cannot be read.

    Raises:
        SettingError: the webhook's secret cannot be read.
    """
    webhook = build_webhook(config, reactor=reactor, clock=clock)
    return _keeping(
        config,
        CacheStore(database),
        ReceiptStore(database),
        webhook,
        subscribe=subscribe,
        reactor=reactor,
        clock=clock,
        give_up=give_up,
    )


def _keeping(
    config: Config,
    cache_store: ICacheStore,
    receipt_store: IReceiptStore,
    webhook: Webhook | None,
    *,
    subscribe: ISubscribe,
    reactor: Any,
    clock: SteadyClock,
    give_up: Callable[[str], None],
    is_shared: bool = False,
) -> Keeping:
    receipts = Receipts(
        store=receipt_store,
        clock=reactor,
        now_ms=clock.now_ms,
        max_in_memory=config.max_receipts_in_memory,
        max_on_disk=config.max_receipts,
        keep_s=config.receipts_s,
        observers=() if webhook is None else (webhook,),
    )
    cache = Cache(
        store=cache_store,
        receipts=receipts,
        subscribe=subscribe,
        clock=reactor,
        now_ms=clock.now_ms,
        limits=CacheLimits(
            max_cached_messages=config.max_cached_messages,
            max_cached_bytes=config.max_cached_bytes,
            max_cached_messages_per_token=config.max_cached_messages_per_token,
            max_cached_bytes_per_token=config.max_cached_bytes_per_token,
            max_logged_broadcasts=config.max_logged_broadcasts,
            idempotency_s=config.idempotency_s,
            max_scheduled=config.max_scheduled,
        ),
        give_up=give_up,
        is_shared=is_shared,
    )
    service = OrderedServices()
    measured: list[IMeasured] = [cache, receipts]
    if webhook is not None:
        webhook.setServiceParent(service)
        measured.append(webhook)
    receipts.setServiceParent(service)
    cache.setServiceParent(service)
    return Keeping(cache, receipts, service, measured)


@implementer(IMeasured)
class _OfTerm:
    """The numbers of whoever holds the cache, while it does."""

    def __init__(self) -> None:
        self._measured: Sequence[IMeasured] = ()

    def show(self, measured: Sequence[IMeasured]) -> None:
        """A term has begun."""
        self._measured = measured

    def hide(self, measured: Sequence[IMeasured]) -> None:
        """It is over; the next one may have begun already."""
        if self._measured is measured:
            self._measured = ()

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        for each in self._measured:
            yield from each.samples()


def term_builder(
    config: Config,
    *,
    redis: Redis,
    subscribe: ISubscribe,
    reactor: Any,
    clock: SteadyClock,
    measured: list[IMeasured],
    give_up: Callable[[str], None],
) -> Callable[[Lease], Term]:
    """What builds the cache and the receipts, in Redis, for each term in which this node holds them.

    Args:
        config: all settings.
        redis: where both are.
        subscribe: knows tokens.
        reactor: time and turns.
        clock: milliseconds since 1970 that never run back.
        measured: their numbers are added to these.
        give_up: ends the node, with a sentence, where what was kept cannot be read.

    Raises:
        SettingError: the webhook's secret cannot be read.
    """
    build_webhook(config, reactor=reactor, clock=clock)  # what is wrong is said now
    shown = _OfTerm()
    measured.append(shown)

    def build(lease: Lease) -> Term:
        cache_store = RedisCacheStore(redis, name=_CLUSTER)
        receipt_store = RedisReceiptStore(redis, name=_CLUSTER)
        webhook = build_webhook(config, reactor=reactor, clock=clock)
        keeping = _keeping(
            config,
            cache_store,
            receipt_store,
            webhook,
            subscribe=subscribe,
            reactor=reactor,
            clock=clock,
            give_up=give_up,
            is_shared=True,
        )
        of_term = OpenClose(lambda: shown.show(keeping.measured), lambda: shown.hide(keeping.measured))
        of_term.setServiceParent(keeping.service)
        return Term(keeping.cache, keeping.receipts, keeping.service, (cache_store, receipt_store))

    return build


def build_webhook(config: Config, *, reactor: Any, clock: SteadyClock) -> Webhook | None:
    """The webhook, if there is one.

    Raises:
        SettingError: its secret cannot be read.
    """
    return _webhook(config, reactor=reactor, clock=clock) if config.webhook_url else None


def _webhook(config: Config, *, reactor: Any, clock: SteadyClock) -> Webhook:
    try:
        keys = load_secrets(
            config.webhook_secret_file,
            SECRET_VARIABLE,
            os.environ,
            missing=f"its requests must be signed: set --webhook-secret-file, or {SECRET_VARIABLE}",
        )
    except ValueError as error:
        setting = "--webhook-secret-file" if config.webhook_secret_file else "--webhook-url"
        raise SettingError(f"{setting}: {error}") from None
    return Webhook(
        poster=Poster(config.webhook_url, reactor=reactor, timeout_s=config.webhook_timeout_s),
        host=urlsplit(config.webhook_url).hostname or "",
        secrets=keys,
        events=[Event[name.upper()] for name in config.webhook_events],
        max_batch=config.webhook_batch,
        max_waiting=config.webhook_queue,
        version=__version__,
        clock=reactor,
        now_ms=clock.now_ms,
        fraction=random.SystemRandom().random,
        run_id=secrets.token_hex(8),
    )


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before the router.

    Attributes:
        router: takes requests, also those that are repeated, delayed, or answered later.
        messages: what can be asked of messages.
        service: sends what is due.
        end_waits: has those answered who wait until something is delivered, before the server stops.
    """

    router: IRouter
    messages: IMessages
    service: IService
    end_waits: Callable[[], None]


def build_front(
    config: Config,
    *,
    router: Router,
    keeping: Keeping,
    subscribe: ISubscribe,
    ids: MessageIds,
    reactor: Any,
    clock: SteadyClock,
) -> Front:
    """Build what stands before the router.

    Args:
        config: all settings.
        router: sends messages.
        keeping: remembers them.
        subscribe: knows tokens.
        ids: gives out message ids.
        reactor: time and turns.
        clock: milliseconds since 1970 that never run back.
    """
    acceptance = Acceptance(
        router,
        cache=keeping.cache,
        subscribe=subscribe,
        receipts=keeping.receipts,
        ids=ids,
        now_ms=clock.now_ms,
        idempotency_s=config.idempotency_s,
        max_scheduled=config.max_scheduled,
    )
    messages = Messages(receipts=keeping.receipts, cache=keeping.cache, subscribe=subscribe, now_ms=clock.now_ms)
    schedule = Schedule(
        cache=keeping.cache,
        router=router,
        receipts=keeping.receipts,
        now_ms=clock.now_ms,
        clock=reactor,
        tasks=Tasks(),
    )
    return Front(acceptance, messages, schedule, acceptance.end_waits)
