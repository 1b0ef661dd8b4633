"""Whether the store takes writes: a full or failing disk must not look ready. Must not import adapters or stores."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IReadiness
from push.ileases import IFloorStore
from push.model_health import Check

CHECK_TIMEOUT_S = 2.0
_FLOOR = "store_checked_ms"


@implementer(IReadiness)
class StoreCheck:
    """Writes the time of day, for good, each time it is asked.

    Args:
        store: where to.
        now_ms: milliseconds since 1970.
        clock: for the time limit.
    """

    def __init__(self, *, store: IFloorStore, now_ms: Callable[[], int], clock: IReactorTime) -> None:
        self._store = store
        self._now_ms = now_ms
        self._clock = clock

    async def check(self) -> Sequence[Check]:
        """Write.

        Returns:
            One check, "store".
        """
        written = Deferred.fromCoroutine(self._write())
        written.addTimeout(CHECK_TIMEOUT_S, self._clock)
        try:
            await written
        except TimeoutError:
            return [Check("store", False, f"a write took longer than {CHECK_TIMEOUT_S:g} s")]
        except PushError as error:
            return [Check("store", False, str(error))]
        return [Check("store", True)]

    async def _write(self) -> None:
        await self._store.raise_floor(_FLOOR, self._now_ms())
