"""From the bytes of a request body to the values of push.model. No HTTP, no Deferred.

Nearly all messages are text to one token. Those are decoded by a schema of their own, which leaves nothing to be
looked at afterwards; what it does not accept is decoded by the full schema, which knows what is wrong where
something is. A batch is decoded in one go; only when that fails is each entry looked at by itself, so that a bad
one spoils no other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from push.errors import FieldViolation, PushError, TooLarge
from push.model import PLAIN, PushRequest, TagQuery, Target, ToAll, ToConnector, ToGroup, ToTags, ToTokens, ToUids
from push.web import errors
from push.web import message_schemas as schemas
from push.web.counting import entry_check, too_many
from push.web.decoding import WHOLE, check_utf8, decode
from push.web.options import OptionsReader
from push.web.repeats import Repeats
from push.web.settings import ApiSettings

_TARGETS = schemas.Target.__struct_fields__
_ALL_BUT_ONE = len(_TARGETS) - 1
_fields_of = msgspec.structs.astuple
_compact = msgspec.json.format
# 0.7 to 3 ms of work (measured 2026-11-23: 0.7 us for text to one token, 3 us for text to a user).
SLICE_ENTRIES = 1_000
# What is read, in the sentence of an error: of a batch the JSON path, of a stream counted from 1.
_IN_BATCH = "requests[%d]"
_IN_STREAM = "Entry %d of the stream"

_QUOTE = b'"'
_BACKSLASH = b"\\"


class _LoneTarget(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    token: schemas.Token


class _Text(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    data: str


class _Plain(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The SendRequest that is text to one token, without options."""

    target: _LoneTarget
    message: _Text


class _PlainBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """A BatchSendRequest of nothing else."""

    requests: tuple[_Plain, ...]


class MessageReader:
    """Reads the bodies of :send and :batchSend.

    Args:
        settings: the limits.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, settings: ApiSettings, *, now_ms: Callable[[], int]) -> None:
        self._max_batch = settings.max_batch
        self._check_entries = entry_check(settings.max_batch)
        self._max_targets = settings.max_targets
        self._max_payload_bytes = settings.max_payload_bytes
        self._plain = msgspec.json.Decoder(_Plain)
        self._send = msgspec.json.Decoder(schemas.SendRequest)
        self._plain_batch = msgspec.json.Decoder(_PlainBatch)
        self._batch = msgspec.json.Decoder(schemas.BatchSendRequest)
        self._entries = msgspec.json.Decoder(schemas.BatchEntries)
        self._text = msgspec.json.Decoder(str)
        self._options = OptionsReader(max_delay_s=settings.max_delay_s, now_ms=now_ms)

    @property
    def max_payload_bytes(self) -> int:
        """The largest message."""
        return self._max_payload_bytes

    def one(self, body: bytes, repeats: Repeats) -> PushRequest:
        """Read the body of :send.

        Args:
            body: all of it.
            repeats: how it is known when it comes again.

        Raises:
            InvalidRequest: it is not as the schema says.
            TooLarge: the message, or the number of targets, is over its limit.
        """
        check_utf8(body)
        return repeats.lone(self._entry(body, repeats))

    def batch(self, body: bytes, repeats: Repeats) -> Iterator[list[PushRequest | PushError]]:
        """Read the body of :batchSend, in slices short enough to let others run between them.

        Args:
            body: all of it.
            repeats: how each entry is known when it comes again.

        Yields:
            For each entry the request, or what is wrong with it.

        Raises:
            InvalidRequest: the body is not a batch at all.
            TooLarge: it has too many entries.
        """
        check_utf8(body)
        self._check_entries(body)
        read, entries = self._parsed(body)
        if len(entries) > self._max_batch:
            raise too_many(self._max_batch)
        for start in range(0, len(entries), SLICE_ENTRIES):
            yield repeats.entries(read(entries[start : start + SLICE_ENTRIES], repeats, start), start)

    def _parsed(
        self, body: bytes
    ) -> tuple[Callable[[Any, Repeats, int], list[PushRequest | PushError]], Sequence[Any]]:
        """Decode a batch as strictly as it can be, and say what reads the entries that were found."""
        try:
            return self._all_plain, self._plain_batch.decode(body).requests
        except (msgspec.DecodeError, RecursionError):
            pass
        try:
            return self._all_sent, self._batch.decode(body).requests
        except (msgspec.DecodeError, RecursionError):
            return self._each, decode(self._entries, body).requests

    def _each(self, entries: Iterable[msgspec.Raw], repeats: Repeats, first: int) -> list[PushRequest | PushError]:
        found: list[PushRequest | PushError] = []
        for at, entry in enumerate(entries, first):
            try:
                found.append(self._entry(entry, repeats, _IN_BATCH, at))
            except PushError as error:
                found.append(error)
        return found

    def lines(
        self, lines: Iterable[bytes | None], max_line_bytes: int, repeats: Repeats, first: int
    ) -> list[PushRequest | PushError]:
        """Read lines, each an entry.

        Args:
            lines: None stands for one over the limit.
            max_line_bytes: that limit.
            repeats: how each is known when it comes again.
            first: how many came before them.

        Returns:
            For each the request, or what is wrong with it.
        """
        found: list[PushRequest | PushError] = []
        for at, line in enumerate(lines, first + 1):
            try:
                if line is None:
                    raise TooLarge(f"A line has at most {max_line_bytes} bytes.")
                if not line.isascii():
                    check_utf8(line, _IN_STREAM % at)
                found.append(self._entry(line, repeats, _IN_STREAM, at))
            except PushError as error:
                found.append(error)
        return repeats.entries(found, first)

    def _all_plain(self, entries: Iterable[_Plain], repeats: Repeats, first: int) -> list[PushRequest | PushError]:
        max_bytes = self._max_payload_bytes
        found: list[PushRequest | PushError] = []
        for entry in entries:
            payload = entry.message.data.encode()
            if len(payload) <= max_bytes:
                found.append(PushRequest(ToTokens((entry.target.token,), True), payload))
            else:
                found.append(self._too_large(payload))
        return found

    def _all_sent(
        self, entries: Iterable[schemas.SendRequest], repeats: Repeats, first: int
    ) -> list[PushRequest | PushError]:
        found: list[PushRequest | PushError] = []
        for entry in entries:
            try:
                found.append(self._request(entry, repeats))
            except PushError as error:
                found.append(error)
        return found

    def _entry(
        self, entry: bytes | msgspec.Raw, repeats: Repeats, what: str = WHOLE, at: int | None = None
    ) -> PushRequest:
        try:
            plain = self._plain.decode(entry)
        except (msgspec.DecodeError, RecursionError):
            sent = decode(self._send, entry, what if at is None else what % at)
            return self._request(sent, repeats, is_lone=at is None)
        return PushRequest(ToTokens((plain.target.token,), True), self.checked(plain.message.data.encode()))

    def _request(self, sent: schemas.SendRequest, repeats: Repeats, *, is_lone: bool = False) -> PushRequest:
        target = self._target(sent.target)
        given = sent.options
        ttl_s = None
        options = PLAIN
        if given is not UNSET:
            ttl_s = None if given.ttl is UNSET else given.ttl
            options = self._options.read(given, target, is_lone=is_lone)
        request = PushRequest(target, self._payload(sent.message), ttl_s, sent.validate_only, options)
        own_id = sent.message.id
        return request if own_id is UNSET else repeats.named(own_id, request)

    def _payload(self, message: schemas.Message) -> bytes:
        data = message.data
        if data is UNSET:
            if message.data_base64 is UNSET:
                raise errors.invalid("message", "needs one of data and data_base64")
            payload = message.data_base64
        elif message.data_base64 is not UNSET:
            raise errors.invalid("message", "must have only one of data and data_base64")
        else:
            payload = bytes(data)
            if payload[:1] != _QUOTE:
                payload = _compact(payload, indent=-1)
            elif _BACKSLASH in payload:
                payload = self._text.decode(payload).encode()
            else:  # between its quotes it is what it says; that it is UTF-8 and JSON has been checked
                payload = payload[1:-1]
        return self.checked(payload)

    def checked(self, payload: bytes) -> bytes:
        """Check the size of a message.

        Returns:
            The message.

        Raises:
            TooLarge: it is over the limit.
        """
        if len(payload) > self._max_payload_bytes:
            raise self._too_large(payload)
        return payload

    def _too_large(self, payload: bytes) -> TooLarge:
        return TooLarge(
            f"A message has at most {self._max_payload_bytes} bytes, this one has {len(payload)}.",
            violations=(FieldViolation("message", f"more than {self._max_payload_bytes} bytes"),),
        )

    def _target(self, target: schemas.Target) -> Target:
        if _fields_of(target).count(UNSET) != _ALL_BUT_ONE:
            raise errors.invalid("target", f"must have exactly one of {', '.join(_TARGETS)}")
        if target.token is not UNSET:
            return ToTokens((target.token,), True)
        if target.tokens is not UNSET:
            return ToTokens(self.distinct("target.tokens", target.tokens))
        if target.uid is not UNSET:
            return ToUids((target.uid,), True)
        if target.uids is not UNSET:
            return ToUids(self.distinct("target.uids", target.uids))
        if target.tags is not UNSET:
            return _to_tags(target.tags)
        if target.connector is not UNSET:
            return ToConnector(target.connector)
        if target.group is not UNSET:
            return ToGroup(target.group)
        if target.all is not True:
            raise errors.invalid("target.all", "must be true")
        return ToAll()

    def distinct(self, field: str, names: Sequence[str]) -> tuple[str, ...]:
        """Each name once: naming a client twice does not send it two messages.

        Raises:
            TooLarge: there are more than one request may have.
        """
        self.check_targets(field, len(names))
        return tuple(dict.fromkeys(names))

    def check_targets(self, field: str, number: int) -> None:
        """Check how many targets there are.

        Raises:
            TooLarge: there are more than one request may have.
        """
        if number > self._max_targets:
            raise TooLarge(
                f"One request has at most {self._max_targets} targets, this one has {number}.",
                violations=(FieldViolation(field, f"more than {self._max_targets}"),),
            )


def _to_tags(tags: schemas.TagSelection) -> ToTags:
    if not (tags.any or tags.all or tags.none):
        raise errors.invalid("target.tags", "must have a tag in any, all or none")
    return ToTags(TagQuery(tags.any, tags.all, tags.none))
