"""Many small questions over one link: they travel together, as frames of a stream, and so do their answers.

Answers leave before any later call to the same node (Link.before_call). So whoever has been told that a session is
open knows that before the first message for it arrives. Must not import services, stores or web.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from push.errors import InvalidRequest, PushError, Unavailable
from push.protocols.peer.asks import Ask, Told, Unread, Wish
from push.protocols.peer.envelopes import MAX_ENVELOPE_BYTES, Reader, encode
from push.protocols.peer.errors import CallMalformed, LinkLost, NoLink, error_of, trouble_of
from push.protocols.peer.link import Link
from push.protocols.peer.pieces import PIECE_BYTES, Pieces
from push.protocols.wire.frames import FrameDecoder
from push.protocols.wire.frames import encode as frame
from push.protocols.wire.signals import Signal
from push.unattended import run

# Questions wait for the answer to the call before them, so that what is asked meanwhile travels together.
WINDOW = 2
MAX_WAITING_BYTES = 67_108_864

T = TypeVar("T")

_ASK: Reader[Ask] = Reader(Ask)
_UNREAD: Reader[Unread] = Reader(Unread)
_TOLD: Reader[Told] = Reader(Told)


class _Frames:
    """The receiving end of a stream of frames, cut anywhere."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder(MAX_ENVELOPE_BYTES)

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of the frames completed by it.

        Raises:
            CallMalformed: the stream is broken.
        """
        bodies = [each.body for each in self._decoder.feed(data)]
        if self._decoder.error is not None:
            raise CallMalformed(f"a stream of frames is broken: {self._decoder.error.reason}")
        return bodies


class Asking:
    """The side that asks; what is asked while there is no link fails at once."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._pieces: Pieces | None = None
        self._answers = _Frames()
        self._waiting: dict[int, Deferred[Any]] = {}
        self._number = 0

    def attach(self, link: Link) -> None:
        """Ask over this link from now on."""
        self._link = link
        self._answers = _Frames()
        self._pieces = Pieces(
            lambda data: link.call("ask", data), answered=lambda _: None, broken=link.broken, window=WINDOW
        )
        link.when_lost(self._lost)

    async def ask(self, wish: Wish, answer: Reader[T]) -> T:
        """Ask, and wait.

        The wait ends with the answer or with the link, which has a pulse; how long the work may take is its doer's.

        Raises:
            NoLink: there is no link: nothing was asked.
            LinkLost: it was lost: what was wished for may have been done.
            PushError: what the doer raised; or its answer cannot be read.
        """
        if self._link is None or self._link.is_lost or self._pieces is None:
            raise NoLink("there is no link to the node that keeps tokens", retry_after_s=1.0)
        if self._pieces.waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable("too much waits for the node that keeps tokens", retry_after_s=1.0)
        self._number += 1
        told: Deferred[msgspec.Raw] = Deferred()
        self._waiting[self._number] = told
        self._pieces.put(frame(Signal.SUB, encode(Ask(self._number, wish))))
        value = await told
        try:
            return answer.read(value)
        except CallMalformed as error:
            raise PushError(f"a node's answer is not what was asked for: {error}") from None

    def told(self, data: bytes) -> None:
        """Answers came. Whoever waits for one goes on before this returns.

        Raises:
            CallMalformed: they cannot be read.
        """
        for body in self._answers.feed(data):
            told = _TOLD.read(body)
            waiting = self._waiting.pop(told.number, None)
            if waiting is None or waiting.called:
                continue
            if told.trouble is None:
                waiting.callback(told.value)
            else:
                waiting.errback(error_of(told.trouble))

    def _lost(self, why: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            if not each.called:
                each.errback(LinkLost(why, retry_after_s=1.0))


class Answering:
    """The side that answers.

    Args:
        answer: does what is wished for; what it returns is encoded, before anything else is sent.
        link: answers go back over it.
        clock: answers that come in one turn of the reactor leave together.
    """

    _log = Logger()

    def __init__(self, answer: Callable[[Wish], Awaitable[object]], *, link: Link, clock: IReactorTime) -> None:
        self._answer = answer
        self._link = link
        self._clock = clock
        self._asks = _Frames()
        self._told: list[bytes] = []
        link.before_call = self.flush

    def asked(self, data: bytes) -> None:
        """Questions came: work on them is begun in their order, and is not waited for.

        A wish that cannot be is refused by itself: what is in it may be what somebody has sent to the other node, and
        must not cost all others who are waiting for answers the link.

        Raises:
            CallMalformed: they cannot be told apart.
        """
        for body in self._asks.feed(data):
            try:
                ask = _ASK.read(body)
            except CallMalformed as error:
                number = _UNREAD.read(body).number
                self._tell(Told(number, trouble_of(InvalidRequest(f"a node cannot do what it was asked: {error}"))))
            else:
                run(self._work(ask), self._failed)

    def flush(self) -> None:
        """Send what there is to tell."""
        told, self._told = self._told, []
        data = b"".join(told)
        for start in range(0, len(data), PIECE_BYTES):
            self._link.send("told", data[start : start + PIECE_BYTES]).addErrback(self._link.broken)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("answering a node failed", failure)

    async def _work(self, ask: Ask) -> None:
        try:
            value = await self._answer(ask.wish)
            told = Told(ask.number, None, msgspec.Raw(encode(value)))
        except PushError as error:
            told = Told(ask.number, trouble_of(error))
        except Exception:
            self._log.failure("answering a node failed")
            told = Told(ask.number, trouble_of(Unavailable("this could not be done", retry_after_s=5.0)))
        self._tell(told)

    def _tell(self, told: Told) -> None:
        if self._link.is_lost:
            return
        if not self._told:
            self._clock.callLater(0, self.flush)
        self._told.append(frame(Signal.SUB, encode(told)))
