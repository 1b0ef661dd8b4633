"""Where the loop's thread and the application's threads meet: messages one way, and what is known of the session.

Nothing of the application's is ever called under its lock.
"""

from nio_sdk.inbox import Inbox
from push_client.backlog import Backlog
from push_client.message import Message

_CLOSED = "the client was closed"


class Handover(Inbox[Message]):
    """What one client's threads share.

    Args:
        backlog: the messages not yet taken.
    """

    def __init__(self, backlog: Backlog[Message]) -> None:
        super().__init__(backlog)
        self._token: str | None = None
        self._error: Exception | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the client has given up or was closed."""
        return self._has_ended

    def opened(self, token: str | None) -> None:
        """A session is open with this token, or with None no longer."""
        with self._changed:
            self._token = token
            self._changed.notify_all()

    def ended(self, error: Exception | None) -> None:
        """See Inbox."""
        with self._changed:
            self._token = None
            if error is not None:
                self._error = error
            super().ended(error)

    def wait_open(self, timeout_s: float | None) -> str:
        """Wait until a session is open.

        Raises:
            TimeoutError: there was none in time.
            RuntimeError: the client was closed.
            Exception: why the client has given up.
        """
        with self._changed:
            token = self._wait(lambda: self._token, timeout_s)
        if token is None:
            raise self._error or RuntimeError(_CLOSED)
        return token

    def wait_ended(self, timeout_s: float) -> None:
        """Wait until the client has ended, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended, timeout_s)
