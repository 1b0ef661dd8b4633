"""JSON out of bytes, with what is wrong with it said in our own words. No HTTP."""

from typing import TypeVar

import msgspec

from push.errors import InvalidRequest
from push.web import errors

T = TypeVar("T")


def check_utf8(body: bytes) -> None:
    """Check what msgspec does not: text that goes on as it is, without being decoded.

    Raises:
        InvalidRequest: the body is not UTF-8.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}).") from None


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Decode and validate.

    Raises:
        InvalidRequest: with the field that is wrong, or where the JSON ends being JSON.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise errors.from_validation(error) from None
    except msgspec.DecodeError as error:
        if not bytes(body).strip():
            raise InvalidRequest("The body is empty: it must be JSON.") from None
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
