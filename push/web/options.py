"""From the options of a message as JSON has them to those of push.model. No HTTP, no Deferred."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from push.model import PLAIN, OnFull, Options, Store, Target, ToTokens, ToUids
from push.web import message_schemas as schemas
from push.web.errors import invalid

T = TypeVar("T")

_STORES = {"if_offline": Store.IF_OFFLINE, "always": Store.ALWAYS, "never": Store.NEVER}
_ON_FULL = {"reject": OnFull.REJECT, "drop_oldest": OnFull.DROP_OLDEST}
_IS_HIGH = {"normal": False, "high": True}
_IS_WAITING = {"accepted": False, "delivered": True}

_fields_of = msgspec.structs.astuple
_ALL = len(schemas.Options.__struct_fields__)


class OptionsReader:
    """Reads the options of messages.

    Args:
        max_delay_s: how far ahead a message may be sent, in seconds.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, *, max_delay_s: int, now_ms: Callable[[], int]) -> None:
        self._max_delay_s = max_delay_s
        self._now_ms = now_ms

    def read(self, given: schemas.Options, target: Target, *, is_lone: bool) -> Options:
        """Check what the schema does not, and translate.

        Args:
            given: as they came, `ttl` among them, which is not one of those of push.model.
            target: whom they are for.
            is_lone: whether they are of the only message of a request.

        Returns:
            PLAIN itself where nothing is asked for.

        Raises:
            InvalidRequest: a word is not known, or two of them exclude each other.
        """
        unset = _fields_of(given).count(UNSET)
        if unset == _ALL or (unset == _ALL - 1 and given.ttl is not UNSET):
            return PLAIN
        options = Options(
            store=_meant("store", given.store, _STORES, Store.IF_OFFLINE),
            is_high=_meant("priority", given.priority, _IS_HIGH, False),
            collapse_key="" if given.collapse_key is UNSET else given.collapse_key,
            on_full=_meant("on_full", given.on_full, _ON_FULL, OnFull.REJECT),
            deliver_at_ms=self._deliver_at_ms(given.deliver_at),
            wait_s=_wait_s(given, target, is_lone),
        )
        return PLAIN if options == PLAIN else options

    def _deliver_at_ms(self, given: int | UnsetType) -> int | None:
        # One that is past stays as it is: a request that is repeated after its time still asks for the same.
        if given is UNSET:
            return None
        if given > self._now_ms() + self._max_delay_s * 1000:
            raise invalid("options.deliver_at", f"must be at most {self._max_delay_s} seconds ahead")
        return given


def _meant(field: str, word: str | UnsetType, meanings: Mapping[str, T], default: T) -> T:
    if word is UNSET:
        return default
    try:
        return meanings[word]
    except KeyError:
        raise invalid(f"options.{field}", f"must be one of {', '.join(meanings)}") from None


def _wait_s(given: schemas.Options, target: Target, is_lone: bool) -> float:
    if not _meant("wait", given.wait, _IS_WAITING, False):
        if given.wait_timeout is not UNSET:
            raise invalid("options.wait_timeout", "needs wait: delivered")
        return 0.0
    if not is_lone:
        raise invalid("options.wait", "cannot be delivered in a batch: use :send, or ask for the receipt")
    if not isinstance(target, ToTokens | ToUids):
        raise invalid("options.wait", "can be delivered only for token, tokens, uid and uids")
    if given.deliver_at is not UNSET:
        raise invalid("options.wait", "cannot be delivered beside deliver_at")
    if given.ttl == 0 or given.store == "never":
        raise invalid("options.wait", "cannot be delivered where nothing is kept, by ttl 0 or store never")
    return schemas.DEFAULT_WAIT_S if given.wait_timeout is UNSET else given.wait_timeout
