"""One message on its way into the queues of its tokens, at once or part by part. Pure: no clock, no I/O.

Must not import adapters, stores or web.
"""

from collections.abc import Iterator, Sequence

from push.model import OnFull
from push.model_cache import Keep
from push.services.cache.index import Added, Index
from push.services.cache.records import More, Record, kept

# Tokens in a part: 2 ms where each has another message already (measured 2026-11-23).
PART = 2_048


class Placing:
    """A message that is not as simple as most.

    Args:
        keep: the message.
        position: its place.
        ticket: that it came with.

    Attributes:
        record: of it.
        count: how many tokens have it now.
        refused: tokens without room.
        displacing: tokens where others have to go once it is on disk.
        joined: what had the very same message, and is not on disk yet, with the token.
    """

    def __init__(self, keep: Keep, position: int, ticket: int) -> None:
        self.keep = keep
        self.position = position
        self.record = kept(keep, position, ticket)
        self.count = 0
        self.refused: list[str] = []
        self.displacing: list[str] = []
        self.joined: list[tuple[Record, str]] = []
        self._left_out: set[str] = set()
        self._is_held = False

    def parts(self) -> Iterator[Sequence[str]]:
        """Its tokens, a part at a time."""
        tokens = self.record.tokens()
        return (tokens[start : start + PART] for start in range(0, len(tokens), PART))

    def place(self, index: Index, tokens: Sequence[str]) -> None:
        """Give it to some of its tokens, as far as there is room."""
        record, keep = self.record, self.keep
        others = index.add_to_each(record, tokens)
        self.count += len(tokens) - len(others)
        for token in others:
            added = index.add(record, token, drops_oldest=keep.options.on_full is OnFull.DROP_OLDEST)
            if added >= Added.PLACED:
                self.count += 1
                if added is Added.DISPLACING:
                    self.displacing.append(token)
                continue
            self._left_out.add(token)
            if added is Added.REFUSED:
                self.refused.append(token)
            else:
                same = index.get(token, keep.message_id)
                if same is not None and same.ticket:
                    self.joined.append((same, token))

    def hold(self) -> None:
        """Until it is settled nobody is given it, as if it waited for the disk; nor is it over, whoever has it."""
        more = self.record.more
        if more is None:
            more = self.record.more = More()
        self._is_held = more.is_ahead = True
        more.left += 1

    def settle(self) -> bool:
        """It is placed: from now on it is for those tokens that took it. Returns whether any of them still needs it."""
        more = self.record.more
        if more is None:
            return self.count > 0
        if self._is_held:
            more.is_ahead = self.keep.is_ahead
            more.left -= 1
        if more.tokens and self._left_out:
            more.left -= len(self._left_out)
            more.tokens = tuple([token for token in more.tokens if token not in self._left_out])
        return self.count > 0 and more.left > 0
