"""Tokens in Redis: who they are, whose they are, what they are tagged with.

Keys, behind `PREFIX:{tokens}:`

| key | type | holds |
|---|---|---|
| `info` | hash | token → MessagePack [uid or false, device or false, tags as JSON, created_ms, number] |
| `order` | sorted set, score 0 | all tokens, so in the order of their bytes |
| `last` | string | the number of the newest token |
| `uid:UID` | sorted set, score = number | the tokens of a user, oldest first |
| `tag:TAG` | sorted set, score 0 | the tokens with a tag, in the order of their bytes |
| `writer:ID` | string, expires | the number of the last write of a process |

Writes go through one script, many at a time. Lists of any length are asked for in parts, one behind the other on the
same connection without waiting, so that no script keeps Redis for long.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.errors import PermissionDenied, PushError, StartError, Unavailable
from push.isubscribe import ITokenStore
from push.model import TagQuery
from push.model_subscribe import TokenInfo
from push.stores.redis.client import Redis
from push.stores.redis.ordered import Ordered, together
from push.stores.redis.token_scripts import KNOWN_PART, OF_UIDS, SCANNED, TAGGED, UIDS_PART, WRITE
from push.stores.redis.writer import Writer

MAX_TOKENS = 10_000_000


class _Write(NamedTuple):
    """A registration, or a deletion where there is no time. In this form it goes to the script."""

    token: str
    uid: str | None
    device: str | None
    tags: str | None
    now_ms: int
    owner_only: bool


_info = msgspec.msgpack.Decoder(tuple[str | bool, str | bool, str, int, int])
_tags = msgspec.json.Decoder(tuple[str, ...])


@implementer(ITokenStore)
class TokenStore:
    """The tokens of a cluster.

    Args:
        redis: where they are.
        max_tokens: how many there may be.
    """

    def __init__(self, redis: Redis, *, max_tokens: int = MAX_TOKENS) -> None:
        self._redis = redis
        self._max_tokens = max_tokens
        self._prefix = redis.keys("tokens")
        self._count = 0
        self._writer = Writer(redis, self._prefix)
        self._writes: Ordered[_Write, TokenInfo | bool] = Ordered(self._write)

    def register(
        self,
        token: str,
        uid: str | None,
        device: str | None,
        tags: tuple[str, ...] | None,
        now_ms: int,
        *,
        owner_only: bool,
    ) -> "Deferred[TokenInfo]":
        """Create a token or update it; what is stored already is not written again."""
        text = None if tags is None else msgspec.json.encode(tags).decode()
        return self._writes.submit(_Write(token, uid, device, text, now_ms, owner_only))  # type: ignore[return-value]

    def delete(self, token: str) -> "Deferred[bool]":
        """Forget a token. Returns whether it was there."""
        return self._writes.submit(_Write(token, None, None, None, -1, False))  # type: ignore[return-value]

    def known(self, tokens: Sequence[str]) -> "Deferred[frozenset[str]]":
        """Which of these are registered."""
        return Deferred.fromCoroutine(self._known(tokens))

    def get(self, token: str) -> "Deferred[TokenInfo | None]":
        """One token, without its session."""
        found = self._redis.reads.call("HGET", self._prefix + "info", _sought(token))
        return found.addCallback(lambda stored: None if stored is None else _decoded(token, stored))

    def tokens_of(self, uids: Sequence[str]) -> "Deferred[Mapping[str, tuple[str, ...]]]":
        """The tokens of users, oldest first; users without any are left out."""
        return Deferred.fromCoroutine(self._tokens_of(uids))

    def tagged(self, query: TagQuery, after: str, limit: int) -> "Deferred[Sequence[str]]":
        """The next tokens that match, in the order of tokens.

        Costs a look at each token that has the rarest of `all`, or each of `any`, up to the last one returned.
        """
        return Deferred.fromCoroutine(self._tagged(query, after, limit))

    def count(self) -> int:
        """How many tokens are registered: as of this process' last write, or the last `refresh`."""
        return self._count

    async def refresh(self) -> None:
        """Count the tokens that other processes have registered, too."""
        self._count = await self._redis.reads.call("HLEN", self._prefix + "info")

    async def _write(self, items: Sequence[_Write]) -> Sequence[TokenInfo | bool | PushError]:
        keys = [self._prefix + name for name in ("info", "order", "last")]
        packed: list[bytes | PushError] = [_packed(item) for item in items]
        arguments = [one for one in packed if isinstance(one, bytes)]
        self._count, *outcomes = await self._writer.write(WRITE, keys, [self._prefix, self._max_tokens, *arguments])
        told = iter(outcomes)
        return [
            one if isinstance(one, PushError) else self._outcome(item, next(told))
            for item, one in zip(items, packed, strict=True)
        ]

    def _outcome(self, item: _Write, outcome: bytes | int) -> TokenInfo | bool | PushError:
        if isinstance(outcome, bytes):
            return _decoded(item.token, outcome)
        if item.now_ms < 0:
            return bool(outcome)
        if outcome == 0:
            return PermissionDenied("this token belongs to another user: open without a token to get a new one")
        return Unavailable(f"this server's limit of {self._max_tokens} tokens is reached")

    async def _known(self, tokens: Sequence[str]) -> frozenset[str]:
        parts = [tokens[at : at + KNOWN_PART] for at in range(0, len(tokens), KNOWN_PART)]
        scores = await together(
            [self._redis.reads.call("ZMSCORE", self._prefix + "order", *map(_sought, part)) for part in parts],
        )
        return frozenset(
            token
            for part, found in zip(parts, scores, strict=True)
            for token, score in zip(part, found, strict=True)
            if score is not None
        )

    async def _tokens_of(self, uids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        parts = [uids[at : at + UIDS_PART] for at in range(0, len(uids), UIDS_PART)]
        answers = await together(
            [
                self._redis.reads.run(OF_UIDS, [self._prefix + "info"], [self._prefix, *map(_sought, part)])
                for part in parts
            ],
        )
        return {
            part[index - 1]: tuple(token.decode() for token in tokens)
            for part, answer in zip(parts, answers, strict=True)
            for index, tokens in answer
        }

    async def _tagged(self, query: TagQuery, after: str, limit: int) -> Sequence[str]:
        wanted_all, wanted_any, unwanted = (
            sorted({*map(_sought, tags)}) for tags in (query.all, query.any, query.none)
        )
        if wanted_all:
            drivers = [await self._rarest(wanted_all, after)]
        else:
            drivers = [b"tag:" + tag for tag in wanted_any] or [b"order"]
            wanted_any = []
        tags: list[bytes | int] = [*map(len, (wanted_all, wanted_any, unwanted)), *wanted_all, *wanted_any, *unwanted]
        found = await together([Deferred.fromCoroutine(self._driven(driver, tags, after, limit)) for driver in drivers])
        # The first tokens that have any of the tags are among the first that have each.
        return sorted({token for page in found for token in page})[:limit]

    async def _rarest(self, tags: Sequence[bytes], after: str) -> bytes:
        keys = [b"tag:" + tag for tag in tags]
        prefix = self._prefix.encode()
        counts: list[int] = await together(
            [self._redis.reads.call("ZLEXCOUNT", prefix + key, b"(" + _sought(after), "+") for key in keys],
        )
        return min(zip(counts, keys, strict=True))[1]

    async def _driven(self, driver: bytes, tags: Sequence[bytes | int], after: str, limit: int) -> list[str]:
        """The tokens of one set that match: a bounded look at a time."""
        found: list[str] = []
        place = _sought(after)
        while len(found) < limit:
            arguments = [self._prefix, driver, place, limit - len(found), SCANNED, *tags]
            place, page = await self._redis.reads.run(TAGGED, [self._prefix + "info"], arguments)
            found += [token.decode() for token in page]
            if not place:
                break
        return found


def _packed(item: _Write) -> bytes | PushError:
    try:
        return msgspec.msgpack.encode(
            (
                item.token,
                False if item.uid is None else item.uid,
                False if item.device is None else item.device,
                False if item.tags is None else item.tags,
                item.now_ms,
                item.owner_only,
            )
        )
    except UnicodeEncodeError:
        return Unavailable("a text that is not Unicode cannot be stored")


def _decoded(token: str, stored: bytes) -> TokenInfo:
    try:
        uid, device, tags, created_ms, _ = _info.decode(stored)
        return TokenInfo(token, _text(uid), _text(device), _tags.decode(tags), created_ms)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StartError(
            "Redis holds a token that cannot be read: was it written by a newer version of this server?"
        ) from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _sought(text: str) -> bytes:
    # What cannot be stored is not found.
    return text.encode("utf-8", "surrogatepass")
