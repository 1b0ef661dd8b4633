"""Keeping the token, and how far the client has got, without holding up the loop: as errands, one at a time."""

import contextlib
import math
from collections.abc import Callable

from nio_sdk.errand import Errand
from push_client import token_store
from push_client.errors import TokenFileError
from push_client.standing import Standing


class Saving:
    """What one client keeps.

    Args:
        store: where; None: nowhere.
        standing: what.
        every_s: how often to write down which messages were handled.
        wake: makes the loop call `turn`; called in any thread.
    """

    def __init__(
        self,
        store: token_store.TokenStore | None,
        standing: Standing,
        *,
        every_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._standing = standing
        self._every_s = every_s
        self._wake = wake
        self._errand: Errand[None] | None = None
        self._text = ""
        self._wants_token = False
        self._due_s = math.inf

    @property
    def due_s(self) -> float:
        """When to call `turn`; while an errand is under way, it will wake the loop."""
        return math.inf if self._errand is not None and not self._errand.is_done else self._due_s

    @property
    def is_keeping(self) -> bool:
        """Whether the token itself is still to be kept: until it is, no message is to be handed out."""
        return self._wants_token

    def load(self) -> None:
        """Go on from what was kept, unless the application has given a token itself.

        Raises:
            TokenFileError: it cannot be read, or is something else.
        """
        if self._store is not None and self._standing.token is None:
            kept = token_store.load(self._store)
            if kept is not None:
                self._standing.restore(kept)

    def keep_token(self) -> None:
        """A session is open, with a token that may be new."""
        if self._store is not None and not self._standing.is_kept:
            self._wants_token = True
            self._due_s = -math.inf

    def handled(self, now_s: float) -> None:
        """There are messages that were handled since the last time."""
        if self._store is not None:
            self._due_s = min(self._due_s, now_s + self._every_s)

    def turn(self, now_s: float) -> None:
        """Do what can be done now.

        Raises:
            TokenFileError: the token cannot be kept.
        """
        if self._errand is not None:
            if not self._errand.is_done:
                return
            self._finish(self._errand)
        if now_s >= self._due_s:
            self._due_s = math.inf
            self._begin()

    def close(self, timeout_s: float) -> None:
        """Save what is left, and wait for it so long; a failure costs nothing but messages received again."""
        with contextlib.suppress(TokenFileError):
            if self._errand is not None and self._errand.wait(timeout_s):
                self._finish(self._errand)
            if self._errand is None and self._standing.is_kept:
                self._begin()
            if self._errand is not None and self._errand.wait(timeout_s):
                self._finish(self._errand)

    def _begin(self) -> None:
        text = self._standing.unsaved()
        if self._store is None or text is None:
            return
        store, self._text = self._store, text
        try:
            self._errand = Errand(lambda: store.save(text), self._wake)
        except OSError as error:
            if self._wants_token:
                raise TokenFileError(f"the token cannot be kept: {error}") from None

    def _finish(self, errand: Errand[None]) -> None:
        self._errand = None
        try:
            errand.outcome()
        except TokenFileError:
            if self._wants_token:
                raise
        else:
            self._standing.saved(self._text)
            self._wants_token = False
