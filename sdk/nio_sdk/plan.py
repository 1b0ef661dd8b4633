"""What the application wants of one client, and the calling of its callbacks. A frozen value."""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from nio_sdk.settings import Auth, Surroundings
from push_client.chat import ChatMessage, ChatNotice
from push_client.message import Message
from push_client.profile import Profile
from push_client.status import Status

_log = logging.getLogger("nio_sdk")


@dataclass(frozen=True, slots=True)
class Plan:
    """What it wants.

    Attributes:
        profile: who the client is and where it goes.
        auth: the credential, or what gives it.
        auto_ack: whether a message is acknowledged without being told.
        tls: for pushs:// and https://.
        on_message: takes messages in the loop's thread; None: they are queued.
        on_status: is told what becomes of the client.
        on_chat: takes messages of the chat in the loop's thread; None: they are queued.
        on_notice: is told what the chat says beside messages.
        surroundings: clock and chance.
    """

    profile: Profile
    auth: Auth | None
    auto_ack: bool
    tls: ssl.SSLContext | None
    on_message: Callable[[Message], object] | None
    on_status: Callable[[Status], object] | None
    on_chat: Callable[[ChatMessage], object] | None
    on_notice: Callable[[ChatNotice], object] | None
    surroundings: Surroundings

    def tell(self, status: Status) -> None:
        """Call `on_status`; what it raises is logged, as the application's mistake must not cost it its connection."""
        if self.on_status is not None:
            try:
                self.on_status(status)
            except Exception:
                _log.exception("on_status raised an exception")

    def give(self, message: Message) -> bool:
        """Call `on_message`, which there must be.

        Returns:
            Whether it has handled the message: what it raises is logged.
        """
        assert self.on_message is not None
        try:
            self.on_message(message)
        except Exception:
            _log.exception("on_message raised an exception: the message is not acknowledged")
            return False
        return True

    def give_chat(self, message: ChatMessage) -> bool:
        """Call `on_chat`, which there must be.

        Returns:
            Whether it has handled the message: what it raises is logged.
        """
        assert self.on_chat is not None
        try:
            self.on_chat(message)
        except Exception:
            _log.exception("on_chat raised an exception: the message does not count as read")
            return False
        return True

    def notify(self, notice: ChatNotice) -> None:
        """Call `on_notice`, if there is one; what it raises is logged."""
        if self.on_notice is not None:
            try:
                self.on_notice(notice)
            except Exception:
                _log.exception("on_notice raised an exception")
