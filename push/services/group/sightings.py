"""When parties were last seen: held for a while, and written together. Must not import adapters, stores or web."""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from push.errors import PushError
from push.igroup import IPresenceStore
from push.services.tasks import Tasks

# In one transaction, for which messages may have to wait.
_WRITTEN = 1_000
# While the store is away, what is more is forgotten: that somebody was last seen earlier does little harm.
MAX_HELD = 100_000


class Sightings:
    """What one process has seen of parties.

    Args:
        store: remembers it.
        clock: for the pauses between writes.
        now_ms: milliseconds since 1970.
        tasks: runs what nobody waits for.
        every_s: how often it is written.
    """

    _log = Logger()

    def __init__(
        self,
        store: IPresenceStore,
        *,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        tasks: Tasks,
        every_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._now_ms = now_ms
        self._tasks = tasks
        self._every_s = every_s
        # Since the last write, and what is being written.
        self._held: dict[str, int] = {}
        self._writing: dict[str, int] = {}
        self._is_waiting = False

    def saw(self, who: str) -> None:
        """This party was there until now."""
        if who in self._held or len(self._held) < MAX_HELD:
            self._held[who] = self._now_ms()
            self._write_later()

    async def seen(self, whos: Sequence[str]) -> Mapping[str, int]:
        """When these parties were last seen, milliseconds since 1970; who never was is left out."""
        seen = dict(await self._store.seen(whos))
        # When thousands leave at once, these are many more than are asked for.
        for newer in (self._writing, self._held):
            seen.update((who, newer[who]) for who in whos if who in newer)
        return seen

    async def flush(self) -> None:
        """Write what is held, now."""
        if not self._held or self._writing:
            return
        self._writing, self._held = self._held, {}
        try:
            rows = list(self._writing.items())
            for start in range(0, len(rows), _WRITTEN):
                await self._store.saw(dict(rows[start : start + _WRITTEN]))
        except PushError as error:
            self._log.warn("who was seen last could not be stored: {error}", error=error)
        finally:
            self._writing = {}

    def _write_later(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._clock.callLater(self._every_s, self._write)

    def _write(self) -> None:
        self._is_waiting = False
        self._tasks.spawn("storing who was seen", self.flush())
        if self._held:  # what came while it was being written
            self._write_later()
