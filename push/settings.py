"""How one setting is read from text: parsers that return the value or say what would be right.

Knows no setting in particular; those are in push.config. Imports nothing of Twisted.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any
from urllib.parse import urlsplit

from push import endpoint_text

ROLES = ("subscribe", "cache", "connector", "router", "group", "api")
# Those that a server does without.
OPTIONAL_ROLES = ("group",)
# What can happen to messages: the names of push.model_receipts.Event.
EVENTS = ("sent", "delivered", "expired", "cancelled", "replaced", "dropped", "cached", "rejected")
RIGHTS = ("push", "read", "manage")


class SettingError(ValueError):
    """A setting that cannot be used; `str()` names it and the fix."""


Parse = Callable[[str], Any]


def text(raw: str) -> str:
    """Any text."""
    return raw


def filled(raw: str) -> str:
    """A text that is not empty."""
    if not raw.strip():
        raise SettingError("must not be empty")
    return raw


def number(least: float, most: float, whole: bool = True) -> Parse:
    """A number within bounds, both included."""

    def parse(raw: str) -> float:
        try:
            value: float = int(raw) if whole else float(raw)
        except ValueError:
            raise SettingError(f"must be a {'whole ' if whole else ''}number, not {raw!r}") from None
        if not least <= value <= most:
            raise SettingError(f"must be {plain(least)} to {plain(most)}, not {raw}")
        return value

    return parse


def plain(number: float) -> str:
    """A number in full: 16777216, not 1.67772e+07."""
    return str(int(number)) if number == int(number) else str(number)


def flag(raw: str) -> bool:
    """True or false, in the words that people use."""
    word = raw.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise SettingError(f"must be true or false, not {raw!r}")


def one_of(*words: str) -> Parse:
    """One of a few words."""

    def parse(raw: str) -> str:
        if raw not in words:
            raise SettingError(f"must be one of {', '.join(words)}, not {raw!r}")
        return raw

    return parse


def role(raw: str) -> str:
    """The name of a role that exists."""
    return str(one_of(*ROLES, "all")(raw))


def listener(raw: str) -> str:
    """PROTOCOL=ENDPOINT."""
    name, equals, endpoint = raw.partition("=")
    if not equals or not name.isidentifier() or ":" not in endpoint:
        raise SettingError(f"must be PROTOCOL=ENDPOINT, such as framed=lean:6789:interface=127.0.0.1, not {raw!r}")
    _check_port(endpoint)
    return raw


def endpoint(raw: str) -> str:
    """Something that looks like Twisted's endpoint descriptions."""
    if ":" not in raw:
        raise SettingError(f"must be an ENDPOINT, such as tcp:8080:interface=127.0.0.1, not {raw!r}")
    _check_port(raw)
    return raw


def maybe(parse: Parse) -> Parse:
    """What another parser reads, or nothing."""
    return lambda raw: parse(raw) if raw else raw


def _check_port(description: str) -> None:
    wrong = endpoint_text.wrong_port(description)
    if wrong is not None:
        raise SettingError(
            f"{description} is no endpoint that can be listened on: its port must be a number of 0 to 65535, "
            f"not {wrong!r}"
        )


def api_key(raw: str) -> str:
    """NAME:RIGHTS:SHA256."""
    name, _, rest = raw.partition(":")
    rights, _, digest = rest.partition(":")
    # The value is not repeated, nor any part of it: somebody may have put the key itself there.
    wrong = ""
    if raw.count(":") != 2:
        wrong = "it has not three parts with colons between them"
    elif not name:
        wrong = "its NAME is empty"
    elif any(right not in RIGHTS for right in rights.split("+")):
        wrong = f"its RIGHTS must be of {', '.join(RIGHTS)}, with + between them"
    elif len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        wrong = "its SHA256 must be 64 digits of 0-9 and a-f"
    if wrong:
        raise SettingError(
            f"must be NAME:RIGHTS:SHA256, as `pushctl key` prints it, e.g. backend:push+read:3f…, but {wrong}"
        )
    return raw


def url(raw: str) -> str:
    """An http or https URL, or nothing."""
    # The value is not repeated: a path or a query may hold what lets one in.
    if not raw:
        return raw
    try:
        parts = urlsplit(raw)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or not raw.isascii() or any(each.isspace() or not each.isprintable() for each in raw):
        raise SettingError("must be a URL of ASCII characters, such as https://example.org/push-events")
    if parts.username is not None or parts.password is not None:
        raise SettingError("must not have a user or a password in it: requests are signed instead")
    if parts.fragment:
        raise SettingError("must not have a fragment (#…): it would not be sent")
    return raw


def origin(raw: str) -> str:
    """The origin of a web page, as browsers say it (RFC 6454, section 6.2), or * for all."""
    if raw in ("*", "null"):
        return raw
    try:
        parts = urlsplit(raw)
        is_good = bool(parts.scheme and parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or raw != f"{parts.scheme}://{parts.netloc}" or "@" in raw or not raw.isascii():
        raise SettingError(f"must be an origin, such as https://example.org or http://10.0.0.7:3000, not {raw!r}")
    return raw


def address(raw: str) -> str:
    """HOST:PORT, or nothing."""
    host, _, port = raw.rpartition(":")
    if raw and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise SettingError(f"must be HOST:PORT, such as 10.0.0.7:6789, not {raw!r}")
    return raw


def place_of_protocol(raw: str) -> str:
    """PROTOCOL=HOST:PORT."""
    name, _, place = raw.partition("=")
    if not name.isidentifier() or not place:
        raise SettingError(f"must be PROTOCOL=HOST:PORT, such as websocket=push.example.org:443, not {raw!r}")
    address(place)
    return raw


def setting(
    default: Any, help: str, parse: Parse = text, *, many: bool = False, split: str | None = None, value: str = ""
) -> Any:
    """A field of push.config.Config.

    Args:
        default: what it is where nobody says.
        help: one sentence; units belong into it.
        parse: reads one value.
        many: whether it is a list of values.
        split: what separates values within one text, besides white space.
        value: how help calls a value.
    """
    metadata = {"help": help, "parse": parse, "many": many, "split": split, "value": value}
    return field(default=default, metadata=metadata)
