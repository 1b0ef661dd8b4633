"""What a client raises when it gives up. Everything else it mends by reconnecting.

Imports nothing of the project.
"""


class ClientError(Exception):
    """Base of all that ends a client; `str()` is a sentence."""


class Refused(ClientError):
    """The server will not open a session for this token, user and credential, now or later.

    Attributes:
        status: 400, 401, 403 or another 4xx, as in HTTP.
        reason: what the server said; from the network, so escape it before showing it on a terminal.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server refused the session: {status} {reason}".rstrip())
        self.status = status
        self.reason = reason


class Disconnected(ClientError):
    """The server ended the session and said not to come back.

    Attributes:
        code: the close code, e.g. 3500 where a newer session with the same token replaced this one.
        reason: what the server said; from the network, so escape it before showing it on a terminal.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server ended the session: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class TokenFileError(ClientError):
    """The token cannot be read from where it is kept or written there, or something else than a token is there."""
