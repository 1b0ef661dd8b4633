"""Who may call: API keys and their rights; without keys, only programs on this host and not its browsers."""

import hmac
import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from push.errors import PermissionDenied, Unauthenticated
from push.model_access import ApiKey
from push.web.limits import RequestRates

if TYPE_CHECKING:
    from push.web.exchange import ApiRequest

RIGHT_PUSH = "push"
RIGHT_READ = "read"
RIGHT_MANAGE = "manage"

_BEARER = b"bearer "
_HOST = re.compile(r"\A(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::[0-9]*)?\Z")
_AUTHORITY_END = re.compile(r"[/?#\\]")
_CONFIGURE = "To let others in, make a key with `pushctl key`, set it with --api-key, and send it as a Bearer token."


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a Host header names this host to itself: localhost, a name under it, or a loopback address.

    Args:
        host: with or without a port.
    """
    found = _HOST.match(host)
    if found is None:
        return False
    name = (found.group(1) or found.group(2)).lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_browsers(request: "ApiRequest") -> None:
    """Refuse what a web page of somebody else makes a browser on this host send.

    A name of the attacker's that resolves to 127.0.0.1 shows in Host; a form or a script shows in Origin and
    Sec-Fetch-Site, which pages cannot set; an image, in browsers that send neither for it, in Referer. Programs that
    are no browsers send none of the last three.

    Raises:
        PermissionDenied: it may be such a request.
    """
    host = request.text_header(b"Host")
    if host is not None and not is_loopback(host):
        raise PermissionDenied(f"Without API keys, only requests to localhost are answered. {_CONFIGURE}")
    site = request.text_header(b"Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        raise PermissionDenied(f"Without API keys, no requests from other web sites are answered. {_CONFIGURE}")
    origin = request.text_header(b"Origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise PermissionDenied(f"Without API keys, no requests from other origins are answered. {_CONFIGURE}")
    referer = request.text_header(b"Referer")
    if referer is not None and not is_loopback(_AUTHORITY_END.split(referer.partition("://")[2], 1)[0]):
        raise PermissionDenied(f"Without API keys, no requests from other web sites are answered. {_CONFIGURE}")


class Admission:
    """Lets requests in.

    Args:
        keys: empty for an API that is open to this host.
        rates: how often each caller may call.
    """

    def __init__(self, keys: Sequence[ApiKey], rates: RequestRates) -> None:
        self._keys = tuple(keys)
        self._rates = rates

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    def identify(self, authorization: bytes | None) -> ApiKey | None:
        """The key that an Authorization header shows.

        Args:
            authorization: the header's value.
        """
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        shown = sha256(authorization[len(_BEARER) :].strip()).digest()
        found = None
        # Every key is compared, so that the time taken does not tell which one, if any, was right.
        for key in self._keys:
            if hmac.compare_digest(key.sha256, shown):
                found = key
        return found

    def admit(self, request: "ApiRequest", right: str | None) -> str:
        """Let a request to a route in, or not.

        Args:
            request: that came.
            right: that the route needs; None for a route that is open to everybody.

        Returns:
            Whose it is: the name of a key, which the request is told, too, or an address.

        Raises:
            Unauthenticated: a key is needed, and none or an unknown one was shown.
            PermissionDenied: the key has not this right, or the request is a foreign web page's.
            RateLimited: the caller has called too often.
        """
        if right is None:
            return request.peer_host
        if not self._keys:
            refuse_browsers(request)
            self._rates.take(request.peer_host)
            return request.peer_host
        key = self.identify(request.authorization)
        if key is None:
            raise Unauthenticated("An API key is needed: send it as `Authorization: Bearer <key>`.")
        self._rates.take(key.name)
        request.key_name = key.name
        if right not in key.rights:
            raise PermissionDenied(f"This API key has not the right to {right}.")
        return key.name

    def count(self, caller: str) -> None:
        """Count a further request of somebody who was admitted.

        Raises:
            RateLimited: it is one too many.
        """
        self._rates.take(caller)
