"""Where tokens are in the log of broadcasts: on disk, and above that what is known here and newer.

A token that has never moved is where the log was when it was registered. Must not import adapters, stores or web.
"""

from collections.abc import Mapping

from push.icache import ICacheStore

# Places that are remembered after they are on disk, so that a token need not be looked up at each of its sessions, and
# what comes late about an older session does not take it back. 150 bytes each (measured 2026-11-23).
MAX_KNOWN = 100_000
# More make a transaction so large that others wait for it.
MAX_WRITTEN = 5_000
# Who has moved is sent broadcasts again after a crash if that is not on disk; while the disk fails no more than
# these are waiting for it.
MAX_MOVED = 1_000_000


class Places:
    """Token → the position up to which it has all logged broadcasts.

    Args:
        store: has those that are on disk.
    """

    def __init__(self, store: ICacheStore) -> None:
        self._store = store
        self._known: dict[str, int] = {}
        self._moved: dict[str, int] = {}
        self._written: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """How many are not on disk, nor on the way there."""
        return len(self._moved)

    def known(self, token: str) -> int:
        """Where a token is, as far as can be said at once; -1 where it cannot."""
        return max(self._moved.get(token, -1), self._written.get(token, -1), self._known.get(token, -1))

    def move(self, token: str, place: int) -> None:
        """A token is here now, unless it is further on."""
        if place <= self.known(token):
            return
        self._moved[token] = place
        if len(self._moved) > MAX_MOVED:
            del self._moved[next(iter(self._moved))]
        self._remember(token, place)

    async def find(self, token: str) -> int:
        """Where a token is; -1 where it has never moved.

        Raises:
            Unavailable: the store cannot be read.
        """
        known = self.known(token)
        if known >= 0:
            return known
        stored = (await self._store.log_positions([token])).get(token, -1)
        return max(stored, self.known(token))

    def learn(self, token: str, place: int) -> None:
        """Remember where a token was found to be."""
        if place > self.known(token):
            self._remember(token, place)

    def forget(self, token: str) -> None:
        """A token is revoked: should it come again, it begins at the end as it is registered then."""
        self._known.pop(token, None)
        self._moved.pop(token, None)

    def take(self) -> Mapping[str, int]:
        """What is to be written now; say what became of it."""
        if len(self._moved) <= MAX_WRITTEN:
            self._written, self._moved = self._moved, {}
        else:
            tokens = [token for token, _ in zip(self._moved, range(MAX_WRITTEN), strict=False)]
            self._written = {token: self._moved.pop(token) for token in tokens}
        return self._written

    def ended(self, *, is_on_disk: bool) -> None:
        """What was taken has been written, or not."""
        written, self._written = self._written, {}
        if not is_on_disk:
            self._moved = {**written, **self._moved}

    def _remember(self, token: str, place: int) -> None:
        self._known.pop(token, None)
        self._known[token] = place
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
