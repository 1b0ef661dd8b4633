"""What the cache has in memory of one message: the same record for all of its tokens.

msgspec structs without the collector's head: a million of them are no work for it (see push/model.py), nor is a dict
that has nothing else in it. Must not import adapters, stores or web.
"""

from collections.abc import Sequence

import msgspec

from push.model import TagQuery
from push.model_cache import Everybody, Keep, StoredMessage

# The ticket of what has none yet: no transaction goes so far.
LATER = 1 << 63


class More(msgspec.Struct, gc=False, eq=False):
    """What few messages have.

    Attributes:
        is_high: as in Options.
        is_ahead: as in Keep.
        collapse_key: as in Options.
        tokens: for whom, where there are several.
        left: how many of those still need it.
        audience: as in Keep.
        had: of a logged message: tokens that it was kept for besides, and that have it from there.
    """

    is_high: bool = False
    is_ahead: bool = False
    collapse_key: str = ""
    tokens: Sequence[str] = ()
    left: int = 1
    audience: Everybody | TagQuery | None = None
    had: set[str] | None = None


class Record(msgspec.Struct, gc=False, eq=False):
    """One message.

    Attributes:
        position: its place in the order of delivery, unique and growing.
        message_id: its id; two records can have the same, for different tokens.
        expires_ms: as in Keep.
        size_bytes: of its payload.
        token: for whom; "" where `more` says so.
        ticket: of the keep that it came with; 0 once it is on disk.
        payload: until it is on disk; then it is read from there.
        owner: as in Keep.
        more: None for nearly all.
    """

    position: int
    message_id: int
    expires_ms: int
    size_bytes: int
    token: str
    ticket: int
    payload: bytes | None
    owner: str | None = None
    more: More | None = None

    def tokens(self) -> Sequence[str]:
        """For whom it was kept, whether they still need it or not; none for a logged one."""
        return (self.token,) if self.token else self.more.tokens if self.more is not None else ()


def kept(keep: Keep, position: int, ticket: int) -> Record:
    """The record of any message."""
    options = keep.options
    tokens = () if keep.audience is not None else tuple(keep.tokens)
    if len(tokens) > 1 and len(set(tokens)) < len(tokens):
        tokens = tuple(dict.fromkeys(tokens))
    is_lone = len(tokens) == 1
    payload = keep.payload
    record = Record(
        position,
        keep.message_id,
        keep.expires_ms,
        len(payload),
        tokens[0] if is_lone else "",
        ticket,
        payload,
        keep.owner,
    )
    if options.is_high or keep.is_ahead or options.collapse_key or not is_lone:
        record.more = More(
            options.is_high,
            keep.is_ahead,
            options.collapse_key,
            () if is_lone else tokens,
            len(tokens),
            keep.audience,
        )
    return record


def loaded(row: StoredMessage) -> Record:
    """The record of a row."""
    tokens = row.tokens
    position, message_id = row.position, row.message_id
    if message_id == position:
        message_id = position  # one number for both
    is_lone = len(tokens) == 1
    token = tokens[0] if is_lone else ""
    record = Record(position, message_id, row.expires_ms, row.size_bytes, token, 0, None, row.owner)
    if not is_lone or row.is_high or row.collapse_key:
        several = () if is_lone else tuple(tokens)
        record.more = More(row.is_high, False, row.collapse_key, several, len(tokens), row.audience)
    return record


def row_of(record: Record, tokens: Sequence[str]) -> StoredMessage:
    """The row of a record, for those of its tokens that still need it."""
    more = record.more
    return StoredMessage(
        record.position,
        record.message_id,
        record.expires_ms,
        record.size_bytes,
        more is not None and more.is_high,
        "" if more is None else more.collapse_key,
        tokens,
        None if more is None else more.audience,
        record.payload,
        record.owner,
    )
