"""What one push gives to the cache, and whether that is on disk. Must not import adapters, stores or web."""

from collections.abc import Iterable, Mapping, Sequence

from push.errors import PushError
from push.icache import ICache
from push.ireceipts import IReceipts
from push.model import Place, PushResult
from push.model_cache import Keep
from push.model_receipts import Event
from push.services.progress import Progress
from push.services.results import Owner, Results

# (message id, token): not kept.
Refused = set[tuple[int, str]]


class Keeps:
    """The messages of one push that are to survive.

    Args:
        cache: takes them.
        receipts: is told of those that it takes.
        results: are told what it does not take.
    """

    def __init__(self, *, cache: ICache, receipts: IReceipts, results: Results) -> None:
        self._cache = cache
        self._receipts = receipts
        self._results = results
        self._keeps: list[Keep] = []
        self._owners: list[Owner] = []
        self._tickets: list[tuple[int, Sequence[Owner]]] = []
        # (message id, token) → its position, what is before it there, and in the log; where the cache is shared.
        self._places: dict[tuple[int, str], tuple[int, int, int]] = {}
        self._trouble: PushError | None = None

    def add(self, owner: Owner, keep: Keep) -> None:
        """Collect one."""
        self._keeps.append(keep)
        self._owners.append(owner)

    def add_each(self, owners: Sequence[Owner], keeps: Sequence[Keep]) -> None:
        """Collect many, one for each owner."""
        self._owners += owners
        self._keeps += keeps

    def add_for(self, progress: Progress, tokens: Sequence[str], expires_ms: int) -> None:
        """Collect a message for these tokens, by the users that it is meant for."""
        request = progress.request
        progress.kept += len(tokens)
        for owner, theirs in by_owner(tokens, progress.owners):
            keep = Keep(
                progress.message_id,
                request.payload,
                theirs,
                expires_ms,
                request.options,
                is_ahead=progress.is_ahead,
                owner=owner,
            )
            self.add(progress, keep)

    def add_key(self, progress: Progress) -> None:
        """Collect only that a request was made."""
        keep = Keep(progress.message_id, b"", (), progress.from_ms, progress.request.options, is_ahead=True)
        self.add(progress, keep)

    async def give(self) -> Refused:
        """Give the cache what was collected; once it is called, all of that is found there.

        Returns:
            What it does not take, which must not be delivered either; the results know.
        """
        if not self._keeps:
            return set()
        keeps, self._keeps = self._keeps, []
        owners, self._owners = self._owners, []
        try:
            keeping = await self._cache.keep(keeps)
        except PushError as error:
            self._results.fail(owners, error)
            return {(keep.message_id, token) for keep in keeps for token in keep.tokens}
        self._tickets.append((keeping.ticket, owners))
        if keeping.places:
            for keep, place in zip(keeps, keeping.places, strict=True):
                for token, before in zip(keep.tokens, place.before, strict=True):
                    self._places[keep.message_id, token] = (place.position, before, place.logged)
        self._tell(keeps, owners, keeping.refused)
        if not keeping.refused:
            return set()
        for at, tokens in keeping.refused.items():
            self._receipts.happened(Event.REJECTED, keeps[at].message_id, tokens)
            self._results.refuse(owners[at], keeps[at].message_id, tokens)
        return {(keeps[at].message_id, token) for at, tokens in keeping.refused.items() for token in tokens}

    def place(self, message_id: int, tokens: Sequence[str]) -> Place:
        """Where a message stands that was given, and what it comes after for each of these tokens of one user."""
        places = [self._places[message_id, token] for token in tokens]
        return Place(places[0][0], tuple([before for _, before, _ in places]), places[0][2])

    @property
    def is_in_trouble(self) -> bool:
        """Whether something that was given may not be where it should."""
        return self._trouble is not None

    def fail(self, error: PushError) -> None:
        """What was given may not be where it should: none of it counts as accepted."""
        self._trouble = error

    async def log(self, progress: Progress, keep: Keep) -> Place | None:
        """Keep a message once for all who are addressed; if it is ahead, until it is on disk.

        Returns:
            Its place in the log, if it is in the log.

        Raises:
            PushError: it cannot be kept.
        """
        keeping = await self._cache.keep((keep,))
        if keep.is_ahead:
            error = await self._cache.committed(keeping.ticket)
            if error is not None:
                raise error
        else:
            self._tickets.append((keeping.ticket, (progress,)))
        return keeping.places[0] if keeping.places else None

    async def give_late(self, late: Sequence[tuple[Owner, Keep]]) -> None:
        """Keep what was to be delivered, but found nobody."""
        for owner, keep in late:
            self.add(owner, keep)
            if isinstance(owner, int):
                self._results.put(owner, PushResult(keep.message_id, 1, 0, 1))
            elif not owner.is_logged:
                owner.kept += len(keep.tokens)
        await self.give()

    async def on_disk(self) -> PushError | None:
        """Wait until all that was given is on disk. The results are told what is not; returns the last error."""
        tickets, self._tickets = self._tickets, []
        last: PushError | None = None
        for ticket, owners in tickets:
            error = await self._cache.committed(ticket) or self._trouble
            if error is not None:
                self._results.fail(owners, error)
                last = error
        return last

    def _tell(self, keeps: Sequence[Keep], owners: Sequence[Owner], refused: Mapping[int, Sequence[str]]) -> None:
        """Of messages for one token that are delivered besides, is told with what becomes of them."""
        if not self._results.are_any:
            return
        is_known = self._results.is_known
        lone = [
            (keep.message_id, keep.tokens[0], keep.expires_ms)
            for at, (keep, owner) in enumerate(zip(keeps, owners, strict=True))
            if type(owner) is int and is_known(owner) and at not in refused
        ]
        if lone:
            self._receipts.lone_each(None, lone)


def by_owner(tokens: Sequence[str], owners: Mapping[str, str]) -> Iterable[tuple[str | None, Sequence[str]]]:
    """Tokens by the user that a message for them is meant for."""
    if not tokens or not owners:
        return ((None, tokens),) if tokens else ()
    theirs: dict[str | None, list[str]] = {}
    for token in tokens:
        theirs.setdefault(owners.get(token), []).append(token)
    return theirs.items()
