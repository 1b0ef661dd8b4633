"""The part of a client that hands messages to threads of the application's. Which client, its subclass knows."""

import abc
import threading
from collections.abc import Callable, Iterator

from nio_sdk.handover import Handover
from nio_sdk.plan import Plan
from push_client.message import Message


class Taking(abc.ABC):
    """What threads call for messages.

    Args:
        plan: what the application wants.
        handover: where the messages wait.
    """

    def __init__(self, plan: Plan, handover: Handover) -> None:
        self._plan = plan
        self._handover = handover
        # For each thread, the message that it is busy with.
        self._busy = threading.local()

    def poll(self) -> Message | None:
        """The next message if there is one, without waiting; it acknowledges the one before as `get` does.

        Raises:
            ClientError: the client has given up, and its messages are all taken.
        """
        try:
            return self._take(0.0)
        except TimeoutError:
            return None

    def get(self, timeout_s: float | None = None) -> Message | None:
        """Wait for the next message; several threads may. The one that this thread got before counts as handled.

        Args:
            timeout_s: how long to wait; None: as long as it takes.

        Returns:
            The message; None once the client is closed.

        Raises:
            TimeoutError: there was none in time.
            ClientError: the client has given up, and its messages are all taken.
            RuntimeError: messages go to `on_message`, nothing was started, or this is the loop's own thread, which
                would wait for itself.
        """
        self._must_wait_elsewhere(timeout_s)
        return self._take(timeout_s)

    def __iter__(self) -> Iterator[Message]:
        """Iterate over messages until the client is closed; as `get` does it."""
        while (message := self.get()) is not None:
            yield message

    def _take(self, timeout_s: float | None) -> Message | None:
        if self._plan.on_message is not None:
            raise RuntimeError("messages go to on_message")
        before: Message | None = getattr(self._busy, "message", None)
        self._busy.message = None
        if before is not None and self._plan.auto_ack:
            before.ack()
        message, made_room = self._handover.take(timeout_s)
        self._busy.message = message
        if made_room:
            self._post(_nothing)
        return message

    @abc.abstractmethod
    def _must_wait_elsewhere(self, timeout_s: float | None) -> None:
        """Raise RuntimeError in the loop's own thread, which would wait for itself."""

    @abc.abstractmethod
    def _post(self, order: Callable[[], None]) -> None:
        """Have something done in the loop's thread."""


def _nothing() -> None:
    """An order to have a turn: there is room again."""
