"""JSON out of bytes, with what is wrong with it said in our own words. No HTTP."""

from typing import TypeVar

import msgspec

from push.errors import InvalidRequest
from push.web import errors

T = TypeVar("T")
WHOLE = "The body"


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body without fields."""


_NOTHING = msgspec.json.Decoder(_Nothing)


def check_nothing(body: bytes) -> None:
    """Check that a body says nothing: it is empty, or an object without fields.

    Raises:
        InvalidRequest: it says something.
    """
    if body:
        decode(_NOTHING, body)


def check_utf8(body: bytes, what: str = WHOLE) -> None:
    """Check what msgspec does not: text that goes on as it is, without being decoded.

    Args:
        body: JSON.
        what: it is, in the sentence of an error.

    Raises:
        InvalidRequest: it is not UTF-8.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{what} is not UTF-8 (byte {error.start}).") from None


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, what: str = WHOLE) -> T:
    """Decode and validate.

    Args:
        decoder: of what it must be.
        body: JSON.
        what: it is, in the sentence of an error.

    Raises:
        InvalidRequest: with the field that is wrong, or where the JSON ends being JSON.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise errors.from_validation(error, what) from None
    except msgspec.DecodeError as error:
        if not bytes(body).strip():
            raise InvalidRequest(f"{what} is empty: it must be JSON.") from None
        raise InvalidRequest(f"{what} is not JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest(f"{what} is nested too deeply.") from None
