"""The HTTP API as pushctl uses it: JSON both ways, one request a connection unless a connection is asked for.

Standard library only.

Redirects are not followed and proxies not asked: the key goes to the address that was named and nowhere else.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
# A reply lists at most as many tokens as were asked for; this is far more.
_NONE: Mapping[str, str] = {}
MAX_REPLY_BYTES = 16 * 1024 * 1024


class UnreachableError(Exception):
    """There is nothing that answers; `str()` says where and why."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one field."""

    field: str
    message: str


class RefusedError(Exception):
    """The server answered, but not as was hoped.

    Attributes:
        status: of HTTP.
        reason: the constant for programs, or "".
        violations: which fields are wrong.
        request_id: under which the server's log has it, or "".
    """

    def __init__(
        self, status: int, reason: str, message: str, violations: tuple[Violation, ...] = (), request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.violations = violations
        self.request_id = request_id


class Api:
    """The API of one server.

    Args:
        url: http://host[:port] or https://host[:port], perhaps with a path in front of the API's own.
        key: the API key, or None.

    Raises:
        ValueError: the URL or the key cannot be; the sentence does not show the key.
    """

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError(f"the API's URL must be http://host:port or https://host:port, not {url!r}")
        try:
            self._port = parts.port
        except ValueError:
            raise ValueError(f"the port must be 0 to 65535 in {url!r}") from None
        if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
            raise ValueError("the API key has characters that no key has")
        self.url = url
        self._host = parts.hostname
        self._is_tls = parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        self._key = key

    def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object.

        Raises:
            RefusedError: the server refused.
            UnreachableError: nothing answered, or not in time.
        """
        return self._ask("GET", path, None)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE, and get a JSON object; raises as `get` does."""
        return self._ask("DELETE", path, None)

    def post(
        self, path: str, body: bytes, *, headers: Mapping[str, str] = _NONE, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """POST JSON, in UTF-8, and get a JSON object; raises as `get` does.

        Args:
            path: of the API.
            body: the JSON.
            headers: further ones.
            timeout_s: how long the server may be silent, in seconds.
        """
        return self._ask("POST", path, body, headers, timeout_s)

    def connection(self, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
        """A connection that is still to be made, for as many calls of `ask` as the server keeps it for."""
        kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_s)

    def ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        further: Mapping[str, str] = _NONE,
    ) -> dict[str, Any]:
        """Ask over a connection; where nothing answers, the caller closes it.

        Raises:
            RefusedError: the server refused.
            UnreachableError: nothing answered, or not in time: whether the server has acted is not known.
        """
        headers = {"Accept": "application/json", "User-Agent": "pushctl", **further}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.strip()}"
        try:
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            return _read(response.status, response.read(MAX_REPLY_BYTES + 1))
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(f"cannot reach {self.url}: {reason}") from error

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        further: Mapping[str, str] = _NONE,
        timeout_s: float = TIMEOUT_S,
    ) -> dict[str, Any]:
        connection = self.connection(timeout_s)
        try:
            return self.ask(connection, method, path, body, further)
        finally:
            connection.close()


def _read(status: int, body: bytes) -> dict[str, Any]:
    reply: Any = None
    if len(body) <= MAX_REPLY_BYTES:
        try:
            reply = json.loads(body)
        except (ValueError, RecursionError):
            reply = None
    if status == 200 and isinstance(reply, dict):
        return reply
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        raise RefusedError(status, "", f"the answer is HTTP {status}, but not this API's: is the URL right?")
    listed = error.get("field_violations")
    violations = tuple(
        Violation(str(entry.get("field", "")), str(entry.get("message", "")))
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
    )
    raise RefusedError(
        status,
        str(error.get("reason", "")),
        str(error.get("message", "")),
        violations,
        str(error.get("request_id", "")),
    )
