"""What is known of one request while it is on its way. Must not import adapters, stores or web."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from push.errors import CacheFull, PushError, TooLarge
from push.model import Place, PushRequest, PushResult, Store, ToConnector, ToTokens, ToUids
from push.services.ids import accepted_ms

# How long messages for tokens and users are kept where the sender does not say: a day. Others are not kept then.
DEFAULT_TTL_S = 86_400


@dataclass(slots=True, eq=False)
class Progress:
    """One request on its way to a result.

    Attributes:
        request: what was asked for.
        message_id: its id.
        from_ms: when its time to live begins, milliseconds since 1970.
        targets: tokens or sessions that it is addressed to.
        sent: of these, handed to live connections.
        kept: of these, given to the cache.
        kept_sent: of those, handed to live connections as well.
        rejected: of the targets, those whose cache is full, or whose connector takes nothing so large.
        unknown: tokens or uids that nobody has registered.
        owners: token → the user that it is meant for, where users are addressed.
        is_logged: it is in the log of broadcasts.
        is_due: it was accepted earlier, to be sent now.
        is_pulled: it is in the log of broadcasts, and must be pulled from there to come in its order.
        place: its place in the log of broadcasts, where others keep messages there, too.
        is_unheard: a connector could not be told of it.
        error: why it was not accepted.
    """

    request: PushRequest
    message_id: int
    from_ms: int
    targets: int = 0
    sent: int = 0
    kept: int = 0
    kept_sent: int = 0
    rejected: int = 0
    unknown: list[str] = field(default_factory=list)
    owners: Mapping[str, str] = field(default_factory=dict)
    is_logged: bool = False
    is_due: bool = False
    is_pulled: bool = False
    place: Place | None = None
    is_unheard: bool = False
    error: PushError | None = None

    @property
    def expires_ms(self) -> int | None:
        """Until when it is to be kept; None where it is not."""
        return expires_ms(self.request, self.from_ms)

    @property
    def is_ahead(self) -> bool:
        """Whether nobody may see it before it is on disk."""
        options = self.request.options
        return options.store is Store.ALWAYS or options.once is not None

    def refuse(self, tokens: Sequence[str]) -> None:
        """The caches of these tokens are full."""
        self.kept -= len(tokens)
        self.rejected += len(tokens)
        target = self.request.target
        if isinstance(target, ToTokens) and target.single:
            self.error = cache_is_full()

    def too_large(self, targets: int) -> None:
        """The connectors of so many targets do not take it."""
        self.rejected += targets
        target = self.request.target
        if isinstance(target, ToTokens) and target.single:
            self.error = message_too_large()

    def result(self) -> PushResult | PushError:
        """What there is to say of it now."""
        if self.error is not None:
            return self.error
        return PushResult(
            0 if self.request.validate_only else self.message_id,
            self.targets,
            self.sent,
            self.kept - self.kept_sent,
            tuple(self.unknown),
            self.rejected,
            self.is_logged,
        )


def expires_ms(request: PushRequest, from_ms: int) -> int | None:
    """Until when a request is to be kept, milliseconds since 1970; None where it is not.

    Args:
        request: with its own time to live, or its target's.
        from_ms: when that begins.
    """
    ttl_s = request.ttl_s
    kind = type(request.target)
    if ttl_s is None:
        ttl_s = DEFAULT_TTL_S if kind is ToTokens or kind is ToUids else 0
    # Who is on a connector is nobody in particular: there is no one to keep it for.
    if not ttl_s or request.options.store is Store.NEVER or kind is ToConnector:
        return None
    return from_ms + ttl_s * 1000


def begins_ms(message_id: int, now_ms: int) -> int:
    """When the time to live of a message begins that is sent at once.

    Args:
        message_id: made in this moment; after a restart ids run ahead of the clock for some seconds.
        now_ms: milliseconds since 1970.
    """
    return min(accepted_ms(message_id), now_ms)


def cache_is_full() -> CacheFull:
    """The error of a message for a lone token."""
    return CacheFull("this token's cache is full: wait until its client has come, or say on_full drop_oldest")


def message_too_large() -> TooLarge:
    """The error of a message for a lone token."""
    return TooLarge("this token's connector takes no message so large: its max_body_bytes is less than here")
