"""What clients ask of the group role: forwarded, within a time, and answered whatever comes of it.

Must not import adapters, stores or web.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import NotImplementedHere, PushError, Unavailable
from push.igroup import IChat
from push.ipush import IConnection
from push.model import Registration
from push.protocols.wire.chat import write_refusal
from push.protocols.wire.frames import Frame
from push.services.tasks import Tasks

# What takes longer is answered with 503. It may have been done: who says it again with the same name finds out.
LIMIT_S = 15.0


@implementer(IChat)
class ChatPlug:
    """The place of the group role, which is built after the connectors that ask it.

    Attributes:
        chat: the group role; None where there is none.
    """

    def __init__(self) -> None:
        self.chat: IChat | None = None

    async def ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """See IChat."""
        if self.chat is None:
            raise NotImplementedHere("this server runs no group role")
        return await self.chat.ask(registration, signal, subsignal, body)


class _Asked:
    """One request: the first answer counts."""

    __slots__ = ("connection", "frame")

    def __init__(self, connection: IConnection, frame: Frame) -> None:
        self.connection: IConnection | None = connection
        self.frame = frame

    def answer(self, body: bytes) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.answered(self.frame, body)

    def refuse(self, error: PushError) -> None:
        self.answer(write_refusal(self.frame.signal, error.status, str(error), error.retry_after_s))


class Asking:
    """What the clients of one connector ask.

    Args:
        chat: answers.
        clock: for the limit.
        tasks: runs the asking.
    """

    _log = Logger()

    def __init__(self, *, chat: IChat, clock: IReactorTime, tasks: Tasks) -> None:
        self._chat = chat
        self._clock = clock
        self._tasks = tasks

    def asked(self, connection: IConnection, frame: Frame) -> None:
        """See IConnectionHost."""
        registration = connection.registration
        asked = _Asked(connection, frame)
        if registration is None:
            asked.refuse(Unavailable("the session is over"))
            return
        self._tasks.spawn("answering a client", self._ask(asked, registration))

    async def _ask(self, asked: _Asked, registration: Registration) -> None:
        frame = asked.frame
        late = self._clock.callLater(LIMIT_S, asked.refuse, Unavailable("this took too long", retry_after_s=1.0))
        try:
            asked.answer(await self._chat.ask(registration, frame.signal, frame.subsignal, frame.body))
        except PushError as error:
            asked.refuse(error)
        except Exception:
            self._log.failure("answering a client failed")
            asked.refuse(Unavailable("this could not be done", retry_after_s=5.0))
        finally:
            if late.active():
                late.cancel()
