"""The results of one push while they come about. Must not import adapters, stores or web."""

from collections.abc import Iterable, Sequence

from push.errors import PushError
from push.model import Delivery, PushRequest, PushResult
from push.services.progress import Progress, begins_ms, cache_is_full, message_too_large

# Whose something is: a request's progress, or for a plain message to one token, the request's position.
Owner = Progress | int


class Results:
    """One for each request.

    Args:
        requests: all of the push.
        now_ms: when it was accepted, milliseconds since 1970.

    Attributes:
        are_any: whether anything is known of any plain message to one token.
    """

    def __init__(self, requests: Sequence[PushRequest], now_ms: int) -> None:
        self._requests = requests
        self._now_ms = now_ms
        self._results: list[PushResult | PushError | Progress | None] = [None] * len(requests)
        self.are_any = False
        # Whether there are other requests than such.
        self._are_others = False

    def begin(self, position: int, message_id: int, from_ms: int) -> Progress:
        """Start a request of any kind."""
        self._are_others = True
        progress = self._results[position] = Progress(self._requests[position], message_id, from_ms)
        return progress

    def request(self, owner: Owner) -> PushRequest:
        """What was asked for."""
        return self._requests[owner] if isinstance(owner, int) else owner.request

    def from_ms(self, owner: Owner, message_id: int) -> int:
        """When the time to live begins, milliseconds since 1970."""
        return begins_ms(message_id, self._now_ms) if isinstance(owner, int) else owner.from_ms

    def put(self, position: int, result: PushResult) -> None:
        """What became of a plain message to one token."""
        self.are_any = True
        self._results[position] = result

    def put_sent(self, positions: Iterable[int], deliveries: Iterable[Delivery]) -> None:
        """These plain messages to one token each were sent."""
        self.are_any = True
        results = self._results
        for position, delivery in zip(positions, deliveries, strict=True):
            results[position] = PushResult(delivery.message_id, 1, 1)

    def put_first(self, position: int, result: PushResult) -> None:
        """What became of it, should nothing have been said before."""
        self.are_any = True
        if self._results[position] is None:
            self._results[position] = result

    def is_known(self, position: int) -> bool:
        """Whether anything has been said of it."""
        return self._results[position] is not None

    def fail(self, owners: Iterable[Owner], error: PushError) -> None:
        """These were not accepted."""
        for owner in owners:
            if isinstance(owner, int):
                self._results[owner] = error
                self.are_any = True
            else:
                owner.error = error

    def too_large(self, owner: Owner, targets: int) -> None:
        """The connectors of so many targets do not take it."""
        if isinstance(owner, int):
            self.fail((owner,), message_too_large())
        else:
            owner.too_large(targets)

    def refuse(self, owner: Owner, message_id: int, tokens: Sequence[str]) -> None:
        """The caches of these tokens are full."""
        if not isinstance(owner, int):
            owner.refuse(tokens)
        elif self._requests[owner].target.single:  # type: ignore[union-attr]
            self._results[owner] = cache_is_full()
        else:
            self._results[owner] = PushResult(message_id, 1, 0, rejected=1)

    def has_failed(self, owner: Owner) -> bool:
        """Whether a request that is more than a plain message to one token was not accepted."""
        return not isinstance(owner, int) and owner.error is not None

    def all(self) -> list[PushResult | PushError]:
        """All of them, in order."""
        if not self._are_others and all(self._results):  # as nearly always; results and errors are true
            return self._results  # type: ignore[return-value]
        results: list[PushResult | PushError] = []
        for each in self._results:
            if each is None:
                raise RuntimeError("a request was never begun")
            results.append(each.result() if type(each) is Progress else each)  # type: ignore[arg-type]
        return results
