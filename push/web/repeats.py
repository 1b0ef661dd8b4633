"""How a request is known when it is made again: by a key of its sender's, and by what it asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from push.errors import PushError
from push.model import PLAIN, Once, Options, PushRequest
from push.web.errors import invalid
from push.web.message_schemas import MAX_KEY_CHARS

if TYPE_CHECKING:
    from push.web.exchange import ApiRequest

HEADER = "Idempotency-Key"
_HEADER = HEADER.encode()
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY_CHARS}}}\Z")
_WRONG = f"must be 1 to {MAX_KEY_CHARS} visible ASCII characters without spaces"

# How many entries of one batch the header names: each is remembered on disk for a day, and a stream has no end.
MAX_ENTRIES = 100_000

_fields_of = msgspec.structs.astuple
_changed = msgspec.structs.replace
_pack = msgspec.msgpack.Encoder().encode
_NAMES = Options.__struct_fields__
_DEFAULTS = _fields_of(PLAIN)
# Numbers stay as they are spelt: two that are the same only as floats are not the same request.
_read_json = msgspec.json.Decoder(float_hook=lambda digits: msgspec.Raw(digits.encode())).decode
_write_sorted = msgspec.json.Encoder(order="sorted").encode


def fingerprint(request: PushRequest) -> bytes:
    """SHA-256 of what a request asks for: the same for JSON that is spaced or ordered in another way.

    It is compared with what an earlier version may have stored: options that have their defaults do not count, so
    that new ones change nothing for who does not use them.
    """
    options: dict[str, Any] = {}
    if request.options is not PLAIN:
        fields = zip(_NAMES, _fields_of(request.options), _DEFAULTS, strict=True)
        options = {name: value for name, value, default in fields if value != default}
    target = request.target
    asked = (type(target).__name__, target, _in_order(request.payload), request.ttl_s, options)
    return sha256(_pack(asked)).digest()


def _in_order(payload: bytes) -> bytes:
    """JSON with its keys sorted; what is not JSON as it is."""
    if payload[:1] not in (b"{", b"["):
        return payload
    try:
        return _write_sorted(_read_json(payload))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return payload


@dataclass(frozen=True, slots=True)
class Repeats:
    """What tells whether the messages of one HTTP request have been asked for before.

    Three kinds of names are kept apart: of requests, of entries of batches, and of messages. Dry runs have none.

    Attributes:
        sender: the name of the API key, "" where there are none. Nobody else's keys are his.
        key: of the request; None where it has none.
    """

    sender: str
    key: str | None

    def lone(self, request: PushRequest) -> PushRequest:
        """The only message of a request."""
        return request if self.key is None else self._once("key", self.key, request)

    def entries(self, entries: list[PushRequest | PushError], first: int) -> list[PushRequest | PushError]:
        """Messages of a batch.

        Args:
            entries: some of them, in order.
            first: the position of the first of these in the batch.
        """
        if self.key is None:
            return entries
        return [
            entry if isinstance(entry, PushError) else self._entry(position, entry)
            for position, entry in enumerate(entries, first)
        ]

    def _entry(self, position: int, entry: PushRequest) -> PushRequest | PushError:
        if position < MAX_ENTRIES or entry.options.once is not None or entry.validate_only:
            return self._once("entry", f"{self.key}/{position}", entry)
        return invalid(
            HEADER,
            f"names {MAX_ENTRIES:,} entries at most, and this is another one: it was not sent. Begin a new request "
            "with another key, or give each message an id of its own",
        )

    def named(self, own_id: str, request: PushRequest) -> PushRequest:
        """A message that has a name of its own, which goes before the request's.

        Raises:
            InvalidRequest: no message can be called so.
        """
        if not _KEY.match(own_id):
            raise invalid("message.id", _WRONG)
        return self._once("id", own_id, request)

    def _once(self, kind: str, key: str, request: PushRequest) -> PushRequest:
        options = request.options
        if options.once is not None or request.validate_only:
            return request
        once = Once(f"{self.sender}/{kind}/{key}", fingerprint(request))
        return _changed(request, options=_changed(options, once=once))


def repeats_of(request: "ApiRequest") -> Repeats:
    """By what an HTTP request is known when it is made again.

    Raises:
        InvalidRequest: its key cannot be one, or there are several.
    """
    given: Sequence[bytes] | None = request.requestHeaders.getRawHeaders(_HEADER)
    if given is None:
        return Repeats(request.key_name, None)
    key = given[0].decode("latin-1")
    if len(given) > 1 or not _KEY.match(key):
        raise invalid(HEADER, _WRONG)
    return Repeats(request.key_name, key)
